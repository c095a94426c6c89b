"""``artclip train``: one net, one defence."""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import replace
from typing import Any

from artclip import checks, ranges
from artclip.cli.options import add_attacks, add_common, add_data, add_ranges, add_training, command, data_told, scaling
from artclip.cli.options import settings as settings_of

TEXTS = (
    "train one net with one defence, then attack it and bound its Lipschitz constant",
    "artclip train --data digits --defence clip --target-accuracy 0.95 -o out",
    "artclip train --data mnist --model cnn --lamda 0.1 --nb-epochs 10 -o out",
)


def add(commands: Any, number: Any) -> None:
    """Add the parser of this command; ``number`` reads an argument as ``8/255``."""
    parser = command(commands, "train", "--data DATA", *TEXTS)
    add_data(parser)
    option = parser.add_argument_group("defence and training").add_argument
    option("--defence", default="clip", help="a name, with settings as clip:nb_pairs=32 (default: clip)")
    option("--target-accuracy", type=number, metavar="SHARE", help="training accuracy in (0, 1] to hold by adapting λ")
    option("--lamda", type=number, help="λ, fixed, or the first one with --target-accuracy")
    option("--seed", type=int, default=0, help="of weights, order and pairs (default: 0)")
    add_training(option)
    add_attacks(parser, number)
    option = parser.add_argument_group("output").add_argument
    option("-o", "--output", metavar="FOLDER", help="where to write weights and training.json")
    add_common(option)
    add_ranges(parser.add_argument_group("range of the inputs").add_argument, number)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from artclip.comparison.cost import watched
    from artclip.comparison.defences import parse
    from artclip.comparison.experiment import Experiment
    from artclip.comparison.input_checks import checked_data, try_nets
    from artclip.comparison.result import Comparison
    from artclip.comparison.table import text as as_text
    from artclip.models.saving import save_named
    from artclip.reporting.records import as_json

    inputs = {"clip_values": arguments.clip_values, "preprocessing": scaling(arguments)}
    experiment = Experiment(**settings_of(arguments), curve_samples=0, masking=False, **inputs)
    options = {"lamda": arguments.lamda, "target_accuracy": arguments.target_accuracy}
    options = {name: value for name, value in options.items() if value is not None}
    named = parse(arguments.defence)
    unknown = [name for name in options if name not in named.defence.settings]
    if unknown:
        raise ValueError(f"defence {arguments.defence} takes no {' and no '.join(unknown)}")
    named = replace(named, options={**named.options, **options})
    net = experiment.net(arguments.model)
    with data_told():
        loaded, described = experiment.load(arguments.data)
    data = checked_data(loaded)
    try_nets({arguments.model: net}, [named], experiment, data, 1)
    for mistake in ranges.narrow(data[0][0], arguments.clip_values):
        warnings.warn(f"likely mistake: {mistake}", RuntimeWarning, stacklevel=2)
    folder = None if arguments.output is None else checks.folder(arguments.output)
    with watched() as spent:
        trainer = experiment.train(data, net, named, arguments.seed, verbose=sys.stderr.isatty())
    cell = experiment.measure(trainer, data, named.name, arguments.model, arguments.seed, spent)
    settings = {
        "data": arguments.data,
        "data_description": described,
        "model": arguments.model,
        "models": [arguments.model],
    }
    settings |= {"seeds": [arguments.seed], "n_jobs": 1, **experiment.samples(data[1][1])}
    result = Comparison({**settings, **experiment.describe(), **options}, experiment, [cell])
    files = [] if folder is None else save_named(trainer, folder, settings=result.settings, rows=result.rows)
    if arguments.json:
        report = {"settings": result.settings, "rows": result.rows, "history": trainer.history}
        print(as_json(report))
    else:
        print(as_text(result, more="--json"))
        if files:
            print(f"\nwritten: {files[0]} (weights), {files[1]}")
