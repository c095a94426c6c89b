"""The exact Lipschitz constant of a small network of ReLUs: the steepest of its linear pieces.

An activation pattern says for each unit whether it is on. Where a pattern holds the network is linear, so the constant
is the largest norm of the Jacobians of those patterns that some open set of inputs has. Patterns are taken in order of
their norms. Whether inputs have one is decided in integers, from the weights as they are, however far apart: a pattern
counts for an input that has it, and is left out for a contradiction, which rules out all patterns that share it.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from artclip.graph.convolution import largest_singular_values
from artclip.lipschitz import rational
from artclip.lipschitz.chain import Chain
from artclip.norms import dual_norm

MOST_UNITS = 16
_ELEMENTS = 1 << 22  # numbers in the Jacobians whose norms are taken together
_ROUNDING = 128 * float(np.finfo(np.float64).eps)  # of a norm, as a share of that without cancellation
_SURE = 1e-12  # relative doubt of a norm, above which it is computed in integers
_UP = 1e-13  # relative, by which the constant is rounded up


class Undecided(Exception):
    """The constant cannot be had by enumeration; the message says why."""


@dataclass(frozen=True)
class Steepest:
    """What :func:`exact_constant` found.

    Attributes:
        value: the constant, rounded up.
        x: an input in the piece that is as steep, shape (inputs,), rounded to the nearest floats.
        patterns: how many there are.
    """

    value: float
    x: np.ndarray
    patterns: int


def exact_constant(chain: Chain, p: float, q: float, max_seconds: float = math.inf) -> Steepest:
    """The Lipschitz constant of a chain from the p-norm to the q-norm over all inputs, for the weights as they are.

    Args:
        chain: layers with kinked activations, :data:`MOST_UNITS` units at most.
        p, q: norms with an operator norm that is easily had: p = 1, q = inf, or both 2.
        max_seconds: give up after this time, > 0.

    Raises:
        Undecided: too large or of another kind, or out of time.
    """
    deadline = time.perf_counter() + max_seconds

    def tick() -> None:
        if time.perf_counter() > deadline:
            raise Undecided("enumeration took too long")

    units = sum(len(w) for w in chain.weights[:-1])
    if not all(a.kinked for a in chain.activations):
        raise Undecided("an activation is not a ReLU or leaky ReLU")
    if units > MOST_UNITS:
        raise Undecided(f"{units} units, more than {MOST_UNITS}")
    if not (p == 1 or q == math.inf or p == q == 2):
        raise Undecided(f"the norm of a matrix from L{p} to L{q} is hard to have")
    if not all(np.isfinite(t).all() for t in (*chain.weights, *chain.shifts)):
        raise Undecided("a weight is not finite")
    patterns = (np.arange(1 << units)[:, None] >> np.arange(units)) & 1 == 1
    norms, doubts = _Norms(chain, p, q).of(patterns, tick)
    if not units and doubts[0] <= _SURE * norms[0]:  # linear: every input will do
        return Steepest(float(norms[0]) * (1 + _UP), np.zeros(chain.inputs), 1)
    whole, most = _Whole(chain, tick), norms + doubts
    best, at = -1.0, np.zeros(chain.inputs)
    possible = np.ones(len(patterns), bool)
    for i in np.argsort(-most, kind="stable"):
        if most[i] <= best * (1 + _UP):
            break
        if not possible[i]:
            continue
        tick()
        sure = doubts[i] <= _SURE * norms[i]
        norm = float(norms[i] if sure else _norm(whole.jacobian(patterns[i]), p, q))
        if norm <= best:
            continue
        x, contradiction = whole.input_with(patterns[i])
        if x is None:
            possible &= ~(patterns[:, contradiction] == patterns[i, contradiction]).all(1)
        else:
            best, at = norm, x
    if not math.isfinite(best):
        raise Undecided("the constant is beyond the largest float")
    return Steepest(best * (1 + _UP), at, len(patterns))


def _slopes(chain: Chain, patterns: np.ndarray) -> list[np.ndarray]:
    """Slopes of each layer's units in patterns (..., units)."""
    parts = np.split(patterns, np.cumsum([len(w) for w in chain.weights[:-1]])[:-1], axis=-1)
    return [np.where(on, a.high, a.low) for on, a in zip(parts, chain.activations, strict=False)]


def _norm(jacobians: np.ndarray, p: float, q: float) -> np.ndarray:
    """Operator norms of matrices (..., m, n)."""
    if p == q == 2:
        size = np.abs(jacobians).max((-2, -1), initial=0.0, keepdims=True)  # a square must not leave the range
        size = np.where(size > 0, size, 1.0)
        return largest_singular_values(jacobians / size) * size[..., 0, 0]
    if p == 1:
        return np.linalg.norm(jacobians, ord=q, axis=-2).max(-1)
    return np.linalg.norm(jacobians, ord=dual_norm(p), axis=-1).max(-1)


