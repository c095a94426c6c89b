"""A model and the samples that it is measured on: checked, and as attacks see them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from artclip import checks
from artclip.evaluation.agreement import by_batch, refuse_other_function
from artclip.evaluation.attack_classifier import AttackClassifier
from artclip.evaluation.cache import Cache
from artclip.evaluation.features import FeatureRules
from artclip.evaluation.outputs import labels_of
from artclip.evaluation.random_outputs import DRAWS, VOTES, is_random, majority, randomness, said
from artclip.evaluation.runner import AttackRunner
from artclip.evaluation.threat_model import ThreatModel
from artclip.frameworks import FRAMEWORKS, function_of
from artclip.frameworks.check import give_range, is_regressor, predicted, refuse_own_predict
from artclip.frameworks.class_labels import as_columns
from artclip.frameworks.one_output import how_read

_NUMBERS = 1 << 22  # of inputs in one pass
_LOST = 1e-3  # of a feature's range, by rounding


class EvaluatedModel:
    """A model with its samples.

    Args:
        estimator: an ART classifier, or a bare ``torch.nn.Module`` or Keras model.
        x: inputs, shape (n, *input_shape), within ``clip_values``.
        y: class indices of shape (n,), or one-hot labels.
        batch_size: samples in one pass, >= 1; ``None`` for a power of two from 16 to 512, so that a batch of inputs has
            up to four million numbers.
        name: of the model; ``None`` for its class's.
        clip_values: of a bare model; an estimator has its own.
        fixed, integers: features that attacks leave alone, or move by whole numbers alone: indices or bool masks.
        seed: of a random model's draws.

    Attributes:
        right: which samples the model gets right, shape (n,).
        remarks: what was done to the samples, one line each.
        one: how the model's one output is read, or ``None`` where it has several.
        is_random: whether two calls on the same samples differ by more than rounding.
        by_batch: how far outputs depend on the other samples of the batch, as a share of the largest; 0 for rounding.
        nb_nan: samples that an output is NaN for.
        nb_unanswered: inputs so far, adversarial ones among them, that an output is NaN for.

    Raises:
        ValueError, TypeError: bad input.
    """

    def __init__(
        self,
        estimator: Any,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        name: str | None = None,
        clip_values: Any = None,
        seed: int = 0,
        fixed: Any = None,
        integers: Any = None,
    ) -> None:
        if batch_size is not None:
            checks.positive_integer("batch_size", batch_size)
        self.estimator, self.f, self.clip_values = estimator, function_of(estimator), clip_values
        refuse_own_predict(self.f)
        if is_regressor(self.f):
            raise ValueError(
                f"{type(estimator).__name__} is a regressor, and accuracies are of classifiers; "
                "artclip.output_change(estimator, x, eps=...) says how far its outputs move. If it is a classifier, "
                "give it a classifier's loss"
            )
        give_range(self.f, clip_values)
        self.name = name or type(getattr(estimator, "model", estimator)).__name__
        x, self.remarks = checks.reshaped(x, self.f.input_shape)
        x = checks.inputs(x, self.f.input_shape or None, box=self.f.clip_values)
        self.x = x.astype(np.float32)
        self.remarks += _rounded(x, self.x)
        self.f.input_shape = self.f.input_shape or tuple(self.x.shape[1:])
        alone = predicted(self.f, self.x[:1])
        self.nb_classes = max(2, alone.shape[1])
        size = batch_size or int(2 ** min(9, max(4, math.floor(math.log2(_NUMBERS / self.x[0].size)))))
        raw = outputs = self.f.outputs(self.x, size)
        self.one = how_read(self.f, self.x, outputs)
        if self.one is not None:
            outputs = self.one.columns(outputs)
            self.remarks.append(str(self.one))
        y, said_of_labels = as_columns(y, self.f.class_labels)
        self.remarks += said_of_labels
        self.y = checks.classes(self.x, y, self.nb_classes)
        self._seed, self._calls = seed, 0
        few = self.x[: min(32, size)]
        self.f.is_random = is_random(lambda a: self.f.outputs(a, size), few)
        nb_draws = DRAWS if self.f.is_random else 1
        self.by_batch = 0.0
        if nb_draws == 1:
            refuse_other_function(self.f, few)
            self.by_batch = by_batch(self.f, self.x, raw, alone)
        about: dict[str, Any] = {
            "outputs": outputs,
            "one": self.one,
            "nb_draws": nb_draws,
            "by_batch": self.by_batch > 0,
        }
        with randomness(self.f, (seed,)):  # what is seen of a random model's outputs decides how it is attacked
            self.classifier = AttackClassifier(estimator, few, self.nb_classes, size, **about)
        self.classifier.give_range(self.f.clip_values if clip_values is not None else None)
        self.classifier.rules = FeatureRules.of(self.x.shape[1:], fixed, integers, self.x)
        self.classifier.decide = self.decide
        self.remarks += [str(self.classifier.rules)] * bool(self.classifier.rules)
        self._postprocessed = bool(getattr(estimator, "postprocessing_defences", None))
        self.is_random = nb_draws > 1 or (self._postprocessed and is_random(self.outputs, few))
        self.nb_unanswered = 0
        if self.is_random:
            votes = self._votes(self.x)
            self.remarks.append(said(votes, self.y))
            labels = majority(votes)
        else:
            labels = self.decide(self.x) if self._postprocessed else labels_of(outputs)
        self.nb_nan = int((labels < 0).sum())
        self.right = labels == self.y

    @property
    def package(self) -> str | None:
        """Of the framework, or ``None``."""
        return FRAMEWORKS[self.f.name][0] if self.f.name in FRAMEWORKS else None

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Outputs (n, nb_classes) as deployed: with what ART does to them, where it does anything."""
        size = self.classifier.batch_size
        if self._postprocessed:
            outputs = np.asarray(self.estimator.predict(x, batch_size=size)).reshape(len(x), -1)
        else:
            outputs = self.f.outputs(x, size)
        return outputs if self.one is None or outputs.shape[1] > 1 else self.one.columns(outputs)

    def decide(self, x: np.ndarray) -> np.ndarray:
        """Class indices (n,) of inputs, as deployed, of random ones the majority; -1, no class, where one is NaN."""
        labels = majority(self._votes(x)) if self.is_random else labels_of(self.outputs(x))
        self.nb_unanswered += int((labels < 0).sum())
        return labels

    def _votes(self, x: np.ndarray) -> np.ndarray:
        """Class indices of inputs, draw by draw, shape (VOTES, n): the same for the same seed."""
        self._calls += 1
        with randomness(self.f, (self._seed, self._calls)):
            return np.stack([labels_of(self.outputs(x)) for _ in range(VOTES)])

    def runner(
        self,
        norm: float,
        eps: float,
        seed: int,
        index: np.ndarray | None = None,
        key: str = "",
        cache: Cache | None = None,
        nb_examples: int = 0,
    ) -> AttackRunner:
        """Where attacks of a budget are run on all samples, or on those that ``index`` names."""
        chosen = slice(None) if index is None else index
        threat = ThreatModel(self.classifier, norm, float(eps))
        return AttackRunner(
            threat, self.decide, self.x[chosen], self.y[chosen], seed, key, cache or Cache(None), nb_examples
        )


def _rounded(given: np.ndarray, x: np.ndarray) -> list[str]:
    """What must be said of inputs (n, *shape) that lose much where they become float32, as times in seconds."""
    if given.dtype.itemsize <= 4:
        return []
    wide = np.maximum(np.ptp(given, axis=0), np.finfo(float).tiny)
    share = float((np.abs(x - given).max(0) / wide)[np.ptp(given, axis=0) > 0].max(initial=0))
    if share <= _LOST:
        return []
    return [
        f"Inputs are rounded to float32, which moves some by {share:.1%} of the range of their feature: take an offset "
        "off the inputs, and put it into the model"
    ]
