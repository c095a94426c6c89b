"""Models in: what ``artclip train`` wrote, files of many kinds, models by name, and functions that make a model."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from artclip import checks
from artclip.arguments import taken
from artclip.frameworks import FRAMEWORKS, nets_of, require, trainable_of
from artclip.frameworks.factories import must_be_told
from artclip.frameworks.loaded import LoadedModel
from artclip.models.request import Request, is_plain, or_say, read_weights, title
from artclip.safety import Untrusted

RECORD = "training.json"
HUBS = ("torchvision", "timm", "hf")
_SAVED_FILES = ("model.pt2", "model.keras", "model.safetensors", "model.weights.h5")


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

            - a folder that :func:`artclip.save` or ``artclip train`` wrote;
            - ``FILE.keras`` or ``FILE.h5`` (Keras), ``FILE.pt2`` (``torch.export``), ``FILE.onnx``;
            - a SavedModel folder, a TorchScript file, a pickled module (``.pt``, ``.pth``): code, only with ``trust``;
            - ``torchvision:NAME``, ``timm:NAME``, ``hf:ORG/NAME``, from these libraries with their weights;
            - ``package.module:factory``, your own function without arguments, or of (input_shape, nb_classes),
              that returns a ``torch.nn.Module``, a Keras model or an ART estimator. Modules
              are looked for in the working directory too.
        weights: for a factory, a Keras file or an architecture by name: a state dict of PyTorch (``.pt``,
            ``.safetensors``) or a Keras ``.weights.h5`` file.
        framework: ``"torch"`` or ``"tensorflow"``, where the model must be of that one.
        nb_classes: number of outputs, > 0; ``None`` to find it. With weights of your own for an architecture by name,
            the number that they are for.
        input_shape: shape of one input, where the model does not tell; a model by name may take others than its own.
        clip_values: (low, high) of valid inputs, each a number, one a channel, or an array of the shape of an input; or
            ``None``.
        preprocessing: (mean, std) that inputs are scaled by before the model: numbers, one a channel, or arrays that
            broadcast to a batch. Left at (0, 1), it is what a library says of a model by name, which is for inputs in
            [0, 1]; ``None`` for no scaling at all.
        trust: whether code in the file may run. Say so only if you trust whoever made it.

    Returns:
        A ``PyTorchClassifier``, a ``TensorFlowV2Classifier``, what a factory returned if that is an ART estimator, or,
        for an ONNX file that nothing converts, a ``BlackBoxClassifierNeuralNetwork``.

    Raises:
        ValueError: an unknown form, a damaged file, one that holds code, or one that does not fit what is said of it.
        FileNotFoundError: no such file.
        ImportError: the framework, a library, or the module of the factory, is not installed.
    """
    name, file = os.fspath(model), None if weights is None else Path(weights)
    check_files(name, file)
    return _load(taken(Request, locals(), weights=file))


def _load(request: Request) -> Any:
    return form_of(request.name)(request)


def check_files(name: str, weights: str | os.PathLike[str] | None) -> None:
    """See that a model of this name is of a known form, and that its files are there; nothing is read.

    Raises:
        ValueError: an unknown form.
        FileNotFoundError: no such file.
    """
    form_of(name)
    if weights is not None and not Path(weights).is_file():
        raise FileNotFoundError(f"weights {os.fspath(weights)} do not exist")


def form_of(name: str) -> Callable[[Request], Any]:
    """What loads a model of this name; ``ValueError`` for an unknown form, ``FileNotFoundError`` for no such file."""
    form = next((load for fits, load in _FORMS.values() if fits(Path(name))), None)
    if form is None:
        forms = f"expected {', '.join(_FORMS)}"
        if checks.is_path(name) and not Path(name).exists():
            raise FileNotFoundError(f"model {name} does not exist; {forms}")
        raise ValueError(f"model {name!r} is not known; {forms}")
    if form not in (_made, _hub) and not Path(name).exists():
        raise FileNotFoundError(f"model file {name} does not exist")
    return form


