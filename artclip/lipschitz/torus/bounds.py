"""Bounds of J·Jᵀ of a region of convolutions and activations, at each frequency of a torus.

As in :mod:`artclip.lipschitz.gram_bounds`, with one L for each channel: all places are alike, so that matrices stay
blocks, one for each frequency. On the torus no other L is better (the conditions are convex, and the mean of an L over
all shifts is one for each channel). What an activation makes outside its image is 0, which counts as a slope of 0.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.graph.matrix_norms import EPS, proof_rounding
from artclip.lipschitz.descent import MOST_SHARE, Parameters, check_moderate, guess, share_of
from artclip.lipschitz.torus.steps import Bend, Block, Lift, Mix, Steps

_WORST = 1e-8  # least eigenvalue of what is factored, below which it does not count
_POWERS, _CANDIDATES = 6, 4  # steps of the power method, and frequencies whose eigenvalues are then computed
_ABOVE = 1e-6  # of an eigenvalue, that those of other frequencies may be larger


@dataclass(frozen=True)
class TorusBent:
    """What an activation was, for the way back."""

    node: Hashable
    block: Block
    slopes: tuple[float, float]
    rows: np.ndarray  # M[U, :] at each frequency
    scale: np.ndarray  # L^-½ of the entries of the block
    inverse: np.ndarray  # of the lower factor of I - S·M[U, U]·S
    share: float
    top: float  # the largest eigenvalue of exp(-d/2)·M[U, U]·exp(-d/2) at any frequency
    at: int  # that frequency
    vector: np.ndarray  # of that eigenvalue, of length 1
    leading: np.ndarray  # it times exp(-d/2)


class TorusBounds:
    """Bounds of a region's Jacobians.

    Args:
        steps: of the region, built.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps, self._first, self.last, self.block = steps.steps, steps.first, steps.last, steps.block

    def forward(self, parameters: Parameters) -> tuple[np.ndarray, list[TorusBent]] | None:
        """M of the region's end, (frequencies, entries, entries); ``None`` where numbers are too far apart in size.

        Args:
            parameters: of each activation, (channels + 1,); guesses are put there where there is none.
        """
        channels = self._channels()
        middle = np.broadcast_to(np.eye(channels, dtype=complex), (len(self._first.at), channels, channels))
        bent = []
        for step in self._steps:
            if isinstance(step, Lift):
                middle = _lift(step, middle)
            elif isinstance(step, Mix):
                middle = _mix(step, middle)
            else:
                found = _bend(step, middle, parameters)
                if found is None:
                    return None
                middle, one = found
                bent.append(one)
        return middle, bent

    def derivatives(self, bent: list[TorusBent], z: np.ndarray, weights: np.ndarray) -> Parameters:
        """Of an aim in the parameters of each activation.

        Args:
            bent: of :meth:`forward`.
            z: rows (frequencies, q, entries) at the region's end: the derivative in M at each frequency is Zᴴ·W·Z.
            weights: W, (frequencies, q).
        """
        found: Parameters = {}
        waiting, counts = list(bent), self.last.weights
        for step in reversed(self._steps):
            if isinstance(step, Lift):
                back = np.empty_like(z)
                back[:, :, step.order] = z
                split = back.reshape(*z.shape[:2], step.unitary.shape[1], -1)
                z = np.einsum("fqpm,fpa->faqm", split, step.unitary).reshape(-1, z.shape[1], split.shape[3])
                counts, weights = (np.repeat(a, step.unitary.shape[2], axis=0) for a in (counts, weights))
            elif isinstance(step, Mix):
                z = _unmixed(step, z)
            else:
                b, at, (low, high) = waiting.pop(), step.block.at, step.slopes
                counted = counts[:, None] * weights
                behind = _squares(z[:, :, at], counted) * ((high - low) / 2) ** 2
                z = z.copy()
                z[:, :, at] *= (low + high) / 2
                half = b.inverse @ (b.scale[:, None] * (b.rows @ _adjoint(z)))
                v = _adjoint(b.scale[:, None] * (_adjoint(b.inverse) @ half))
                z[:, :, at] += v
                in_logarithm = (behind - _squares(v, counted)) / b.scale**2  # of L
                total = float(in_logarithm.sum())
                in_d = (in_logarithm - total * np.abs(b.vector) ** 2).reshape(b.block.channels, -1).sum(1)
                found[b.node] = np.append(in_d, -total * (1 - b.share / MOST_SHARE))
                leading = np.zeros((len(z), 1, z.shape[2]), complex)
                leading[b.at, 0, at] = np.conj(b.leading)
                z = np.concatenate([z, leading], axis=1)
                weights = np.concatenate([weights, np.full((len(z), 1), total / b.top / counts[b.at])], axis=1)
        return found

    def _channels(self) -> int:
        step = self._steps[0]
        assert isinstance(step, (Mix, Lift)), step
        return step.matrices.shape[2] if isinstance(step, Mix) else len(step.order) // step.unitary.shape[1]


