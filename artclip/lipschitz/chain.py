"""Dense layers and activations in a row: W_L φ(... φ(W_1 x + b_1) ...) + b_L, cut out of a graph of layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from artclip.graph import Activation, Linear, Node

_WIDEST = 4096  # units that an activation in a chain may have


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
        first, last = self.names[0], self.names[-1]
        return first if first == last else f"{first} to {last}"

    @property
    def _open(self) -> bool:
        """Whether a matrix has been taken since the last activation."""
        return len(self.weights) > len(self.activations)

    def take(self, node: Node) -> bool:
        """Add the node, if it can be part of a chain."""
        taken = self._activate(node.operation) if isinstance(node.operation, Activation) else self._multiply(node)
        if taken:
            self.names.append(node.name)
        return taken

    def _activate(self, activation: Activation) -> bool:
        if not self._open or len(self.weights[-1]) > _WIDEST or activation.high <= activation.low:
            return False
        self.activations.append(activation)
        return True

    def _multiply(self, node: Node) -> bool:
        if not hasattr(node.operation, "after"):
            return False
        operation = cast(Linear, node.operation)
        size = len(self.weights[-1]) if self.weights else self.inputs
        matrix = operation.after(self.weights[-1] if self._open else None, size)
        if matrix is None:
            return False
        shift = np.zeros(node.size) + operation.shift
        if self._open:
            shift = shift + cast(np.ndarray, operation.after(self.shifts[-1][:, None], size))[:, 0]
            self.weights.pop(), self.shifts.pop()
        self.weights.append(np.asarray(matrix, dtype=np.float64))
        self.shifts.append(shift)
        return True

    def closed(self) -> Chain:
        """The chain, ended by the identity if its last node is an activation."""
        if not self._open:
            n = len(self.weights[-1])
            self.weights.append(np.eye(n))
            self.shifts.append(np.zeros(n))
        return self


def split(nodes: Iterable[Node], inputs: int) -> list[Chain | Node]:
    """A row of nodes, each the only parent of the next, as chains and what lies between them."""
    parts: list[Chain | Node] = []
    chain = Chain(inputs)
    for node in nodes:
        if not chain.take(node):
            if chain.names:
                parts.append(chain.closed())
            chain = Chain(inputs)
            if not chain.take(node):
                parts.append(node)
                chain = Chain(node.size)
        inputs = node.size
    return [*parts, chain.closed()] if chain.names else parts
