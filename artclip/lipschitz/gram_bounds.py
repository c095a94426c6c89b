"""Bounds of J·Jᵀ for all Jacobians J of a graph of layers, where the slopes of each unit lie in an interval of its own.

Let M bound J·Jᵀ of the state: what has been computed so far and is still asked for. An activation has slopes c ± r,
unit by unit; c = 1 and r = 0 for the rest of the state. For every diagonal L with L - M[U, U] positive definite, U the
units with r > 0, the state behind it has the bound

    diag(c)·(M + M[:, U]·(L - M[U, U])⁻¹·M[U, :])·diag(c) + diag(r²·L),

and a linear step A makes A·M·Aᵀ of it. This is LipSDP-Neuron (Fazlyab et al. 2019, arXiv 1906.04893) as a block
recursion (ECLipsE: Xu and Sivaranjani 2024, arXiv 2404.04375), here for any graph and with an interval for each unit:
those which cannot switch cost nothing.

Where L is best, the gradient vanishes: r·‖P‖ = ‖v‖ unit by unit, P being the rows that the gradient consists of behind
the activation, and v = (L - M[U, U])⁻¹·M[U, :]·diag(c)·P. So each iteration multiplies what L has more than the
diagonal of M by ‖v‖ over r·‖P‖, or by less where that fails. Every iterate is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpocon, dpotrf

from artclip.graph import LayerGraph
from artclip.graph.matrix_norms import EPS, largest_eigenpair, proof_rounding
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.lipsdp import lost
from artclip.lipschitz.state_steps import Bend, Push, steps

Slopes = Mapping[int, tuple[np.ndarray, np.ndarray]]
"""Least and largest slopes (size,) of each activation, by its node."""
Multipliers = dict[int, np.ndarray]
"""L of each activation, (size,), by its node."""
Aim = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""What is to be small: M of the outputs -> a number > 0, and rows Z (q, k) with ZᵀZ its derivative."""

_FIXED = 1e-12  # half the width of an interval of slopes that is as good as none
_FIRST, _FEWER, _MORE, _LEAST_STEP = 0.6, 0.4, 1.3, 0.05  # of steps; by which they are made smaller or larger
_MOST = 20.0  # by which L is multiplied in one step
_TRIES, _LARGER = 60, 1.5  # to make L larger than M, and by how much
_WORST = 1e-8  # reciprocal condition, below which a factorisation does not count
_SMALLEST = 1e-200  # trace of a Gram matrix whose entries are not lost
_ROWS = 1024  # of the identity that are followed at a time
_CLOSE = 1e-3  # by which the best has to fall for another step


class NotModerate(ValueError):
    """Weights, or products of them, are too small or too large for squares in float64."""


@dataclass(frozen=True)
class _Bent:
    """What an activation was, for the way back."""

    node: int
    at: slice
    middle: np.ndarray  # c of the block
    half: np.ndarray  # r of the units
    units: np.ndarray  # in the block
    rows: np.ndarray  # M[U, :]
    scale: np.ndarray  # L^-½ of the units
    factor: np.ndarray  # of I - S·M[U, U]·S, the lower one

    def moved(self, multipliers: np.ndarray, way: np.ndarray) -> np.ndarray:
        """L of the whole block, with what those of the units have more than M's diagonal multiplied."""
        found = multipliers.copy()
        own = self.rows[np.arange(len(self.units)), self.at.start + self.units]
        found[self.units] = own + (found[self.units] - own) * way
        return found


