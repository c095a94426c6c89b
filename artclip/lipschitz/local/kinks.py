"""Maxima and sorted pairs as sums of ReLUs: what a graph needs to be bounded by straight lines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from artclip.graph import ACTIVATIONS, Activation, Add, Concat, Gather, LayerGraph, Maximum, Node, Scale, Sort
from artclip.lipschitz.chain import is_linear


class NotPiecewise(ValueError):
    """A layer that no straight lines are known for."""


def in_lines(graph: LayerGraph) -> LayerGraph:
    """The same function in linear operations, activations, sums and concatenations alone.

    max(a, b) = b + ReLU(a - b), and sorted pairs are a maximum and a minimum.

    Raises:
        NotPiecewise: a layer of another kind, by its name.
    """
    return places_in_lines(graph)[0]


def places_in_lines(graph: LayerGraph, as_far_as_known: bool = False) -> tuple[LayerGraph, dict[int, int]]:
    """:func:`in_lines`, and where what each node makes is there; up to the first layer of another kind, if so asked."""
    made = _Made(graph.inputs)
    place = {-1: -1}
    for i, node in enumerate(graph.nodes):
        try:
            place[i] = _in_lines(made, node, tuple(place[p] for p in node.parents))
        except NotPiecewise:
            if not as_far_as_known:
                raise
            break
    return replace(graph, nodes=made.nodes), place


def _in_lines(made: _Made, node: Node, parents: tuple[int, ...]) -> int:
    operation: Any = node.operation
    if isinstance(operation, Sort):
        return made.sorted(node, parents[0])
    if isinstance(operation, Maximum):
        return made.maxima(node, parents[0])
    if is_linear(node) or isinstance(operation, (Activation, Add, Concat)):
        return made.add(node.name, operation, parents, node.size)
    raise NotPiecewise(f"layer {node.name} is a {type(operation).__name__}, for which no straight lines are known")


class _Made:
    """The nodes of the new graph."""

    def __init__(self, inputs: int) -> None:
        self.nodes: list[Node] = []
        self._inputs = inputs

    def add(self, name: str, operation: Any, parents: tuple[int, ...], size: int) -> int:
        self.nodes.append(Node(name, operation, parents, size))
        return len(self.nodes) - 1

    def _size(self, at: int) -> int:
        return self._inputs if at < 0 else self.nodes[at].size

    def _excess(self, name: str, first: int, second: int) -> int:
        """ReLU(first - second)."""
        size = self._size(first)
        difference = self.add(name, Add((1.0, -1.0)), (first, second), size)
        return self.add(name, ACTIVATIONS["relu"], (difference,), size)

    def sorted(self, node: Node, parent: int) -> int:
        """Pairs in order: what the first has more than the second moves from the one to the other."""
        operation: Any = node.operation
        groups, entries = operation.index.shape
        if entries > 2:
            raise NotPiecewise(f"layer {node.name} sorts groups of {entries}, and straight lines are known for pairs")
        if entries == 1:
            return parent
        first, second = operation.index.T
        if operation.descending:
            first, second = second, first
        one, other = (self.add(node.name, Gather(at), (parent,), groups) for at in (first, second))
        excess = self._excess(node.name, one, other)
        back, signs = np.full(node.size, -1), np.zeros(node.size)
        back[first], back[second] = np.arange(groups), np.arange(groups)
        signs[first], signs[second] = -1.0, 1.0
        moved = self.add(node.name, Gather(back), (excess,), node.size)
        moved = self.add(node.name, Scale(signs), (moved,), node.size)
        return self.add(node.name, Add(), (parent, moved), node.size)

    def maxima(self, node: Node, parent: int) -> int:
        """The largest of each group: of two halves, and so on."""
        operation: Any = node.operation
        windows = operation.windows
        size = self._size(parent) // operation.copies
        starts = (np.arange(operation.copies) * size)[:, None, None]
        windows = np.where(windows >= 0, windows + starts, -1).reshape(-1, windows.shape[1])
        some = np.take_along_axis(windows, (windows >= 0).argmax(1)[:, None], axis=1)
        if (some < 0).any():
            raise NotPiecewise(f"layer {node.name} takes the largest of nothing in some places")
        windows = np.where(windows >= 0, windows, some)  # once more what is there already
        if operation.sign < 0:
            parent = self.add(node.name, Scale(np.array([-1.0])), (parent,), self._size(parent))
        parts = [self.add(node.name, Gather(column), (parent,), len(windows)) for column in windows.T]
        while len(parts) > 1:
            pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
            parts = [pair[0] if len(pair) == 1 else self._larger(node.name, *pair) for pair in pairs]
        if operation.sign < 0:
            return self.add(node.name, Scale(np.array([-1.0])), (parts[0],), len(windows))
        return parts[0]

    def _larger(self, name: str, first: int, second: int) -> int:
        return self.add(name, Add(), (second, self._excess(name, first, second)), self._size(first))
