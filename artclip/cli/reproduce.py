"""``artclip reproduce``: a published table, measured again."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from artclip.cli.options import add_common, add_reports, add_running, command, failures, writable

TEXTS = (
    "measure a published table of CLIP again, beside its figures",
    "artclip reproduce talk --seeds 3 --jobs -1 --html report.html",
)


def add(commands: Any, _: Any) -> None:
    """Add the parser of this command."""
    parser = command(commands, "reproduce", "TABLE", *TEXTS)
    option = parser.add_argument_group("what to measure").add_argument
    option("table", help="readme (of the published code) or talk (MNIST and Fashion-MNIST)")
    option("--seeds", type=int, default=3, metavar="N", help="trainings for each row (default: 3)")
    option("--quick", action="store_true", help="a dry run of seconds, whose figures mean nothing")
    option("--framework", choices=("torch", "tensorflow"), help="default: torch, where it is installed")
    option = parser.add_argument_group("output").add_argument
    add_reports(option)
    add_common(option)
    add_running(parser.add_argument_group("advanced").add_argument)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from artclip.comparison.reproduce import reproduce, write

    output, html = writable(arguments.output), writable(arguments.html)
    reproductions = reproduce(
        arguments.table,
        arguments.seeds,
        arguments.framework,
        arguments.jobs,
        arguments.cache,
        arguments.quick,
        sys.stderr.isatty(),
        arguments.threads,
    )
    for one in reproductions:
        one.comparison.settings["command"] = arguments.typed
    text = write(reproductions, output)
    for number, one in enumerate(reproductions, 1):
        if html is not None:  # a report for each table
            one.comparison.to_html(html if len(reproductions) == 1 else html.with_stem(f"{html.stem}-{number}"))
    print(text if arguments.json else "\n\n".join(one.to_markdown() for one in reproductions))
    return failures([one.comparison for one in reproductions])
