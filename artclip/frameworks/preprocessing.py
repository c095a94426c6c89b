"""ART's preprocessing of an estimator, taken apart: what applies at fit, what at predict, and the scaling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from art.config import ART_NUMPY_DTYPE
from art.preprocessing.standardisation_mean_std.utils import broadcastable_mean_std

from artclip import graph as G
from artclip.frameworks.base import Tensor


class Preprocessing:
    """ART's preprocessing in the order ART applies it: defences, then the mean/std scaling.

    Args:
        estimator: ART estimator.
        tensor: makes a tensor of the model's dtype from an array.
        differentiable: ART's base class of the defences that work on such tensors.
    """

    def __init__(self, estimator: Any, tensor: Callable[[np.ndarray], Tensor], differentiable: type) -> None:
        operations = list(estimator.preprocessing_operations or [])
        scaling = None
        # ART has one such class per framework; the name tells without importing them all.
        if operations and type(operations[-1]).__name__.startswith("StandardisationMeanStd"):
            scaling = operations.pop()
        for defence in operations:
            if defence.apply_predict and not isinstance(defence, differentiable):
                raise ValueError(
                    f"preprocessing defence {type(defence).__name__} works in numpy, so no gradient flows through it; "
                    f"use its variant for the framework (a {differentiable.__name__}), or set apply_predict=False"
                )
        self._at_fit = [d for d in operations if d.apply_fit]
        self._at_predict = [d for d in operations if d.apply_predict]
        self._mean = self._std = None
        if scaling is not None and (np.any(scaling.mean != 0) or np.any(scaling.std != 1)):
            mean, std = broadcastable_mean_std(np.empty((1, *estimator.input_shape)), scaling.mean, scaling.std)
            self._mean, self._std = tensor(np.array(mean)), tensor(np.array(std))

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

    @property
    def has_fit_defences(self) -> bool:
        """Whether :meth:`defended` does anything."""
        return bool(self._at_fit)

    @property
    def has_predict_defences(self) -> bool:
        """Whether :meth:`deployed` does more than :meth:`standardised`."""
        return bool(self._at_predict)

    @property
    def has_defences(self) -> bool:
        """Whether there is more than the scaling."""
        return self.has_fit_defences or self.has_predict_defences

    def defended(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Training data after the defences that apply at fit."""
        for defence in self._at_fit:
            x, y = defence(x, y)
        return x, y

    def standardised(self, x: Tensor) -> Tensor:
        """(x - mean) / std."""
        return x if self._mean is None else (x - self._mean) / self._std

    def deployed(self, x: Tensor) -> Tensor:
        """Inputs as the model sees them at predict."""
        for defence in self._at_predict:
            x = defence.forward(x, None)[0]
        return self.standardised(x)


def graph_with_scaling(f: Any, read: Callable[[Any, tuple[int, ...]], G.LayerGraph]) -> G.LayerGraph:
    """The graph of layers of an adapter of an ART estimator: raw inputs in, its scaling first.

    Args:
        f: the adapter.
        read: gives the graph of a model for inputs of a shape.
    """
    if f._preprocessing.has_predict_defences:
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
