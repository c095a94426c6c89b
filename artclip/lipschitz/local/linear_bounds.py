"""Bounds of a net's outputs in a ball, by straight lines from the outputs back to the inputs.

Linear functions of the outputs are followed backwards through the layers, with an activation held between two lines
where its inputs can be (CROWN: Zhang, Weng, Chen, Hsieh, Daniel 2018, arXiv 1811.00866). What is left is a linear
function of the inputs, whose least value in the ball is known.
"""

from __future__ import annotations

import numpy as np

from artclip.graph import Activation, LayerGraph
from artclip.graph.adjoint import adjoints
from artclip.graph.composition import work
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.chain import is_linear
from artclip.lipschitz.local.ball import Balls
from artclip.lipschitz.local.relaxation import Relaxation, relaxation

_NUMBERS = 1 << 24  # that coefficients may hold at a time


class OutOfTime(Exception):
    """There is no time left for bounds."""


class LinearBounds:
    """Bounds of linear functions of a net's outputs, for all inputs of some balls.

    Args:
        graph: from :func:`artclip.lipschitz.local.kinks.in_lines`.
        balls: n of them.
        budget: the time for it; ``None`` for what it takes.

    Raises:
        OutOfTime: the budget is used up.
    """

    def __init__(self, graph: LayerGraph, balls: Balls, budget: Budget | None = None) -> None:
        self._budget = budget
        self._graph, self._nodes, self._balls = graph, graph.nodes, balls
        self._lines: dict[int, Relaxation] = {}
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for i, node in enumerate(self._nodes):
            if isinstance(node.operation, Activation):
                self._lines[i] = relaxation(node.operation, *self.range_of(node.parents[0]))

    def range_of(self, at: int) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest outputs (n, size) of a node, or of the inputs: bounds of them."""
        if at < 0:
            return self._balls.range()
        if at not in self._known:
            size, together = self._nodes[at].size, max(1, self._together(at) // 2)
            parts: list[tuple[np.ndarray, np.ndarray]] = []
            for first in range(0, size, together):
                nb = min(together, size - first)
                rows = np.eye(nb, size, first)
                both = self.least(np.concatenate([rows, -rows])[None], at)
                parts.append((both[:, :nb], -both[:, nb:]))
            low, high = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
            middle = (low + high) / 2  # where rounding has put them the wrong way round
            self._known[at] = np.minimum(low, middle), np.maximum(high, middle)
        return self._known[at]

    def _together(self, at: int) -> int:
        """How many functions of a node's outputs are followed at a time."""
        widest = max(self._graph.inputs, *(node.size for node in self._nodes[: at + 1]))
        return max(1, _NUMBERS // (len(self._balls) * widest))

    def least(self, functions: np.ndarray, at: int = -1) -> np.ndarray:
        """Lower bounds (n, m) of linear functions of the outputs of a node.

        Args:
            functions: coefficients (n, m, size), or (1, m, size) where they are the same for all balls.
            at: the node; -1 for the last.
        """
        at = at % len(self._nodes)
        m, rows, parts = functions.shape[1], self._together(at), []
        for i in range(0, m, rows):
            if self._budget is not None and self._budget.left() < 0:
                raise OutOfTime
            parts.append(self._followed(functions[:, i : i + rows], at))
        return np.concatenate(parts, axis=1)

    def _followed(self, functions: np.ndarray, at: int) -> np.ndarray:
        coefficients, constant = {at: functions}, np.zeros((1, 1))
        for i in range(at, -1, -1):
            a = coefficients.pop(i, None)
            if a is None:
                continue
            node = self._nodes[i]
            if isinstance(node.operation, Activation):
                lines = self._lines[i]
                up, down = np.maximum(a, 0), np.minimum(a, 0)
                constant = constant + (up @ lines.below_at_0[:, :, None] + down @ lines.above_at_0[:, :, None])[:, :, 0]
                parts = [up * lines.below[:, None] + down * lines.above[:, None]]
            else:
                if is_linear(node):
                    shift = np.broadcast_to(np.asarray(node.operation.shift, np.float64), (node.size,))  # type: ignore[attr-defined]
                    constant = constant + a @ shift
                sizes = [self._graph.size_of(p) for p in node.parents]
                parts = adjoints(node.operation, a.reshape(-1, node.size), sizes)
                parts = [part.reshape(*a.shape[:2], -1) for part in parts]
            for parent, part in zip(node.parents, parts, strict=True):
                coefficients[parent] = coefficients[parent] + part if parent in coefficients else part
        at_inputs = coefficients.pop(-1, None)
        if at_inputs is None:  # of no input
            return np.broadcast_to(constant, (len(self._balls), functions.shape[1])) + 0.0
        return self._balls.least(at_inputs) + constant


def cost(graph: LayerGraph) -> float:
    """About how many floating-point operations the bounds of one ball take."""
    found, before = 0.0, 0.0
    for node in graph.nodes:
        inputs = sum(graph.size_of(p) for p in node.parents)
        if isinstance(node.operation, Activation):
            found += 2.0 * node.size * before  # each unit, from below and from above, back to the inputs
        before += work(node.operation, inputs) if is_linear(node) else 8.0 * inputs
    return found