class GramBounds:
    """Bounds of a graph's Jacobians.

    Args:
        graph: from :func:`artclip.lipschitz.local.kinks.in_lines`.
    """

    def __init__(self, graph: LayerGraph) -> None:
        self._steps = steps(graph)
        self._inputs = graph.inputs
        self._first: tuple[int, np.ndarray] | None = None

    @property
    def cost(self) -> float:
        """About how many floating-point operations one iteration takes where all units may switch."""
        found = 0.0
        for step in self._steps:
            if isinstance(step, Push):
                found += 2.0 * (step.before + step.after) * step.cost + step.after**2 * step.before
            else:
                units = step.at.stop - step.at.start
                found += units**3 / 3 + 2.0 * units**2 * step.size
        return found

    @property
    def widest(self) -> int:
        """Rows of the largest M."""
        return max(step.after if isinstance(step, Push) else step.size for step in self._steps)

    def smallest(
        self,
        slopes: Slopes,
        aim: Aim,
        max_iter: int,
        budget: Budget | None = None,
        enough: float = 0.0,
        start: Multipliers | None = None,
    ) -> tuple[np.ndarray, Multipliers]:
        """The bound (k, k) of the outputs' J·Jᵀ for which the aim is the least of those that were tried, and its L.

        Args:
            slopes: of the activations.
            aim: what is to be small.
            max_iter: iterations, >= 1.
            budget: ends them.
            enough: value of the aim that ends them.
            start: L that was best for the same slopes and another aim; ``None`` for a guess.

        Raises:
            NotModerate: numbers so small or large that some are lost.
        """
        tried, base, ways = dict(start or {}), Multipliers(), dict[int, np.ndarray]()
        bent, size = list[_Bent](), _FIRST
        best, least = None, math.inf
        for i in range(max_iter):
            found = self._forward(slopes, tried, best is None)
            value, z = (math.inf, None) if found is None else aim(found[0])
            if best is None or value < least:
                assert found is not None
                gained = least - value
                (best, bent), least, base = found, value, tried
                if gained < _CLOSE * size * value or value <= enough or i == max_iter - 1:
                    break
                ways = self._ways(bent, z)
                size = min(1.0, size * _MORE)
            else:
                size *= _FEWER
            if size < _LEAST_STEP or (budget is not None and budget.left() < 0):
                break
            tried = {b.node: b.moved(base[b.node], ways[b.node] ** size) for b in bent}
        assert best is not None
        return best, base

    def _start(self) -> tuple[int, np.ndarray]:
        """The first activation, and M before it: the same for all slopes."""
        if self._first is None:
            at = next((i for i, step in enumerate(self._steps) if isinstance(step, Bend)), len(self._steps))
            middle = _of_inputs(self._steps[0], self._inputs)
            for step in self._steps[1:at]:
                assert isinstance(step, Push)
                middle = _pushed(step, middle)
            self._first = at, middle
        return self._first

    def _forward(
        self, slopes: Slopes, multipliers: Multipliers, patient: bool
    ) -> tuple[np.ndarray, list[_Bent]] | None:
        """M of the outputs; ``None`` where an L is too small. With ``patient`` such an L is made larger, in place."""
        first, middle = self._start()
        bent: list[_Bent] = []
        rows: np.ndarray | None = None  # M[U, :]·diag(c), through later steps
        for step in self._steps[first:]:
            if isinstance(step, Push):
                middle = _pushed(step, middle)
                rows = None if rows is None else step.forward(rows)
                continue
            middle = middle.copy() if rows is None else _joined(middle, rows, bent[-1])
            low, high = slopes[step.node]
            c, r = (low + high) / 2, (high - low) / 2
            units = np.flatnonzero(r > _FIXED * max(1.0, float(np.abs(c).max(initial=0.0))))
            found = _bent(step, middle, c, r[units], units, multipliers, patient)
            if found is None:
                return None
            bent.append(found)
            middle[step.at] *= c[:, None]
            middle[:, step.at] *= c
            at = step.at.start + units
            middle[at, at] += (r[units] / found.scale) ** 2
            rows = found.rows.copy()
            rows[:, step.at] *= c
        return (middle if rows is None else _joined(middle, rows, bent[-1])), bent

    def _ways(self, bent: list[_Bent], z: np.ndarray | None) -> dict[int, np.ndarray]:
        """What to multiply the excess of L by, for the units of each activation."""
        assert z is not None
        found: dict[int, np.ndarray] = {}
        waiting = list(bent)
        for step in reversed(self._steps[self._start()[0] :]):
            if isinstance(step, Push):
                z = step.backward(z)
                continue
            b = waiting.pop()
            behind = np.linalg.norm(z[:, step.at][:, b.units], axis=0) * b.half
            z = z.copy()
            z[:, step.at] *= b.middle
            half = solve_triangular(b.factor, b.scale[:, None] * (b.rows @ z.T), lower=True, check_finite=False)
            v = b.scale[:, None] * solve_triangular(b.factor, half, lower=True, trans=1, check_finite=False)
            z[:, step.at.start + b.units] += v.T
            with np.errstate(divide="ignore", invalid="ignore"):
                way = np.nan_to_num(np.linalg.norm(v, axis=1) / behind, nan=1.0, posinf=_MOST)
            found[step.node] = np.clip(way, 1 / _MOST, _MOST)
        return found


