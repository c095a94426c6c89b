"""Lipschitz constants of functions of a net's outputs, in balls around samples."""

from __future__ import annotations

import numpy as np

from artclip.graph import Activation, LayerGraph
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.gram_bounds import GramBounds, Slopes
from artclip.lipschitz.local.linear_bounds import LinearBounds
from artclip.lipschitz.local.slopes import slopes

WIDEST = 4096  # numbers between layers, of which a Gram matrix is kept
_ITERATIONS = 10
_POWER = 3  # of the norm that stands for the largest of several
_ROUNDING = 1e-9  # relative, added to each constant


class LocalConstants:
    """L2 Lipschitz constants by LipSDP with the slopes that units have in a ball.

    Args:
        graph: from :func:`artclip.lipschitz.local.kinks.in_lines`.
    """

    def __init__(self, graph: LayerGraph) -> None:
        self._graph, self._gram = graph, GramBounds(graph)
        self._bent = [i for i, node in enumerate(graph.nodes) if isinstance(node.operation, Activation)]

    @property
    def cost(self) -> float:
        """About how many floating-point operations the first bounds of one ball take, at most."""
        return self._gram.cost

    @property
    def is_possible(self) -> bool:
        """Whether layers are narrow enough."""
        return self._gram.widest <= WIDEST

    def slopes_of(self, bounds: LinearBounds, i: int) -> Slopes:
        """Slopes of all activations in a ball.

        Args:
            bounds: of some balls.
            i: which of them.
        """
        found = {}
        for at in self._bent:
            low, high = bounds.range_of(self._graph.nodes[at].parents[0])
            operation = self._graph.nodes[at].operation
            assert isinstance(operation, Activation)
            found[at] = slopes(operation, low[i], high[i])
        return found

    def of(
        self,
        slopes: Slopes,
        functions: np.ndarray,
        weights: np.ndarray,
        budget: Budget | None = None,
        enough: float = 0.0,
    ) -> np.ndarray:
        """Upper bounds (m,) of the constants of linear functions of the outputs.

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
            value = float(np.linalg.norm(squares, _POWER))
            shares = (squares / value) ** (_POWER - 1) if value > 0 else np.ones(len(squares))
            return value, weighted * np.sqrt(shares)[:, None]

        return _constants(self._gram.smallest(slopes, aim, _ITERATIONS, budget, enough**2), functions)

    def norm(self, slopes: Slopes, budget: Budget | None = None) -> float:
        """An upper bound of the constant of all outputs together."""

        def aim(gram: np.ndarray) -> tuple[float, np.ndarray]:
            values, vectors = np.linalg.eigh(gram)
            values = np.maximum(values, 0)
            value = float(np.linalg.norm(values, _POWER))
            shares = (values / value) ** (_POWER - 1) if value > 0 else np.ones(len(values))
            return value, (vectors * np.sqrt(shares)).T

        gram = self._gram.smallest(slopes, aim, _ITERATIONS, budget)
        largest = float(np.linalg.eigvalsh(gram)[-1]) + _ROUNDING * float(gram.trace())
        return float(np.sqrt(max(largest, 0.0)) * (1 + _ROUNDING))


def _constants(gram: np.ndarray, functions: np.ndarray) -> np.ndarray:
    squares = np.einsum("ij,ij->i", functions @ gram, functions)
    lost = _ROUNDING * float(gram.trace()) * np.einsum("ij,ij->i", functions, functions)
    return np.asarray(np.sqrt(np.maximum(squares + lost, 0.0)) * (1 + _ROUNDING))
