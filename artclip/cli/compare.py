"""Commands that train: ``artclip train``, ``artclip compare`` and ``artclip reproduce``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Any

from artclip import checks
from artclip.cli.models import add_ranges, scaling, writable

TRAINING = ("train", "compare", "reproduce")
_SETTINGS = (
    "activation",
    "nb_epochs",
    "batch_size",
    "learning_rate",
    "norm",
    "eps",
    "noise",
    "attack_samples",
    "framework",
    "attacks",
)


def add(commands: Any, number: Any) -> None:
    """Add the parsers of these commands; ``number`` reads an argument as ``8/255``."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--data", required=True, help="digits, mnist, fashion-mnist, FILE.npz, a folder of IDX files, module:function"
    )
    shared.add_argument("--activation", default="relu", help="relu, sigmoid, softplus or gelu (default: relu)")
    shared.add_argument("--nb-epochs", type=int, default=20, metavar="N", help="passes over the data (default: 20)")
    shared.add_argument("--batch-size", type=int, default=128, metavar="N", help="samples a step (default: 128)")
    shared.add_argument("--learning-rate", type=float, default=2e-3, metavar="LR", help="of Adam (default: 0.002)")
    shared.add_argument("--norm", default="2", help="norm of the attack and of the inputs: 1, 2 or inf (default: 2)")
    shared.add_argument("--eps", type=number, default=1.0, help="budget of the attack, as 0.5 or 8/255 (default: 1)")
    shared.add_argument("--noise", type=number, default=0.5, help="standard deviation of the noise (default: 0.5)")
    shared.add_argument("--attack-samples", type=int, default=1000, metavar="N", help="test samples to attack")
    shared.add_argument(
        "--attacks", help="standard, quick, or names split by +; default: noise, PGD, PGD on the margin"
    )
    shared.add_argument("--framework", choices=("torch", "tensorflow"), help="default: torch, where it is installed")
    shared.add_argument("--json", action="store_true", help="print JSON, and nothing else, on stdout")
    nets = "mlp, mlp-200-80, cnn, resnet or package.module:factory"

    train = commands.add_parser("train", parents=[shared], help="train one net with one defence, then measure it")
    train.add_argument("--model", default="mlp", help=f"{nets} (default: mlp)")
    train.add_argument("--defence", default="clip", help="a name, with settings as clip:nb_pairs=32 (default: clip)")
    train.add_argument(
        "--target-accuracy", type=number, help="accuracy in (0, 1] on the training data to hold by adapting λ"
    )
    train.add_argument("--lamda", type=number, help="λ, fixed, or the first one with --target-accuracy")
    add_ranges(train, number)
    train.add_argument("--seed", type=int, default=0, help="of weights, order and pairs (default: 0)")
    train.add_argument("-o", "--output", metavar="FOLDER", help="where to write weights and training.json")
    train.set_defaults(run=_train)

    compare = commands.add_parser("compare", parents=[shared], help="train nets with several defences; one table")
    compare.add_argument("--model", default="mlp", help=f"{nets}; more than one with commas (default: mlp)")
    compare.add_argument(
        "--defences",
        default="standard,weight@0.95,clip@0.95",
        help="standard, weight, spectral, clip, certified, gaussian, adversarial, madry, fbf, trades, awp, or "
        "module:function; as clip@0.95 (accuracy held), clip:lamda=0.03, adversarial:eps=1,max_iter=7 "
        "(default: the first three)",
    )
    compare.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings per defence (default: 3)")
    _add_running(compare)
    compare.add_argument("--csv", metavar="FILE", help="write the table here")
    compare.add_argument("--intervals", action="store_true", help="add to each accuracy its 95%% interval (Wilson)")
    compare.add_argument("--latex", action="store_true", help="print the table for LaTeX")
    compare.set_defaults(run=_compare)

    again = commands.add_parser("reproduce", help="a published table of CLIP, measured again beside its figures")
    again.add_argument("table", help="readme (of the published code) or talk (MNIST and Fashion-MNIST)")
    again.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings for each row (default: 3)")
    again.add_argument("--quick", action="store_true", help="a dry run of seconds, whose figures mean nothing")
    again.add_argument("--framework", choices=("torch", "tensorflow"), help="default: torch, where it is installed")
    again.add_argument("--json", action="store_true", help="print JSON, and nothing else, on stdout")
    _add_running(again)
    again.set_defaults(run=_reproduce)


