"""Where a classifier's label provably stays: in balls around samples, by straight lines through its layers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from artclip.frameworks import Function
from artclip.frameworks.one_output import OneOutput
from artclip.graph import Activation, LayerGraph, Softmax
from artclip.graph.equivalence import moved_by_rounding
from artclip.graph.simplify import simplified
from artclip.lipschitz.local.ball import Balls
from artclip.lipschitz.local.kinks import in_lines
from artclip.lipschitz.local.linear_bounds import LinearBounds

_NUMBERS = 1 << 22  # entries of the widest layer, of all samples that are looked at together
_FIRST = 4  # samples that are looked at first, to know how long one takes
_ROUNDS = 7  # radii that are tried for each sample
_FARTHEST = 1.5  # times the distance at which the net, straight as it is at the sample, would change its label
_ROOM = 64  # times what rounding moves outputs, that they are allowed to be off by
_SAMPLES = 4  # at which that is looked at


class LabelBounds:
    """Whether labels stay in balls around samples.

    Args:
        graph: the layers of a classifier, from :func:`artclip.frameworks.graph_of`.
        f: its adapter.
        read: how its one output is read; ``None`` where it has several.
        norm: of the balls, 2 or inf.
        in_box: whether only inputs within ``f.clip_values`` count, where it has them.

    Raises:
        NotPiecewise: a layer that no straight lines are known for.
    """

    def __init__(
        self, graph: LayerGraph, f: Function, read: OneOutput | None, norm: float, in_box: bool = True
    ) -> None:
        self.norm, self._precision = norm, f.precision
        threshold = 0.0 if read is None else read.threshold
        self._whole, self._threshold = _before_the_end(graph, threshold)
        # Of logits this close a softmax or a sigmoid may make the same.
        self._room = 0.0 if self._whole is graph else _ROOM * self._precision
        self._graph = in_lines(simplified(self._whole))
        box = f.clip_values if in_box else None
        low, high = (-math.inf, math.inf) if box is None else box
        self._box = tuple(np.broadcast_to(np.asarray(b, np.float64), f.input_shape).ravel() for b in (low, high))
        self._widest = max(self._graph.inputs, *(node.size for node in self._graph.nodes))
        self.seconds_of_a_sample = 0.0

    def keep(self, x: np.ndarray, labels: np.ndarray, eps: float, max_seconds: float = math.inf) -> np.ndarray:
        """Which samples keep their label at all inputs within eps, shape (n,): shown to, or false.

        Args:
            x: shape (n, *input_shape).
            labels: class indices (n,).
            eps: radius >= 0, in input units.
            max_seconds: time for it; samples that it does not suffice for are false.
        """
        found = np.zeros(len(x), bool)
        for part in self._parts(len(x), max_seconds):
            asked = self._asked(x[part], labels[part])
            found[part] = self._kept(asked, np.full(len(asked.points), float(eps)))
        return found

    def radii(self, x: np.ndarray, labels: np.ndarray, least: np.ndarray, max_seconds: float = math.inf) -> np.ndarray:
        """Radii (n,) within which labels stay, found by bisection.

        Args:
            x, labels, max_seconds: as for :meth:`keep`.
            least: radii (n,) that are known.
        """
        found = np.array(least, np.float64)
        for part in self._parts(len(x), max_seconds):
            asked = self._asked(x[part], labels[part])
            low, high = found[part], np.maximum(found[part], _FARTHEST * self._straight(asked))
            for _ in range(_ROUNDS):
                middle = (low + high) / 2
                kept = self._kept(asked, middle)
                low, high = np.where(kept, middle, low), np.where(kept, high, middle)
            found[part] = low
        return found

    def _parts(self, n: int, max_seconds: float) -> Iterator[slice]:
        """Samples that are looked at together, as many as there is time for."""
        began, first, most = time.perf_counter(), 0, max(1, _NUMBERS // self._widest)
        size = min(_FIRST, most)
        while first < n:
            part = slice(first, min(n, first + size))
            yield part
            first = part.stop
            used = time.perf_counter() - began
            self.seconds_of_a_sample = used / first
            fitting = int((max_seconds - used) / self.seconds_of_a_sample) if max_seconds < math.inf else n
            if fitting < 1:
                return
            size = min(most, fitting)

    def _asked(self, x: np.ndarray, labels: np.ndarray) -> _Asked:
        points = np.asarray(x, np.float64).reshape(len(x), -1)
        outputs = self._graph.evaluate(points)
        some = self._whole, points[:_SAMPLES], self._precision
        allowance = _ROOM * (moved_by_rounding(*some) + self._precision * np.abs(outputs).max(1, keepdims=True))
        allowance = allowance + self._room
        if outputs.shape[1] == 1:
            sign = np.where(labels == 1, 1.0, -1.0)[:, None]
            return _Asked(points, sign[:, :, None], sign * self._threshold + allowance)
        functions = _margins(labels, outputs.shape[1])
        return _Asked(points, functions, np.broadcast_to(allowance, functions.shape[:2]))

    def _balls(self, points: np.ndarray, radii: np.ndarray) -> Balls:
        return Balls(points, radii, self.norm, *self._box)

    def _kept(self, asked: _Asked, radii: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            bounds = LinearBounds(self._graph, self._balls(asked.points, radii)).least(asked.functions)
            return np.asarray((bounds > asked.above).all(1))

    def _straight(self, asked: _Asked) -> np.ndarray:
        """The distance at which the label would change, were the net everywhere as it is close to the sample."""
        small = np.full(len(asked.points), 1e-4)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            at, near = (
                LinearBounds(self._graph, self._balls(asked.points, r)).least(asked.functions) - asked.above
                for r in (0 * small, small)
            )
            far = np.where(at > 0, at * small[:, None] / np.maximum(at - near, 1e-300), 0.0).min(1)
        return np.where(np.isfinite(far), far, 0.0)


@dataclass(frozen=True)
class _Asked:
    """Samples (n, d), and linear functions (n, m, k) of the outputs that have to be above values (n, m)."""

    points: np.ndarray
    functions: np.ndarray
    above: np.ndarray


def _margins(labels: np.ndarray, k: int) -> np.ndarray:
    """Coefficients (n, k - 1, k) of what the output of the label has more than each other one."""
    n = len(labels)
    others = np.array([[j for j in range(k) if j != i] for i in range(k)])[labels]
    found = np.zeros((n, k - 1, k))
    found[np.arange(n)[:, None], np.arange(k - 1), others] = -1.0
    found[np.arange(n), :, labels] = 1.0
    return found


def _before_the_end(graph: LayerGraph, threshold: float) -> tuple[LayerGraph, float]:
    """The graph before a softmax or a sigmoid, which leave the order of outputs as it is, and the threshold there."""
    last: Any = graph.nodes[-1]
    is_softmax = isinstance(last.operation, Softmax) and last.operation.index.shape == (1, last.size)
    is_sigmoid = isinstance(last.operation, Activation) and last.operation.kind[:1] == ("sigmoid",)
    if not (is_softmax or is_sigmoid) or last.parents[0] < 0:
        return graph, threshold
    if last.size == 1:
        threshold = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else math.copysign(math.inf, threshold)
    return replace(graph, nodes=graph.nodes[: last.parents[0] + 1]), threshold
