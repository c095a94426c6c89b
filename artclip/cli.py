"""The command line: ``artclip train`` and ``artclip compare``; the commands on a model are in ``cli_models``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from artclip import __version__, cli_models
from artclip.cli_models import writable

DONE, FAILURE, BAD_INPUT = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failure, 2 bad usage or input.

    Args:
        argv: the words after ``artclip``; ``None`` takes those of the process.
    """
    arguments = _parser().parse_args(argv)
    try:
        _start(arguments)
        arguments.run(arguments)
    except (ValueError, TypeError, FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        print(f"artclip: {error}", file=sys.stderr)
        return BAD_INPUT
    except ImportError as error:
        print(f"artclip: {error}", file=sys.stderr)
        return FAILURE
    except FloatingPointError as error:
        print(f"artclip: {error}", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        print("artclip: interrupted", file=sys.stderr)
        return FAILURE
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="artclip", description="Cheap Lipschitz training for ART classifiers.")
    parser.add_argument("--version", action="version", version=f"artclip {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--data", required=True, help="digits, mnist, fashion-mnist, FILE.npz, or a folder of IDX files"
    )
    shared.add_argument("--model", default="mlp", help="mlp, mlp-200-80 or cnn (default: mlp)")
    shared.add_argument("--activation", default="relu", help="relu, sigmoid, softplus or gelu (default: relu)")
    shared.add_argument("--nb-epochs", type=int, default=20, metavar="N", help="passes over the data (default: 20)")
    shared.add_argument("--batch-size", type=int, default=128, metavar="N", help="samples a step (default: 128)")
    shared.add_argument("--learning-rate", type=float, default=2e-3, metavar="LR", help="of Adam (default: 0.002)")
    shared.add_argument("--norm", default="2", help="norm of the attack and of the inputs: 1, 2 or inf (default: 2)")
    shared.add_argument("--eps", type=_number, default=1.0, help="budget of the attack, as 0.5 or 8/255 (default: 1)")
    shared.add_argument("--noise", type=_number, default=0.5, help="standard deviation of the noise (default: 0.5)")
    shared.add_argument("--attack-samples", type=int, default=1000, metavar="N", help="test samples to attack")
    shared.add_argument("--framework", choices=("torch", "tensorflow"), help="default: torch, where it is installed")
    shared.add_argument("--json", action="store_true", help="print JSON, and nothing else, on stdout")

    train = commands.add_parser("train", parents=[shared], help="train one net with one defence, then measure it")
    train.add_argument("--defence", default="clip", help="standard, weight, spectral or clip (default: clip)")
    train.add_argument("--target-accuracy", type=_number, help="training accuracy in (0, 1] to hold by adapting λ")
    train.add_argument("--lamda", type=_number, help="λ, fixed, or the first one with --target-accuracy")
    train.add_argument("--seed", type=int, default=0, help="of weights, order and pairs (default: 0)")
    train.add_argument("-o", "--output", metavar="FOLDER", help="where to write weights and training.json")
    train.set_defaults(run=_train)

    compare = commands.add_parser("compare", parents=[shared], help="train a net with several defences; one table")
    compare.add_argument(
        "--defences",
        default="standard,weight@0.95,clip@0.95",
        help="as standard,weight@0.95,clip@0.95,clip:lamda=0.03 (@: training accuracy held; default: the first three)",
    )
    compare.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings per defence (default: 3)")
    compare.add_argument("-o", "--output", metavar="FILE", help="also write the JSON here")
    compare.set_defaults(run=_compare)

    cli_models.add(commands, _number)
    return parser


def _number(text: str) -> float:
    try:
        value = float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, as 0.5 or 8/255")
    return value


def _start(arguments: argparse.Namespace) -> None:
    """Name the framework, and start TensorFlow without a word."""
    from artclip.frameworks import default_framework, require
    from artclip.frameworks.quiet import start_tensorflow

    if arguments.command in ("train", "compare"):
        arguments.framework = arguments.framework or default_framework()
    elif cli_models.of_keras(arguments):
        arguments.framework = "tensorflow"
    if arguments.framework is not None:
        require(arguments.framework)
    if arguments.framework == "tensorflow":
        start_tensorflow()


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    names = (
        "model",
        "activation",
        "nb_epochs",
        "batch_size",
        "learning_rate",
        "norm",
        "eps",
        "noise",
        "attack_samples",
        "framework",
    )
    return {name: getattr(arguments, name) for name in names}


def _compare(arguments: argparse.Namespace) -> None:
    from artclip.evaluation.compare import compare

    defences = [d.strip() for d in arguments.defences.split(",") if d.strip()]
    output = writable(arguments.output)
    result = compare(
        arguments.data,
        defences=defences,
        nb_seeds=arguments.seeds,
        verbose=sys.stderr.isatty(),
        **_settings(arguments),
    )
    text = result.to_json(output)
    print(text if arguments.json else result.to_markdown())


def _train(arguments: argparse.Namespace) -> None:
    from artclip.evaluation.compare import Comparison
    from artclip.evaluation.defences import parse
    from artclip.evaluation.experiment import Experiment
    from artclip.trainers import checkpoint

    experiment = Experiment(**_settings(arguments))
    options = {"lamda": arguments.lamda, "target_accuracy": arguments.target_accuracy}
    options = {name: value for name, value in options.items() if value is not None}
    parse(arguments.defence)
    if arguments.defence == "standard" and options:
        raise ValueError(f"defence standard takes no {' and no '.join(options)}")
    data = experiment.load(arguments.data)
    folder = None if arguments.output is None else checkpoint.folder(arguments.output)
    trainer = experiment.train(data, arguments.defence, arguments.seed, verbose=sys.stderr.isatty(), **options)
    settings = {"data": arguments.data, "seeds": [arguments.seed], **experiment.describe(), **options}
    result = Comparison(settings)
    result.add(arguments.defence, [experiment.measure(trainer, data, arguments.seed)])
    if folder is not None:
        checkpoint.write(folder, trainer, settings=result.settings, rows=result.rows)
    if arguments.json:
        report = {"settings": result.settings, "rows": result.rows, "history": trainer.history}
        print(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        print(result.to_markdown())
        if folder is not None:
            print(f"\nwritten: {folder / checkpoint.weights_file(trainer)} (weights), {folder / checkpoint.RECORD}")
