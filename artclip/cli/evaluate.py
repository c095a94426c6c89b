"""``artclip evaluate``: how robust is a model?"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

from artclip import checks
from artclip.cli import options
from artclip.cli.options import add_advanced, add_common, add_model, add_reports, command, list_of

TEXTS = (
    "how robust is this model, and is that to be believed?",
    "artclip evaluate out --data digits --eps 0.5 --html report.html",
    "artclip evaluate model.keras --data data.npz --norm inf --eps 8/255 --attacks quick",
    "artclip evaluate package.module:factory --weights w.pt --data package.module:function",
)


def add(commands: Any, number: Any) -> None:
    """Add the parser of this command; ``number`` reads an argument as ``8/255``."""
    parser = command(commands, "evaluate", "MODEL --data DATA", *TEXTS)
    add_model(parser, number)
    option = parser.add_argument_group("attacks").add_argument
    option("--norm", default="2", help="of the budget: 1, 2 or inf (default: 2)")
    option("--eps", type=list_of(number), default=[2.0], help="budget, as 0.5, 8/255 or 0.5,1,2 (default: 2)")
    option("--attacks", default="standard", help="standard, quick, or names split by + as pgd:max_iter=20+square")
    option(
        "--samples",
        type=int,
        default=1000,
        metavar="N",
        help="test samples (default: 1000): the first ones, unless the data are sorted by class",
    )
    option("--full", action="store_true", help="run each attack on all samples, not on those left standing")
    option("--fixed", type=list_of(options.index), metavar="I,J", help="features that no attack changes, by index")
    option("--integers", type=list_of(options.index), metavar="I,J", help="features that move by whole numbers alone")
    option("--no-lipschitz", action="store_true", help="skip the Lipschitz bounds and the certificate")
    option("--no-masking", action="store_true", help="skip the search for signs of gradient masking")
    option("--distances", type=int, default=100, metavar="N", help="nearest adversarial examples of N (default: 100)")
    option = parser.add_argument_group("output").add_argument
    add_reports(option)
    option("--class-names", metavar="FILE", help="one name a line, or module:function; for the report")
    option("--intervals", action="store_true", help="add to each accuracy its 95%% interval (Wilson)")
    add_common(option)
    option = add_advanced(parser)
    option("--batch-size", type=int, metavar="N", help="samples in one pass (default: to suit the inputs)")
    option("--cache", metavar="FOLDER", help="keep outcomes here, and resume from them")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from artclip.data.subset import rows_of
    from artclip.evaluation.attacks import SETS, choose
    from artclip.evaluation.evaluate import evaluate
    from artclip.evaluation.preflight import preflight
    from artclip.reporting.records import as_json

    attacks = arguments.attacks if arguments.attacks in SETS else arguments.attacks.split("+")
    choose(attacks, checks.norm("norm", arguments.norm))
    checks.positive_integer("samples", arguments.samples)
    output, html = options.writable(arguments.output), options.writable(arguments.html)
    names = _names(arguments.class_names)
    classifier, (_, (x, y)), folders = options.load(arguments)
    if names is None and len(folders) == getattr(classifier, "nb_classes", None):
        names = folders
    rows, remark = rows_of(y, arguments.samples)
    x, y = x[rows], y[rows]
    look = preflight(classifier, x, y)
    look.remarks.extend([remark] * bool(remark))
    if not arguments.json:
        print(f"{look}\n", flush=True)
    warnings.filterwarnings("ignore", "likely mistake")  # which the look says
    evaluation = evaluate(
        classifier,
        x,
        y,
        norm=arguments.norm,
        eps=arguments.eps,
        attacks=attacks,
        lipschitz=not arguments.no_lipschitz,
        masking=not arguments.no_masking,
        nb_distances=arguments.distances,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        verbose=sys.stderr.isatty(),
        full=arguments.full,
        cache=arguments.cache,
        name=Path(arguments.model).name or arguments.model,
        data=arguments.data,
        class_names=names,
        fixed=arguments.fixed,
        integers=arguments.integers,
    )
    evaluation.mistakes = look.mistakes
    evaluation.remarks[:0] = [remark.capitalize()] * bool(remark)
    evaluation.settings["command"] = arguments.typed
    record = as_json({**evaluation.to_dict(), "preflight": look.to_dict()}, output)
    if html is not None:
        evaluation.to_html(html)
    print(record if arguments.json else evaluation.to_text(arguments.intervals))
    if html is not None and not arguments.json:
        print(f"\nwritten: {html}")


def _names(source: str | None) -> list[str] | None:
    """Names of classes, from a file with one a line or from a function."""
    from artclip.models.loading import from_module

    if source is None:
        return None
    if not Path(source).is_file() and ":" in source:
        return [str(name) for name in from_module(source)]
    return Path(source).read_text(encoding="utf-8").splitlines()
