"""Where a classifier's label provably stays: in balls around samples.

First by straight lines through the layers (:mod:`artclip.lipschitz.local.linear_bounds`). In L2 also along the way from
the sample: with L(r) the constant of a margin in the ball of radius r, the margin at a distance of r is less than at
the sample by the integral of L from 0 to r at most. Of some radii the constants are known, and L is no larger before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from artclip.frameworks import Function
from artclip.frameworks.one_output import OneOutput
from artclip.graph import Activation, LayerGraph, Softmax
from artclip.graph.simplify import simplified
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.local.ball import Balls, box_of
from artclip.lipschitz.local.kinks import in_lines
from artclip.lipschitz.local.linear_bounds import LinearBounds, OutOfTime, cost
from artclip.lipschitz.local.rounding import lost_by_rounding
from artclip.lipschitz.local.slopes import slopes_in
from artclip.lipschitz.precision import allowance
from artclip.lipschitz.slope_constants import SlopeConstants
from artclip.norms import farthest

_NUMBERS = 1 << 20  # entries of the widest layer, or margins times outputs, of all samples that are looked at together
_SMALL = 1e-5  # of the largest input: a distance over which a net is straight
_ROUNDS = 7  # radii that are tried for each sample
_BEYOND = 1.5  # times the distance at which the net, straight as it is at the sample, would change its label
_FAR = 1e6  # times the largest input: no radius is larger where inputs have no box
_ENOUGH = 0.7  # of a margin, that is lost on all of the way were the net everywhere as steep as up to some radius
_HAIR = 1e-12  # relative, off a radius at which a margin would be 0
_PARTS, _STEPS = 4, 16  # of the way to a radius that is to be shown; on the way to any, at most
_SHORT = 0.03  # of the way, that another step is not worth


class LabelBounds:
    """Whether labels stay in balls around samples.

    Args:
        graph: the layers of a classifier, from :func:`artclip.frameworks.graph_of`.
        f: its adapter.
        read: how its one output is read; ``None`` where it has several.
        norm: of the balls, 2 or inf.
        in_box: whether only inputs within ``f.clip_values`` count, where it has them.
        lines_alone: whether constants on the way are left out.

    Raises:
        NotPiecewise: a layer that no straight lines are known for.
    """

    def __init__(
        self,
        graph: LayerGraph,
        f: Function,
        read: OneOutput | None,
        norm: float,
        in_box: bool = True,
        lines_alone: bool = False,
    ) -> None:
        self.norm, self._precision = norm, f.precision
        threshold = 0.0 if read is None else read.threshold
        self._whole, self._threshold = _before_the_end(graph, threshold)
        # Logits that are closer a softmax or a sigmoid may make the same.
        self._apart = 0.0 if self._whole is graph else float(allowance(np.ones((1, 1)), 0.0, self._precision)[0, 0])
        self._graph = in_lines(simplified(self._whole))
        self._box = box_of(f, in_box)
        constants = SlopeConstants(self._graph)
        self._constants = constants if norm == 2 and constants.is_possible and not lines_alone else None

    @property
    def is_along(self) -> bool:
        """Whether margins are followed along the way by constants, too."""
        return self._constants is not None

    @property
    def cost(self) -> float:
        """About how many floating-point operations one radius of one sample takes by straight lines."""
        return cost(self._graph)

    def keep(self, x: np.ndarray, labels: np.ndarray, eps: float, budget: Budget | None = None) -> np.ndarray:
        """Which samples keep their label at all inputs within eps, shape (n,): 1 if shown to, 0 if not, -1 if the time
        did not suffice.

        Args:
            x: shape (n, *input_shape).
            labels: class indices (n,).
            eps: radius >= 0, in input units.
            budget: the time for it; ``None`` for what it takes.
        """
        found, shown = np.full(len(x), -1), list[np.ndarray]()
        with suppress(OutOfTime):
            for part in self._parts(len(x)):
                asked = self._asked(x[part], labels[part])
                shown += list(self._shown(asked, np.full(len(asked.points), float(eps)), budget))
                kept = np.array([margins.all() for margins in shown[part]])
                found[part] = np.where(kept, 1, 0 if self._constants is None else -1)
            for i in np.flatnonzero(found < 0):
                asked = self._asked(x[i : i + 1], labels[i : i + 1]).of(~shown[i])
                found[i] = eps > 0 and self._along(asked, eps / _PARTS, budget, float(eps)) >= eps
        return found

    def radii(self, x: np.ndarray, labels: np.ndarray, least: np.ndarray, budget: Budget | None = None) -> np.ndarray:
        """Radii (n,) within which labels stay; those of samples without time are the least ones.

        Args:
            x, labels, budget: as for :meth:`keep`.
            least: radii (n,) that are known.
        """
        found, straight = np.zeros(len(x)), np.zeros(len(x))
        with suppress(OutOfTime):
            for part in self._parts(len(x)):
                asked = self._asked(x[part], labels[part])
                straight[part] = self._straight(asked, budget)
                farthest = self._farthest(asked.points)
                low, high = found[part], np.fmin(farthest, _BEYOND * straight[part])
                for _ in range(_ROUNDS):
                    middle = (low + high) / 2
                    kept = self._shown(asked, middle, budget).all(1)
                    low, high = np.where(kept, middle, low), np.where(kept, high, middle)
                    found[part] = low
            for i in np.flatnonzero(found < straight) if self._constants is not None else ():
                asked = self._asked(x[i : i + 1], labels[i : i + 1])
                found[i] = max(found[i], self._along(asked, found[i] / 3 or straight[i] / 8, budget))
        return np.maximum(found, least)

    def _along(self, asked: _Asked, first: float, budget: Budget | None, farthest: float | None = None) -> float:
        """A radius within which all margins of one sample stay above 0.

        Args:
            asked: one sample.
            first: step on the way, > 0; shorter ones follow where it is too long.
            budget: the time for it.
            farthest: radius that alone is of interest; ``None`` for one that is as large as possible.
        """
        assert self._constants is not None
        left, before, found, step = asked.margins[0], 0.0, 0.0, first
        most = float(self._farthest(asked.points)[0]) if farthest is None else farthest
        for _ in range(_STEPS):
            if before >= most or step <= 0 or not (left > 0).all():
                break
            if budget is not None and not budget.affords(self._constants.cost):
                raise OutOfTime
            radius = min(before + step, most)
            enough = 0.0 if farthest is None else (_ENOUGH if radius < farthest else 1 - _HAIR) / (farthest - before)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                lost = self._lost(asked.points, np.array([radius]))[0]
                bounds = LinearBounds(self._graph, self._balls(asked.points, np.array([radius])), budget)
                by_lines = bounds.least(asked.functions)[0] - asked.base[0]
                slopes = slopes_in(self._graph, bounds, 0)
                constants = self._constants.of(slopes, asked.functions[0], 1 / left, budget, enough)
                after = np.fmax(by_lines, left - constants * (radius - before))
                reached = np.where(by_lines > lost, math.inf, before + (left - lost) / constants * (1 - _HAIR))
            held = min(radius, max(before, float(np.nan_to_num(reached, nan=0.0).min())))
            found = max(found, held)
            if farthest is not None and (held < radius or (radius + (after - lost) / constants < farthest).any()):
                break
            if held < radius:
                step = held - before
                if step < _SHORT * held:
                    break
            else:
                left, before = after, radius
        return found

    def _farthest(self, points: np.ndarray) -> np.ndarray:
        """Radii (n,) beyond which there is no valid input, or nobody asks."""
        low, high = self._box
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            return _FAR * np.maximum(1.0, np.abs(points).max(1, initial=0.0))
        return farthest(points, low, high, self.norm)

    def _lost(self, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """What rounding may take from margins in balls, about, (n, 1)."""
        return lost_by_rounding(self._whole, self._balls(points, radii), self._precision) + self._apart

    def _parts(self, n: int) -> Iterator[slice]:
        """Samples that are looked at together: few at first, so that where there is little time some are done."""
        widest = max(self._graph.widest, self._graph.nodes[-1].size ** 2)
        most, first, size = max(1, _NUMBERS // widest), 0, 1
        while first < n:
            yield slice(first, min(n, first + size))
            first, size = first + size, min(most, 4 * size)

    def _asked(self, x: np.ndarray, labels: np.ndarray) -> _Asked:
        points = np.asarray(x, np.float64).reshape(len(x), -1)
        outputs = self._graph.evaluate(points)
        if outputs.shape[1] == 1:
            sign = np.where(labels == 1, 1.0, -1.0)[:, None]
            functions, base = sign[:, :, None], sign * self._threshold
        else:
            functions, base = _margins(labels, outputs.shape[1]), np.zeros((len(x), 1))
        return _Asked(points, functions, base, (functions @ outputs[:, :, None])[:, :, 0] - base)

    def _balls(self, points: np.ndarray, radii: np.ndarray) -> Balls:
        return Balls(points, radii, self.norm, *self._box)

    def _shown(self, asked: _Asked, radii: np.ndarray, budget: Budget | None) -> np.ndarray:
        """Which margins stay above 0, (n, m), by straight lines."""
        with np.errstate(over="ignore", invalid="ignore"):
            bounds = LinearBounds(self._graph, self._balls(asked.points, radii), budget).least(asked.functions)
            return np.asarray(bounds - asked.base > self._lost(asked.points, radii))

    def _straight(self, asked: _Asked, budget: Budget | None) -> np.ndarray:
        """The distance at which the label would change, were the net everywhere as it is close to the sample."""
        small = np.full(len(asked.points), _SMALL * (float(np.abs(asked.points).max()) or 1.0))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            bounds = LinearBounds(self._graph, self._balls(asked.points, small), budget).least(asked.functions)
            fall = np.maximum(asked.margins - (bounds - asked.base), 1e-300)
            far = np.where(asked.margins > 0, asked.margins * small[:, None] / fall, 0.0).min(1)
        return np.where(np.isfinite(far), far, 0.0)


@dataclass(frozen=True)
class _Asked:
    """Samples (n, d), and linear functions (n, m, k) of the outputs that have to stay above a base (n, 1).

    ``margins`` is by how much they are, at the samples themselves, (n, m).
    """

    points: np.ndarray
    functions: np.ndarray
    base: np.ndarray
    margins: np.ndarray

    def of(self, functions: np.ndarray) -> _Asked:
        """Some of the functions alone."""
        return replace(self, functions=self.functions[:, functions], margins=self.margins[:, functions])


def _margins(labels: np.ndarray, k: int) -> np.ndarray:
    """Coefficients (n, k - 1, k) of what the output of the label has more than each other one."""
    others = np.array([[j for j in range(k) if j != i] for i in range(k)])[labels]
    return np.eye(k)[labels][:, None] - np.eye(k)[others]


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
