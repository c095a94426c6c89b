"""The product of layers' norms, a sum where branches join: each norm as good as time allows, and computed once."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from decimal import Decimal, localcontext

from artclip.graph import Add, Concat, Node
from artclip.graph.convex_potential import blocks
from artclip.graph.matrix_norms import Bounds
from artclip.lipschitz.budget import Budget

_DIGITS = 40  # of numbers whose exponents have no end: products of many norms neither vanish nor overflow
_NAMED = 3  # layers that a note names
_FINER = 8.0  # times its cost, that a step counts which follows the second bound of a layer
_FREE = 1e6  # floating-point operations that are as good as none
# Floating-point operations that second bounds may take though the time is over: about two seconds of a core, for those
# of a ResNet-18. Of its convolutions the first ones are each ten times too large, so that their product says nothing.
_LEAST = 4e10


Blocks = dict[int, tuple[int, float]]
"""Of the sum that ends a residual block the node before the block, -1 for the input, and the bound of the block."""


class Norms:
    """Lipschitz constants of nodes, as upper bounds.

    Args:
        nodes: of a graph.
        budget: the time for all; once it is over, what is left has cheap bounds: the second ones of the layers, as far
            as these are quick.
        done: called with 1 for each norm that is finished.
    """

    def __init__(self, nodes: list[Node], budget: Budget, done: Callable[[float], object] = lambda nb: None) -> None:
        self._nodes, self._budget, self._done = nodes, budget, done
        self._found: dict[float, list[float]] = {}
        self._blocks: Blocks | None = None
        self._rough: dict[str, None] = {}  # names, in order

    def of(self, p: float) -> list[float]:
        """One for each node, from the p-norm to the p-norm.

        Raises:
            ValueError: a layer whose weights are not finite.
        """
        if p not in self._found:
            self._found[p] = self._compute(p)
        return self._found[p]

    def blocks(self, p: float) -> Blocks:
        """Residual blocks that have a bound of their own in L2, below the sum of their branches'."""
        if p != 2:
            return {}
        if self._blocks is None:
            self._blocks = {i: (block.parent, block.factor()) for i, block in blocks(self._nodes).items()}
            self._blocks = {i: found for i, found in self._blocks.items() if math.isfinite(found[1])}
        return self._blocks

    def notes(self) -> list[str]:
        """What could not be computed in time."""
        names = list(self._rough)
        if not names:
            return []
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return [f"cheap norms of {', '.join(names[:_NAMED])}{more}: no time"]

    def _compute(self, p: float) -> list[float]:
        finer = [_bounds(node, p) for node in self._nodes]
        at = [next(bounds) for bounds in finer]
        for node, (bound, _) in zip(self._nodes, at, strict=True):
            if not math.isfinite(bound):
                raise ValueError(
                    f"layer {node.name} has no finite norm: its weights are NaN, infinite, or too large for float64"
                )
        left, spent = {i for i, (_, cost) in enumerate(at) if cost > 0}, 0.0
        self._done(len(at) - len(left))
        waiting, price = set(left), [1.0] * len(at)
        while waiting:
            # The cheapest first: they are the most. The second bound of a layer is far better, those after it less so.
            i = min(waiting, key=lambda i: (at[i][1] * price[i], i))
            taken = at[i][1]
            quick = taken < _FREE or (price[i] == 1 and spent + taken <= _LEAST)
            if not (quick or self._budget.affords(taken)):
                waiting.remove(i)
                continue
            bound, cost = next(finer[i])
            spent += taken
            at[i], price[i] = (min(at[i][0], bound), cost), price[i] if taken < _FREE else _FINER
            if cost <= 0:
                left.remove(i)
                waiting.remove(i)
                self._done(1)
        self._done(len(left))
        self._rough.update(dict.fromkeys(self._nodes[i].name for i in sorted(left)))
        return [bound for bound, _ in at]


def _bounds(node: Node, p: float) -> Bounds:
    operation = node.operation
    return operation.bounds(p) if hasattr(operation, "bounds") else iter([(float(operation.factor(p)), 0.0)])


def bounds_at(nodes: list[Node], factors: list[float], p: float, blocks: Blocks) -> list[float]:
    """The bound at each node: those of its parents joined, times its factor; the smallest float where that is less.

    Args:
        nodes, factors: of a graph, from the p-norm to the p-norm.
        blocks: as :meth:`Norms.blocks` has them.
    """
    at: list[Decimal] = []
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = _DIGITS, -999999, 999999
        for i, (node, factor) in enumerate(zip(nodes, factors, strict=True)):
            before = [Decimal(1) if parent < 0 else at[parent] for parent in node.parents]
            at.append(Decimal(factor) * joined(node, before, p))
            if i in blocks:
                parent, of_block = blocks[i]
                at[i] = min(at[i], Decimal(of_block) * (at[parent] if parent >= 0 else Decimal(1)))
        return [_float(bound) for bound in at]


def joined(node: Node, before: list[Decimal], p: float) -> Decimal:
    """The bound of what a node takes in, from those of its parents."""
    if isinstance(node.operation, Add):
        return sum((abs(Decimal(w)) * b for w, b in zip(node.operation.weights, before, strict=True)), Decimal(0))
    if not isinstance(node.operation, Concat):
        return before[0]
    if p == math.inf:
        return max(before)
    return sum(before, Decimal(0)) if p == 1 else sum((b * b for b in before), Decimal(0)).sqrt()


def _float(bound: Decimal) -> float:
    return float(bound) if bound == 0 else max(float(bound), sys.float_info.min)