def _add_running(parser: Any) -> None:
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time; -1: one a core")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each training (default: 1)")
    parser.add_argument("--cache", metavar="FOLDER", help="keep finished trainings here, and resume from them")
    parser.add_argument("--html", metavar="FILE", help="write a report here")
    parser.add_argument("-o", "--output", metavar="FILE", help="also write the JSON here")


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    found = {name: getattr(arguments, name) for name in _SETTINGS}
    if found["attacks"] is not None and "+" in found["attacks"]:
        found["attacks"] = found["attacks"].split("+")
    return found


def _compare(arguments: argparse.Namespace) -> int:
    from artclip.comparison.compare import compare

    output, html, table = (writable(path) for path in (arguments.output, arguments.html, arguments.csv))
    result = compare(
        arguments.data,
        model=[m.strip() for m in arguments.model.split(",") if m.strip()],
        defences=arguments.defences,
        nb_seeds=arguments.seeds,
        verbose=sys.stderr.isatty(),
        n_jobs=arguments.jobs,
        nb_threads=arguments.threads,
        cache=arguments.cache,
        **_settings(arguments),
    )
    text = result.to_json(output)
    if html is not None:
        result.to_html(html)
    if table is not None:
        result.to_csv(table)
    if arguments.latex:
        shown = result.to_latex(arguments.intervals)
    else:
        shown = "\n".join([result.to_markdown(arguments.intervals), "", *(f"- {line}" for line in result.notes())])
    print(text if arguments.json else shown)
    return _failures([result])


def _failures(comparisons: list[Any]) -> int:
    """The exit code: 1 where every training failed; says on stderr how many did."""
    cells = [cell for comparison in comparisons for cell in comparison.cells]
    errors = [cell.error for cell in cells if cell.error]
    if errors:
        print(f"artclip: {len(errors)} of {len(cells)} trainings failed: {errors[0]}", file=sys.stderr)
    return int(len(errors) == len(cells))


def _reproduce(arguments: argparse.Namespace) -> int:
    from artclip.comparison.reproduce import reproduce, write

    output, html = writable(arguments.output), writable(arguments.html)
    found = reproduce(
        arguments.table,
        arguments.seeds,
        arguments.framework,
        arguments.jobs,
        arguments.cache,
        arguments.quick,
        sys.stderr.isatty(),
        arguments.threads,
    )
    text = write(found, output)
    for number, one in enumerate(found, 1):
        if html is not None:  # a report for each table
            one.comparison.to_html(html if len(found) == 1 else html.with_stem(f"{html.stem}-{number}"))
    print(text if arguments.json else "\n\n".join(one.to_markdown() for one in found))
    return _failures([one.comparison for one in found])


def _train(arguments: argparse.Namespace) -> None:
    from artclip.comparison.cost import watched
    from artclip.comparison.defences import parse
    from artclip.comparison.experiment import Experiment
    from artclip.comparison.input_checks import checked_data, try_nets
    from artclip.comparison.result import Comparison
    from artclip.models.saving import save_named
    from artclip.reporting.records import as_json

    ranges = {"clip_values": arguments.clip_values, "preprocessing": scaling(arguments)}
    experiment = Experiment(**_settings(arguments), curve_samples=0, masking=False, **ranges)
    options = {"lamda": arguments.lamda, "target_accuracy": arguments.target_accuracy}
    options = {name: value for name, value in options.items() if value is not None}
    named = parse(arguments.defence)
    unknown = [name for name in options if name not in named.defence.settings]
    if unknown:
        raise ValueError(f"defence {arguments.defence} takes no {' and no '.join(unknown)}")
    named = replace(named, options={**named.options, **options})
    net, data = experiment.net(arguments.model), checked_data(experiment.load(arguments.data))
    try_nets({arguments.model: net}, experiment, data, 1)
    folder = None if arguments.output is None else checks.folder(arguments.output)
    with watched() as spent:
        trainer = experiment.train(data, net, named, arguments.seed, verbose=sys.stderr.isatty())
    cell = experiment.measure(trainer, data, named.name, arguments.model, arguments.seed, spent)
    settings = {"data": arguments.data, "model": arguments.model, "models": [arguments.model]}
    settings |= {"seeds": [arguments.seed], "n_jobs": 1, "nb_attacked": min(arguments.attack_samples, len(data[1][0]))}
    result = Comparison({**settings, **experiment.describe(), **options}, experiment, [cell])
    files = [] if folder is None else save_named(trainer, folder, settings=result.settings, rows=result.rows)
    if arguments.json:
        report = {"settings": result.settings, "rows": result.rows, "history": trainer.history}
        print(as_json(report))
    else:
        print(result.to_markdown())
        if files:
            print(f"\nwritten: {files[0]} (weights), {files[1]}")
