"""A graph of layers as steps of a state: what has been computed so far and is still asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.graph import Activation, Add, Concat, LayerGraph
from artclip.graph.adjoint import adjoints
from artclip.graph.composition import Composition, work
from artclip.lipschitz.chain import is_linear

_NUMBERS = 1 << 22  # that a linear operation makes at a time


@dataclass(frozen=True)
class Push:
    """A linear step: blocks of the state that stay, and behind them what is made of some.

    Attributes:
        kept: the blocks that stay.
        parents: those that the new one is made of.
        operation: linear, a sum, or side by side; ``None`` for a copy.
        before, after: numbers in the state.
    """

    kept: list[slice]
    parents: list[slice]
    operation: Any
    before: int
    after: int

    @property
    def cost(self) -> float:
        """About how many floating-point operations it takes for one row."""
        return work(self.operation, self.before)

    def forward(self, rows: np.ndarray) -> np.ndarray:
        """Rows (q, before) times the transpose of the step, (q, after)."""
        parts = [rows[:, at] for at in self.parents]
        if self.operation is None:
            (made,) = parts
        elif isinstance(self.operation, Add):
            made = np.asarray(sum(w * part for w, part in zip(self.operation.weights, parts, strict=True)))
        elif isinstance(self.operation, Concat):
            made = np.concatenate(parts, axis=1)
        else:
            made = _after(self.operation, parts[0])
        return np.concatenate([*(rows[:, at] for at in self.kept), made], axis=1) if self.kept else made

    def backward(self, rows: np.ndarray) -> np.ndarray:
        """Rows (q, after) times the step, (q, before)."""
        found, first = np.zeros((len(rows), self.before)), 0
        for at in self.kept:
            last = first + at.stop - at.start
            found[:, at] += rows[:, first:last]
            first = last
        made = rows[:, first:]
        sizes = [at.stop - at.start for at in self.parents]
        parts = [made] if self.operation is None else adjoints(self.operation, made, sizes)
        for at, part in zip(self.parents, parts, strict=True):
            found[:, at] += part
        return found


@dataclass(frozen=True)
class Bend:
    """An activation, in place.

    Attributes:
        node: of the graph.
        at: the block of the state that it is applied to.
        size: numbers in the state.
    """

    node: int
    at: slice
    size: int


def steps(graph: LayerGraph) -> list[Push | Bend]:
    """The graph as steps from the inputs to its last node alone.

    Args:
        graph: from :func:`artclip.lipschitz.local.kinks.in_lines`: linear operations, activations, sums and
            concatenations.
    """
    found: list[Push | Bend] = []
    last_use = {parent: i for i, node in enumerate(graph.nodes) for parent in node.parents}
    state: dict[int, slice] = {-1: slice(0, graph.inputs)}  # blocks in order
    for i, node in enumerate(graph.nodes):
        staying = [at for at in state if last_use.get(at, -1) > i]
        bends = isinstance(node.operation, Activation)
        assert bends or is_linear(node) or isinstance(node.operation, (Add, Concat)), node.operation
        ends = bends and node.parents[0] not in staying and len(staying) == len(state) - 1
        if ends:  # nobody else asks for what is bent
            state = {i if at == node.parents[0] else at: where for at, where in state.items()}
        else:
            before = _size(state)
            kept, parents = [state[at] for at in staying], [state[p] for p in node.parents]
            state = _moved(state, staying, i, node.size)
            operation = None if bends else node.operation
            found.append(Push(kept, parents, operation, before, _size(state)))
        if bends:
            found.append(Bend(i, state[i], _size(state)))
    return found


def _after(operation: Any, rows: np.ndarray) -> np.ndarray:
    """Rows (q, size) times the transpose of a linear operation."""
    size = rows.shape[1]
    widest = max(operation.sizes) if isinstance(operation, Composition) else size
    together = max(1, _NUMBERS // widest)
    parts = [operation.after(rows[i : i + together].T, size).T for i in range(0, len(rows), together)]
    return np.concatenate(parts) if parts else np.zeros((0, operation.after(np.zeros((size, 1)), size).shape[0]))


def _size(state: dict[int, slice]) -> int:
    return max(at.stop for at in state.values())


def _moved(state: dict[int, slice], staying: list[int], new: int, size: int) -> dict[int, slice]:
    """The blocks that stay, close together, and a new one behind them."""
    found: dict[int, slice] = {}
    first = 0
    for at in [*staying, new]:
        length = size if at == new else state[at].stop - state[at].start
        found[at] = slice(first, first + length)
        first += length
    return found