class _Norms:
    """Norms of many patterns' Jacobians in floats, and what rounding may have done to them.

    Units are scaled by powers of two, which changes neither patterns nor Jacobians.
    """

    def __init__(self, chain: Chain, p: float, q: float) -> None:
        self._chain, self._norms = chain, (p, q)
        self._weights = [w.copy() for w in chain.weights]
        for first, then in itertools.pairwise(self._weights):
            _, exponents = np.frexp(np.abs(first).max(1))
            with np.errstate(all="ignore"):
                first[:], then[:] = np.ldexp(first, -exponents[:, None]), np.ldexp(then, exponents)
        self._sizes = np.linalg.norm(self._weights[0], ord=dual_norm(p), axis=1)
        if p == q == 2 and self._weights[0].shape[1] > len(self._weights[0]):  # orthogonal factors change no norm
            self._weights[0] = np.asarray(np.linalg.qr(self._weights[0].T, mode="r")).T

    def of(self, patterns: np.ndarray, tick: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
        """Norms and doubts (n,) of patterns (n, units)."""
        widest = max(w.shape[0] for w in self._weights) * self._weights[0].shape[1]
        rows = max(1, _ELEMENTS // widest)
        parts = []
        for i in range(0, len(patterns), rows):
            tick()
            with np.errstate(all="ignore"):
                parts.append(self._of(patterns[i : i + rows]))
        norms, doubts = (np.concatenate(part) for part in zip(*parts, strict=True))
        return norms, doubts

    def _of(self, patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        jacobians, sizes = self._weights[0][None], self._sizes[None]
        for slopes, weight in zip(_slopes(self._chain, patterns), self._weights[1:], strict=True):
            jacobians = weight @ (slopes[:, :, None] * jacobians)
            sizes = (np.abs(slopes) * sizes) @ np.abs(weight).T
        p, q = self._norms
        doubts = _ROUNDING * np.linalg.norm(sizes, ord=q, axis=1)
        bad = ~(np.isfinite(jacobians).all((1, 2)) & np.isfinite(doubts))  # to be computed in integers
        norms = _norm(np.where(bad[:, None, None], 0.0, jacobians), p, q)
        return np.broadcast_to(norms, len(patterns)), np.broadcast_to(np.where(bad, math.inf, doubts), len(patterns))


class _Whole:
    """The chain in integers: exactly the same function, times a power of two for each layer."""

    def __init__(self, chain: Chain, tick: Callable[[], None]) -> None:
        self._chain, self._tick = chain, tick
        self._ends = np.cumsum([0, *(len(w) for w in chain.weights[:-1])])
        # A unit more in each layer that is 1 carries the shifts.
        both = [np.column_stack([w, b]) for w, b in zip(chain.weights, chain.shifts, strict=True)]
        last = [np.append(np.zeros(w.shape[1]), 1.0) for w in chain.weights]
        self._layers = [rational.integers(np.vstack(parts)) for parts in zip(both, last, strict=True)]
        self._held: dict[bytes, list[Fraction]] = {}  # patterns of the first layers, and an input that has each
        self._columns: list[int] | None = None

    def _taken(self) -> list[int]:
        """Inputs to move; whatever the first layer takes from all inputs, it takes from these alone, the others 0."""
        if self._columns is None:
            from scipy.linalg import qr

            weights = self._chain.weights[0]
            order = qr(weights, mode="r", pivoting=True, check_finite=False)[1]
            whole = self._layers[0][0][:-1, order]
            self._columns = [int(order[j]) for j in rational.independent_columns(whole, self._tick)]
        return self._columns

    def _factors(self, pattern: np.ndarray) -> list[tuple[np.ndarray, int]]:
        """Integer slopes of each layer with that of the unit that is 1, and their exponents."""
        return [rational.integers(np.append(s, 1.0)) for s in _slopes(self._chain, pattern)]

    def jacobian(self, pattern: np.ndarray) -> np.ndarray:
        """That of one pattern, as the nearest floats."""
        product, exponent = self._layers[-1][0][:-1, :-1], self._layers[-1][1]
        for (slopes, e), (weight, f) in zip(self._factors(pattern)[::-1], self._layers[-2::-1], strict=True):
            self._tick()
            product, exponent = (product * slopes[:-1]) @ weight[:-1, :-1], exponent + e + f
        bits = max((int(abs(entry)).bit_length() for entry in product.flat), default=0)
        floats = np.array([[entry / (1 << bits) for entry in row] for row in product], dtype=np.float64)
        with np.errstate(over="ignore"):
            return np.ldexp(floats, bits + exponent)

    def input_with(self, pattern: np.ndarray) -> tuple[np.ndarray | None, list[int]]:
        """An input of an open set that has the pattern; or ``None``, and units that no input has so together.

        A unit that is 0 for all inputs with the pattern before it has no pattern of its own: its slope does not count.
        """
        taken = self._taken()
        columns, matrix, rows, units = [*taken, -1], None, [], []
        x: list[Fraction] = [Fraction(0)] * len(taken)
        factors = self._factors(pattern)
        for layer, (start, end) in enumerate(itertools.pairwise(self._ends)):
            weight = self._layers[layer][0]
            matrix = weight[:, columns] if matrix is None else weight @ (factors[layer - 1][0][:, None] * matrix)
            for unit, row in zip(range(start, end), matrix, strict=False):
                if any(row):
                    rows.append(row if pattern[unit] else -row)
                    units.append(unit)
            key = pattern[:end].tobytes()
            if key not in self._held:
                point, contradiction = rational.interior(_reduced(rows, len(columns)), self._tick)
                if point is None:
                    contrary = [unit for unit, share in zip(units, contradiction, strict=True) if share]
                    before = self._ends[np.searchsorted(self._ends, max(contrary), side="right") - 1]
                    return None, [*range(before), *(unit for unit in contrary if unit >= before)]
                self._held[key] = point
            x = self._held[key]
        at = np.zeros(self._chain.inputs)
        at[taken] = [_nearest(entry) for entry in x]
        return at, []


def _reduced(rows: list[np.ndarray], width: int) -> np.ndarray:
    """The rows as one matrix, each without the factor that all its entries share."""
    return np.array([row // math.gcd(*row) for row in rows], dtype=object).reshape(-1, width)


def _nearest(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, number)
