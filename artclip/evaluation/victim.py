"""A model as attacks see it: one ART classifier over every framework, on logits, with a loss that does not saturate."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
from art.config import ART_NUMPY_DTYPE
from art.estimators import BaseEstimator, LossGradientsMixin, NeuralNetworkMixin
from art.estimators.classification import BlackBoxClassifierNeuralNetwork
from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin

from artclip.evaluation.losses import LOSSES
from artclip.frameworks import function_of, head_of
from artclip.lipschitz.pairs import column

_LEAST = 1e-37  # probabilities that attacks tell from zero: float32 has none that are much smaller


def output_kind(outputs: np.ndarray) -> str:
    """What outputs (n, k) look like.

    ``"probabilities"`` where each row sums to one, ``"sigmoid"`` where all lie in [0, 1], ``"rectified"`` where none is
    negative and some are exactly zero, else ``"logits"``.
    """
    if outputs.min() < 0 or outputs.max() > 1:
        return "rectified" if outputs.min() == 0 else "logits"
    sums = outputs.sum(1)
    return "probabilities" if np.abs(sums - 1).max() < 1e-3 else "sigmoid"


class Victim(ClassGradientsMixin, ClassifierMixin, LossGradientsMixin, NeuralNetworkMixin, BaseEstimator):
    """An ART classifier for ART's attacks, around any estimator that artclip has an adapter of.

    Its outputs are logits: a sigmoid, softmax or ReLU at the end of the model is taken off for the attack where it can
    be found; else the first two are undone by their inverse. Its gradients are of one loss of
    :data:`artclip.evaluation.losses.LOSSES` per sample, scaled so that none underflows, whatever loss the estimator
    has. All attacks of ART run on it alike, in numpy, for every framework.

    Args:
        estimator: what is attacked.
        x: a few samples, shape (n, *input_shape), to see its outputs.
        nb_classes: how many outputs.
        batch_size: samples in one pass.
        loss: name of the loss.
    """

    estimator_params = BaseEstimator.estimator_params

    def __init__(
        self,
        estimator: Any,
        x: np.ndarray,
        nb_classes: int,
        batch_size: int,
        loss: str = "cross-entropy",
    ) -> None:
        self.f = function_of(estimator)
        clip_values = getattr(estimator, "clip_values", None)
        first = bool(getattr(estimator, "channels_first", self.f.name != "tensorflow"))
        super().__init__(model=getattr(estimator, "model", estimator), clip_values=clip_values, channels_first=first)
        self.estimator, self.loss, self.batch_size = estimator, loss, batch_size
        self.true_shape = self._shape = x.shape[1:]
        self._nb_classes = nb_classes
        self.kind = output_kind(self.f.predict(x.astype(ART_NUMPY_DTYPE)))
        self.head = None if self.kind == "logits" else head_of(self.f, x.astype(ART_NUMPY_DTYPE))
        self._linear = self.f.linearise()
        self.passes = 0  # samples that went forward

    @property
    def has_gradients(self) -> bool:
        """Whether gradients come from the model, not from differences of its outputs."""
        return self.f.access != "predict alone"

    def with_loss(self, loss: str) -> Victim:
        """Set the loss; returns itself."""
        self.loss = loss
        return self

    @property
    def clip_values(self) -> Any:
        """Range of valid inputs as ART keeps it, as plain numbers where they are; ``None`` for none."""
        found = self._clip_values
        return found if found is None or np.ndim(found[0]) else tuple(float(v) for v in found)

    def as_shape(self, shape: tuple[int, ...]) -> None:
        """Take inputs for this shape, as (1, 28, 28) where the model wants 784."""
        self._shape = shape

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, as attacks see it."""
        return self._shape

    def predict(self, x: np.ndarray, batch_size: int = 128, **kwargs: Any) -> np.ndarray:
        """Logits of inputs (n, *input_shape), in float32, shape (n, nb_classes)."""
        return self._over(x, lambda rows, _: self._pull(rows)[0]).astype(ART_NUMPY_DTYPE)

    def loss_gradient(self, x: np.ndarray, y: np.ndarray, **kwargs: Any) -> np.ndarray:
        """Per sample a multiple of the gradient of its loss: scaled so that the largest cotangent is one."""

        def gradient(rows: np.ndarray, part: slice) -> np.ndarray:
            logits, pull = self._pull(rows)
            cotangents = LOSSES[self.loss](logits, y[part])[1]
            return pull(cotangents / np.maximum(np.abs(cotangents).max(1, keepdims=True), np.finfo(float).tiny))

        return self._over(x, gradient).reshape(x.shape)

    def compute_loss(self, x: np.ndarray, y: np.ndarray, reduction: str = "none", **kwargs: Any) -> np.ndarray:
        """The loss of each sample, shape (n,); ``reduction`` "mean" or "sum" for one number."""
        values = self._over(x, lambda rows, part: LOSSES[self.loss](self._pull(rows)[0], y[part])[0])
        return values if reduction == "none" else np.asarray(getattr(values, reduction)())

    def class_gradient(self, x: np.ndarray, label: Any = None, **kwargs: Any) -> np.ndarray:
        """Gradients of logits, shape (n, nb_classes or 1, *input_shape)."""
        if label is None:
            classes = np.tile(np.arange(self.nb_classes), (len(x), 1))
        else:
            classes = np.broadcast_to(np.asarray(label).reshape(-1, 1), (len(x), 1))
        k = classes.shape[1]
        cotangents = np.eye(self.nb_classes)[classes.ravel()]

        def gradient(rows: np.ndarray, part: slice) -> np.ndarray:
            return self._pull(rows)[1](cotangents[part])

        return self._over(np.repeat(x, k, axis=0), gradient).reshape(len(x), k, *x.shape[1:])

    def black_box(self, probabilities: bool = False) -> BlackBoxClassifierNeuralNetwork:
        """The same classifier through its outputs alone; logits, or their softmax."""

        def outputs(x: np.ndarray) -> np.ndarray:
            # A model may make numbers of NaN, and a search that asks for them would keep it; another may refuse it.
            finite, shown = showable(x)
            logits = self.predict(shown)
            logits[~finite] = np.nan
            return _softmax(logits) if probabilities else logits

        return BlackBoxClassifierNeuralNetwork(
            outputs, self.input_shape, self.nb_classes, self.channels_first, clip_values=self.clip_values
        )

    def _over(self, x: np.ndarray, function: Any) -> np.ndarray:
        """function(rows, slice), a batch at a time; rows as the model wants them."""
        parts = (slice(i, i + self.batch_size) for i in range(0, len(x), self.batch_size))
        done = [function(np.ascontiguousarray(x[p], ART_NUMPY_DTYPE).reshape(-1, *self.true_shape), p) for p in parts]
        return done[0] if len(done) == 1 else np.concatenate(done)

    def _pull(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """Logits (n, k) in float64, and the map from their cotangents to gradients as float32 arrays."""
        self.passes += len(x)
        bare = self.head or nullcontext
        with bare():
            values, pull = self._linear(x)
        slopes = None
        if self.kind in ("probabilities", "sigmoid") and self.head is None:
            values, slopes = _undone(values, self.kind)

        def gradient(cotangents: np.ndarray) -> np.ndarray:
            scaled = cotangents if slopes is None else cotangents * slopes
            with bare():  # a compiled pass is traced at its first call
                return np.array(pull(scaled), ART_NUMPY_DTYPE)  # TensorFlow's are read-only

        return values, gradient

    # what ART's base classes ask for, and attacks do not
    def fit(self, x: np.ndarray, y: np.ndarray, **kwargs: Any) -> None:
        """Refused: a victim is attacked, not trained."""
        raise NotImplementedError("train the estimator itself, not the view that attacks have of it")

    def get_activations(self, x: np.ndarray, layer: Any, batch_size: int = 128, framework: bool = False) -> Any:
        """Refused."""
        raise NotImplementedError("an attacked model shows outputs and gradients, not its layers")

    def save(self, filename: str, path: str | None = None) -> None:
        """Refused."""
        raise NotImplementedError("save the estimator itself, not the view that attacks have of it")


def showable(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which inputs are finite, shape (n,); and the inputs, zeros in the place of those that are not."""
    finite = np.isfinite(x.reshape(len(x), -1)).all(1)
    return finite, np.where(column(finite, x), x, 0)


def image_shape(shape: tuple[int, ...], channels_first: bool) -> tuple[int, ...] | None:
    """Inputs of that shape as images: themselves, or a square of grey pixels; ``None`` where they are neither."""
    if len(shape) == 3:
        return shape
    size, side = math.prod(shape), math.isqrt(math.prod(shape))
    if side * side != size or side < 4:
        return None
    return (1, side, side) if channels_first else (side, side, 1)


def _softmax(z: np.ndarray) -> np.ndarray:
    exponentials = np.exp(z - z.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def _undone(p: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits behind a softmax or a sigmoid, and their slopes in its values."""
    p = np.clip(p, _LEAST, None)
    if kind == "probabilities":
        return np.log(p), 1 / p
    q = np.clip(1 - p, _LEAST, None)
    return np.log(p) - np.log(q), 1 / p + 1 / q
