"""The search for the L of a bound of J·Jᵀ: L-BFGS on parameters of which every value is feasible.

Of each activation L = exp(d)·top / share, where top is the largest eigenvalue of S·M·S, S = diag(exp(-d/2)), M what the
activation takes, and share = σ(t) < 1. So L - M is positive definite for every d and t (as in
:mod:`artclip.lipschitz.lipsdp`), and each point that is looked at is a bound.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from artclip.graph.matrix_norms import EPS
from artclip.lipschitz.budget import Budget

Parameters = dict[Hashable, np.ndarray]
"""d, and t behind it, of each activation by its node: (units + 1,), or (channels + 1,) where all places are alike."""
Aim = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""What is to be small: M -> a number > 0, and rows Z with ZᵀZ its derivative."""


@dataclass(frozen=True)
class Point:
    """What is known where parameters are.

    Attributes:
        value: the aim.
        derivatives: in the parameters.
        wanted: of some activations d of the L for which the derivative in L would vanish if nothing else changed.
        bound: M.
    """

    value: float
    derivatives: Parameters
    wanted: Parameters
    bound: np.ndarray


Evaluate = Callable[[Parameters], Point | None]
"""Parameters, where those that are missing are put -> what is known there; ``None`` where numbers are too far apart in
size, which may be raised as :class:`NotModerate` too."""

MOST_SHARE = 1 - 1e-5  # so that what is factored stays well conditioned
_SMALLEST = 1e-120  # trace of a Gram matrix whose entries are not lost
_FIXED_POINTS = 3  # steps to where derivatives would vanish, before those of L-BFGS: units differ much in balls
_SHARE, _MORE, _FEWER = 0.6, 1.3, 0.4  # of such a step, and what it is multiplied by where it was good, or not
_STEP = 0.3  # of a parameter, about, in the first step of L-BFGS
_CLOSE = 1e-5  # of the aim, by which it has to fall for another step
_MEMORY = 20  # steps that L-BFGS remembers
_MOST = 20.0  # by which the excess of L may be multiplied in one step
_NO_BOUND = 1e3  # in place of the logarithm of an aim that is none


class NotModerate(ValueError):
    """Weights, or products of them, are too small or too large for squares in float64."""


class _Done(Exception):
    """Enough was tried."""


def check_moderate(trace: float) -> None:
    """Raise :class:`NotModerate` where entries of a Gram matrix of this trace may be lost."""
    if not _SMALLEST < trace < 1 / _SMALLEST:
        raise NotModerate("weights, or products of them, are too small or too large for squares in float64")


def guess(diagonal: np.ndarray) -> np.ndarray:
    """Parameters to begin with: L in proportion to the diagonal of M, and twice as large as it has to be."""
    least = EPS * float(diagonal.max(initial=0.0)) + 1e-300
    return np.append(np.log(np.maximum(diagonal, least)), 0.0)


def share_of(t: float) -> float:
    """What L is larger by than M at least, as one over it."""
    return MOST_SHARE / (1 + math.exp(-min(max(t, -50.0), 50.0)))


def wanted(own: np.ndarray, multipliers: np.ndarray, behind: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Logarithms of the L, for which the derivative in L would vanish if nothing else changed.

    Args:
        own: the diagonal of M.
        multipliers: L, larger than it.
        behind, before: r²·P² and v², whose difference is the derivative.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        way = np.nan_to_num(np.sqrt(np.maximum(before, 0) / np.maximum(behind, 0)), nan=1.0, posinf=_MOST)
    return np.log(own + (multipliers - own) * np.clip(way, 1 / _MOST, _MOST))


def descend(
    evaluate: Evaluate,
    max_iter: int,
    budget: Budget | None = None,
    enough: float = 0.0,
    start: Parameters | None = None,
    worth: Callable[[np.ndarray], bool] = lambda first: True,
) -> tuple[np.ndarray, Parameters]:
    """The M for which the aim is the least of those that were tried, and its parameters.

    Args:
        evaluate: the aim.
        max_iter: points that are tried at most, >= 1.
        budget: ends them.
        enough: value of the aim that ends them.
        start: where to begin; ``None`` for a guess.
        worth: whether to go on behind the first M.

    Raises:
        NotModerate: numbers so small or large that some are lost.
    """
    found = _Tried(evaluate, max_iter, budget, enough, dict(start or {}))
    if found.size and worth(found.best.bound):
        with suppress(_Done):
            if start is None:
                found.by_fixed_points()
            found.by_gradients()
    return found.best.bound, found.at


class _Tried:
    """Points that are tried, and the best of them."""

    def __init__(
        self, evaluate: Evaluate, max_iter: int, budget: Budget | None, enough: float, first: Parameters
    ) -> None:
        self._evaluate, self._left, self._budget, self._enough = evaluate, max_iter - 1, budget, enough
        began = time.perf_counter()
        point = evaluate(first)
        if point is None:
            raise NotModerate("a matrix that should be positive definite is not: its numbers are too far apart in size")
        self.best, self.at, self._seconds = point, first, time.perf_counter() - began
        self.size = sum(len(part) for part in first.values())

    def _try(self, parameters: Parameters) -> Point | None:
        """A point, which is kept if it is the best."""
        late = self._budget is not None and self._budget.left() < self._seconds
        if late or self._left <= 0 or self.best.value <= self._enough:
            raise _Done
        self._left -= 1
        try:
            point = self._evaluate(parameters)
        except NotModerate:
            return None
        if point is not None and point.value < self.best.value:
            self.best, self.at = point, parameters
        return point

    def by_fixed_points(self) -> None:
        """Steps to where the derivatives in each L would vanish."""
        share = _SHARE
        for _ in range(_FIXED_POINTS):
            before = self.best
            moved = dict(self.at)
            for key, d in before.wanted.items():
                step = d - moved[key][:-1]
                step -= np.median(step) if len(step) else 0.0  # a sum in d changes nothing
                moved[key] = np.append(moved[key][:-1] + share * step, moved[key][-1])
            self._try(moved)
            share = min(1.0, share * _MORE) if self.best is not before else share * _FEWER

    def by_gradients(self) -> None:
        """L-BFGS."""
        keys, known = list(self.at), self.best
        origin, scale = np.concatenate(list(self.at.values())), _STEP * math.sqrt(self.size)
        cuts = np.cumsum([len(part) for part in self.at.values()])[:-1]

        def logarithm(y: np.ndarray) -> tuple[float, np.ndarray]:
            parts = dict(zip(keys, np.split(origin + scale * y, cuts), strict=True))
            point = self._try(parts) if y.any() else known
            if point is None or not math.isfinite(point.value):
                return _NO_BOUND, np.zeros(self.size)
            slopes = np.concatenate([point.derivatives[key] for key in keys])
            return math.log(max(point.value, 1e-300)), scale / max(point.value, 1e-300) * slopes

        options = {
            "maxiter": self._left + 1,
            "maxfun": 2 * self._left + 2,
            "maxcor": _MEMORY,
            "ftol": _CLOSE,
            "gtol": 1e-9,
        }
        minimize(logarithm, np.zeros(self.size), jac=True, method="L-BFGS-B", options=options)
