"""Arguments that several commands share, and what is read from them."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from artclip import checks

# What is in a folder of a Keras model: weights of artclip train, or a SavedModel.
_KERAS_FILES = ("model.weights.h5", "saved_model.pb")
_TRAINED = ("activation", "nb_epochs", "batch_size", "learning_rate", "framework", "augmentation", "ema_decay")
_ATTACKED = ("norm", "eps", "noise", "attack_samples", "attacks")


def command(commands: Any, name: str, first: str, summary: str, *examples: str) -> Any:
    """The parser of a command, with examples below its options; ``first`` is what it must be given."""
    wide = min(100, get_terminal_size((100, 50)).columns)
    return commands.add_parser(
        name,
        prog=f"artclip {name}",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}",
        epilog="\n  ".join(["examples:" if len(examples) > 1 else "example:", *examples]),
        usage=f"artclip {name}{first and f' {first}'} [options]",
        add_help=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=wide),
    )


def add_common(option: Any) -> None:
    """Add what every command has."""
    option("--json", action="store_true", help="print JSON, and nothing else, on stdout")
    option("-h", "--help", action="help", help="print this, and stop")


def add_reports(option: Any) -> None:
    """Add where results are written."""
    option("--html", metavar="FILE", help="write a report with figures here")
    option("-o", "--output", metavar="FILE", help="write the JSON here")


def add_model(parser: Any, number: Any) -> None:
    """Add a model that exists, and its data."""
    option = parser.add_argument_group("model and data").add_argument
    option("model", help="folder of artclip train, FILE.keras, .h5, .pt2, .onnx, module:factory, hf:ORG/NAME, ...")
    option("--data", required=True, help="digits, mnist, fashion-mnist, cifar-10, FILE.npz, images, module:function")
    option("--weights", metavar="FILE", help="for package.module:factory and architectures by name")
    add_ranges(option, number)


def add_norms(option: Any) -> None:
    """Add the norms that a Lipschitz constant is in."""
    option("--norm", default="2", help="of the inputs: 1, 2 or inf (default: 2)")
    option("--output-norm", default="2", help="of the outputs: 1, 2 or inf (default: 2)")


def add_advanced(parser: Any) -> Any:
    """Add what few need, of commands on a model; more may be added to it."""
    option = parser.add_argument_group("advanced").add_argument
    option("--framework", choices=("torch", "tensorflow"), help="of the model, where it must be that")
    option("--trust", action="store_true", help="let code inside the model file run")
    option("--seed", type=int, default=0, help="of all randomness (default: 0)")
    return option


def add_ranges(option: Any, number: Any) -> None:
    """Add what says in which range inputs are, and how the model wants them scaled."""
    option("--clip-values", type=_pair(number), default=(0.0, 1.0), metavar="LOW,HIGH", help="of inputs (default: 0,1)")
    option("--mean", type=list_of(number), help="that the model wants subtracted, as 0.5 or one per channel")
    option("--std", type=list_of(number), help="that the model wants its inputs divided by")


def add_data(parser: Any, more: str = "") -> None:
    """Add data, and the net that is trained on them."""
    option = parser.add_argument_group("data and net").add_argument
    option("--data", required=True, help="digits, mnist, fashion-mnist, cifar-10, FILE.npz, images, module:function")
    nets = "mlp, mlp-200-80, cnn, convnet, resnet, resnet18, lipconvnet, lipresnet or package.module:factory"
    option("--model", default="mlp", help=f"{nets}{more} (default: mlp)")
    option("--activation", help="relu, sigmoid, softplus, gelu, maxmin (default: the net's own)")
    option("--framework", choices=("torch", "tensorflow"), help="default: torch, where it is installed")


def add_training(option: Any) -> None:
    """Add how long, and with which steps."""
    option("--nb-epochs", type=int, default=20, metavar="N", help="passes over the data (default: 20)")
    option("--batch-size", type=int, default=128, metavar="N", help="samples a step (default: 128)")
    option("--learning-rate", type=float, default=2e-3, metavar="LR", help="of Adam (default: 0.002)")
    option("--augmentation", metavar="NAME", help="of the training images: crop-flip, or crop-flip:padding=4,flip=1")
    option("--ema-decay", type=float, default=0.0, metavar="D", help="average the weights, as 0.999 (default: 0, not)")


def add_attacks(parser: Any, number: Any) -> None:
    """Add what a trained net is attacked with."""
    option = parser.add_argument_group("attacks").add_argument
    option("--norm", default="2", help="of the attack and of the Lipschitz bounds: 1, 2 or inf (default: 2)")
    option("--eps", type=number, default=1.0, help="budget of the attack, as 0.5 or 8/255 (default: 1)")
    option("--noise", type=number, default=0.5, help="standard deviation of the noise (default: 0.5)")
    option("--attacks", help="standard, quick, or names split by +; default: noise, PGD, PGD on the margin")
    option("--attack-samples", type=int, default=1000, metavar="N", help="test samples to attack (default: 1000)")


def add_running(option: Any) -> None:
    """Add how many trainings run at a time."""
    option("--jobs", type=int, default=1, metavar="N", help="trainings at a time; -1: one a core")
    option("--threads", type=int, default=1, metavar="N", help="of each training (default: 1)")
    option("--cache", metavar="FOLDER", help="keep finished trainings here, and resume from them")


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What an experiment is made of."""
    values = {name: getattr(arguments, name) for name in (*_TRAINED, *_ATTACKED)}
    if values["attacks"] is not None and "+" in values["attacks"]:
        values["attacks"] = values["attacks"].split("+")
    return values


