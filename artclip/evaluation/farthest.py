"""The points of balls whose outputs are farthest from those of the samples, and a search for them by outputs alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from artclip.evaluation.coordinate_search import few_features
from artclip.evaluation.square import WindowSearch, share_at
from artclip.evaluation.threat_model import ThreatModel
from artclip.norms import column, lengths

_VALUES, _SWEEPS = 9, 3  # of a feature, and over all features before a search starts anew
_HAIR = 1e-5  # of the radius, less than which examples may lie beyond it: they are float32


class Farthest:
    """For each sample the point in its ball whose outputs are farthest, of those that were tried.

    Args:
        view: the model, with ``outputs`` and the lengths ``moved`` of their changes.
        x: samples, float32, shape (n, *shape).
        outputs: at these, shape (n, k).
        p: norm of the balls.
        eps: their radius > 0.

    Attributes:
        found: how far outputs moved, shape (n,).
        examples: where they did, shape (n, *shape).
        changed: the outputs there, shape (n, k).
        lost: in whose ball some outputs are not finite, shape (n,).
    """

    def __init__(self, view: Any, x: np.ndarray, outputs: np.ndarray, p: float, eps: float) -> None:
        self._view, self._x, self._outputs, self._p, self._eps = view, x, outputs, p, eps
        self.found, self.examples, self.changed = np.zeros(len(x)), x.copy(), outputs.copy()
        self.lost = np.zeros(len(x), bool)

    def try_out(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keep points (n, *shape) that move outputs further, and lie in the ball.

        Returns:
            By how much each moves them, (n,), -1 outside the ball; and the points as they were tried.
        """
        points, away = self._inside(points)
        outputs = self._view.outputs(points)
        moved = self._view.moved(outputs - self._outputs)
        inside = away <= self._eps * (1 + _HAIR)
        self.lost |= inside & ~np.isfinite(moved)
        inside &= np.isfinite(moved)
        better = inside & (moved > self.found)
        self.found = np.where(better, moved, self.found)
        self.examples = np.where(column(better, points), points, self.examples)
        self.changed = np.where(better[:, None], outputs, self.changed)
        return np.where(inside, moved, -1.0), points

    def _inside(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points as float32, those that this rounds out of the ball a little nearer; and how far they are, (n,)."""
        rounded = points.astype(np.float32)
        away = lengths(rounded.astype(np.float64) - self._x, self._p)
        out = away > self._eps * (1 + _HAIR)
        if out.any():
            way = (points.astype(np.float64) - self._x)[out]
            # By rounding an entry moves by half of what lies between two numbers of its size.
            lost = lengths(np.spacing(np.maximum(np.abs(rounded[out]), np.abs(self._x[out]))).astype(float), self._p)
            length = np.maximum(self._eps - lost, 0) / np.maximum(lengths(way, self._p), np.finfo(float).tiny)
            rounded[out] = self._x[out] + column(np.minimum(length, 1), way) * way
            away[out] = lengths(rounded[out].astype(np.float64) - self._x[out], self._p)
        return rounded, away


def search(threat: ThreatModel, x: np.ndarray, points: Farthest, nb_queries: int) -> None:
    """Try so many points for each sample, by outputs alone; of vectors of few features half of them one by one."""
    if few_features(x.shape[1:]):
        _by_features(threat, x, points, nb_queries // 2)
        nb_queries -= nb_queries // 2
    if threat.norm == 1:
        return _corners(threat, x, points, nb_queries)
    search, best = WindowSearch(threat, x), np.zeros(len(x))
    for step in range(nb_queries):
        moved, _ = points.try_out(search.moved(share_at(step / nb_queries)) if step else search.stripes())
        search.keep(moved >= best)
        best = np.maximum(moved, best)


def _by_features(threat: ThreatModel, x: np.ndarray, points: Farthest, nb_queries: int) -> None:
    """Features in turn take values within the ball, from samples on anew for each order; what is too long is scaled."""
    low, high = threat.classifier.limits(x)
    shares, size = [share for share in np.linspace(-1, 1, _VALUES) if share], x.shape[1]
    at, best, order = x.copy(), np.zeros(len(x)), np.arange(size)
    for query in range(nb_queries):
        turn, value = divmod(query, len(shares))
        if not value and not turn % size:
            order = np.random.permutation(size)  # noqa: NPY002
            if turn % (_SWEEPS * size) == 0:
                at, best = x.copy(), np.zeros(len(x))
        feature, tried = order[turn % size], at.copy()
        wanted = x[:, feature] + np.float32(shares[value] * threat.eps)
        tried[:, feature] = np.clip(wanted, low[:, feature], high[:, feature])
        moved, tried = points.try_out(tried)
        better = moved > best
        at[better], best[better] = tried[better], moved[better]


def _corners(threat: ThreatModel, x: np.ndarray, points: Farthest, nb_queries: int) -> None:
    """In L1: single coordinates moved by the whole radius, within the range; these are the corners of the ball."""
    low, high = threat.classifier.limits(x)
    order = np.random.permutation(2 * x[0].size)[:nb_queries]  # noqa: NPY002
    for i, sign in zip(order // 2, np.where(order % 2, 1, -1), strict=True):
        step = np.zeros(x[0].size, np.float32)
        step[i] = sign * threat.eps
        points.try_out(np.clip(x + step.reshape(x.shape[1:]), low, high))
