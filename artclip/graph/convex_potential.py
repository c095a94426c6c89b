"""Residual blocks x + B·σ(A·x + b) that stay next to a gradient step of a convex potential, and so near 1-Lipschitz.

With slopes of σ in [0, h] and a diagonal matrix Λ >= 0, x - Aᵀ·Λ·σ(A·x + b) is x less the gradient of a convex
function, whose slope is at most h·‖√Λ·A‖². Where that is at most 2, the block is 1-Lipschitz (Meunier, Delattre,
Araujo, Allauzen 2022, arXiv 2110.12690; with Λ: Araujo, Havens, Delattre, Allauzen, Hu 2023, arXiv 2303.03169). Any
other B is that of such a block and a rest R = B + Aᵀ·Λ, so that 1 + h·‖R‖·‖A‖ bounds the block: far below
1 + h·‖B‖·‖A‖ where R is small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from artclip.graph.activations import Activation
from artclip.graph.linear import Add, Convolution, Dense
from artclip.graph.matrix_norms import EPS, last
from artclip.graph.nodes import Node


@dataclass(frozen=True)
class Block:
    """A sum of a node's outputs and of what two layers around an activation make of them.

    Attributes:
        parent: the node before it, or -1.
        inner, outer: A and B, as operations.
        skip, branch: what the sum multiplies x, and B·σ(A·x + b), by.
        slope: h, the largest of σ.
    """

    parent: int
    inner: Dense | Convolution
    outer: Dense | Convolution
    skip: float
    branch: float
    slope: float

    @property
    def is_tied(self) -> bool:
        """Whether B is -c·Aᵀ for a number c in (0, 2]: 1-Lipschitz wherever ‖A‖ <= 1 and slopes are at most 1."""
        if self.skip != 1 or self.slope > 1:
            return False
        rows, columns = _rows(self.inner, False), _rows(self.outer, True) * self.branch
        c = -float((rows * columns).sum()) / max(float((rows * rows).sum()), 1e-300)
        return 0 < c <= 2 * (1 + 1e-6) and np.allclose(columns, -c * rows, rtol=1e-4, atol=1e-6)

    def factor(self) -> float:
        """An upper bound of its Lipschitz constant in L2; infinite where Λ is not found."""
        if self.skip == 0:
            return math.inf
        rows, columns = _rows(self.inner, False), _rows(self.outer, True) * (self.branch / self.skip)
        squares = (rows * rows).sum(1)
        diagonal = np.maximum(0.0, -(rows * columns).sum(1) / np.where(squares > 0, squares, 1.0))
        scaled = last(_with(self.inner, np.sqrt(diagonal)[:, None] * rows).bounds(2))
        with np.errstate(over="ignore", invalid="ignore"):
            diagonal = diagonal * min(1.0, 2.0 / max(self.slope * scaled**2, 1e-300) * (1 - 8 * EPS))
            rest = columns + diagonal[:, None] * rows
            found = 1.0 + self.slope * last(_with(self.inner, rest).bounds(2)) * last(self.inner.bounds(2))
        return abs(self.skip) * found * (1 + 8 * EPS) if math.isfinite(found) else math.inf


def blocks(nodes: list[Node]) -> dict[int, Block]:
    """The blocks of a graph in which linear layers in a row are one, by the index of their sum."""
    found: dict[int, Block] = {}
    for i, node in enumerate(nodes):
        if not isinstance(node.operation, Add) or len(node.parents) != 2:
            continue
        for skip, branch in ((0, 1), (1, 0)):
            inner, activation, outer = _branch(nodes, node.parents[branch], node.parents[skip])
            if activation is not None and _are_adjoint(inner, outer):
                weights = node.operation.weights
                both = weights[skip], weights[branch]
                found[i] = Block(node.parents[skip], inner, outer, *both, activation.high)
    return found


def _branch(nodes: list[Node], end: int, start: int) -> tuple[Any, Activation | None, Any]:
    """A linear layer, an activation and a linear layer that lead from one node to another."""
    row: list[Any] = []
    at = end
    while at > start and len(row) < 3 and len(nodes[at].parents) == 1:
        row.append(nodes[at].operation)
        at = nodes[at].parents[0]
    if at != start or len(row) != 3:
        return None, None, None
    outer, activation, inner = row
    if not isinstance(activation, Activation) or activation.low < 0 or not 0 < activation.high < math.inf:
        return None, None, None
    return inner, activation, outer


def _are_adjoint(inner: Any, outer: Any) -> bool:
    """Whether B has the geometry of Aᵀ."""
    if isinstance(inner, Dense) and isinstance(outer, Dense):
        return inner.copies == outer.copies and inner.weight.shape == outer.weight.shape[::-1]
    if not (isinstance(inner, Convolution) and isinstance(outer, Convolution)):
        return False
    geometry = ("shape", "stride", "padding", "dilation", "groups")
    same = all(getattr(inner, name) == getattr(outer, name) for name in geometry)
    return same and outer.transposed and not inner.transposed and inner.kernel.shape == outer.kernel.shape


def _rows(operation: Dense | Convolution, is_outer: bool) -> np.ndarray:
    """A row for each unit between the layers: of A its weights, of B its column."""
    if isinstance(operation, Dense):
        weight = np.asarray(operation.weight, dtype=np.float64)
        return weight.T if is_outer else weight
    return np.asarray(operation.kernel, dtype=np.float64).reshape(len(operation.kernel), -1)


def _with(operation: Dense | Convolution, rows: np.ndarray) -> Any:
    """The operation with other weights."""
    if isinstance(operation, Dense):
        return replace(operation, weight=rows, live=None)
    return replace(operation, kernel=rows.reshape(operation.kernel.shape), live=None)
