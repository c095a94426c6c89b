"""Dense layers and activations in a row: W_L φ(... φ(W_1 x + b_1) ...) + b_L, cut out of a graph of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from artclip.graph import Activation, LayerGraph, Node
from artclip.graph.composition import Composition

_WIDEST = 4096  # units that an activation in a chain may have
_MOST = 1 << 24  # entries of a matrix
_INEXACT = 1e-9  # of a matrix that is a product: what rounding may change, as a share of its longest row
_NAMED = 3  # layers that a note names


@dataclass
class Chain:
    """Dense layers in a row.

    Attributes:
        inputs: their number.
        names: of the nodes taken.
        weights, shifts: L matrices (outputs, inputs) and vectors (outputs,) in float64.
        activations: the L - 1 between them.
    """

    inputs: int
    names: list[str] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    shifts: list[np.ndarray] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)

    @property
    def name(self) -> str:
        """From the first node to the last."""
        return name_of(self.names[0], self.names[-1])


def name_of(first: str, last: str) -> str:
    """Of what reaches from one node to another."""
    first, last = first.split(" to ")[0], last.split(" to ")[-1]
    return first if first == last else f"{first} to {last}"


def is_linear(node: Node) -> bool:
    """Whether the node is a matrix and a shift."""
    return hasattr(node.operation, "after")


def stretches(graph: LayerGraph, fits: Callable[[list[int]], bool], notes: list[str]) -> list[list[int]]:
    """Indices of nodes in a row that begin and end with a dense layer and have dense layers and activations in turn.

    Args:
        graph: simplified, so that neighbours are not both linear, nor both activations.
        fits: whether layers of some sizes, the inputs' first, may be bounded together.
        notes: takes what ends a stretch for its size.
    """
    chains: list[list[int]] = []
    cut: list[str] = []
    for row in _rows(graph.nodes):
        while row:
            taken = _taken(graph, row, fits, cut)
            row = row[max(1, len(taken)) :]
            if taken and not is_linear(graph.nodes[taken[-1]]):
                taken.pop()  # it multiplies the constant of what is before, and no bound could make less of it
            if len(taken) > 1:
                chains.append(taken)
    if cut:
        names = ", ".join(cut[:_NAMED]) + (f" and {len(cut) - _NAMED} more" if len(cut) > _NAMED else "")
        notes.append(f"dense layers end at {names}: too large to be bounded together")
    return chains


def _taken(graph: LayerGraph, row: list[int], fits: Callable[[list[int]], bool], cut: list[str]) -> list[int]:
    """The first nodes of a row, as many as are dense layers and activations in turn."""
    taken: list[int] = []
    sizes: list[int] = []
    for i, after in zip(row, [*row[1:], -1], strict=True):
        node, parent = graph.nodes[i], graph.nodes[i].parents[0]
        inputs = graph.size_of(parent)
        behind_linear = bool(taken) and is_linear(graph.nodes[taken[-1]])
        if isinstance(node.operation, Activation):
            good = behind_linear and node.operation.high > node.operation.low
            small = node.size <= _WIDEST
            wanted = after >= 0 and is_linear(graph.nodes[after])
        else:
            good = is_linear(node) and not behind_linear and _is_small(node, inputs)
            small, wanted = not taken or fits([*sizes, node.size]), True
            sizes = [*(sizes or [inputs]), node.size]
        if good and wanted and not small:
            cut.append(node.name)
        if not (good and small):
            break
        taken.append(i)
    return taken


def _rows(nodes: list[Node]) -> list[list[int]]:
    """Indices of nodes, each of a row the only parent of the next and the next its only child."""
    children = [0] * len(nodes)
    for parent in (p for node in nodes for p in node.parents if p >= 0):
        children[parent] += 1
    rows: list[list[int]] = []
    for i, node in enumerate(nodes):
        if rows and node.parents == (i - 1,) and children[i - 1] == 1:
            rows[-1].append(i)
        else:
            rows.append([i])
    return rows


def _is_small(node: Node, inputs: int) -> bool:
    """Whether it may be written out, and is what its parts are but for rounding that does not count."""
    most = max(node.size, *node.operation.sizes[1:]) if isinstance(node.operation, Composition) else node.size
    return inputs * most <= _MOST


def matrices(nodes: list[Node], inputs: int) -> tuple[list[np.ndarray], list[tuple[float, float]]] | None:
    """Weights and slopes of the nodes of a stretch, or ``None`` where a matrix cannot be written out exactly enough."""
    weights, slopes = [], []
    for node in nodes:
        operation: Any = node.operation
        if isinstance(operation, Activation):
            slopes.append((operation.low, operation.high))
        else:
            matrix = _matrix(operation, inputs)
            if matrix is None:
                return None
            weights.append(matrix)
        inputs = node.size
    return weights, slopes


def _matrix(operation: Any, inputs: int) -> np.ndarray | None:
    """Of a linear operation, or ``None`` where it is too large, or not exact enough."""
    matrix = operation.after(None, inputs)
    if matrix is None:
        return None
    matrix = np.asarray(matrix, dtype=np.float64)
    if isinstance(operation, Composition):
        longest = float(np.linalg.norm(matrix, axis=1).max(initial=0.0))
        if not operation.is_moderate or operation.rounding(2) > _INEXACT * longest:
            return None
    return matrix


def whole(graph: LayerGraph, most: int) -> Chain | None:
    """The whole graph as a chain, if it is one, with so many units at most."""
    chain, inputs, wide = Chain(graph.inputs), graph.inputs, True
    if sum(node.size for node in graph.nodes if isinstance(node.operation, Activation)) > most:
        return None
    for i, node in enumerate(graph.nodes):
        operation: Any = node.operation
        if node.parents != (i - 1,):
            return None
        chain.names.append(node.name)
        if isinstance(operation, Activation):
            if wide:  # no matrix since the last activation
                chain.weights.append(np.eye(inputs))
                chain.shifts.append(np.zeros(inputs))
            chain.activations.append(operation)
        elif is_linear(node) and wide and (matrix := _matrix(operation, inputs)) is not None:
            chain.weights.append(matrix)
            chain.shifts.append(np.broadcast_to(np.asarray(operation.shift, dtype=np.float64), (node.size,)))
        else:
            return None
        wide, inputs = isinstance(operation, Activation), node.size
    if wide:
        chain.weights.append(np.eye(inputs))
        chain.shifts.append(np.zeros(inputs))
    return chain
