"""ART's preprocessing of an estimator, taken apart: what applies at fit, what at predict, and the scaling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from art.config import ART_NUMPY_DTYPE
from art.preprocessing.standardisation_mean_std.utils import broadcastable_mean_std

from artclip import checks
from artclip import graph as G
from artclip.frameworks.base import Tensor
from artclip.frameworks.check import works_in_numpy


def taken_apart(estimator: Any) -> tuple[list[Any], tuple[np.ndarray, np.ndarray] | None]:
    """The preprocessing defences of an ART estimator; and mean and std, as they broadcast to a batch, if it scales."""
    operations = list(estimator.preprocessing_operations or [])
    # ART has one such class per framework; the name tells without importing them all.
    if not operations or not type(operations[-1]).__name__.startswith("StandardisationMeanStd"):
        return operations, None
    scaling = operations.pop()
    if not np.any(scaling.mean != 0) and not np.any(scaling.std != 1):
        return operations, None
    for name in ("mean", "std"):
        values = np.asarray(getattr(scaling, name), np.float64)
        wrong = ~np.isfinite(values) | ((values == 0) & (name == "std"))
        if wrong.any():
            raise ValueError(
                f"the estimator's preprocessing has a {name} of {values[wrong].flat[0]:g}; give it a finite mean and a "
                "finite std that is not 0 (1 for a feature that never changes)"
            )
    mean, std = broadcastable_mean_std(np.empty((1, *estimator.input_shape)), scaling.mean, scaling.std)
    return operations, (np.array(mean), np.array(std))


class Preprocessing:
    """ART's preprocessing in the order ART applies it: defences, then the mean/std scaling.

    Args:
        estimator: ART estimator.
        tensor: makes a tensor of the model's dtype from an array.
        differentiable: ART's base class of the defences that work on such tensors; () where it has none.
        through: of a defence that works in numpy and a tensor, the defended tensor, whose gradient is as the defence
            estimates it; ``None`` where there is no such way, and these defences are refused.

    Attributes:
        at_fit: the defences of :meth:`defended`.
        at_predict: those of :meth:`deployed`.
    """

    def __init__(
        self,
        estimator: Any,
        tensor: Callable[[np.ndarray], Tensor],
        differentiable: type | tuple[type, ...] = (),
        through: Callable[[Any, Tensor], Tensor] | None = None,
    ) -> None:
        operations, scaling = taken_apart(estimator)
        self._through = through
        self._in_numpy = [d for d in operations if d.apply_predict and not isinstance(d, differentiable)]
        if self._in_numpy and through is None:
            raise ValueError(works_in_numpy(self.approximated[0]))
        self.at_fit = [d for d in operations if d.apply_fit]
        self.at_predict = [d for d in operations if d.apply_predict]
        self._mean = self._std = None
        if scaling is not None:
            self._mean, self._std = map(tensor, scaling)

    @property
    def approximated(self) -> tuple[str, ...]:
        """Names of the defences at predict that work in numpy."""
        return tuple(type(d).__name__ for d in self._in_numpy)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Preprocessing:
        """The same with mean and std changed, as to another dtype."""
        other = copy.copy(self)
        if self._mean is not None:
            other._mean, other._std = change(self._mean), change(self._std)
        return other

    @property
    def scaling(self) -> tuple[Tensor, Tensor] | None:
        """Mean and std, or ``None``."""
        return None if self._mean is None else (self._mean, self._std)

    def defended(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Training data after the defences that apply at fit."""
        x = np.asarray(x)
        for defence in self.at_fit:
            x, y = defence(x, y)
        return x, y

    def standardised(self, x: Tensor) -> Tensor:
        """(x - mean) / std."""
        return x if self._mean is None else (x - self._mean) / self._std

    def deployed(self, x: Tensor) -> Tensor:
        """Inputs as the model sees them at predict."""
        for defence in self.at_predict:
            if self._through is not None and any(defence is d for d in self._in_numpy):
                x = self._through(defence, x)
            else:
                x = defence.forward(x, None)[0]
        return self.standardised(x)


