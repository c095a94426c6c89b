"""A whole network: its nodes in order, and walks through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from artclip.graph.linear import Add, Concat
from artclip.graph.nodes import Node

Rounding = Callable[..., np.ndarray]
"""Outputs of a node (of the input alone: no node), the node and its inputs -> these outputs, rounded."""


@dataclass(frozen=True)
class LayerGraph:
    """The nodes of a network, each after its parents, the output last.

    Attributes:
        nodes: all of them.
        inputs: number of inputs.
        precision: machine epsilon of the coarsest dtype that the model computes in; 0 where that is not known.
        rounding: how far outputs for a few valid inputs move where those of each layer are rounded in that precision;
            0 where nobody looked.
    """

    nodes: list[Node]
    inputs: int
    precision: float = 0.0
    rounding: float = 0.0

    def __iter__(self) -> Iterator[Any]:
        """Nodes and number of inputs, as in ``nodes, inputs = graph``."""
        return iter((self.nodes, self.inputs))

    def size_of(self, at: int) -> int:
        """Number of outputs of a node, or, at -1, of inputs."""
        return self.inputs if at < 0 else self.nodes[at].size

    @property
    def widest(self) -> int:
        """Numbers of the widest layer, or of inputs."""
        return max(self.inputs, *(node.size for node in self.nodes))

    def pruned(self) -> LayerGraph:
        """The graph without nodes that the output does not depend on."""
        needed = {len(self.nodes) - 1}
        for i in reversed(range(len(self.nodes))):
            if i in needed:
                needed.update(self.nodes[i].parents)
        place = {-1: -1} | {old: new for new, old in enumerate(sorted(needed - {-1}))}
        kept = [replace(self.nodes[i], parents=tuple(place[p] for p in self.nodes[i].parents)) for i in place if i >= 0]
        return replace(self, nodes=kept)

    def behind(self, first: Node) -> LayerGraph:
        """The graph with another node before it."""
        moved = [replace(n, parents=tuple(p + 1 for p in n.parents)) for n in self.nodes]
        return replace(self, nodes=[first, *moved])

    def evaluate(self, x: np.ndarray, rounded: Rounding = lambda t, *_: t) -> np.ndarray:
        """Outputs (n, k) for inputs (n, inputs), in float64.

        Args:
            x: the inputs; their shape but for the first axis does not count.
            rounded: applied to the input, and to the outputs of each node together with the node and its inputs.

        Raises:
            ValueError: a node gives another number of outputs than it says.
        """
        at = {-1: rounded(np.asarray(x, dtype=np.float64).reshape(len(x), -1))}
        last_use = {parent: i for i, node in enumerate(self.nodes) for parent in node.parents}
        for i, node in enumerate(self.nodes):
            inputs = [at[p] for p in node.parents]
            outputs = node.operation.apply(*inputs)
            if outputs.shape != (len(x), node.size):
                raise ValueError(f"layer {node.name} gives outputs of shape {outputs.shape}, not {(len(x), node.size)}")
            at[i] = rounded(outputs, node, inputs)
            for parent in set(node.parents):
                if last_use[parent] == i:  # nobody asks for it any more
                    del at[parent]
        return at[len(self.nodes) - 1]


def through(
    nodes: list[Node],
    factors: list[Any],
    first: Any,
    side_by_side: Callable[[list[Any]], Any],
    flat: Mapping[int, int] = MappingProxyType({}),
) -> list[Any]:
    """A bound at each node: those of its parents combined, times its factor; numbers, or tensors that are.

    Args:
        factors: one for each node.
        first: the bound at the input.
        side_by_side: that of several outputs, of :class:`Concat`.
        flat: sums that end a block which is 1-Lipschitz: their index, and that of the node before the block, or -1.
    """
    at: list[Any] = []
    for i, (node, factor) in enumerate(zip(nodes, factors, strict=True)):
        if i in flat:
            at.append(first if flat[i] < 0 else at[flat[i]])
            continue
        before = [first if parent < 0 else at[parent] for parent in node.parents]
        if isinstance(node.operation, Add):
            joined = sum(abs(w) * b for w, b in zip(node.operation.weights, before, strict=True))
        else:
            joined = side_by_side(before) if isinstance(node.operation, Concat) else before[0]
        at.append(joined if isinstance(factor, float) and factor == 1 else factor * joined)
    return at
