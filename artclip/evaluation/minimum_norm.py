"""The nearest adversarial example of each sample: an attack that makes changes small, and not a loss large.

Fast Minimum-Norm (Pintor, Roli, Brendel, Biggio 2021, arXiv 2102.12827): a point on a ball around the sample follows
the gradient of a loss, while the ball shrinks where the label is wrong and grows where it is right. Here a step is
a share of the ball's radius, in the steepest direction of the norm, so that units do not matter; there are climbs of
several losses; and at the end a way from the sample is halved until it is as short as it can be.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from artclip.evaluation.attack_classifier import AttackClassifier
from artclip.evaluation.balls import into_ball, steepest, still_free
from artclip.evaluation.coordinate_search import applies, closer
from artclip.evaluation.threat_model import Stage, ThreatModel
from artclip.evaluation.whole_numbers import nearer
from artclip.norms import column, dual_norm, farthest, lengths

MAX_ITER = 25
_CLIMBS = (("DLR", 0), ("cross-entropy", 0), ("targeted margin", 2), ("targeted margin", 3))
"""Losses, and which wrong class they are for, by likelihood; 0 for any."""
_ELSEWHERE = 6  # climbs from random places, for samples of which nothing was found: where they are, slopes may be 0
_STEP, _RADIUS = (1.0, 0.02), (0.3, 1e-3)  # first and last step and change of the radius, as shares of it
_BEYOND = 1.02  # times the distance at which the label should change, where it has not changed yet
_HALVINGS = 12
_SPARSE = 0.1, 3e-4  # share of the coordinates that the first and the last step move in L1


def nearest_examples(
    classifier: AttackClassifier, x: np.ndarray, y: np.ndarray, norm: float, max_iter: int = MAX_ITER
) -> np.ndarray:
    """For each sample the nearest point with a wrong label that was found, float32; NaN where none was.

    It climbs the difference of logits ratio, the cross-entropy, and the margins of the second and third wrong class:
    each finds some that the others miss.

    Args:
        classifier: the attacked model.
        x: samples that it gets right, shape (n, *shape).
        y: class indices, shape (n,).
        norm: that distances are in: 1, 2 or inf.
        max_iter: gradients of each sample for each of the four, >= 1.
    """
    x, labels = x.astype(np.float64), np.eye(classifier.nb_classes)[y]
    ball = _Ball(x, classifier, norm)
    order = np.argsort(-np.where(labels > 0, math.inf, classifier.predict(x)), axis=1)
    before = classifier.loss
    rng = np.random.default_rng(0)
    try:
        for loss, rank in _CLIMBS:
            if rank < classifier.nb_classes:
                targets = 2 * labels + (rank > 0) * np.eye(len(labels[0]))[order[:, rank]]
                climbed = "margin" if loss == "DLR" and (classifier.stepped or classifier.nb_classes < 3) else loss
                ball.climb(classifier.with_loss(climbed), targets, max_iter)
        for _ in range(_ELSEWHERE):
            if len(lost := np.flatnonzero(np.isinf(ball.best))):
                ball.climb(classifier.with_loss("margin"), labels, max_iter, lost, rng)
    finally:
        classifier.loss = before
    points = _shortened(classifier, x, ball.points, labels).astype(np.float32)
    threat, samples = ThreatModel(classifier, norm, math.inf), x.astype(np.float32)
    if applies(threat, samples):
        points = closer(threat, samples, y, points)
    return points if classifier.rules.integers is None else nearer(threat, samples, y, points)


class _Ball:
    """Samples, and the nearest points with a wrong label so far."""

    def __init__(self, x: np.ndarray, classifier: AttackClassifier, norm: float) -> None:
        self._x, self._limits, self._rules, self._norm = x, classifier.limits, classifier.rules, norm
        self._farthest = _farthest(x, *classifier.limits(x), norm)
        self.best, self.points = np.full(len(x), math.inf), np.full(x.shape, np.nan)

    def climb(
        self,
        classifier: AttackClassifier,
        labels: np.ndarray,
        max_iter: int,
        index: np.ndarray | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        """A climb of the classifier's loss from samples on, of all, or of some (``index``) from random places."""
        index = np.arange(len(self._x)) if index is None else index
        x, norm, labels, most = self._x[index], self._norm, labels[index], self._farthest[index]
        best, points, turned = self.best[index], self.points[index], np.zeros(len(index), bool)
        moved, radius = np.zeros_like(x) if rng is None else self._anywhere(index, rng), np.minimum(most, best)
        shares, (low, high) = np.geomspace(*_SPARSE, max_iter), self._limits(x)
        for step, change, share in zip(_falling(*_STEP, max_iter), _falling(*_RADIUS, max_iter), shares, strict=True):
            way = self._rules.steps(moved)
            at = x + way
            margins, values, gradients = classifier.margins(at, labels)
            away, wrong = lengths(way, norm), margins > 0
            nearer, turned = wrong & (away < best), turned | wrong
            best[nearer], points[nearer] = away[nearer], at[nearer]
            gradients = still_free(gradients, at, low, high)
            steep = lengths(gradients, dual_norm(norm))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                # Cross-entropy may be above 0 while the label is still right: then it tells no distance.
                straight = np.where((steep > 0) & (values < 0), _BEYOND * (away - values / steep), math.inf)
            radius = np.where(wrong, np.minimum(radius, best) * (1 - change), radius * (1 + change))
            radius = np.minimum(np.where(turned, radius, straight), np.minimum(best, most))
            moved = moved + column(step * radius, x) * steepest(gradients, norm, share)
            moved = into_ball(moved, radius, norm, x - low, high - x)
        self.best[index], self.points[index] = best, points

    def _anywhere(self, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Ways from samples to random valid inputs, or without a range to places about as large as they are."""
        x = self._x[index]
        low, high = self._limits(x)
        if np.all(np.isfinite(low)):
            return rng.uniform(low, high) - x
        return rng.standard_normal(x.shape) * column(lengths(x, math.inf) + 1e-9, x)


def _falling(first: float, last: float, nb: int) -> np.ndarray:
    """From the first to the last along half a cosine."""
    return last + (first - last) * (1 + np.cos(np.pi * np.arange(nb) / nb)) / 2


def _farthest(x: np.ndarray, low: Any, high: Any, norm: float) -> np.ndarray:
    """How far the farthest valid input is from each sample, or without a range a large multiple of its size."""
    if not np.all(np.isfinite(low)):
        return 10 * np.maximum(lengths(x, norm), x[0].size ** (1 / norm))
    return farthest(x, low, high, norm)


def _shortened(classifier: AttackClassifier, x: np.ndarray, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The points drawn towards their samples for as long as the label stays wrong."""
    there = are_found(points)
    start, way, right = x[there], (points - x)[there], labels[there].argmax(1)
    low, high = np.zeros(len(start)), np.ones(len(start))

    def reached(share: np.ndarray) -> np.ndarray:
        return classifier.rules.allowed(start, start + column(share, way) * way)

    for _ in range(_HALVINGS if there.any() else 0):
        middle = (low + high) / 2
        wrong = classifier.predict(reached(middle)).argmax(1) != right
        low, high = np.where(wrong, low, middle), np.where(wrong, middle, high)
    points = points.copy()
    points[there] = reached(high)
    return points


def are_found(points: np.ndarray) -> np.ndarray:
    """For which samples :func:`nearest_examples` found a point, shape (n,)."""
    return np.asarray(np.isfinite(points.reshape(len(points), -1)).all(1))


def minimum_norm(threat: ThreatModel, *, max_iter: int = MAX_ITER) -> list[Stage]:
    """The nearest example of each sample, pulled back into the ball where it lies outside."""

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        points = nearest_examples(threat.classifier, x, y, threat.norm, max_iter)
        return threat.into_ball(x, np.where(column(are_found(points), x), points, x))

    return [run]
