"""The exact Lipschitz constant of a small network of ReLUs: the steepest of its linear pieces.

An activation pattern says for each unit whether it is on. Where a pattern holds the network is linear, so the constant
is the largest norm of the Jacobians of those patterns that some open set of inputs has. Patterns are taken in order of
their norms; whether inputs have one is a linear program, and the first that some have ends the search.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass

import numpy as np

from artclip.lipschitz.chain import Chain
from artclip.graph.convolution import largest_singular_values

MOST_UNITS = 16
_TOLERANCE = 1e-8  # radius of a ball that a piece must hold, in input units
_ROWS = 1 << 12  # patterns whose norms are taken together


class Undecided(Exception):
    """The constant cannot be had by enumeration; the message says why."""


@dataclass(frozen=True)
class Steepest:
    """What :func:`exact_constant` found.

    Attributes:
        value: the constant.
        x: an input in the piece that is as steep, shape (inputs,).
        patterns: how many were looked at.
    """

    value: float
    x: np.ndarray
    patterns: int


def exact_constant(chain: Chain, p: float, q: float, max_seconds: float = math.inf) -> Steepest:
    """The Lipschitz constant of a chain from the p-norm to the q-norm over all inputs.

    Args:
        chain: layers with kinked activations, :data:`MOST_UNITS` units at most.
        p, q: norms with an operator norm that is easily had: p = 1, q = inf, or both 2.
        max_seconds: give up after this time, > 0.

    Raises:
        Undecided: too large or of another kind, out of time, or a piece is so thin that rounding decides whether there
            are inputs in it.
    """
    deadline = time.perf_counter() + max_seconds
    sizes = [len(w) for w in chain.weights[:-1]]
    if not all(a.kinked for a in chain.activations):
        raise Undecided("an activation is not a ReLU or leaky ReLU")
    if sum(sizes) > MOST_UNITS:
        raise Undecided(f"{sum(sizes)} units, more than {MOST_UNITS}")
    if not (p == 1 or q == math.inf or p == q == 2):
        raise Undecided(f"the norm of a matrix from L{p} to L{q} is hard to have")
    first = _first_layer(chain, sizes[0], deadline) if sizes else np.zeros((1, 0), bool)
    rest = np.array(list(itertools.product((False, True), repeat=sum(sizes[1:]))), bool)
    patterns = np.concatenate([np.repeat(first, len(rest), 0), np.tile(rest, (len(first), 1))], axis=1)
    norms = np.concatenate([_norms(chain, patterns[i : i + _ROWS], p, q) for i in range(0, len(patterns), _ROWS)])
    thin = 0.0
    for i in np.argsort(-norms):
        _in_time(deadline)
        radius, x = _ball(chain, np.split(patterns[i], np.cumsum(sizes)[:-1]) if sizes else [])
        if radius > _TOLERANCE:
            if thin > norms[i] * (1 + 1e-9):
                raise Undecided("the steepest piece is too thin to tell whether there are inputs in it")
            return Steepest(float(norms[i]), x, len(patterns))
        if radius > -_TOLERANCE:
            thin = max(thin, float(norms[i]))
    raise Undecided("no piece was found")


def _in_time(deadline: float) -> None:
    if time.perf_counter() > deadline:
        raise Undecided("enumeration took too long")


def _first_layer(chain: Chain, units: int, deadline: float) -> np.ndarray:
    """Patterns of the first layer that inputs have: few, where there are few inputs."""
    patterns = np.zeros((1, 0), bool)
    free = np.linalg.matrix_rank(chain.weights[0]) == units  # then inputs have them all
    for _ in range(units):
        patterns = np.concatenate([np.insert(patterns, patterns.shape[1], on, axis=1) for on in (False, True)])
        if not free:
            _in_time(deadline)
            patterns = patterns[[_ball(chain, [pattern])[0] > -_TOLERANCE for pattern in patterns]]
    return patterns


def _slopes(chain: Chain, layer: int, on: np.ndarray) -> np.ndarray:
    return np.where(on, chain.activations[layer].high, chain.activations[layer].low)


def _norms(chain: Chain, patterns: np.ndarray, p: float, q: float) -> np.ndarray:
    """Operator norms of the Jacobians of patterns (n, units)."""
    jacobians, start = chain.weights[0][None], 0
    for layer, weight in enumerate(chain.weights[1:]):
        width = weight.shape[1]
        slopes = _slopes(chain, layer, patterns[:, start : start + width])
        jacobians, start = weight @ (slopes[:, :, None] * jacobians), start + width
    if p == q == 2:
        norms = largest_singular_values(jacobians)
    elif p == 1:
        norms = np.linalg.norm(jacobians, ord=q, axis=1).max(1)
    else:
        norms = np.linalg.norm(jacobians, ord=1 / (1 - 1 / p) if p < math.inf else 1, axis=2).max(1)
    return np.broadcast_to(norms, len(patterns))


def _ball(chain: Chain, pattern: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """Radius, at most 1, and centre of the largest ball of inputs that has the pattern; a radius < 0 if none has.

    The pattern is that of the first layers, the last of which may be cut short.
    """
    from scipy.optimize import linprog

    basis = np.linalg.svd(chain.weights[0], full_matrices=False)[2].T  # other directions change nothing
    matrix, shift = chain.weights[0] @ basis, chain.shifts[0]
    rows, limits = [np.zeros((1, basis.shape[1] + 1))], [np.zeros(1)]
    for layer, on in enumerate(pattern):
        if layer:
            slopes = _slopes(chain, layer - 1, pattern[layer - 1])
            matrix = chain.weights[layer] @ (slopes[:, None] * matrix)
            shift = chain.weights[layer] @ (slopes * shift) + chain.shifts[layer]
        matrix, shift, signs = matrix[: len(on)], shift[: len(on)], np.where(on, 1.0, -1.0)
        lengths = np.linalg.norm(matrix, axis=1)
        constant = lengths <= 1e-12 * max(1.0, float(np.abs(chain.weights[0]).max()))
        if np.any(signs[constant] * shift[constant] < 0):
            return -math.inf, np.zeros(len(basis))
        scaled = (-signs / np.where(constant, 1.0, lengths))[~constant]
        rows.append(np.column_stack([scaled[:, None] * matrix[~constant], np.ones(len(scaled))]))
        limits.append(-scaled * shift[~constant])
    bounds = [(None, None)] * basis.shape[1] + [(None, 1.0)]
    objective = np.append(np.zeros(basis.shape[1]), -1.0)
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    solved = linprog(objective, np.concatenate(rows), np.concatenate(limits), bounds=bounds, options=options)
    if not solved.success:
        return -math.inf, np.zeros(len(basis))
    return float(-solved.fun), basis @ solved.x[:-1]