def graph_with_scaling(f: Any, read: Callable[[Any, tuple[int, ...]], G.LayerGraph]) -> G.LayerGraph:
    """The graph of layers of an adapter of an ART estimator: raw inputs in, its scaling first.

    Args:
        f: the adapter.
        read: gives the graph of a model for inputs of a shape.
    """
    if f._preprocessing.at_predict:
        raise ValueError("a preprocessing defence at predict has no rule, so there is no upper bound")
    graph = read(f.estimator.model, f.input_shape)
    if f._preprocessing.scaling is None:
        return graph
    shape = (1, *f.input_shape)
    mean, std = (
        np.broadcast_to(f.to_numpy([t]).reshape(tuple(t.shape)), shape).ravel() for t in f._preprocessing.scaling
    )
    behind = graph.behind(G.Node("preprocessing", G.Scale(1 / std, -mean / std), (-1,), graph.inputs))
    # ART casts what it has scaled to its own dtype, whatever that of the model.
    return replace(behind, precision=max(graph.precision, float(np.finfo(ART_NUMPY_DTYPE).eps)))


def fitted_box(clip_values: Any, input_shape: tuple[int, ...], channels_first: bool) -> Any:
    """``clip_values``, each a number, one a channel or one an entry, as ART takes them for inputs of a shape."""
    if clip_values is None:
        return None
    ends = [_broadcastable("clip_values", v, input_shape, channels_first) for v in checks.clip_values(clip_values)]
    if all(end.ndim == 0 for end in ends):
        return tuple(map(float, ends))
    return tuple(np.array(np.broadcast_to(end, (1, *input_shape))[0]) for end in ends)


def fitted_scaling(preprocessing: Any, input_shape: tuple[int, ...], channels_first: bool) -> Any:
    """(mean, std), each a number, one a channel or whatever broadcasts, as ART takes them for inputs of a shape.

    Args:
        preprocessing: the pair; or ``None`` or a preprocessor of ART, which stay as they are.
        input_shape: of one input.
        channels_first: where a vector belongs that has one number for each channel.

    Raises:
        ValueError: it is no such pair, or does not fit the shape.
    """
    if preprocessing is None or hasattr(preprocessing, "apply_predict"):
        return preprocessing
    if not isinstance(preprocessing, (tuple, list, np.ndarray)) or len(preprocessing) != 2:
        raise ValueError(f"preprocessing={preprocessing!r} must be a pair (mean, std)")
    names = ("mean", "std")
    mean, std = (_broadcastable(n, v, input_shape, channels_first) for n, v in zip(names, preprocessing, strict=True))
    if not (std > 0).all():
        raise ValueError(f"std={preprocessing[1]!r} must be > 0 everywhere")
    mean, std = (np.array(v) for v in np.broadcast_arrays(mean, std))  # ART wants one shape
    return (float(mean), float(std)) if mean.ndim == 0 else (mean, std)


def _broadcastable(name: str, value: Any, input_shape: tuple[int, ...], channels_first: bool) -> np.ndarray:
    """A number of shape (), or an array of as many axes as a batch has."""
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r} is neither a number nor an array of numbers") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name}={value!r} must be finite")
    if array.ndim == 0:
        return array
    if array.ndim == 1 and len(input_shape) > 1:
        for axis in (0, -1) if channels_first else (-1, 0):
            if len(array) == input_shape[axis]:
                shape = [1] * len(input_shape)
                shape[axis] = len(array)
                return array.reshape(1, *shape)
    batch = (1, *input_shape)
    padded: tuple[int, ...] = (1,) * (len(batch) - array.ndim) + array.shape
    if len(padded) > len(batch) or any(n not in (1, batch[i]) for i, n in enumerate(padded)):
        raise ValueError(
            f"{name} has shape {array.shape}, which does not fit inputs of shape {input_shape}; give one number, one "
            "for each channel, or an array of that shape"
        )
    return array.reshape(padded)
