"""``artclip leaderboard``: results of many evaluations and comparisons, ranked."""

from __future__ import annotations

import argparse
from typing import Any

from artclip.cli.options import add_common, add_reports, command, writable

TEXTS = (
    "rank the JSON results of evaluate and compare within each budget",
    "artclip leaderboard results --html leaderboard.html",
)


def add(commands: Any, _: Any) -> None:
    """Add the parser of this command."""
    parser = command(commands, "leaderboard", "FOLDER ...", *TEXTS)
    option = parser.add_argument_group("results").add_argument
    option("paths", nargs="+", metavar="FOLDER", help="folders of .json files that evaluate or compare wrote, or files")
    option = parser.add_argument_group("output").add_argument
    add_reports(option)
    add_common(option)
    parser.set_defaults(run=_run, framework=None)


def _run(arguments: argparse.Namespace) -> None:
    from artclip.evaluation.leaderboard import leaderboard

    html, output = writable(arguments.html), writable(arguments.output)
    board = leaderboard(arguments.paths)
    if html is not None:
        board.to_html(html)
    if output is not None:
        board.to_json(output)
    print(board.to_json() if arguments.json else board)
    files = [str(path) for path in (html, output) if path is not None]
    if files and not arguments.json:
        print(f"\nwritten: {', '.join(files)}")
