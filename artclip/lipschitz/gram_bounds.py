"""Bounds of J·Jᵀ for all Jacobians J of a graph of layers, where the slopes of each unit lie in an interval of its own.

Let M bound J·Jᵀ of the state: what has been computed so far and is still asked for. An activation has slopes c ± r,
unit by unit; c = 1 and r = 0 for the rest of the state. For every diagonal L with L - M[U, U] positive definite, U the
units with r > 0, the state behind it has the bound

    diag(c)·(M + M[:, U]·(L - M[U, U])⁻¹·M[U, :])·diag(c) + diag(r²·L),

and a linear step A makes A·M·Aᵀ of it. This is LipSDP-Neuron (Fazlyab et al. 2019, arXiv 1906.04893) as a block
recursion (ECLipsE: Xu and Sivaranjani 2024, arXiv 2404.04375), here for any graph and with an interval for each unit:
those which cannot switch cost nothing.

The derivative of an aim in L is r²·P² - v², unit by unit, P being the rows that its derivative in M consists of behind
the activation, and v = (L - M[U, U])⁻¹·M[U, :]·diag(c)·Pᵀ. Every point that the search looks at is a bound
(:mod:`artclip.lipschitz.descent`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpocon, dpotrf

from artclip.graph import LayerGraph
from artclip.graph.matrix_norms import proof_rounding
from artclip.lipschitz.descent import (
    MOST_SHARE,
    Aim,
    Evaluate,
    Parameters,
    Point,
    check_moderate,
    guess,
    share_of,
    wanted,
)
from artclip.lipschitz.lipsdp import largest_of, lost
from artclip.lipschitz.state_steps import Bend, Push, steps
from artclip.lipschitz.torus.bounds import TorusBent
from artclip.lipschitz.torus.head import Head

Slopes = Mapping[int, tuple[np.ndarray, np.ndarray]]
"""Least and largest slopes (size,) of each activation, by its node."""

_FIXED = 1e-12  # half the width of an interval of slopes that is as good as none
_WORST = 1e-8  # reciprocal condition, below which a factorisation does not count
_ROWS = 1024  # of the identity that are followed at a time
_ABOUT = 1e-4  # tolerance of the largest eigenvalue, which need not be exact


@dataclass(frozen=True)
class _Bent:
    """What an activation was, for the way back."""

    node: int
    middle: np.ndarray  # c of the block
    half: np.ndarray  # r of the units
    units: np.ndarray  # in the block
    rows: np.ndarray  # M[U, :]
    scale: np.ndarray  # L^-½ of the units
    factor: np.ndarray  # of I - S·M[U, U]·S, the lower one
    share: float
    top: float  # the largest eigenvalue of exp(-d/2)·M[U, U]·exp(-d/2)
    vector: np.ndarray  # of that eigenvalue, of length 1
    leading: np.ndarray  # it times exp(-d/2)


class GramBounds:
    """Bounds of a graph's Jacobians.

    Args:
        graph: from :func:`artclip.lipschitz.local.kinks.in_lines`.
        head: convolutions before it, whose outputs are its inputs.
    """

    def __init__(self, graph: LayerGraph, head: Head | None = None) -> None:
        self._steps = steps(graph)
        self._inputs, self._head = graph.inputs, head
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
        return max((step.after if isinstance(step, Push) else step.size for step in self._steps), default=self._inputs)

    def of(self, slopes: Slopes, aim: Aim) -> Evaluate:
        """What :func:`artclip.lipschitz.descent.descend` makes small, with bounds (k, k) of the outputs' J·Jᵀ.

        Args:
            slopes: of the activations.
            aim: what is to be small.
        """

        def evaluate(parameters: Parameters) -> Point | None:
            found = self._forward(slopes, parameters)
            if found is None:
                return None
            value, z = aim(found[0])
            return Point(value, *self._derivatives(found[1], z), found[0])

        return evaluate

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

    def _forward(self, slopes: Slopes, parameters: Parameters) -> tuple[np.ndarray, list[_Bent | TorusBent]] | None:
        """M of the outputs; ``None`` where numbers are too far apart in size."""
        bent: list[_Bent | TorusBent] = []
        if self._head is None:
            first, middle = self._start()
        else:
            begun = self._head.forward(parameters)
            if begun is None:
                return None
            first, middle, bent = 0, begun[0], [*begun[1]]
        rows: np.ndarray | None = None  # M[U, :]·diag(c), through later steps
        last: _Bent | None = None
        for step in self._steps[first:]:
            if isinstance(step, Push):
                middle = _pushed(step, middle)
                rows = None if rows is None else step.forward(rows)
                continue
            middle = middle.copy() if rows is None or last is None else _joined(middle, rows, last)
            low, high = slopes[step.node]
            c, r = (low + high) / 2, (high - low) / 2
            units = np.flatnonzero(r > _FIXED * max(1.0, float(np.abs(c).max(initial=0.0))))
            last = _bent(step, middle, c, r[units], units, parameters)
            if last is None:
                return None
            bent.append(last)
            middle[step.at] *= c[:, None]
            middle[:, step.at] *= c
            at = step.at.start + units
            middle[at, at] += (r[units] / last.scale) ** 2
            rows = last.rows.copy()
            rows[:, step.at] *= c
        return (middle if rows is None or last is None else _joined(middle, rows, last)), bent

    def _derivatives(self, bent: list[_Bent | TorusBent], z: np.ndarray) -> tuple[Parameters, Parameters]:
        """Of the aim, whose derivative in M is ZᵀZ, in the parameters; and L for which they would vanish."""
        found: Parameters = {}
        better: Parameters = {}
        waiting, weights = [b for b in bent if isinstance(b, _Bent)], np.ones(len(z))  # of the rows of z
        for step in reversed(self._steps[0 if self._head else self._start()[0] :]):
            if isinstance(step, Push):
                z = step.backward(z)
                continue
            b = waiting.pop()
            behind = b.half**2 * (weights @ z[:, step.at][:, b.units] ** 2)
            z = z.copy()
            z[:, step.at] *= b.middle
            half = solve_triangular(b.factor, b.scale[:, None] * (b.rows @ z.T), lower=True, check_finite=False)
            v = b.scale[:, None] * solve_triangular(b.factor, half, lower=True, trans=1, check_finite=False)
            before, multipliers, at = v**2 @ weights, b.scale**-2, step.at.start + b.units
            in_logarithm = (behind - before) * multipliers
            total = float(in_logarithm.sum())
            z[:, at] += v.T
            found[b.node] = np.append(in_logarithm - total * b.vector**2, -total * (1 - b.share / MOST_SHARE))
            better[b.node] = wanted(b.rows[np.arange(len(at)), at], multipliers, behind, before)
            leading = np.zeros((1, z.shape[1]))
            leading[0, at] = b.leading
            z, weights = np.concatenate([z, leading]), np.append(weights, total / b.top)
        if self._head is not None:
            found |= self._head.derivatives([b for b in bent if isinstance(b, TorusBent)], z, weights)
        return found, better


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
    check_moderate(float(gram.trace()))
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
    step: Bend, middle: np.ndarray, c: np.ndarray, r: np.ndarray, units: np.ndarray, parameters: Parameters
) -> _Bent | None:
    """An activation with an L that is larger than M, or ``None``."""
    rows = middle[step.at.start + units]
    own = rows[:, step.at.start + units]
    if step.node not in parameters:
        # Best for a unit that shares nothing with others: m·(1 + |c| / r), where m is what M has of it.
        parameters[step.node] = guess(own.diagonal())
        parameters[step.node][:-1] += np.log1p(np.abs(c[units]) / r)
    if not len(units):
        return _Bent(step.node, c, r, units, rows, r, np.zeros((0, 0)), 0.5, 1.0, r, r)
    shrink, share = np.exp(-parameters[step.node][:-1] / 2), share_of(float(parameters[step.node][-1]))
    g = shrink[:, None] * own * shrink
    top, vector = largest_of(g, None, _ABOUT)
    for _ in range(2):
        scale = shrink * math.sqrt(share / top)
        factor = _cholesky(scale[:, None] * own * scale)
        if factor is not None:
            return _Bent(step.node, c, r, units, rows, scale, factor, share, top, vector, shrink * vector)
        if not np.isfinite(g).all():
            return None
        top = float(np.linalg.eigvalsh(g)[-1]) * (1 + 1e-12)  # it was found too small
    return None


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
