"""Models in: what ``artclip train`` wrote, Keras files, and functions that make a model."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from artclip.frameworks import FRAMEWORKS, models_of, nets_of, require, trainable_of

RECORD = "training.json"
_KERAS = (".keras", ".h5")
_FORMS = "a folder that artclip train wrote, FILE.keras, FILE.h5, or package.module:factory"


def load_model(
    model: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    framework: str | None = None,
    nb_classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    clip_values: tuple[float, float] | None = (0.0, 1.0),
    preprocessing: Any = (0.0, 1.0),
    trust: bool = False,
) -> Any:
    """A model as an ART classifier.

    Args:
        model: a folder that ``artclip train`` wrote; a Keras model, ``FILE.keras`` or ``FILE.h5``; or
            ``package.module:factory``, a function without arguments that returns a ``torch.nn.Module``, a Keras model
            or an ART estimator. Modules are looked for in the working directory too.
        weights: for a factory, a PyTorch state dict or a Keras ``.weights.h5`` file.
        framework: ``"torch"`` or ``"tensorflow"``, where the model must be of that one.
        nb_classes: number of outputs; ``None`` to find it.
        input_shape: shape of one input; a Keras model tells it, a PyTorch model does not.
        clip_values: range of valid inputs, or ``None``.
        preprocessing: (mean, std) that inputs are scaled by before the model, as in ART.
        trust: whether code inside a Keras file, as of a Lambda layer, may run.

    Raises:
        ValueError: an unknown form, or a model that does not fit what is said about it.
        FileNotFoundError: no such file.
        ImportError: the framework, or the module of the factory, is not installed.
    """
    name = os.fspath(model)
    path, found = Path(name), None
    if (path / RECORD).is_file():
        return _trained(path, framework)
    if path.suffix in _KERAS:
        if not path.is_file():
            raise FileNotFoundError(f"model file {name} does not exist")
        require("tensorflow")
        found = _or_say(lambda: models_of("tensorflow").load(name, trust), f"cannot read the Keras model {name}")
    elif ":" in name:
        found = _made(name)
    else:
        raise ValueError(f"model {name!r} is not known; expected {_FORMS}")
    kind = next((k for k in FRAMEWORKS if _is_of(found, k)), None)
    if kind is None:
        from art.estimators import BaseEstimator

        if not isinstance(found, BaseEstimator) or weights is not None:
            raise ValueError(f"{name} gives a {type(found).__name__}; expected a torch.nn.Module or a Keras model")
        return found
    if framework not in (None, kind):
        raise ValueError(f"{name} is a model of {FRAMEWORKS[kind][1]}, not of {FRAMEWORKS[str(framework)][1]}")
    if weights is not None:
        _read_weights(found, kind, Path(weights))
    return models_of(kind).wrap(found, input_shape, nb_classes, clip_values, preprocessing)


def _is_of(model: Any, framework: str) -> bool:
    package = FRAMEWORKS[framework][0]
    return package in sys.modules and isinstance(model, models_of(framework).KIND)


def _or_say(make: Any, what: str) -> Any:
    try:
        return make()
    except Exception as error:  # loaders raise whatever they like
        said = str(error).strip().splitlines() or [repr(error)]
        raise ValueError(f"{what}: {said[0]}") from error


def _made(name: str) -> Any:
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(import_module(module), function)
    except AttributeError:
        raise ValueError(f"module {module} has no {function!r}") from None
    return _or_say(factory, f"{name} failed")


def _read_weights(model: Any, framework: str, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"weights {path} do not exist")
    _or_say(lambda: models_of(framework).load_weights(model, str(path)), f"cannot read the weights {path}")


def _trained(folder: Path, framework: str | None) -> Any:
    record = json.loads((folder / RECORD).read_text())
    try:
        settings, shape, k = record["settings"], tuple(record["input_shape"]), int(record["nb_classes"])
        kind = settings["framework"]
    except KeyError as missing:
        raise ValueError(f"{folder / RECORD} lacks {missing}: it was not written by artclip train") from None
    if framework not in (None, kind):
        raise ValueError(f"{folder} holds a model of {FRAMEWORKS[kind][1]}, not of {FRAMEWORKS[str(framework)][1]}")
    classifier = nets_of(kind).make_classifier(settings["model"], shape, k, activation=settings["activation"])
    _read_weights(classifier.model, kind, folder / trainable_of(classifier).weights_file)
    return classifier