def _trained(request: Request) -> Any:
    folder = request.path
    if not (is_plain(request.preprocessing) and is_plain(request.clip_values)):
        raise ValueError(
            f"{folder} holds the clip_values, mean and std that its model has; leave clip_values and preprocessing out"
        )
    if request.weights is not None:
        raise ValueError(f"{folder} has weights of its own; give package.module:factory with weights {request.weights}")
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        read = _saved if "architecture" in record else _by_name
        kind, made_by, load = read(request, record)
    except (KeyError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"is not whole ({error})"
        raise ValueError(f"{folder / RECORD} {what}: it was not written by artclip train or artclip.save") from None
    if ":" in made_by and not request.trust:
        raise Untrusted(folder, f"has a net that the function {made_by} makes")
    if request.framework not in (None, kind):
        raise ValueError(f"{folder} holds a model of {title(kind)}, not of {title(str(request.framework))}")
    return load()


Read = tuple[str, str, Callable[[], Any]]
"""The framework of a net, the name of the function that makes it, if any, and what loads it."""


def _by_name(request: Request, record: dict[str, Any]) -> Read:
    """Weights of a net that has a name here, as ``artclip train`` writes them."""
    settings, shape, k = record["settings"], tuple(record["input_shape"]), int(record["nb_classes"])
    kind, name, activation = str(settings["framework"]), str(settings["model"]), settings["activation"]
    ranges = {key: _pair(record[key]) for key in ("clip_values", "preprocessing") if key in record}

    def load() -> Any:
        nets = nets_of(kind) if kind in FRAMEWORKS else None
        net = imported(name) if ":" in name else name
        activations = () if nets is None else (None, *nets.ACTIVATIONS)  # None is the net's own
        if nets is None or (net == name and name not in nets.NETS) or activation not in activations:
            raise ValueError(f"{request.path / RECORD} names a net {kind} {name} {activation}; artclip has no such net")
        classifier = nets.make_classifier(net, shape, k, activation=activation, **ranges)
        read_weights(classifier.model, kind, request.path / trainable_of(classifier).weights_file)
        return classifier

    return kind, name, load


def _saved(request: Request, record: dict[str, Any]) -> Read:
    """What :func:`artclip.save` wrote."""
    folder, file, made_by = request.path, str(record["file"]), record["architecture"]
    if file not in _SAVED_FILES:
        raise ValueError(f"no file {file!r}")
    inside = replace(
        request,
        name=str(folder / file) if made_by is None else str(made_by),
        weights=None if made_by is None else folder / file,
        nb_classes=int(record["nb_classes"]),
        input_shape=tuple(record["input_shape"]),
        clip_values=_pair(record["clip_values"]),
        preprocessing=_pair(record["preprocessing"]),
        kept={name: record.get(name) for name in ("estimator", "loss")},
    )
    return str(record["framework"]), "" if made_by is None else str(made_by), lambda: _load(inside)


def _pair(value: Any) -> Any:
    """Two numbers, or two arrays of them; or ``None``."""
    return (
        None if value is None else tuple(np.asarray(v, np.float32) if isinstance(v, list) else float(v) for v in value)
    )


def asks_for_classes(name: str) -> bool:
    """Whether a model of this name is a function that wants to know the shape of an input and the number of classes."""
    return form_of(name) is _made and must_be_told(imported(name))


def _made(request: Request) -> Any:
    factory = imported(request.name)
    told = (request.input_shape, request.nb_classes) if must_be_told(factory) else ()
    if None in told:
        raise ValueError(f"{request.name} makes a net for (input_shape, nb_classes); give both to load it")
    return request.wrapped(LoadedModel(or_say(lambda: factory(*told), f"{request.name} failed")))


def _hub(request: Request) -> Any:
    hub, _, name = request.name.partition(":")
    require("torch")
    load, own = import_module("artclip.frameworks.pytorch.hubs").HUBS[hub], request.weights is None
    found = or_say(lambda: load(name, own, request.nb_classes, request.trust), f"cannot get {request.name}")
    return request.wrapped(replace(found, input_shape=request.input_shape or found.input_shape))


def _reader(framework: str | None, room: str, function: str, write: str, weights: bool = False) -> Any:
    """What reads a form of file: a function of a module in :mod:`artclip.frameworks`.

    Args:
        framework: that it needs.
        room: the module.
        function: in it, of a path and of whether the file is trusted; it returns a :class:`LoadedModel`.
        write: how a user writes such a file, for errors.
        weights: whether weights from another file can go into it.
    """

    def load(request: Request) -> Any:
        path = _file(request)
        if request.weights is not None and not weights:
            raise ValueError(
                f"{path} has weights of its own; weights go with package.module:factory or a model by name"
            )
        if framework is not None:
            require(framework)
        read = getattr(import_module(f"artclip.frameworks.{room}"), function)
        return request.wrapped(or_say(lambda: read(str(path), request.trust), f"cannot read the model {path}", write))

    return load


_SCRIPT = _reader("torch", "pytorch.loading", "load_script", "torch.save(model.state_dict(), FILE)")
_KERAS = _reader("tensorflow", "keras.loading", "load", "model.save(FILE)", weights=True)
_SAVED = _reader("tensorflow", "keras.loading", "load_saved", "model.export(FOLDER)")
_EXPORTED = _reader("torch", "pytorch.export", "load", "torch.export.save(torch.export.export(model, (x,)), FILE)")
_ONNX = _reader(None, "pytorch.onnx", "load", "torch.onnx.export(model, (x,), FILE)")

# How a form is called, what it looks like, and what reads it; the first that fits. A form more is a line more.
_FORMS: dict[str, tuple[Callable[[Path], bool], Callable[[Request], Any]]] = {
    "a folder that artclip train wrote": (lambda p: (p / RECORD).is_file(), _trained),
    "a SavedModel folder": (lambda p: (p / "saved_model.pb").is_file(), _SAVED),
    "FILE.keras": (lambda p: p.suffix == ".keras", _KERAS),
    "FILE.h5": (lambda p: p.suffix in (".h5", ".hdf5"), _KERAS),
    "FILE.pt2": (lambda p: p.suffix == ".pt2", _EXPORTED),
    "FILE.pt": (lambda p: p.suffix in (".pt", ".pth", ".ts", ".torchscript"), _SCRIPT),
    "FILE.onnx": (lambda p: p.suffix == ".onnx", _ONNX),
    "torchvision:NAME, timm:NAME, hf:ORG/NAME": (lambda p: str(p).partition(":")[0] in HUBS and ":" in str(p), _hub),
    "or package.module:factory": (lambda p: ":" in str(p), _made),
}


def from_module(name: str) -> Any:
    """What the function ``package.module:function`` returns; it is the user's own code.

    Raises:
        ImportError: the module needs one that is not there.
        ValueError: no such module, no such function in it, or it fails.
    """
    return or_say(imported(name), f"{name} failed")


def imported(name: str) -> Callable[..., Any]:
    """The function ``package.module:function``, from the path or the working folder.

    Raises:
        ImportError: the module needs one that is not there.
        ValueError: no such module, or no such function in it.
    """
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(import_module(module), function, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ValueError(f"no module {error.name!r} for {name!r}, neither installed nor in this folder") from None
    if not callable(found):
        raise ValueError(f"module {module} has no function {function!r}")
    return found


def _file(request: Request) -> Path:
    if request.path.is_dir() and not (request.path / "saved_model.pb").is_file():
        raise ValueError(f"{request.name} is a folder, not a file; give the file itself")
    return request.path