def _of_inputs(step: Push | Bend, inputs: int) -> np.ndarray:
    """M behind the first step, or before it where that is an activation; the identity is never whole in memory."""
    if isinstance(step, Bend):
        return np.eye(inputs)
    middle = np.zeros((step.after, step.after))
    for first in range(0, inputs, _ROWS):
        rows = step.forward(np.eye(min(_ROWS, inputs - first), inputs, first))
        middle += rows.T @ rows
    return _checked(middle, inputs)


def _pushed(step: Push, middle: np.ndarray) -> np.ndarray:
    """A·M·Aᵀ, with what rounding may have taken."""
    found = step.forward(np.ascontiguousarray(step.forward(middle).T))
    found = (found + found.T) / 2
    return _checked(found, step.before) if float(middle.trace()) else found


def _checked(gram: np.ndarray, terms: int) -> np.ndarray:
    """A Gram matrix, with what rounding may have taken from sums of so many terms on its diagonal, in place."""
    if not _SMALLEST < float(gram.trace()) < 1 / _SMALLEST:
        raise NotModerate("weights, or products of them, are too small or too large for squares in float64")
    gram[np.diag_indices(len(gram))] += lost(gram, terms)
    return gram


def _joined(middle: np.ndarray, rows: np.ndarray, bent: _Bent) -> np.ndarray:
    """M and what the units that may switch add to it."""
    if not len(rows):
        return middle
    half = solve_triangular(bent.factor, bent.scale[:, None] * rows, lower=True, check_finite=False)
    found = half.T @ half
    found += middle
    found[np.diag_indices(len(found))] += lost(found, 4 * len(rows) / math.sqrt(_WORST))
    return found


def _bent(
    step: Bend,
    middle: np.ndarray,
    c: np.ndarray,
    r: np.ndarray,
    units: np.ndarray,
    multipliers: Multipliers,
    patient: bool,
) -> _Bent | None:
    """An activation with an L that is larger than M, or ``None``."""
    rows = middle[step.at.start + units]
    own = rows[:, step.at.start + units]
    if step.node not in multipliers:
        multipliers[step.node] = _guess(middle[step.at, step.at])
    for _ in range(_TRIES if patient else 1):
        scale = 1 / np.sqrt(multipliers[step.node][units])
        factor = _cholesky(scale[:, None] * own * scale)
        if factor is not None:
            return _Bent(step.node, step.at, c, r, units, rows, scale, factor)
        if patient:
            multipliers[step.node] = multipliers[step.node] * _LARGER
    if patient:
        raise NotModerate("a matrix that should be positive definite is not: its numbers are too far apart in size")
    return None


def _guess(own: np.ndarray) -> np.ndarray:
    """L for a block: twice the least multiple of its diagonal that is larger."""
    diagonal = np.maximum(own.diagonal(), EPS * float(own.diagonal().max(initial=0.0)) + 1e-300)
    root = np.sqrt(diagonal)
    return 2.0 * max(1.0, largest_eigenpair(own / root / root[:, None], tol=1e-2)[0]) * diagonal


def _cholesky(g: np.ndarray) -> np.ndarray | None:
    """The lower factor of I - G, less what rounding may hide; ``None`` where that is not well positive."""
    n = len(g)
    if not n:
        return np.zeros((0, 0))
    matrix = np.array(-g.T, order="F")
    matrix[np.diag_indices(n)] += 1 - proof_rounding(n)
    norm = float(np.abs(matrix).sum(0).max())
    factor, failed = dpotrf(matrix, lower=1, overwrite_a=1, clean=1)
    if failed or not math.isfinite(norm):
        return None
    return factor if dpocon(factor, norm, uplo="L")[0] > _WORST else None