def scaling(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Mean and std, as they were given."""
    if (arguments.mean is None) != (arguments.std is None):
        raise ValueError("give both --mean and --std, or neither")
    if arguments.mean is None:
        return 0.0, 1.0
    mean, std = (values[0] if len(values) == 1 else values for values in (arguments.mean, arguments.std))
    return mean, std


def of_keras(arguments: argparse.Namespace) -> bool:
    """Whether a command is about a model of TensorFlow, as far as its name tells."""
    name = getattr(arguments, "model", "")
    kerass = Path(name).suffix in (".keras", ".h5") or any((Path(name) / f).is_file() for f in _KERAS_FILES)
    return arguments.framework == "tensorflow" or kerass


def check_files(arguments: argparse.Namespace) -> None:
    """See that the files that a command reads are there, before a framework is loaded or anything is read."""
    given = vars(arguments)
    if "weights" in given:  # so that the model is one that exists
        from artclip.models.loading import check_files as check_model

        check_model(arguments.model, arguments.weights)
    if "data" in given:
        from artclip.data.load import check_source

        check_source(arguments.data)
    names = given.get("class_names")
    if names is not None and ":" not in names and not Path(names).is_file():
        raise FileNotFoundError(f"the file of class names {names} does not exist")


def writable(path: str | None) -> Path | None:
    """The path of an output file, or an error now rather than after the work."""
    if path is None:
        return None
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise ValueError(f"cannot write to {path}: it is a folder, or its folder does not exist")
    return Path(path)


def list_of(number: Any) -> Any:
    """What reads numbers with commas between them."""
    return lambda text: [number(part) for part in text.split(",")]


def index(text: str) -> int:
    """The index of a feature."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no index of a feature; write whole numbers, as 0,3") from None


def _pair(number: Any) -> Any:
    def read(text: str) -> tuple[float, float]:
        values = [number(part) for part in text.split(",")]
        if len(values) != 2 or not values[0] < values[1]:
            raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH with LOW < HIGH, as 0,1")
        return values[0], values[1]

    return read


def load(arguments: argparse.Namespace) -> tuple[Any, Any, list[str]]:
    """The classifier, the data in the shape that it wants, and the names of their classes, where they have some."""
    from artclip.data import fit_to, load_described
    from artclip.models.loading import load_model

    preprocessing = scaling(arguments)
    with data_told():
        data, described = load_described(arguments.data, channels_first=arguments.framework != "tensorflow")
    classifier = load_model(
        arguments.model,
        arguments.weights,
        arguments.framework,
        nb_classes=_asked_classes(arguments.model, data),
        input_shape=data[0][0].shape[1:],
        clip_values=arguments.clip_values,
        preprocessing=preprocessing,
        trust=arguments.trust,
    )
    splits = tuple((fit_to(x, classifier.input_shape), y) for x, y in data)
    for name, (x, _) in zip(("x_train", "x_test"), splits, strict=True):
        if len(x):  # a part that a command does not use may be empty
            free = getattr(arguments, "domain", None) == "free"
            checks.inputs(x, classifier.input_shape or None, name, None if free else classifier.clip_values)
    return classifier, splits, list(described.class_names)


def _asked_classes(model: str, data: Any) -> int | None:
    """The number of classes of the data, where the model is a function that asks for it."""
    from artclip.models.loading import asks_for_classes

    labels = [y for _, y in data if len(y)]
    if not labels or not asks_for_classes(model):
        return None
    return int(labels[0].shape[1]) if labels[0].ndim == 2 else 1 + max(int(y.max()) for y in labels)


class _OnStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print("artclip: data:", record.getMessage(), file=sys.stderr)


@contextmanager
def data_told() -> Iterator[None]:
    """Inside, what is taken from images, or fetched, is said on stderr in one line."""
    logger, handler = logging.getLogger("artclip.data"), _OnStderr(logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def failures(comparisons: list[Any]) -> int:
    """The exit code: 1 where every training failed; says on stderr how many did."""
    cells = [cell for comparison in comparisons for cell in comparison.cells]
    errors = [cell.error for cell in cells if cell.error]
    if errors:
        print(f"artclip: {len(errors)} of {len(cells)} trainings failed: {errors[0]}", file=sys.stderr)
    return int(len(errors) == len(cells))
