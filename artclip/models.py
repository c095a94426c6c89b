"""Models in: what ``artclip train`` wrote, files of many kinds, models by name, and functions that make a model."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from artclip.frameworks import FRAMEWORKS, models_of, nets_of, require, trainable_of

RECORD = "training.json"
HUBS = ("torchvision", "timm", "hf")
_PLAIN = (0.0, 1.0)


@dataclass(frozen=True)
class Request:
    """The arguments of :func:`load_model`."""

    name: str
    weights: Path | None
    framework: str | None
    nb_classes: int | None
    input_shape: tuple[int, ...] | None
    clip_values: Any
    preprocessing: Any
    trust: bool

    @property
    def path(self) -> Path:
        """The name as a path."""
        return Path(self.name)

    def wrapped(self, model: Any, input_shape: Any = None, preprocessing: Any = None) -> Any:
        """A model as an ART classifier; what the file or library knows of it fills in what the user left open."""
        kind = next((k for k in FRAMEWORKS if _is_of(model, k)), None)
        if kind is None:
            return self._not_a_model(model)
        if self.framework not in (None, kind):
            raise ValueError(f"{self.name} is a model of {_title(kind)}, not of {_title(str(self.framework))}")
        if self.weights is not None:
            _read_weights(model, kind, self.weights)
        default = isinstance(self.preprocessing, tuple) and self.preprocessing == _PLAIN
        scaling = preprocessing if default and preprocessing is not None else self.preprocessing
        shape = input_shape or self.input_shape
        return models_of(kind).wrap(model, shape, self.nb_classes, self.clip_values, scaling)

    def _not_a_model(self, found: Any) -> Any:
        from art.estimators import BaseEstimator

        if not isinstance(found, BaseEstimator) or self.weights is not None:
            raise ValueError(f"{self.name} gives a {type(found).__name__}; expected a torch.nn.Module or a Keras model")
        return found


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
    """A model as an ART classifier. Nothing that a file holds is run, unless you trust it.

    Args:
        model: one of

            - a folder that ``artclip train`` wrote;
            - ``FILE.keras`` or ``FILE.h5`` (Keras), ``FILE.pt2`` (``torch.export``), ``FILE.onnx``;
            - a SavedModel folder, a TorchScript file, a pickled module (``.pt``, ``.pth``): code, only with ``trust``;
            - ``torchvision:NAME``, ``timm:NAME``, ``hf:ORG/NAME``, from these libraries with their weights;
            - ``package.module:factory``, your own function without arguments that returns a ``torch.nn.Module``, a
              Keras model or an ART estimator. Modules are looked for in the working directory too.
        weights: for a factory, or an architecture by name: a state dict of PyTorch (``.pt``, ``.safetensors``) or a
            Keras ``.weights.h5`` file.
        framework: ``"torch"`` or ``"tensorflow"``, where the model must be of that one.
        nb_classes: number of outputs; ``None`` to find it.
        input_shape: shape of one input, where the model does not tell.
        clip_values: range of valid inputs, or ``None``.
        preprocessing: (mean, std) that inputs are scaled by before the model, as in ART; left at (0, 1), what a
            library says of a model by name.
        trust: whether code in the file may run. Say so only if you trust whoever made it.

    Raises:
        ValueError: an unknown form, a damaged file, one that holds code, or one that does not fit what is said of it.
        FileNotFoundError: no such file.
        ImportError: the framework, a library, or the module of the factory, is not installed.
    """
    request = Request(
        os.fspath(model),
        None if weights is None else Path(weights),
        framework,
        nb_classes,
        input_shape,
        clip_values,
        preprocessing,
        trust,
    )
    for fits, load in _FORMS.values():
        if fits(request.path):
            return load(request)
    raise ValueError(f"model {request.name!r} is not known; expected {', '.join(_FORMS)}")


def _trained(request: Request) -> Any:
    folder = request.path
    record = json.loads((folder / RECORD).read_text())
    try:
        settings, shape, k = record["settings"], tuple(record["input_shape"]), int(record["nb_classes"])
        kind = settings["framework"]
    except KeyError as missing:
        raise ValueError(f"{folder / RECORD} lacks {missing}: it was not written by artclip train") from None
    if request.framework not in (None, kind):
        raise ValueError(f"{folder} holds a model of {_title(kind)}, not of {_title(str(request.framework))}")
    classifier = nets_of(kind).make_classifier(settings["model"], shape, k, activation=settings["activation"])
    _read_weights(classifier.model, kind, folder / trainable_of(classifier).weights_file)
    return classifier


def _made(request: Request) -> Any:
    return request.wrapped(from_module(request.name))


def _keras(request: Request) -> Any:
    return request.wrapped(_read(request, "tensorflow", "load"))


def _saved_model(request: Request) -> Any:
    return request.wrapped(_read(request, "tensorflow", "load_saved"))


def _exported(request: Request) -> Any:
    return request.wrapped(*_read(request, "torch", "load_exported"))


def _script(request: Request) -> Any:
    return request.wrapped(_read(request, "torch", "load_script"))


def _onnx(request: Request) -> Any:
    require("torch")
    hubs = import_module("artclip.frameworks.torch_hubs")
    found = _or_say(lambda: hubs.onnx(str(_file(request))), f"cannot read {request.name}")
    if _is_of(found.model, "torch"):
        return request.wrapped(found.model, found.input_shape)
    return _closed_box(request, found.model, found.input_shape)


def _closed_box(request: Request, outputs: Any, input_shape: Any) -> Any:
    import numpy as np
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    shape = input_shape if input_shape and all(input_shape) else request.input_shape
    if not shape:
        raise ValueError(f"{request.name} does not tell the shape of one input; give input_shape, as (3, 224, 224)")
    k = request.nb_classes or outputs(np.zeros((1, *shape), np.float32)).shape[1]
    return BlackBoxClassifierNeuralNetwork(
        outputs, shape, k, clip_values=request.clip_values, preprocessing=request.preprocessing
    )


def _hub(request: Request) -> Any:
    hub, _, name = request.name.partition(":")
    require("torch")
    load = import_module("artclip.frameworks.torch_hubs").HUBS[hub]
    found = _or_say(lambda: load(name, request.weights is None, request.trust), f"cannot get {request.name}")
    return request.wrapped(found.model, request.input_shape or found.input_shape, found.preprocessing)


# How a form is called, what it looks like, and what reads it; the first that fits. A form more is a line more.
_FORMS: dict[str, tuple[Callable[[Path], bool], Callable[[Request], Any]]] = {
    "a folder that artclip train wrote": (lambda p: (p / RECORD).is_file(), _trained),
    "a SavedModel folder": (lambda p: (p / "saved_model.pb").is_file(), _saved_model),
    "FILE.keras": (lambda p: p.suffix == ".keras", _keras),
    "FILE.h5": (lambda p: p.suffix in (".h5", ".hdf5"), _keras),
    "FILE.pt2": (lambda p: p.suffix == ".pt2", _exported),
    "FILE.pt": (lambda p: p.suffix in (".pt", ".pth", ".ts", ".torchscript"), _script),
    "FILE.onnx": (lambda p: p.suffix == ".onnx", _onnx),
    "torchvision:NAME, timm:NAME, hf:ORG/NAME": (lambda p: str(p).partition(":")[0] in HUBS and ":" in str(p), _hub),
    "or package.module:factory": (lambda p: ":" in str(p), _made),
}


def from_module(name: str) -> Any:
    """What the function ``package.module:function`` returns; it is the user's own code.

    Raises:
        ImportError: no such module.
        ValueError: no such function in it, or it fails.
    """
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(import_module(module), function)
    except AttributeError:
        raise ValueError(f"module {module} has no {function!r}") from None
    return _or_say(factory, f"{name} failed")


def _file(request: Request) -> Path:
    if not request.path.exists():
        raise FileNotFoundError(f"model file {request.name} does not exist")
    if request.path.is_dir() and not (request.path / "saved_model.pb").is_file():
        raise ValueError(f"{request.name} is a folder, not a file")
    return request.path


def _read(request: Request, framework: str, how: str) -> Any:
    """A model read from a file by a function of the framework."""
    path = _file(request)
    require(framework)
    return _or_say(
        lambda: getattr(models_of(framework), how)(str(path), request.trust), f"cannot read the model {request.name}"
    )


def _is_of(model: Any, framework: str) -> bool:
    package = FRAMEWORKS[framework][0]
    return package in sys.modules and isinstance(model, models_of(framework).KIND)


def _title(framework: str) -> str:
    return FRAMEWORKS[framework][1]


def _or_say(make: Any, what: str) -> Any:
    try:
        return make()
    except ImportError:
        raise
    except Exception as error:  # loaders raise whatever they like
        said = str(error).strip().splitlines() or [repr(error)]
        raise ValueError(f"{what}: {said[0]}") from error


def _read_weights(model: Any, framework: str, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"weights {path} do not exist")
    _or_say(lambda: models_of(framework).load_weights(model, str(path)), f"cannot read the weights {path}")
