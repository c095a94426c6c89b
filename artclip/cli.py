"""The command line: ``artclip train``, ``artclip compare`` and ``artclip lipschitz``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from artclip import __version__

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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

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

    lipschitz = commands.add_parser("lipschitz", help="how steep is this model? a lower and an upper bound")
    lipschitz.add_argument("model", help="folder of artclip train, FILE.keras, FILE.h5, or package.module:factory")
    lipschitz.add_argument("--data", required=True, help="where to start the search; as for artclip train")
    lipschitz.add_argument("--weights", metavar="FILE", help="state dict or .weights.h5, for package.module:factory")
    lipschitz.add_argument("--framework", choices=("torch", "tensorflow"), help="of the model, where it must be that")
    lipschitz.add_argument("--norm", default="2", help="of the inputs: 1, 2 or inf (default: 2)")
    lipschitz.add_argument("--output-norm", default="2", help="of the outputs: 1, 2 or inf (default: 2)")
    lipschitz.add_argument(
        "--domain", default="clip_values", help="of the search: clip_values or free (default: first)"
    )
    lipschitz.add_argument("--method", default="auto", help="auto, product, eclipse, lipsdp or exact (default: auto)")
    lipschitz.add_argument("--max-seconds", type=_number, default=60.0, help="for the upper bound (default: 60)")
    lipschitz.add_argument("--seed", type=int, default=0, help="of the search (default: 0)")
    lipschitz.add_argument("-o", "--output", metavar="FIGURE", help="also draw the steepest pair and the bounds here")
    lipschitz.add_argument("--json", action="store_true", help="print JSON, and nothing else, on stdout")
    lipschitz.set_defaults(run=_lipschitz)
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

    if arguments.run is _lipschitz:
        kerass = arguments.framework == "tensorflow" or Path(arguments.model).suffix in (".keras", ".h5")
        kerass = kerass or (Path(arguments.model) / "model.weights.h5").is_file()
        arguments.framework = "tensorflow" if kerass else arguments.framework
    else:
        arguments.framework = arguments.framework or default_framework()
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
    output = _writable(arguments.output)
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


def _lipschitz(arguments: argparse.Namespace) -> None:
    from artclip.data import load_data
    from artclip.lipschitz.lower import lipschitz_lower_bound
    from artclip.lipschitz.upper import lipschitz_upper_bound
    from artclip.models import load_model

    output = _writable(arguments.output)
    if output is not None:
        from artclip.evaluation.plots import plot_bracket
    first = arguments.framework != "tensorflow"
    (x, _), _ = load_data(arguments.data, channels_first=first)
    classifier = load_model(arguments.model, arguments.weights, arguments.framework, input_shape=x.shape[1:])
    norms = {"norm": arguments.norm, "output_norm": arguments.output_norm}
    verbose = sys.stderr.isatty()
    lower = lipschitz_lower_bound(classifier, x, **norms, domain=arguments.domain, seed=arguments.seed, verbose=verbose)
    try:
        upper, why = (
            lipschitz_upper_bound(
                classifier, **norms, method=arguments.method, max_seconds=arguments.max_seconds, verbose=verbose
            ),
            "",
        )
    except (ValueError, TypeError) as error:
        if arguments.method != "auto":
            raise
        upper, why = None, str(error)
    if output is not None:
        plot_bracket(classifier, lower, upper).savefig(output, dpi=150)
    if arguments.json:
        print(json.dumps({"lower": lower.to_dict(), "upper": upper and upper.to_dict(), "no upper": why}, indent=1))
        return
    print(f"{lower}   {lower.seconds:.1f} s, pair {_distance(lower):.3g} apart")
    if upper is None:
        print(f"no upper bound: {why}")
    else:
        print(f"{upper}   {upper.seconds:.1f} s")
        print(f"upper / lower  {upper.value / lower.value:.3g}")
        for name, factor in upper.layers or []:
            print(f"  {factor:10.4g}  {name}")
    if output is not None:
        print(f"\nwritten: {output}")


def _distance(lower: Any) -> float:
    import numpy as np

    return float(np.linalg.norm(np.ravel(lower.v.astype(np.float64) - lower.u), lower.norm))


def _writable(path: str | None) -> Path | None:
    """The path of an output file, or an error now rather than after the training."""
    if path is None:
        return None
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise ValueError(f"cannot write to {path}: it is a folder, or its folder does not exist")
    return Path(path)
