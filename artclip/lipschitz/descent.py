"""The search for the L of a bound of J·Jᵀ: L-BFGS on a parametrisation of which every point is feasible.

Of each activation L = exp(d)·top / share, where top is the largest eigenvalue of S·M·S, S = diag(exp(-d/2)), M what the
activation takes, and share = σ(t) < 1. So L - M is positive definite for every d and t (as in
:mod:`artclip.lipschitz.lipsdp`), and each point that is looked at is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from scipy.optimize import minimize

from artclip.lipschitz.budget import Budget

Parameters = dict[Hashable, np.ndarray]
"""d, and t behind it, of each activation by its node: (units + 1,), or (channels + 1,) where all places are alike."""
Aim = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""What is to be small: M -> a number > 0, and rows Z with ZᵀZ its derivative."""
Evaluate = Callable[[Parameters], "tuple[float, Parameters, np.ndarray] | None"]
"""Parameters -> the aim, its derivatives in them, and M; parameters that are missing are put there. ``None`` where
numbers are too far apart in size."""

MOST_SHARE = 1 - 1e-5  # so that what is factored stays well conditioned
_STEP = 0.3  # of a parameter, about, in the first step
_CLOSE = 1e-5  # of the aim, by which it has to fall for another step
_MEMORY = 20  # steps that L-BFGS remembers
_NO_BOUND = 1e3  # in place of the logarithm of an aim that is none


class NotModerate(ValueError):
    """Weights, or products of them, are too small or too large for squares in float64."""


class _Done(Exception):
    """Enough was tried."""


def share_of(t: float) -> float:
    """What L is larger by than M at least, as one over it."""
    return MOST_SHARE / (1 + math.exp(-min(max(t, -50.0), 50.0)))


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
    first: Parameters = dict(start or {})
    found = evaluate(first)
    if found is None:
        raise NotModerate("a matrix that should be positive definite is not: its numbers are too far apart in size")
    best: Any = found[0], found[2], first
    cuts = np.cumsum([len(part) for part in first.values()])[:-1]
    size = sum(len(part) for part in first.values())
    if not size or max_iter < 2 or found[0] <= enough or not worth(found[2]):
        return best[1], best[2]
    origin, scale, tried = np.concatenate(list(first.values())), _STEP * math.sqrt(size), 1

    def logarithm(y: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, tried, found
        if y.any():  # the first point is known
            if tried >= max_iter or best[0] <= enough or (budget is not None and budget.left() < 0):
                raise _Done
            tried += 1
            parameters = dict(zip(first, np.split(origin + scale * y, cuts), strict=True))
            found = evaluate(parameters)
            if found is not None and found[0] < best[0]:
                best = found[0], found[2], parameters
        if found is None or not math.isfinite(found[0]):
            return _NO_BOUND, np.zeros(size)
        return math.log(max(found[0], 1e-300)), scale / found[0] * np.concatenate([found[1][key] for key in first])

    try:
        options = {"maxiter": max_iter, "maxfun": 2 * max_iter, "maxcor": _MEMORY, "ftol": _CLOSE, "gtol": 1e-9}
        minimize(logarithm, np.zeros(size), jac=True, method="L-BFGS-B", options=options)
    except _Done:
        pass
    return best[1], best[2]
