"""Data and nets of a comparison, tried before any training."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from artclip import checks, ranges
from artclip.comparison.defences import DefenceConfig
from artclip.comparison.experiment import Data, Experiment
from artclip.frameworks import function_of
from artclip.frameworks.keras.startup import start_tensorflow
from artclip.pixels import Uint8Images

_CHANNELS = (1, 3, 4)


def checked_data(data: Any) -> Data:
    """Training and test data as float32 arrays with class indices.

    Raises:
        ValueError, TypeError: they are none; the message says which part, what was wrong, and what to give.
    """
    try:
        (x_train, y_train), (x_test, y_test) = data
    except (TypeError, ValueError):
        raise ValueError("data must be a name, or (x_train, y_train), (x_test, y_test)") from None
    train = _part("training", x_train, y_train)
    test = _part("test", x_test, y_test)
    if test[0].shape[1:] != train[0].shape[1:]:
        raise ValueError(f"training data have inputs of shape {train[0].shape[1:]}, test data {test[0].shape[1:]}")
    nb_classes = int(train[1].max()) + 1
    if nb_classes < 2:
        raise ValueError("the training data have one class alone; give two or more")
    if test[1].max() >= nb_classes:
        raise ValueError(
            f"the test data have the label {test[1].max()}, but the training data have classes 0 to {nb_classes - 1}"
        )
    return train, test


def _part(part: str, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        labels = np.asarray(y)
        x = checks.inputs(x, None, keep_bytes=True)
        nb_classes = labels.shape[1] if labels.ndim == 2 and labels.shape[1] > 1 else _largest(labels) + 1
        images: Any = x if isinstance(x, Uint8Images) else x.astype(np.float32)
        return images, checks.classes(x, y, nb_classes)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{part} data: {error}") from None


def _largest(labels: np.ndarray) -> int:
    return int(labels.max()) if labels.dtype.kind in "fiub" and labels.size and np.isfinite(labels).all() else 0


def named_nets(models: Sequence[Any], experiment: Experiment) -> dict[str, Any]:
    """Name -> net; what is given twice stands once, and two nets of one name are told apart by a number.

    Raises:
        ValueError, TypeError: one is not known.
    """
    nets: dict[str, Any] = {}
    for model in models:
        net, name, number = experiment.net(model), _name(model), 2
        if any(net is other or (isinstance(net, str) and net == other) for other in nets.values()):
            continue
        while name in nets:
            name, number = f"{_name(model)} ({number})", number + 1
        nets[name] = net
    return nets


def _name(model: Any) -> str:
    if isinstance(model, str):
        return model
    if isinstance(model, functools.partial):
        arguments = [*map(_short, model.args), *(f"{k}={_short(v)}" for k, v in model.keywords.items())]
        return f"{_name(model.func)}({', '.join(arguments)})"
    return str(getattr(model, "__name__", type(model).__name__))


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, int, float, bool, type(None), tuple)) else type(value).__name__
    return text if len(text) <= 20 else f"{text[:19]}…"


def try_nets(
    nets: Mapping[str, Any], defences: Sequence[DefenceConfig], experiment: Experiment, data: Data, nb_threads: int
) -> None:
    """Make each net once, let it predict two samples, and make each of artclip's defences with settings its trainer.

    Raises:
        ValueError, TypeError: a net cannot be made or does not take the data, or these lie outside its ``clip_values``;
            or a defence refuses its settings.
    """
    if experiment.framework == "tensorflow":
        start_tensorflow(nb_threads)
    experiment.augmenting(data)
    (x, y), (x_test, _) = data
    nb_classes, shape = int(y.max()) + 1, x.shape[1:]
    for name, net in nets.items():
        hint = _channels(shape, experiment.nets.CHANNELS_FIRST)
        if isinstance(net, str) and hint:  # an mlp takes either, but attacks on images do not
            raise ValueError(f"net {name!r} and inputs of shape {shape}: {hint}")
        try:
            classifier = experiment.classifier(net, data, seed=0)
            f = function_of(classifier)
            outputs = f.predict(x[:2])
        except Exception as error:  # what a function of the user raises
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(
                f"net {name!r} cannot be made for, or does not take, inputs of shape {shape} and {nb_classes} classes: "
                f"{reason}{'; ' * bool(hint)}{hint}"
            ) from error
        if outputs.shape != (len(x[:2]), nb_classes):
            one = "; a comparison takes nets of one output a class: give it two logits, 0 and z, for one log-odds z"
            raise ValueError(
                f"net {name!r} has {outputs.shape[1]} outputs, but the data have {nb_classes} classes"
                + one * (outputs.shape[1] == 1)
            )
        for part, inputs in (("training", x), ("test", x_test)):
            ranges.in_range(f"net {name!r}: {part} data", inputs, f.clip_values)
        for defence in (d for d in defences if d.options and d.defence.make.__module__.startswith("artclip.")):
            try:
                defence.train(classifier, experiment.plan(seed=0))
            except (ValueError, TypeError) as error:
                raise type(error)(f"defence {defence.name!r} of net {name!r}: {error}") from error
            except NotImplementedError:  # on this framework: its row says so
                continue


def _channels(shape: tuple[int, ...], first: bool) -> str:
    """What to say of images whose channels seem to be at the wrong end, or ""."""
    if len(shape) != 3:
        return ""
    wanted, other = (shape[0], shape[2]) if first else (shape[2], shape[0])
    if wanted in _CHANNELS or other not in _CHANNELS:
        return ""
    end, move = ("first", "np.moveaxis(x, -1, 1)") if first else ("last", "np.moveaxis(x, 1, -1)")
    return f"their channels come at the other end; this framework wants them {end}: write {move}"
