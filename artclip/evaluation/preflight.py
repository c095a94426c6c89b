"""A look at a model before it is measured: does it fit the data, or was it wrapped with the wrong preprocessing?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from artclip import checks, ranges
from artclip.evaluation.outputs import labels_of, output_kind
from artclip.frameworks import Function, function_of, output_activation_of
from artclip.frameworks.class_labels import as_columns
from artclip.frameworks.one_output import OneOutput, how_read
from artclip.frameworks.preprocessing import taken_apart
from artclip.reporting.text import counted, wrapped

_LOOKED_AT = 500  # samples
_ROWS = 64
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as most of its models want it


@dataclass(frozen=True)
class Preflight:
    """What a model and data are to each other.

    Attributes:
        accuracy: share of right labels through the estimator, in [0, 1].
        bare_accuracy: through the model inside it, without ART's preprocessing; ``None`` where it cannot be called.
        nb_samples: how many samples these are of.
        nb_classes: outputs of the model.
        outputs: ``"logits"``, ``"probabilities"`` (of a softmax, or rows that sum to one), ``"sigmoid"`` or
            ``"rectified"`` (of a ReLU) where the model shows it.
        input_shape: of one sample.
        data_range: least and largest value of the samples.
        clip_values: the estimator's, or ``None``.
        in_training_mode: whether the model is; ``None`` where a model does not tell.
        preprocessed: whether ART's preprocessing changes inputs.
        alternatives: accuracy on changed inputs, by change.
        mistakes: what is likely wrong, each with what to try.
        remarks: what was done to the samples.
    """

    accuracy: float
    bare_accuracy: float | None
    nb_samples: int
    nb_classes: int
    outputs: str
    input_shape: tuple[int, ...]
    data_range: tuple[float, float]
    clip_values: tuple[Any, Any] | None
    in_training_mode: bool | None
    preprocessed: bool = False
    alternatives: dict[str, float] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        bare = (
            ""
            if self.bare_accuracy is None or not self.preprocessed
            else f", {self.bare_accuracy:.1%} without ART's preprocessing"
        )
        clip = "none" if self.clip_values is None else f"{self.clip_values[0]} to {self.clip_values[1]}"
        mode = " for the measurement; the model was in training mode" if self.in_training_mode else ""
        lines = [
            f"clean accuracy  {self.accuracy:.1%}{bare} ({counted(self.nb_samples, 'sample')})",
            f"inputs          shape {self.input_shape}, values {self.data_range[0]:.4g} to {self.data_range[1]:.4g}, "
            f"clip_values {clip}",
            f"outputs         {self.nb_classes} classes, {self.outputs}",
            f"mode            eval{mode}",
        ]
        more = [*wrapped(self.remarks, "remark          "), *wrapped(self.mistakes, "likely mistake  ")]
        return "\n".join([*lines, *more])


def preflight(estimator: Any, x: np.ndarray, y: np.ndarray) -> Preflight:
    """Measure clean accuracy, and find out whether other preprocessing would raise it.

    Args:
        estimator: as for :func:`artclip.evaluate`.
        x: inputs, shape (n, *input_shape); up to 500 are looked at.
        y: class indices of shape (n,), or one-hot labels.

    Returns:
        The :class:`Preflight`.

    Raises:
        ValueError, TypeError: bad input, or inputs of another shape than the model's.
    """
    f = function_of(estimator)
    x, reshaped = checks.reshaped(np.asarray(x)[:_LOOKED_AT], f.input_shape)
    x = checks.inputs(x, f.input_shape or None).astype(np.float32)
    outputs = f.outputs(x, _ROWS)
    one = how_read(f, x, outputs)
    k = max(2, outputs.shape[1])
    y, labelled = as_columns(np.asarray(y)[:_LOOKED_AT], f.class_labels)
    y = checks.classes(x, y, k)
    accuracy = _right(outputs, y, one)
    others = {name: _accuracy(f, change(x), y, one) for name, change in _changes(f, x).items()}
    varied = _vary(labels_of(outputs if one is None else one.columns(outputs)), y)
    meant = {name: share for name, share in others.items() if name != _LARGER or not varied}
    model = getattr(estimator, "model", None)
    clip = getattr(estimator, "clip_values", None)
    return Preflight(
        accuracy=accuracy,
        bare_accuracy=_bare(estimator, x, y, one),
        nb_samples=len(x),
        nb_classes=k,
        outputs=_kind(f, x, outputs, one),
        input_shape=x.shape[1:],
        data_range=(float(x.min()), float(x.max())),
        clip_values=None if clip is None else tuple(np.asarray(v).tolist() for v in clip),
        in_training_mode=getattr(model, "training", None),
        preprocessed=hasattr(estimator, "preprocessing_operations") and any(taken_apart(estimator)),
        alternatives=others,
        mistakes=_mistakes(accuracy, meant, k, x, f.clip_values),
        remarks=[*reshaped, *([] if one is None else [str(one)]), *labelled],
    )


def _kind(f: Function, x: np.ndarray, outputs: np.ndarray, one: OneOutput | None) -> str:
    """What outputs (n, k) are; a sigmoid and a ReLU only where the model shows them."""
    if one is not None:
        return one.kind
    shown = output_activation_of(f, x[:_ROWS])
    if shown is not None:
        return str(shown[0])
    return "probabilities" if output_kind(outputs) == "probabilities" else "logits"


def _mistakes(
    accuracy: float, others: dict[str, float], k: int, x: np.ndarray, clip: tuple[np.ndarray, np.ndarray] | None
) -> list[str]:
    n, mistakes = len(x), []
    best = max(others, key=lambda name: others[name], default=None)
    spread = 3 * math.sqrt(max(accuracy * (1 - accuracy), 1 / (4 * n)) / n)
    if best is not None and others[best] > accuracy + max(0.1, spread):
        mistakes.append(
            f"{best} raises the accuracy from {accuracy:.1%} to {others[best]:.1%}: the model seems to expect that; "
            f"{_advice(best, x)}"
        )
    if accuracy < 1 / k + 3 * math.sqrt(1 / k * (1 - 1 / k) / n) and accuracy < 0.5:
        mistakes.append(
            f"an accuracy of {accuracy:.1%} is near chance ({1 / k:.1%} for {k} classes): check the order of the "
            "classes, the preprocessing, and the order of the channels"
        )
    if clip is not None:
        low, high = float(np.min(clip[0])), float(np.max(clip[1]))
        if x.min() < low - 1e-6 or x.max() > high + 1e-6:
            mistakes.append(f"data lie outside clip_values ({low:g}, {high:g}); give the clip_values of the data")
    return mistakes + ranges.narrow(x, clip)


_LARGER = "multiplying by 255"
_ADVICE = {
    "reversing the channels": "give it the channels in the other order (RGB or BGR)",
    _LARGER: "wrap it with preprocessing=(0, 1/255)",
    "dividing by 255": "wrap it with preprocessing=(0, 255)",
    "the mean and std of ImageNet": f"wrap it with preprocessing=({_MEAN}, {_STD})",
    "scaling to [-1, 1]": "wrap it with preprocessing=(0.5, 0.5)",
    "inverting": "wrap it with preprocessing=(1, -1), or invert the images",
}
_OWN = "the mean and std of the data"


def _advice(change: str, x: np.ndarray) -> str:
    if change != _OWN:
        return _ADVICE[change]
    mean, std = (np.round(a.ravel(), 4).tolist() for a in _moments(x))
    many = len(mean) > 4  # as for each feature of a table
    said = "the mean and std of its training data" if many else f"({mean}, {std}), or those of its training data"
    return f"wrap it with preprocessing={said}" if not many else f"wrap it with preprocessing of {said}"


def _vary(predicted: np.ndarray, y: np.ndarray) -> bool:
    """Whether predicted labels (n,) are of about as many classes as the true ones.

    A model that expects inputs 255 times as large sees nearly the same input each time, and says nearly the same: then
    larger inputs may be meant. Where it does not, they may raise the accuracy of a net that has learnt little, whose
    biases they outweigh.
    """
    return _nb_classes(predicted) > _nb_classes(y) / 2


def _nb_classes(labels: np.ndarray) -> float:
    """As many classes of equal shares have the entropy of these labels (n,)."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _channels(x: np.ndarray) -> int | None:
    """The axis of the channels of colour images (n, ...), or ``None``."""
    return next((i for i in (1, x.ndim - 1) if x.ndim == 4 and x.shape[i] == 3), None)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of each channel of colour images, of each feature of vectors, of all of any other inputs."""
    own_axis = 1 if x.ndim == 2 else _channels(x)
    axes = tuple(i for i in range(x.ndim) if i != own_axis)
    mean, std = x.mean(axes, keepdims=True, dtype=float), x.std(axes, keepdims=True, dtype=float)
    return mean, np.where(std > 0, std, 1.0)


def _changes(f: Any, x: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What preprocessing often forgets, by name."""
    scale = float(np.max(np.subtract(f.clip_values[1], 0))) if f.clip_values is not None else 1.0
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "scaling to [-1, 1]": lambda a: 2 * a / scale - 1,
        "inverting": lambda a: scale - a,
    }
    changes[_LARGER if x.max() <= 1 else "dividing by 255"] = lambda a: a * (255 if x.max() <= 1 else 1 / 255)
    own = _moments(x)
    changes[_OWN] = lambda a: (a - own[0]) / own[1]
    axis = _channels(x)
    if axis is not None:
        shape = [3 if i == axis else 1 for i in range(4)]
        mean, std = np.reshape(_MEAN, shape), np.reshape(_STD, shape)
        changes["reversing the channels"] = lambda a: np.flip(a, axis)
        changes["the mean and std of ImageNet"] = lambda a: (a / scale - mean) / std
    return changes


def _right(outputs: np.ndarray, y: np.ndarray, one: OneOutput | None) -> float:
    return float((labels_of(outputs if one is None else one.columns(outputs)) == y).mean())


def _accuracy(f: Function, x: np.ndarray, y: np.ndarray, one: OneOutput | None) -> float:
    return _right(f.outputs(np.ascontiguousarray(x, np.float32), _ROWS), y, one)


def _bare(estimator: Any, x: np.ndarray, y: np.ndarray, one: OneOutput | None) -> float | None:
    model = getattr(estimator, "model", None)
    try:
        return None if model is None else _accuracy(function_of(model), x, y, one)
    except Exception:  # a model that only its estimator knows how to call
        return None
