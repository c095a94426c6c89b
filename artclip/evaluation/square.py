"""Square: a random search by outputs alone, after Andriushchenko, Croce, Flammarion, Hein 2020, arXiv 1912.00049.

A step changes a window of height × width of an image of any shape, or a run of the entries of a vector, and stays where
the margin does not fall. Windows shrink over the steps, at the same queries as in the paper. All samples have the same
window in a step, each with signs of its own, so that a step touches the window alone. A step that changes nothing stays
too, as outputs of trees and of rounded models are flat nearly everywhere.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from artclip.evaluation.images import image_shape
from artclip.evaluation.threat_model import Stage, ThreatModel

_FIRST = 0.8  # share of an input that the first windows take
_HALVED = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # shares of the queries at which windows halve
_Window = tuple[slice, slice, slice, slice]


def square(threat: ThreatModel, *, max_iter: int = 1000, further: int = 0) -> list[Stage]:
    """A search, and where it broke something a second one of further queries on what stands."""
    broke = [False]

    def first(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        best, remaining = _search(threat, x, y, max_iter)
        broke[0] = not remaining.all()
        return best

    def second(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _search(threat, x, y, further)[0] if broke[0] else x

    return [first, second] if further else [first]


def _search(threat: ThreatModel, x: np.ndarray, y: np.ndarray, max_iter: int) -> tuple[np.ndarray, np.ndarray]:
    """Candidates, and which samples kept their label, shape (n,)."""
    best, labels = x.astype(np.float32), threat.labels(y)
    loss, remaining = threat.margins(best, labels)
    index = np.flatnonzero(remaining)
    loss, search = loss[index], WindowSearch(threat, best[index])
    for step in range(max_iter + 1):
        if not len(index):
            break
        tried = search.moved(share_at(step / max_iter)) if step else search.stripes()
        now, right = threat.margins(tried, labels[index])
        better = now >= loss
        search.keep(better)
        loss, fell = np.where(better, now, loss), better & ~right
        if fell.any():
            best[index[fell]], remaining[index[fell]] = search.best[fell], False
            index, loss = index[~fell], loss[~fell]
            search.leave(fell)
    best[index] = search.best
    return best, remaining


def share_at(spent: float) -> float:
    """The share of an input that a window takes when a share of the steps, 0 to 1, is spent."""
    return _FIRST / 2 ** int(np.searchsorted(_HALVED, spent))


class WindowSearch:
    """Samples, the best points so far, and a step from them.

    Args:
        threat: norm, budget and range.
        x: samples, float32, shape (n, *shape).

    Attributes:
        best: points of the largest margin, shape (n, *shape).
    """

    def __init__(self, threat: ThreatModel, x: np.ndarray) -> None:
        classifier, shape = threat.classifier, x.shape[1:]
        self._eps, self._inf, self._rules = threat.eps, threat.norm == math.inf, classifier.rules
        self._range = classifier.clip_values
        self._moves = len(shape) == 3 and not classifier.channels_first
        image = (shape[2], *shape[:2]) if self._moves else image_shape(shape, True)
        self._size = image or (1, 1, math.prod(shape))
        self._x, self.best, self._tried = x, x.copy(), x.copy()
        self._squared, self._squared_tried = np.zeros((2, len(x)))  # lengths of what was changed, for L2

    def _layers(self, points: np.ndarray) -> np.ndarray:
        """A view of points of shape (n, channels, height, width)."""
        return np.moveaxis(points, 3, 1) if self._moves else points.reshape(-1, *self._size)

    def stripes(self) -> np.ndarray:
        """The first step: each column and channel goes up or down throughout."""
        channels, height, width = self._size
        signs = _signs(len(self._x), channels, 1, width) * np.ones((1, 1, height, 1))
        self._put(..., self._eps * signs / (1 if self._inf else math.sqrt(math.prod(self._size))))
        return self._ruled()

    def moved(self, share: float) -> np.ndarray:
        """A step in a window of some share of an input; in L2 what a second one holds moves into it."""
        np.copyto(self._tried, self.best)
        here, n, channels = self._window(share), len(self._x), self._size[0]
        if self._inf:
            self._put(here, self._eps * _signs(n, channels, 1, 1))
            return self._ruled() if self._rules else self._tried
        there = self._window(share)
        x, best = self._layers(self._x), self._layers(self.best)
        inside = best[here].astype(np.float64) - x[here]
        both = _overlap(here, there)
        rest = self._squared - _squared(inside) - _squared(best[there] - x[there]) + _squared(best[both] - x[both])
        part = inside / _tall(np.sqrt(np.maximum(_squared(inside), 1e-60)))
        part = part + _signs(n, channels, 1, 1) / math.sqrt(part[0].size)
        room = np.maximum(self._eps**2 - np.maximum(rest, 0), 0)
        self._put(there, 0)
        self._put(here, part * _tall(np.sqrt(room / np.maximum(_squared(part), 1e-60))))
        self._squared_tried = np.maximum(rest, 0) + _squared(self._layers(self._tried)[here] - x[here])
        return self._ruled() if self._rules else self._tried

    def _ruled(self) -> np.ndarray:
        """What was tried, as far as the rules of features allow it, and how long that is."""
        np.copyto(self._tried, self._rules.allowed(self._x, self._tried))
        self._squared_tried = _squared(self._layers(self._tried) - self._layers(self._x))
        return self._tried

    def keep(self, better: np.ndarray) -> None:
        """Go where the last step led, for some samples, shape (n,)."""
        self.best[better] = self._tried[better]
        self._squared[better] = self._squared_tried[better]

    def leave(self, fell: np.ndarray) -> None:
        """Go on without some samples, shape (n,)."""
        self._x, self.best, self._tried = self._x[~fell], self.best[~fell], self._tried[~fell]
        self._squared, self._squared_tried = self._squared[~fell], self._squared_tried[~fell]

    def _window(self, share: float) -> _Window:
        height, width = self._size[1:]
        h = min(height, max(1, round(math.sqrt(share * height * width))))
        w = min(width, max(1, round(share * height * width / h)))
        top, left = (int(np.random.randint(0, k + 1)) for k in (height - h, width - w))  # noqa: NPY002
        return np.s_[:, :, top : top + h, left : left + w]

    def _put(self, window: Any, change: Any) -> None:
        """Change samples there, within the range."""
        there = (self._layers(self._x)[window] + change).astype(np.float32)
        if self._range is not None:
            low, high = (self._layers(np.broadcast_to(v, (1, *self._x.shape[1:])))[window] for v in self._range)
            there = np.clip(there, low, high)
        self._layers(self._tried)[window] = there


def _signs(*size: int) -> np.ndarray:
    return np.random.choice([-1.0, 1.0], size=size)  # noqa: NPY002


def _squared(change: np.ndarray) -> np.ndarray:
    """Squared lengths (n,)."""
    return np.einsum("nchw,nchw->n", change, change, dtype=np.float64)


def _tall(values: np.ndarray) -> np.ndarray:
    return values[:, None, None, None]


def _overlap(one: _Window, other: _Window) -> _Window:
    rows, columns = (
        slice(max(a.start, b.start), max(max(a.start, b.start), min(a.stop, b.stop)))
        for a, b in zip(one[2:], other[2:], strict=True)
    )
    return np.s_[:, :, rows, columns]
