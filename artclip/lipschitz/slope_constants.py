"""Lipschitz constants of functions of a net's outputs, where the slopes of its units lie in intervals."""

from __future__ import annotations

import math

import numpy as np

from artclip.graph import Activation, LayerGraph
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.descent import Aim, NotModerate, descend
from artclip.lipschitz.gram_bounds import GramBounds, Slopes
from artclip.lipschitz.torus.head import Head

WIDEST = 4096  # numbers between layers, of which a Gram matrix is kept
_ITERATIONS = 10
POWERS = (3.0, 12.0)  # of norms that stand for the largest of several: smooth first, then close
ROUNDING = 1e-9  # relative, added to each constant


class SlopeConstants:
    """L2 Lipschitz constants by LipSDP, for any graph.

    Args:
        graph: from :func:`artclip.lipschitz.local.kinks.in_lines`.
        head: convolutions before it, whose outputs are its inputs.
    """

    def __init__(self, graph: LayerGraph, head: Head | None = None) -> None:
        self._gram = GramBounds(graph, head)

    @property
    def cost(self) -> float:
        """About how many floating-point operations the first bounds take, at most."""
        return self._gram.cost

    @property
    def is_possible(self) -> bool:
        """Whether layers are narrow enough."""
        return self._gram.widest <= WIDEST

    def of(
        self,
        slopes: Slopes,
        functions: np.ndarray,
        weights: np.ndarray,
        budget: Budget | None = None,
        enough: float = 0.0,
    ) -> np.ndarray:
        """Upper bounds (m,) of the constants of linear functions of the outputs; infinite where there are none.

        Args:
            slopes: of all activations.
            functions: coefficients (m, k).
            weights: >= 0, (m,): the largest weight times constant is made small.
            budget: the time for it; at least one bound is found.
            enough: the largest weight times constant that there is no use in making smaller.
        """
        weighted = functions * weights[:, None]

        def aim(gram: np.ndarray) -> tuple[float, np.ndarray]:
            squares = np.maximum(np.einsum("ij,ij->i", weighted @ gram, weighted), 0)
            value, shares = _largest(squares, POWERS[0])
            return value, weighted * np.sqrt(shares)[:, None]

        try:
            gram, _ = descend(self._gram.of(slopes, aim), _ITERATIONS, budget, enough**2)
        except NotModerate:
            return np.full(len(functions), math.inf)
        squares = np.einsum("ij,ij->i", functions @ gram, functions)
        lost = ROUNDING * float(gram.trace()) * np.einsum("ij,ij->i", functions, functions)
        return np.asarray(np.sqrt(np.maximum(squares + lost, 0.0)) * (1 + ROUNDING))

    def all(
        self, slopes: Slopes, max_iter: int = _ITERATIONS, budget: Budget | None = None, far: float = math.inf
    ) -> tuple[float, np.ndarray]:
        """An upper bound of the constant of all outputs together, and of J·Jᵀ (k, k); infinite where there is none.

        Args:
            slopes: of all activations.
            max_iter: iterations, >= 1, for each of two aims.
            budget: the time for it; at least one bound is found.
            far: a first bound from which further iterations are of no use.
        """
        best, start = (math.inf, np.zeros((0, 0))), None
        try:
            for power in POWERS:
                evaluate = self._gram.of(slopes, _norm(power))
                gram, start = descend(evaluate, max_iter, budget, 0.0, start, lambda first: _root(first) <= far)
                best = min(best, (_root(gram), gram), key=lambda found: found[0])
                if best[0] > far:
                    break
        except NotModerate:
            pass
        return best


def _root(gram: np.ndarray) -> float:
    """That of the largest eigenvalue, rounded up."""
    largest = float(np.linalg.eigvalsh(gram)[-1]) + ROUNDING * float(gram.trace())
    return math.sqrt(max(largest, 0.0)) * (1 + ROUNDING)


def _largest(values: np.ndarray, power: float) -> tuple[float, np.ndarray]:
    """A norm of values >= 0 that stands for the largest, and its derivatives."""
    top = float(values.max(initial=0.0))
    if not top > 0:
        return 0.0, np.ones(len(values))
    value = top * float(np.linalg.norm(values / top, power))
    return value, (values / value) ** (power - 1)


def _norm(power: float) -> Aim:
    """A norm of the eigenvalues that stands for the largest."""

    def aim(gram: np.ndarray) -> tuple[float, np.ndarray]:
        values, vectors = np.linalg.eigh(gram)
        value, shares = _largest(np.maximum(values, 0), power)
        return value, (vectors * np.sqrt(shares)).T

    return aim


def all_slopes(graph: LayerGraph) -> Slopes:
    """The slopes that the activations of a graph have anywhere."""
    return {
        i: (np.full(node.size, node.operation.low), np.full(node.size, node.operation.high))
        for i, node in enumerate(graph.nodes)
        if isinstance(node.operation, Activation)
    }
