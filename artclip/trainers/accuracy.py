"""The accuracy that λ follows: that of the model as deployed, on a few samples at each check."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from artclip.frameworks import Trainable
from artclip.frameworks.base import Tensor
from artclip.frameworks.trainable import class_indices

METRICS = ("accuracy", "balanced_accuracy")
# Of the samples trained on between two checks, so many are predicted: a prediction costs a third of a step or less.
SHARE, LEAST_SAMPLES = 1 / 20, 128
# The last part of a fit, in which models are compared to the target; how often at most, and by how many samples.
WINDOW, MOST_COMPARISONS, LEAST_STEPS, NB_COMPARED = 0.4, 16, 3, 4096
LEAST_COMPARED, COMPARED_SHARE = 1024, 1 / 16  # and of those trained on in that part
# What is said: an accuracy farther off, a λ that changed by a larger factor in the last quarter of so many epochs.
TOLERANCE, MOVING, CLOSING, LEAST_EPOCHS = 0.02, 3.0, 0.25, 4
CLOSE = 0.0025  # distances from the target that count alike: of such models the last is taken


class DeployedAccuracy:
    """Accuracy in eval mode, of a model that is being trained.

    Args:
        trainable: the model.
        metric: ``"accuracy"``, or ``"balanced_accuracy"``: the mean of the accuracies of the classes that occur.
        target: to compare it to, in (0, 1].
        seed: of the draws.
        source: gives (x, y) to draw from, y as from :meth:`~artclip.frameworks.trainable.Trainable.labels`.
        nb_steps: of the fit.
        batch_size: samples in one of them.
        choose: whether the fit is to end with the closest of its last models.
    """

    def __init__(
        self,
        trainable: Trainable,
        metric: str,
        target: float,
        seed: int,
        source: Callable[[], tuple[np.ndarray, np.ndarray]],
        nb_steps: int,
        batch_size: int,
        choose: bool = True,
    ) -> None:
        self._f, self._metric, self.target, self._seed, self._source = trainable, metric, target, seed, source
        self.every = max(LEAST_STEPS, int(WINDOW * nb_steps) // MOST_COMPARISONS)
        """Steps from one comparison of models to the next."""
        trained = WINDOW * nb_steps * batch_size
        self._nb_compared = int(min(NB_COMPARED, max(LEAST_COMPARED, COMPARED_SHARE * trained)))
        self._first = (1 - WINDOW) * nb_steps if choose else math.inf
        self._outputs: Callable[..., Tensor] = trainable.compile(lambda x, y: trainable.value_alone(x))

    def at(self, step: int, nb_trained: int) -> float:
        """The accuracy at a check after so many steps, with so many samples since the last one; drawn anew."""
        x, y = self._source()
        nb = max(LEAST_SAMPLES, round(SHARE * nb_trained)) * (2 if self.balanced else 1)
        rows = self._drawn(y, np.random.default_rng([self._seed, step]), min(len(x), nb))
        return float(self._f.broadcast(mean_accuracy(self._right(x[rows], y[rows]), y[rows], self._metric)))

    @property
    def balanced(self) -> bool:
        """Whether each class counts alike, so that the accuracy of the training batches tells nothing of it."""
        return self._metric == "balanced_accuracy"

    def _drawn(self, y: np.ndarray, rng: np.random.Generator, nb: int) -> np.ndarray:
        """So many samples; in a balanced accuracy of each class alike, as far as there are."""
        if not self.balanced:
            return rng.choice(len(y), nb, replace=False)
        rows = rng.permutation(len(y))
        labels, turns = class_indices(y)[rows], np.empty(len(y), np.int64)
        for label in np.unique(labels):
            places = np.flatnonzero(labels == label)
            turns[places] = np.arange(len(places))
        return rows[np.argsort(turns, kind="stable")[:nb]]

    def is_due(self, step: int) -> bool:
        """Whether the model after so many steps is one to compare."""
        return step >= self._first and step % self.every == 0

    def is_late(self, step: int) -> bool:
        """Whether so many steps are in the last part of the fit."""
        return step >= self._first

    def now(self, worst: float = math.inf) -> float:
        """The accuracy on up to 4096 samples: of arrays the same each time.

        Args:
            worst: distance from the target, for which fewer samples will do, and very few where it is clearly larger.
        """
        x, y = self._source()
        nb = NB_COMPARED if worst == math.inf else self._nb_compared
        rows = self._drawn(y, np.random.default_rng(self._seed), min(len(x), nb))
        right, end, accuracy = np.empty(0), 256, 0.0
        while len(right) < len(rows):
            part = rows[len(right) : end]
            right, end = np.concatenate([right, self._right(x[part], y[part])]), 2 * end
            accuracy = float(self._f.broadcast(mean_accuracy(right, y[rows[: len(right)]], self._metric)))
            if abs(accuracy - self.target) > worst + self.deviation(len(right)):
                break
        return accuracy

    def deviation(self, nb: int) -> float:
        """Standard deviation of an accuracy at the target, on so many samples."""
        return math.sqrt(self.target * (1 - self.target) / nb)

    def _right(self, x: np.ndarray, y: np.ndarray, batch_size: int = 1024) -> np.ndarray:
        """What is right of the prediction of each sample, shape (n,)."""
        parts = []
        for start in range(0, len(x), batch_size):
            rows, labels = x[start : start + batch_size], y[start : start + batch_size]
            outputs = self._f.to_numpy([self._outputs(self._f.tensor(rows), self._f.tensor(labels))])
            parts.append(self._f.right(outputs.reshape(len(rows), -1), labels))
        return np.concatenate(parts)


def mean_accuracy(right: np.ndarray, y: np.ndarray, metric: str) -> float:
    """The accuracy of samples, from what is right of each, shape (n,), and their labels."""
    if metric == "accuracy":
        return float(right.mean())
    labels = class_indices(y)
    numbers = np.bincount(labels)
    return float((np.bincount(labels, right)[numbers > 0] / numbers[numbers > 0]).mean())


def is_held(target: float, accuracy: float) -> bool:
    """Whether the accuracy of the deployed model is the target, within two points."""
    return abs(accuracy - target) <= TOLERANCE


def faults(controller: Any, accuracy: float, history: list[dict[str, Any]]) -> list[str]:
    """What keeps a target from being held, as sentences.

    Args:
        controller: of λ, at the end of a fit.
        accuracy: of the deployed model, at the end.
        history: records of the epochs of the fit.
    """
    texts, target, lamda = [], controller.target, controller.value
    if not is_held(target, accuracy):
        texts.append(f"the target of {target:g} is not held: the model as deployed has an accuracy of {accuracy:.3f}")
    if controller.at_bound:
        way = "above" if accuracy > target else "below"
        texts.append(f"λ is at its bound, {lamda:g}, and the accuracy is still {way} the target")
        return texts
    path = [math.log(record["lamda"]) for record in history if record["lamda"] > 0]
    if (part := round(CLOSING * len(path))) and len(path) >= LEAST_EPOCHS:
        factor = math.exp(np.mean(path[-part:]) - np.mean(path[-2 * part : -part]))
        if not 1 / MOVING < factor < MOVING:
            texts.append(
                f"λ is still moving: in the last quarter of the epochs it was on average {factor:.2g} times what it "
                f"was in the quarter before, and ended at {lamda:.3g}; train longer, or start from that lamda"
            )
    return texts
