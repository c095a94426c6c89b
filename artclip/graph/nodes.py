"""Nodes of a graph of layers, and what a layer has to say of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Live = Callable[[], Any]
"""Gives the framework's own tensor of a weight that is being trained, in the shape that the array has here."""


class Operation(Protocol):
    """What a node of the graph does to the outputs of its parents."""

    def factor(self, p: float) -> float:
        """Upper bound of its Lipschitz constant from the p-norm to the p-norm, for p = 1, 2 and inf."""

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        """Outputs (n, outputs) in float64 for the outputs (n, inputs) of each parent."""


class Linear(Operation, Protocol):
    """An operation that is a matrix and a shift."""

    @property
    def shift(self) -> np.ndarray | float:
        """What is added: one number for each output, or one for all."""

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        """Its matrix times ``matrix`` (``None``: the identity of ``size``), or ``None`` where that is too large."""


@dataclass(frozen=True)
class Node:
    """One operation of the graph.

    Attributes:
        name: of the layer, as the framework has it.
        operation: what it does.
        parents: indices of the nodes whose outputs it takes; -1 is the input of the network.
        size: number of its outputs.
    """

    name: str
    operation: Operation
    parents: tuple[int, ...]
    size: int