def largest(middle: np.ndarray, weights: np.ndarray, power: float) -> tuple[float, np.ndarray]:
    """A norm of all eigenvalues that stands for the largest, and rows Z with ZᴴZ its derivatives.

    Args:
        middle: (frequencies, n, n), positive semidefinite.
        weights: how many frequencies each stands for.
        power: of the norm.
    """
    values, vectors = np.linalg.eigh(middle)
    values = np.maximum(values, 0)
    top = max(float(values.max()), 1e-300)
    value = top * float((weights[:, None] * (values / top) ** power).sum()) ** (1 / power)
    shares = (values / value) ** (power - 1)
    return value, _adjoint(vectors * np.sqrt(shares)[:, None, :])


def top(middle: np.ndarray) -> float:
    """The root of the largest eigenvalue of all, rounded up."""
    values = np.linalg.eigvalsh(middle)[:, -1] + 64 * middle.shape[1] * EPS * _traces(middle)
    return math.sqrt(max(float(values.max()), 0.0)) * (1 + 64 * EPS)


def _adjoint(a: np.ndarray) -> np.ndarray:
    return np.conj(np.swapaxes(a, 1, 2))


def _squares(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums of the squares of rows (frequencies, q, entries), (entries,)."""
    return np.asarray(np.einsum("fq,fqn->n", weights, (rows * np.conj(rows)).real))


def _traces(middle: np.ndarray) -> np.ndarray:
    return np.einsum("fnn->f", middle).real


def _add(middle: np.ndarray, numbers: np.ndarray | float) -> np.ndarray:
    """Numbers on the diagonals, one for each frequency, in place."""
    n = middle.shape[1]
    middle[:, np.arange(n), np.arange(n)] += np.broadcast_to(numbers, (len(middle),))[:, None]
    return middle


def _checked(middle: np.ndarray, terms: float) -> np.ndarray:
    """Gram matrices, with what rounding may have taken from sums of so many complex terms, in place."""
    return _add(middle, 16 * (terms + 8) * EPS * _traces(middle))


def _lift(step: Lift, middle: np.ndarray) -> np.ndarray:
    frequencies, nb = step.unitary.shape[:2]
    n = middle.shape[1]
    fine = middle.reshape(frequencies, nb, n, n)
    left = np.einsum("fpa,famn->fpamn", step.unitary, fine)
    found = np.einsum("fpamn,fra->fpmrn", left, np.conj(step.unitary), optimize=True)
    found = found.reshape(frequencies, nb * n, nb * n)[:, step.order][:, :, step.order]
    return _add(found, 64 * (nb + 8) * EPS * float(_traces(middle).max()) * nb)


def _mix(step: Mix, middle: np.ndarray) -> np.ndarray:
    parents, kept = _entries(step.parents), _entries(step.kept)
    rows = step.matrices @ middle[:, parents]  # A·M
    own = rows[:, :, parents] @ _adjoint(step.matrices)
    own = (own + _adjoint(own)) / 2
    terms, largest_trace = 2 * step.matrices.shape[2], float(_traces(middle).max())
    lost = step.rounding * largest_trace
    if step.matrices.any():
        check_moderate(float(_traces(own).max()))
    if not step.kept:
        return _add(_checked(own, terms), lost)
    found, first = np.empty((len(middle), step.size, step.size), complex), step.size - own.shape[1]
    found[:, :first, :first] = middle[:, kept][:, :, kept]
    found[:, first:, :first] = rows[:, :, kept]
    found[:, :first, first:] = _adjoint(rows[:, :, kept])
    found[:, first:, first:] = own
    return _add(_checked(found, terms), lost + math.sqrt(step.rounding * EPS) * largest_trace)


def _entries(blocks: list[slice]) -> Any:
    """Of some blocks together, as an index."""
    if len(blocks) == 1:
        return blocks[0]
    return np.array([entry for block in blocks for entry in range(block.start, block.stop)], int)


def _unmixed(step: Mix, z: np.ndarray) -> np.ndarray:
    """Rows behind the step times it."""
    sizes = [at.stop - at.start for at in step.kept]
    first = sum(sizes)
    before = max(at.stop for at in [*step.kept, *step.parents])
    found = np.zeros((*z.shape[:2], before), complex)
    start = 0
    for at, size in zip(step.kept, sizes, strict=True):
        found[:, :, at] += z[:, :, start : start + size]
        start += size
    made = z[:, :, first:] @ step.matrices
    start = 0
    for at in step.parents:
        size = at.stop - at.start
        found[:, :, at] += made[:, :, start : start + size]
        start += size
    return found


def _bend(step: Bend, middle: np.ndarray, parameters: Parameters) -> tuple[np.ndarray, TorusBent] | None:
    """M behind an activation, whose L is larger than M, or ``None``."""
    at, block, (low, high) = step.block.at, step.block, step.slopes
    rows, phases, node = middle[:, at], math.prod(block.phases), ("torus", step.key)
    square = rows[:, :, at]
    if node not in parameters:
        parameters[node] = guess(np.einsum("fnn->n", square).real.reshape(block.channels, phases).mean(1))
    shrink, share = np.repeat(np.exp(-parameters[node][:-1] / 2), phases), share_of(float(parameters[node][-1]))
    g = shrink[:, None] * square * shrink
    if not np.isfinite(g).all() or not g.any():
        return None
    for few in (True, False):
        top, where, vector = _largest(g, few)
        scale = shrink * math.sqrt(share / max(top, 1e-300))
        inverse = _inverse_factor(scale[:, None] * square * scale)
        if inverse is not None:
            break
    else:
        return None
    c, r = (low + high) / 2, (high - low) / 2
    half = inverse @ (scale[:, None] * rows)
    found = middle + _adjoint(half) @ half
    _checked(found, 4 * len(scale) / math.sqrt(_WORST))
    found[:, at] *= c
    found[:, :, at] *= c
    entries = np.arange(at.start, at.stop)
    found[:, entries, entries] += (r / scale) ** 2
    leading = shrink * vector
    return found, TorusBent(node, block, step.slopes, rows, scale, inverse, share, top, where, vector, leading)


def _largest(g: np.ndarray, few: bool) -> tuple[float, int, np.ndarray]:
    """The largest eigenvalue of all, a little more than that of others, its frequency and its vector."""
    v = np.random.default_rng(0).standard_normal((1, g.shape[1], 1)) + 0j
    if few and len(g) > _CANDIDATES:
        for _ in range(_POWERS):
            v = g @ (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-300))
        candidates = np.argsort(np.linalg.norm(v, axis=(1, 2)))[-_CANDIDATES:]
    else:
        candidates = np.arange(len(g))
    values, vectors = np.linalg.eigh(g[candidates])
    best = int(np.argmax(values[:, -1]))
    return float(values[best, -1]) * (1 + _ABOVE), int(candidates[best]), vectors[best, :, -1]


def _inverse_factor(g: np.ndarray) -> np.ndarray | None:
    """Of the lower factors of I - G, less what rounding may hide; ``None`` where one is not well positive."""
    n = g.shape[1]
    matrices = _add(-g, 1 - 4 * proof_rounding(n))
    try:
        factors = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return None
    inverse = np.linalg.solve(factors, np.broadcast_to(np.eye(n), g.shape))
    worst = (np.abs(inverse) ** 2).sum((1, 2)).max()  # at least one over the least eigenvalue
    return np.tril(inverse) if worst * _WORST < 1 else None
