"""``artclip compare``: defences side by side."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from artclip.cli.options import (
    add_attacks,
    add_common,
    add_data,
    add_reports,
    add_running,
    add_training,
    command,
    data_told,
    failures,
    settings,
    writable,
)

TEXTS = (
    "train nets with several defences and compare how robust they are, and at what cost",
    "artclip compare --data digits --defences standard,clip@0.95,madry --html report.html",
    "artclip compare --data data.npz --model package.module:factory --norm inf --eps 8/255",
)


def add(commands: Any, number: Any) -> None:
    """Add the parser of this command; ``number`` reads an argument as ``8/255``."""
    parser = command(commands, "compare", "--data DATA", *TEXTS)
    add_data(parser, "; several with commas")
    option = parser.add_argument_group("defences and training").add_argument
    option(
        "--defences",
        default="standard,weight@0.95,clip@0.95",
        help="standard, weight, spectral, clip, clip+fgsm, certified, fgsm, n-fgsm, grad-align, pgd, trades, "
        "gradient-norm, jacobian, gaussian, adversarial, madry, fbf, art-trades, awp, module:function; as clip@0.95 or "
        "pgd:eps=1",
    )
    option("--seeds", type=int, default=3, metavar="N", help="trainings per defence (default: 3)")
    add_training(option)
    add_attacks(parser, number)
    option = parser.add_argument_group("output").add_argument
    add_reports(option)
    option("--csv", metavar="FILE", help="write the figures here as comma-separated values")
    option("--full-table", action="store_true", help="print all columns, however wide")
    option("--latex", action="store_true", help="print all columns for LaTeX")
    option("--intervals", action="store_true", help="add to each accuracy its 95%% interval (Wilson)")
    add_common(option)
    add_running(parser.add_argument_group("advanced").add_argument)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from artclip.comparison.compare import compare
    from artclip.comparison.table import text as as_text

    output, html, table = (writable(path) for path in (arguments.output, arguments.html, arguments.csv))
    with data_told():
        result = compare(
            arguments.data,
            model=[m.strip() for m in arguments.model.split(",") if m.strip()],
            defences=arguments.defences,
            nb_seeds=arguments.seeds,
            verbose=sys.stderr.isatty(),
            n_jobs=arguments.jobs,
            nb_threads=arguments.threads,
            cache=arguments.cache,
            **settings(arguments),
        )
    result.settings["command"] = arguments.typed
    text = result.to_json(output)
    if html is not None:
        result.to_html(html)
    if table is not None:
        result.to_csv(table)
    if arguments.latex:
        shown = result.to_latex(arguments.intervals)
    elif arguments.full_table:
        shown = "\n".join([result.to_markdown(arguments.intervals), "", *(f"- {line}" for line in result.notes())])
    else:
        written = [str(path) for path in (html, table, output) if path is not None]
        shown = as_text(result, arguments.intervals, ", ".join(["--full-table", *(written or ["--html FILE"])]))
    print(text if arguments.json else shown)
    return failures([result])
