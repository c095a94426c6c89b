"""A model as attacks see it: one ART classifier over every framework, on logits, with a loss that does not saturate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
from art.config import ART_NUMPY_DTYPE
from art.estimators import BaseEstimator, LossGradientsMixin, NeuralNetworkMixin
from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin

from artclip.evaluation.features import FeatureRules
from artclip.evaluation.losses import LOSSES
from artclip.evaluation.outputs import bounded, few_values, keeps_labels, output_kind
from artclip.frameworks import function_of, output_activation_of
from artclip.frameworks.one_output import OneOutput
from artclip.lipschitz.precision import has_gradient
from artclip.norms import column

_LEAST = 1e-37  # probabilities that attacks tell from zero: float32 has none that are much smaller
ASIDE = 1e-3  # how far gradients are taken from where they are not finite, as a share of the inputs' range
_LARGE = 1e4  # of gradients: those beyond, and those below its inverse, are scaled
_MOST = 1e30  # of logits, and of cotangents: of saturated probabilities they are up to 1e37
_SPREAD = 10.0  # that logits are scaled to for a cross-entropy, where all lie within one of each other


class AttackClassifier(ClassGradientsMixin, ClassifierMixin, LossGradientsMixin, NeuralNetworkMixin, BaseEstimator):
    """An ART classifier for ART's attacks, around any estimator that artclip has an adapter of.

    Its outputs are logits: a sigmoid, softmax or ReLU at the end of the model is taken off for the attack where the
    model shows it. Rows that sum to one, of a model that shows nothing, are taken for probabilities, and their
    logarithms for logits, unless they are labels, as rows of one 1 and else 0. All other outputs are attacked as they
    are. Its gradients are of one loss of :data:`artclip.evaluation.losses.LOSSES` per sample, scaled so that none
    underflows, whatever loss the estimator has. Where they are not finite, they are taken at a point nearby, and what
    is still not finite is 0. All attacks of ART run on it alike, in numpy, for every framework.

    Args:
        estimator: what is attacked.
        x: a few samples, shape (n, *input_shape), to see its outputs.
        nb_classes: how many outputs.
        batch_size: samples in one pass.
        loss: name of the loss.
        outputs: what the model said of more samples, shape (n, nb_classes); ``None`` for those of x.
        one: how the one output of a classifier of two classes is read; its logits are then (0, z), z its log-odds.
        nb_draws: calls of a model that answers at random, over which logits and gradients are averaged; else 1.
        by_batch: whether a sample's outputs depend on the others of its batch.

    Attributes:
        kind: ``"logits"``, or what was taken off or undone: ``"probabilities"``, ``"sigmoid"`` or ``"rectified"``.
        has_gradients: whether gradients come from the model, not from differences of its outputs.
        flat: whether it has them, and they are zero at each of the samples.
        stepped: whether it has them, and outputs of few values do not move with them: they are labels, or rounded.
        hard: whether outputs are labels, as rows of one 1 and else 0.
        passes: samples that went forward.
        gradients: samples that gradients were taken of.
        nb_astray: gradients of samples that were not finite.
        scale: of logits for the cross-entropy, 1 unless they are tiny.
        rules: of what an attacker may do to features.
        decide: labels (n,) of inputs (n, *input_shape) as deployed, for searches by labels.
    """

    estimator_params = BaseEstimator.estimator_params

    def __init__(
        self,
        estimator: Any,
        x: np.ndarray,
        nb_classes: int,
        batch_size: int,
        loss: str = "cross-entropy",
        outputs: np.ndarray | None = None,
        one: OneOutput | None = None,
        nb_draws: int = 1,
        by_batch: bool = False,
    ) -> None:
        self.f = function_of(estimator)
        clip_values = getattr(estimator, "clip_values", None)
        first = bool(getattr(estimator, "channels_first", self.f.name != "tensorflow"))
        super().__init__(model=getattr(estimator, "model", estimator), clip_values=clip_values, channels_first=first)
        self.estimator, self.loss, self.batch_size, self.one = estimator, loss, batch_size, one
        self.nb_draws, self.by_batch = nb_draws, by_batch
        self.true_shape = self._shape = x.shape[1:]
        self._nb_classes = nb_classes
        x = x.astype(ART_NUMPY_DTYPE)
        seen = self._columns(self.f.predict(x)) if outputs is None else outputs
        self.hard = bool(((seen == 0) | (seen == 1)).all())
        kind, head = output_activation_of(self.f, x) or ("logits", None)
        self.kind: str = kind
        self.head: Any = head
        if self.head is None and one is not None:
            self.kind = one.kind
        elif self.head is None and output_kind(seen) == "probabilities" and not self.hard:
            self.kind = "probabilities"
        self._linear, self.rules = self.f.linearise(), FeatureRules()
        self.decide: Callable[[np.ndarray], np.ndarray] = lambda x: self.predict(x).argmax(1)
        self.passes = self.gradients = self.nb_astray = 0
        if (
            self.head is not None
            and nb_draws == 1
            and not keeps_labels(self._pull(x)[0], self._columns(self.f.predict(x)))
        ):  # a softmax over samples
            self.kind, self.head = "logits", None
        self.has_gradients = self.f.access != "predict alone" and has_gradient(self.f, x)
        self.scale, self.flat, self.stepped = 1.0, False, False
        logits = self.predict(x)
        spread = float(np.ptp(np.where(np.isfinite(logits), logits, 0), axis=1).max())
        self.scale = _SPREAD / spread if 0 < spread <= 1 else 1.0
        if self.has_gradients:
            slopes = self.with_loss("margin").loss_gradient(x, np.eye(nb_classes)[logits.argmax(1)])
            self.flat = not slopes.any()
            own = not self.flat and not self.f.approximated  # a defence's steps are known
            self.stepped = own and few_values(logits) and self._stays(x, slopes, logits)
        self.loss, self.passes, self.gradients, self.nb_astray = loss, 0, 0, 0

    def _stays(self, x: np.ndarray, slopes: np.ndarray, logits: np.ndarray) -> bool:
        """Whether logits are, at most samples, the very same a little way along their own gradients."""
        wide = 1.0 if self.clip_values is None else float(np.max(np.subtract(self.clip_values[1], self.clip_values[0])))
        largest = np.abs(slopes.reshape(len(x), -1)).max(1)
        moved = self.predict(x + ASIDE * wide * slopes / column(np.maximum(largest, np.finfo(float).tiny), x))
        return float((moved == logits).all(1)[largest > 0].mean()) > 0.5

    def _columns(self, outputs: np.ndarray) -> np.ndarray:
        return outputs if self.one is None else self.one.columns(outputs)

    @property
    def access(self) -> str:
        """How gradients are had, as an adapter says it; ``"none"`` where the model cuts them off."""
        return self.f.access if self.has_gradients or self.f.access == "predict alone" else "none"

    def with_loss(self, loss: str) -> AttackClassifier:
        """Set the loss; returns itself."""
        self.loss = loss
        return self

    @property
    def clip_values(self) -> Any:
        """Range of valid inputs as ART keeps it, as plain numbers where they are; ``None`` for none."""
        ends = self._clip_values
        return ends if ends is None or np.ndim(ends[0]) else tuple(float(v) for v in ends)

    def give_range(self, clip_values: Any) -> None:
        """Take (low, high) for the range of valid inputs, of a model that has none of its own; ``None`` for none."""
        if clip_values is not None:
            self.f.clip_values = clip_values
            self._clip_values = np.array(np.broadcast_arrays(*clip_values), ART_NUMPY_DTYPE)

    def limits(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest inputs that an attacker may reach from samples x (n, *input_shape); infinite for none."""
        return self.rules.limits(x, *((-np.inf, np.inf) if self.clip_values is None else self.clip_values))

    def as_shape(self, shape: tuple[int, ...]) -> None:
        """Take inputs for this shape, as (1, 28, 28) where the model wants 784."""
        self._shape = shape

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, as attacks see it."""
        return self._shape

    def predict(self, x: np.ndarray, batch_size: int = 128, **kwargs: Any) -> np.ndarray:
        """Logits of inputs (n, *input_shape), in float32, shape (n, nb_classes)."""
        return _held(self._over(x, lambda rows, _: self._pull(rows)[0])).astype(ART_NUMPY_DTYPE)

    def loss_gradient(self, x: np.ndarray, y: np.ndarray, **kwargs: Any) -> np.ndarray:
        """Per sample a multiple of the gradient of its loss, whose squares neither overflow nor vanish in float32."""

        def cotangents(logits: np.ndarray, part: np.ndarray) -> np.ndarray:
            slopes = self._loss(logits, y[part])[1]
            return slopes / np.maximum(np.abs(slopes).max(1, keepdims=True), np.finfo(float).tiny)

        found = self._gradient(x, cotangents).reshape(len(x), -1)
        largest = np.abs(found).max(1, keepdims=True)
        fits = (largest == 0) | ((largest > 1 / _LARGE) & (largest < _LARGE))
        return (found / np.where(fits, 1, largest)).reshape(x.shape)

    def compute_loss(self, x: np.ndarray, y: np.ndarray, reduction: str = "none", **kwargs: Any) -> np.ndarray:
        """The loss of each sample, shape (n,); ``reduction`` "mean" or "sum" for one number."""
        values = self._over(x, lambda rows, part: self._loss(self._pull(rows)[0], y[part])[0])
        return values if reduction == "none" else np.asarray(getattr(values, reduction)())

    def margins(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of one pass the margin and the loss, (n,), and the loss's gradients; ``y`` as for that loss."""
        margins, values = np.empty((2, len(x)))

        def cotangents(logits: np.ndarray, part: np.ndarray) -> np.ndarray:
            margins[part] = LOSSES["margin"](logits, y[part])[0]
            values[part], slopes = self._loss(logits, y[part])
            return slopes

        gradients = self._gradient(x, cotangents).astype(np.float64)
        return margins, values, gradients

    def class_gradient(self, x: np.ndarray, label: Any = None, **kwargs: Any) -> np.ndarray:
        """Gradients of logits, shape (n, nb_classes or 1, *input_shape)."""
        if label is None:
            classes = np.tile(np.arange(self.nb_classes), (len(x), 1))
        else:
            classes = np.broadcast_to(np.asarray(label).reshape(-1, 1), (len(x), 1))
        k = classes.shape[1]
        rows = np.eye(self.nb_classes)[classes.ravel()]
        return self._gradient(np.repeat(x, k, axis=0), lambda _, part: rows[part]).reshape(len(x), k, *x.shape[1:])

    def _loss(self, logits: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and cotangents of the loss; cross-entropy alone depends on the unit of logits."""
        return LOSSES[self.loss](logits * self.scale if self.loss == "cross-entropy" else logits, y)

    def _gradient(self, x: np.ndarray, cotangents: Any) -> np.ndarray:
        """What cotangents(logits, indices) of inputs pull back to; taken nearby where that is not finite."""

        def at(rows: np.ndarray, part: np.ndarray) -> np.ndarray:
            logits, pull = self._pull(rows)
            with np.errstate(invalid="ignore", over="ignore"):
                return np.asarray(pull(cotangents(logits, part)))

        fixed = self.rules.fixed

        def gradient(rows: np.ndarray, part: slice) -> np.ndarray:
            index = np.arange(len(x))[part]
            gradients = at(rows, index)
            lost = ~np.isfinite(gradients.reshape(len(gradients), -1)).all(1)
            if lost.any():
                self.nb_astray += int(lost.sum())
                gradients[lost] = at(self._aside(rows[lost]), index[lost])
                gradients = np.where(np.isfinite(gradients), gradients, 0)
            return gradients if fixed is None else np.where(fixed, 0, gradients)

        return self._over(x, gradient)

    def _aside(self, x: np.ndarray) -> np.ndarray:
        """Inputs a little off, towards the middle of the range where there is one: roots have no slope at its ends."""
        rng = np.random.default_rng(0)
        if self.clip_values is None:
            return x + (ASIDE * rng.uniform(-1, 1, x.shape)).astype(x.dtype)
        low, high = (np.asarray(v, x.dtype) for v in self.clip_values)
        inwards = np.where(x < (low + high) / 2, 1, -1) * (high - low)
        return x + (ASIDE * inwards * rng.uniform(0.5, 1, x.shape)).astype(x.dtype)

    def _over(self, x: np.ndarray, function: Any) -> np.ndarray:
        """function(rows, slice), a batch at a time; rows as the model wants them."""
        parts = (slice(i, i + self.batch_size) for i in range(0, len(x), self.batch_size))
        done = [function(np.ascontiguousarray(x[p], ART_NUMPY_DTYPE).reshape(-1, *self.true_shape), p) for p in parts]
        return done[0] if len(done) == 1 else np.concatenate(done)

    def _pull(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """Logits (n, k) in float64, and the map from their cotangents to gradients as float32 arrays."""
        if self.nb_draws == 1:
            return self._draw(x)
        values, pulls = zip(*(self._draw(x) for _ in range(self.nb_draws)), strict=True)
        return np.mean(values, 0), lambda cotangents: np.mean([pull(cotangents) for pull in pulls], 0)

    def _draw(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """The same of one call of the model."""
        self.passes += len(x)
        bare = self.head or nullcontext
        with bare():
            values, pull = self._linear(x)
        values, slopes = bounded(values), None
        if self.one is not None:
            values, slopes = self._log_odds(values)
        elif self.kind == "probabilities" and self.head is None:
            values = np.clip(values, _LEAST, None)
            values, slopes = np.log(values), 1 / values
        elif self.hard and self.head is None:
            values = values - 0.5  # rows that sum to one would be refused, as probabilities

        def gradient(cotangents: np.ndarray) -> np.ndarray:
            self.gradients += len(x)
            cotangents = cotangents if self.one is None else cotangents[:, 1:]  # the first logit is 0
            scaled = cotangents if slopes is None else _held(cotangents * slopes)
            with bare():  # a compiled pass is traced at its first call
                return np.array(pull(scaled), ART_NUMPY_DTYPE)  # TensorFlow's are read-only

        return values, gradient

    def _log_odds(self, values: np.ndarray) -> tuple[np.ndarray, Any]:
        """Logits (0, z) of one output (n, 1), and the slopes of z in it, or ``None`` where they are 1."""
        slopes = None
        if self.kind == "sigmoid" and self.head is None:
            p, q = np.clip(values, _LEAST, None), np.clip(1 - values, _LEAST, None)
            values, slopes = np.log(p) - np.log(q), 1 / (p * q)
        elif self.kind == "logits" and self.one is not None:
            values = values - self.one.threshold
        return np.concatenate([np.zeros_like(values), values], axis=1), slopes

    # what ART's base classes ask for, and attacks do not
    def fit(self, x: np.ndarray, y: np.ndarray, **kwargs: Any) -> None:
        """Refused: an attacked model is not trained."""
        raise NotImplementedError("train the estimator itself, not the view that attacks have of it")

    def get_activations(self, x: np.ndarray, layer: Any, batch_size: int = 128, framework: bool = False) -> Any:
        """Refused."""
        raise NotImplementedError("an attacked model shows outputs and gradients, not its layers")

    def save(self, filename: str, path: str | None = None) -> None:
        """Refused."""
        raise NotImplementedError("save the estimator itself, not the view that attacks have of it")


def _held(rows: np.ndarray) -> np.ndarray:
    """Finite numbers (n, k), rows that float32 hardly holds scaled down."""
    return rows * np.minimum(1, _MOST / np.maximum(np.abs(rows).max(1, keepdims=True), 1))
