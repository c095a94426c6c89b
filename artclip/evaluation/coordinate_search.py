"""One feature at a time, by outputs alone: for vectors of few features, of trees or of units that differ.

Where one feature ranges over 0.01 and another over 10,000, distances are those of the wide ones, and the narrow ones
may go anywhere for next to nothing: there are bends on their way that a climb from the sample does not pass.
"""

from __future__ import annotations

import math

import numpy as np

from artclip.evaluation.threat_model import Stage, ThreatModel
from artclip.norms import lengths

_MOST = 16  # features
_UNEQUAL = 4.0  # times the narrowest range that the widest is at least
_ROUNDS, _VALUES, _HALVINGS = 4, 8, 8
# Of the distance so far, within which a search starts at the sample.
_RADII = (0.01, 0.03, 0.06, 0.1, 0.18, 0.3, 0.5, 0.75)
_MOST_ATTACKED, _ORDERS = 64, 5  # features, and orders of them, of the attack
_LESS = 0.99  # times the distance, as which another round must make it


def coordinate_search(threat: ThreatModel, *, max_iter: int = 2) -> list[Stage]:
    """Each feature in turn takes the best of nine values within the ball, ``max_iter`` times over, in random orders."""
    if not few_features(threat.classifier.true_shape):
        raise ValueError(
            f"it takes vectors of up to {_MOST_ATTACKED} features one by one, not inputs of shape "
            f"{threat.classifier.true_shape}"
        )

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        order = [int(i) for i in np.random.permutation(x.shape[1])]  # noqa: NPY002
        search = _Search(threat, x, y, x.astype(np.float32))
        return search.moved(search.points, order * max_iter, np.full(len(x), threat.eps))[0]

    return [run] * _ORDERS


def few_features(shape: tuple[int, ...]) -> bool:
    """Whether inputs are vectors that :func:`coordinate_search` takes."""
    return len(shape) == 1 and shape[0] <= _MOST_ATTACKED


def applies(threat: ThreatModel, x: np.ndarray) -> bool:
    """Whether samples are vectors of few features whose ranges differ."""
    wide = _ranges(threat, x)
    free = wide[wide > 0]
    few = x.ndim == 2 and 1 < free.size <= _MOST and x.shape[1] <= _MOST
    return bool(few and np.isfinite(free).all() and free.max() >= _UNEQUAL * free.min())


def closer(threat: ThreatModel, x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points with a wrong label, or NaN, as near or nearer.

    Each feature in turn takes the value of some within a radius at which the margin is largest: from the sample on,
    within shares of the distance that is known; then from the points, whose farthest feature afterwards comes as near
    to the sample as the label allows.

    Args:
        threat: model and norm.
        x: samples, float32, shape (n, d).
        y: class indices, shape (n,).
        points: float32, shape (n, d), NaN where none is known.
    """
    search, order = _Search(threat, x, y, points.copy()), [int(i) for i in np.argsort(_ranges(threat, x))]
    for share in _RADII:
        search.start(order, share)
    for _ in range(_ROUNDS):
        before = search.away()
        search.points[search.index] = search.moved(search.points[search.index], order, before)[0]
        search.shorten()
        search.index = search.index[search.away() < _LESS * before]
        if not len(search.index):
            break
    return search.points


def _ranges(threat: ThreatModel, x: np.ndarray) -> np.ndarray:
    """The widest range of each feature, shape (d,)."""
    low, high = threat.classifier.limits(x)
    return np.asarray((high.astype(float) - low).reshape(len(x), -1).max(0))


class _Search:
    """Samples, their points, and those that are still looked at (``index``)."""

    def __init__(self, threat: ThreatModel, x: np.ndarray, y: np.ndarray, points: np.ndarray) -> None:
        self._threat, self._x, self._y, self.points = threat, x, y, points
        self._low, self._high = threat.classifier.limits(x)
        self.index, self._near = np.flatnonzero(np.isfinite(points).all(1)), np.zeros(len(x))

    def away(self) -> np.ndarray:
        """How far the points of those looked at are."""
        return lengths((self.points - self._x)[self.index].astype(float), self._threat.norm)

    def _asked(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Margins (k, m) of points (k, m, d), and whether labels are wrong."""
        labels = np.tile(self._threat.labels(self._y[self.index]), (len(points), 1))
        margins, right = self._threat.margins(points.reshape(-1, points.shape[-1]), labels)
        return margins.reshape(points.shape[:2]), ~right.reshape(points.shape[:2])

    def start(self, order: list[int], share: float) -> None:
        """Points within a share of the distance, searched from the samples on; those that are found leave."""
        everything, self.index = self.index, self.index[self._near[self.index] == 0]
        if len(self.index):
            points, wrong = self.moved(self._x[self.index], order * 2, share * self.away())
            found = self.index[wrong]
            self.points[found], self._near[found] = points[wrong], share
        self.index = everything

    def moved(self, points: np.ndarray, order: list[int], radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (m, d) after one feature after the other took its best value within radii (m,); and what is wrong."""
        i, rows, shares = self.index, np.arange(len(points)), np.linspace(-1, 1, _VALUES + 1)[:, None]
        margins, was_wrong = (v[0] for v in self._asked(points[None]))
        for feature in order:
            tried = np.repeat(points[None], len(shares), 0)
            values = self._x[i, feature] + shares * radius
            tried[..., feature] = np.clip(values, self._low[i, feature], self._high[i, feature])
            tried = self._threat.classifier.rules.allowed(self._x[i], tried)
            found, wrong = self._asked(tried)
            away = lengths((tried - self._x[i]).reshape(-1, points.shape[1]).astype(float), self._threat.norm)
            fits = (away.reshape(wrong.shape) <= radius * (1 + 1e-6)) & (wrong | ~was_wrong)
            best = np.where(fits, found, -math.inf).argmax(0)
            better = fits[best, rows] & (found[best, rows] > margins)
            points = np.where(better[:, None], tried[best, rows], points)
            margins = np.where(better, found[best, rows], margins)
            was_wrong = was_wrong | (better & wrong[best, rows])
        return points, was_wrong

    def shorten(self) -> None:
        """The feature that is farthest comes nearer, for as long as labels stay wrong."""
        i = self.index
        rows, way = np.arange(len(i)), (self.points - self._x)[i].astype(float)
        feature = np.abs(way).argmax(1)
        low, high = np.zeros(len(i)), np.ones(len(i))
        for step in range(_HALVINGS + 1):
            share = (low + high) / 2 if step else low
            points = self.points[i].copy()
            points[rows, feature] = self._x[i, feature] + share * way[rows, feature]
            points = self._threat.classifier.rules.allowed(self._x[i], points)
            wrong = self._asked(points[None])[1][0]
            self.points[i[wrong]] = points[wrong]
            high = np.where(wrong, share, high)
            low = np.where(wrong, low, share)
