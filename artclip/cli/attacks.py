"""``artclip attacks``: the attacks by name."""

from __future__ import annotations

import argparse
import json
from typing import Any

from artclip.cli.options import add_common, command

TEXTS = ("list the attacks by name, with their settings and papers", "artclip attacks")


def add(commands: Any, _: Any) -> None:
    """Add the parser of this command."""
    parser = command(commands, "attacks", "", *TEXTS)
    add_common(parser.add_argument_group("output").add_argument)
    parser.set_defaults(run=_run, framework=None)


def _run(arguments: argparse.Namespace) -> None:
    from artclip.evaluation.attacks import ATTACKS, BLACK_BOX_SETS, SETS

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "title": a.title,
            "norms": [f"L{p}" for p in a.norms] or ["outside the budget"],
            "access": a.access,
            "settings": a.options,
            "paper": a.paper,
        }
        for name, a in ATTACKS.items()
    ]
    if arguments.json:
        print(
            json.dumps(
                {"attacks": rows, "sets": SETS, "sets without gradients": BLACK_BOX_SETS}, indent=1, ensure_ascii=False
            )
        )
        return
    table = [["name", "norms", "access", "settings"]]
    for row in rows:
        settings = ",".join(f"{k}={v:g}" for k, v in row["settings"].items())
        table.append([row["name"], " ".join(row["norms"]), row["access"], settings])
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line, paper in zip(table, ["paper", *(row["paper"] for row in rows)], strict=True):
        print("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip())
        print(" " * (widths[0] + 1), paper)
    for name, members in SETS.items():
        print(f"\n{name}: clean, {', '.join(members)}", end="")
        print(f"\n{name} without gradients: clean, {', '.join(BLACK_BOX_SETS[name])}", end="")
    print()
