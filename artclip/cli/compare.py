"""Commands that train: ``artclip train``, ``artclip compare`` and ``artclip reproduce``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Any

from artclip import checks
from artclip.cli.models import add_common, add_ranges, add_reports, command, scaling, writable

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


COMMANDS = {
    "train": (
        "train one net with one defence, then attack it and bound its Lipschitz constant",
        "artclip train --data digits --defence clip --target-accuracy 0.95 -o out",
        "artclip train --data mnist --model cnn --lamda 0.1 --nb-epochs 10 -o out",
    ),
    "compare": (
        "train nets with several defences and compare how robust they are, and at what cost",
        "artclip compare --data digits --defences standard,clip@0.95,madry --html report.html",
        "artclip compare --data data.npz --model package.module:factory --norm inf --eps 8/255",
    ),
    "reproduce": (
        "measure a published table of CLIP again, beside its figures",
        "artclip reproduce talk --seeds 3 --jobs -1 --html report.html",
    ),
}


def add(commands: Any, number: Any) -> None:
    """Add the parsers of these commands; ``number`` reads an argument as ``8/255``."""
    train, compare, again = (command(commands, name, *texts) for name, texts in COMMANDS.items())
    nets = "mlp, mlp-200-80, cnn, resnet or package.module:factory"

    _data(train, f"{nets} (default: mlp)")
    option = train.add_argument_group("defence and training").add_argument
    option("--defence", default="clip", help="a name, with settings as clip:nb_pairs=32 (default: clip)")
    option("--target-accuracy", type=number, metavar="SHARE", help="training accuracy in (0, 1] to hold by adapting λ")
    option("--lamda", type=number, help="λ, fixed, or the first one with --target-accuracy")
    option("--seed", type=int, default=0, help="of weights, order and pairs (default: 0)")
    _training(option)
    _attacks(train, number)
    option = train.add_argument_group("output").add_argument
    option("-o", "--output", metavar="FOLDER", help="where to write weights and training.json")
    add_common(option)
    add_ranges(train.add_argument_group("range of the inputs").add_argument, number)
    train.set_defaults(run=_train)

    _data(compare, f"{nets}; several with commas (default: mlp)")
    option = compare.add_argument_group("defences and training").add_argument
    option(
        "--defences",
        default="standard,weight@0.95,clip@0.95",
        help="standard, weight, spectral, clip, certified, gaussian, adversarial, madry, fbf, trades, awp, "
        "module:function; as clip@0.95 (accuracy held), clip:lamda=0.03, adversarial:eps=1,max_iter=7",
    )
    option("--seeds", type=int, default=3, metavar="N", help="trainings per defence (default: 3)")
    _training(option)
    _attacks(compare, number)
    option = compare.add_argument_group("output").add_argument
    add_reports(option)
    option("--csv", metavar="FILE", help="write the figures here as comma-separated values")
    option("--full-table", action="store_true", help="print all columns, however wide")
    option("--latex", action="store_true", help="print all columns for LaTeX")
    option("--intervals", action="store_true", help="add to each accuracy its 95%% interval (Wilson)")
    add_common(option)
    _running(compare.add_argument_group("advanced").add_argument)
    compare.set_defaults(run=_compare)

    option = again.add_argument_group("what to measure").add_argument
    option("table", help="readme (of the published code) or talk (MNIST and Fashion-MNIST)")
    option("--seeds", type=int, default=3, metavar="N", help="trainings for each row (default: 3)")
    option("--quick", action="store_true", help="a dry run of seconds, whose figures mean nothing")
    option("--framework", choices=("torch", "tensorflow"), help="default: torch, where it is installed")
    option = again.add_argument_group("output").add_argument
    add_reports(option)
    add_common(option)
    _running(again.add_argument_group("advanced").add_argument)
    again.set_defaults(run=_reproduce)


def _data(parser: Any, nets: str) -> None:
    option = parser.add_argument_group("data and net").add_argument
    option("--data", required=True, help="digits, mnist, fashion-mnist, FILE.npz, a folder, module:function")
    option("--model", default="mlp", help=nets)
    option("--activation", default="relu", help="relu, sigmoid, softplus or gelu (default: relu)")
    option("--framework", choices=("torch", "tensorflow"), help="default: torch, where it is installed")


def _training(option: Any) -> None:
    option("--nb-epochs", type=int, default=20, metavar="N", help="passes over the data (default: 20)")
    option("--batch-size", type=int, default=128, metavar="N", help="samples a step (default: 128)")
    option("--learning-rate", type=float, default=2e-3, metavar="LR", help="of Adam (default: 0.002)")


def _attacks(parser: Any, number: Any) -> None:
    option = parser.add_argument_group("attacks").add_argument
    option("--norm", default="2", help="of the attack and of the Lipschitz bounds: 1, 2 or inf (default: 2)")
    option("--eps", type=number, default=1.0, help="budget of the attack, as 0.5 or 8/255 (default: 1)")
    option("--noise", type=number, default=0.5, help="standard deviation of the noise (default: 0.5)")
    option("--attacks", help="standard, quick, or names split by +; default: noise, PGD, PGD on the margin")
    option("--attack-samples", type=int, default=1000, metavar="N", help="test samples to attack (default: 1000)")


def _running(option: Any) -> None:
    option("--jobs", type=int, default=1, metavar="N", help="trainings at a time; -1: one a core")
    option("--threads", type=int, default=1, metavar="N", help="of each training (default: 1)")
    option("--cache", metavar="FOLDER", help="keep finished trainings here, and resume from them")


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    found = {name: getattr(arguments, name) for name in _SETTINGS}
    if found["attacks"] is not None and "+" in found["attacks"]:
        found["attacks"] = found["attacks"].split("+")
    return found


def _compare(arguments: argparse.Namespace) -> int:
    from artclip.comparison.compare import compare
    from artclip.comparison.table import text as as_text

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
    for one in found:
        one.comparison.settings["command"] = arguments.typed
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
    from artclip.comparison.table import text as as_text
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
        print(as_text(result, more="--json"))
        if files:
            print(f"\nwritten: {files[0]} (weights), {files[1]}")
