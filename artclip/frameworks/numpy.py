"""Any ART estimator as a function, through ``class_gradient`` where it has one, else through ``predict`` alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from art.config import ART_NUMPY_DTYPE

from artclip.frameworks.base import Function, box_of
from artclip.frameworks.class_labels import labels_of_columns

# Directions per gradient where there is none but differences of predictions: all axes of a small input, else as many
# random ones, orthogonal to each other.
_MOST_DIRECTIONS = 512
_ROWS = 1 << 16  # rows given to predict at once
_STEP = 1e-3  # of a finite difference, as a share of the widest side of the inputs' range


class NumpyFunction(Function):
    """An ART estimator as a function of raw inputs, seen from outside.

    What ART's ``predict`` returns is f: probabilities, for many scikit-learn models. A wrong or rough gradient costs
    steepness found, never truth: quotients come from ``predict``.

    Args:
        estimator: ART estimator with ``input_shape``.
    """

    name, arrays = "numpy", np

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.input_shape = tuple(estimator.input_shape or ())
        self.clip_values = box_of(estimator)
        self.dtype = np.dtype(ART_NUMPY_DTYPE)
        self._step = _STEP
        if self.clip_values is not None:
            low, high = self.clip_values
            self._step *= float(np.max(high - low))
        self.class_labels = labels_of_columns(estimator)
        self._rng = np.random.default_rng(0)
        self._of_logarithms = False
        self._has_gradient = self._try_gradient()
        self.access = "class_gradient" if self._has_gradient else "predict alone"
        defences = getattr(estimator, "preprocessing_defences", None) or []
        self.approximated = tuple(type(d).__name__ for d in defences if d.apply_predict and self._has_gradient)

    def _try_gradient(self) -> bool:
        if not self.input_shape or not hasattr(self.estimator, "class_gradient"):
            return False
        middle = np.zeros(self.input_shape) if self.clip_values is None else sum(self.clip_values) / 2
        x = np.broadcast_to(middle, (1, *self.input_shape)).astype(self.dtype)
        try:
            gradient = np.asarray(self.estimator.class_gradient(x))
        except Exception:  # ART raises all kinds of errors where a model has no gradient
            return False
        outputs = self.forward(x)
        if gradient.shape != (1, outputs.shape[1], *self.input_shape) or not np.isfinite(gradient).all():
            return False
        self._of_logarithms = self._is_of_logarithms(x, outputs[0], gradient[0])
        return True

    def _is_of_logarithms(self, x: np.ndarray, outputs: np.ndarray, gradient: np.ndarray) -> bool:
        """Whether the gradients are those of log f, as ART's of a logistic regression are, seen along one direction."""
        direction = self._rng.standard_normal(x.shape)
        direction *= self._step / np.linalg.norm(direction)
        slopes = (self.forward(x + direction) - self.forward(x - direction))[0] / 2
        along = gradient.reshape(len(outputs), -1) @ direction.ravel()

        def off(s: np.ndarray) -> float:
            return float(np.abs(s - slopes).max())

        return off(along * outputs) < 0.05 * float(np.abs(slopes).max()) < 0.5 * off(along)

    def forward(self, x: np.ndarray) -> np.ndarray:
        outputs = np.asarray(self.estimator.predict(x.astype(self.dtype)), dtype=np.float64)
        return outputs.reshape(len(x), -1)

    def pullback(self, x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        return self.forward(x), lambda cotangents: self._pull(x, cotangents)

    def _pull(self, x: np.ndarray, cotangents: np.ndarray) -> np.ndarray:
        if self._has_gradient:
            jacobian = np.asarray(self.estimator.class_gradient(x.astype(self.dtype)), dtype=np.float64)
            if self._of_logarithms:
                cotangents = cotangents * self.forward(x)
            return np.einsum("nk,nk...->n...", cotangents, jacobian)
        axes = self._directions(math.prod(x.shape[1:]))
        flat, gradient = x.reshape(len(x), -1), np.zeros((len(x), axes.shape[1]))
        rows = max(1, _ROWS // (2 * len(axes)))
        for start in range(0, len(x), rows):
            part = flat[start : start + rows, None, :]
            moved = np.stack([part + self._step * axes, part - self._step * axes])
            outputs = self.forward(moved.reshape(-1, *x.shape[1:])).reshape(2, -1, len(axes), cotangents.shape[1])
            slopes = np.einsum("ndk,nk->nd", outputs[0] - outputs[1], cotangents[start : start + rows])
            gradient[start : start + rows] = slopes @ axes / (2 * self._step)
        return gradient.reshape(x.shape)

    def _directions(self, dimensions: int) -> np.ndarray:
        if dimensions <= _MOST_DIRECTIONS:
            return np.eye(dimensions)
        return np.linalg.qr(self._rng.standard_normal((dimensions, _MOST_DIRECTIONS)))[0].T

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        self._rng = np.random.default_rng(seed)
        return nullcontext()

    def tensor(self, array: Any) -> np.ndarray:
        return np.asarray(array, dtype=self.dtype)

    def host(self, x: Any) -> Any:
        return x

    def to_numpy(self, tensors: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.ravel(t) for t in tensors]).astype(np.float64)

    @property
    def precision(self) -> float:
        return float(np.finfo(self.dtype).eps)

    def norm(self, t: np.ndarray, p: float) -> np.ndarray:
        lengths = np.linalg.norm(t.reshape(len(t), -1), ord=p, axis=1)
        return lengths.reshape(-1, *[1] * (t.ndim - 1))

    def constants(self, tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(tensors)

    def one_hot_argmax(self, t: np.ndarray) -> np.ndarray:
        return np.eye(t.shape[1], dtype=t.dtype)[t.argmax(1)]
