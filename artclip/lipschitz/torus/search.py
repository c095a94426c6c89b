"""The regions of a graph that are bounded on a torus, and their bounds."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from artclip.graph import IDENTITY, Add, LayerGraph, Node
from artclip.graph.adjoint import adjoint
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.chain import is_linear, name_of
from artclip.lipschitz.descent import NotModerate, Parameters, Point, descend
from artclip.lipschitz.local.kinks import NotPiecewise, in_lines, places_in_lines
from artclip.lipschitz.product import Blocks
from artclip.lipschitz.slope_constants import POWERS, WIDEST, SlopeConstants, all_slopes
from artclip.lipschitz.torus.bounds import TorusBounds, largest, top
from artclip.lipschitz.torus.head import Head
from artclip.lipschitz.torus.regions import cuts, region
from artclip.lipschitz.torus.steps import Steps

_NUMBERS = 5e7  # complex ones that are held at a time: 0.8 GB
_MATRIX = 1 << 24  # entries of a matrix behind a region; its transform has a few times as many
_WORK, _FEWEST = 1e11, 8  # floating-point operations that are spent for each aim, and points tried at least
_MOST = 2e10  # floating-point operations of one point
_FEW = 6.0  # points that there has to be time for
_FAR = 2.0  # times what is known already, from which further iterations do not lead below it


@dataclass(frozen=True)
class RegionBound:
    """An upper bound in L2 from what one node makes to what another makes.

    Attributes:
        start, end: the nodes; start may be -1.
        value: the bound.
        name: from the first node to the last.
        gram: that of the end's J·Jᵀ, where it is small.
    """

    start: int
    end: int
    value: float
    name: str
    gram: np.ndarray | None = None


class Regions:
    """Regions of a graph, one after the other.

    Args:
        graph: simplified.
        budget: the time for all.
        max_iter: points that are tried for each of two aims, >= 1; fewer where each takes long.
    """

    def __init__(self, graph: LayerGraph, budget: Budget, max_iter: int) -> None:
        self._graph, self._budget, self._max_iter = graph, budget, max_iter
        self._lines, self._place = places_in_lines(graph, as_far_as_known=True)
        self._cuts = [cut for cut in cuts(graph) if cut in self._place]

    def bounds(self, known: list[float]) -> list[RegionBound]:
        """Of each region that has one below what is known.

        Args:
            known: bounds from the inputs to what each node makes.
        """
        found: list[RegionBound] = []
        start = -1
        while start < self._cuts[-1]:
            one = self._behind(start, known)
            if one is not None:
                found.append(one)
            start = one.end if one is not None else next(cut for cut in self._cuts if cut > start)
        return found

    def _behind(self, start: int, known: list[float]) -> RegionBound | None:
        """Of the longest region behind a node that there is time for, with the dense layers behind it."""
        ends = {self._place[cut]: cut for cut in self._cuts if cut > start}
        longest = region(self._lines, self._place[start], list(ends))
        if longest is None:
            return None
        for place in reversed([place for place in ends if place <= longest.end]):
            taken, end = longest.until(place), ends[place]
            steps = Steps(taken)
            if steps.numbers <= _NUMBERS and steps.cost <= _MOST and self._budget.affords(_FEW * steps.cost):
                break
        else:
            return None
        if not taken.nb_convolutions:
            return None
        behind = self._behind_it(end)
        if behind is None and taken.nb_convolutions < 2:
            return None
        bounds, last = TorusBounds(steps.build()), end
        max_iter = min(self._max_iter, max(_FEWEST, int(_WORK / steps.cost)))
        if behind is None:
            value, gram = self._alone(bounds, max_iter, _FAR * _between(known, start, end)), None
        else:
            matrix, tail, last = behind
            constants = SlopeConstants(tail, Head(bounds, taken.pieces[-1].images, matrix))
            value, gram = constants.all(all_slopes(tail), max_iter, self._budget, _FAR * _between(known, start, last))
        if not value < _between(known, start, last):
            return None
        name = name_of(self._graph.nodes[start + 1].name, self._graph.nodes[last].name)
        return RegionBound(start, last, value, name, gram)

    def _behind_it(self, end: int) -> tuple[np.ndarray, LayerGraph, int] | None:
        """The matrix that follows a region, the layers behind that, and the last node: as far as they are narrow."""
        nodes = self._graph.nodes
        if end + 1 >= len(nodes) or end + 1 not in self._cuts:
            return None
        node, size = nodes[end + 1], self._graph.size_of(end)
        if not is_linear(node) or node.size > WIDEST or node.size * size > _MATRIX:
            return None
        matrix = adjoint(node.operation, np.eye(node.size), size)
        rest = [replace(n, parents=tuple(p - end - 2 for p in n.parents)) for n in nodes[end + 2 :]]
        with suppress(NotPiecewise):
            tail = in_lines(LayerGraph(rest, node.size)) if rest else None
            if tail is not None and tail.widest <= WIDEST:
                return matrix, tail, len(nodes) - 1
        return matrix, LayerGraph([Node(node.name, IDENTITY, (-1,), node.size)], node.size), end + 1

    def _alone(self, bounds: TorusBounds, max_iter: int, far: float) -> float:
        """Of what a region makes itself."""
        best, start = math.inf, Parameters()
        with suppress(NotModerate):
            for power in POWERS:
                evaluate = partial(_evaluated, bounds, power)
                found, start = descend(evaluate, max_iter, self._budget, 0.0, start, lambda m: top(m) <= far)
                best = min(best, top(found))
                if best > far:
                    break
        return best


def _evaluated(bounds: TorusBounds, power: float, parameters: Parameters) -> Point | None:
    """A norm of all eigenvalues, its derivatives and M, as :func:`~artclip.lipschitz.descent.descend` wants them."""
    found = bounds.forward(parameters)
    if found is None:
        return None
    value, z = largest(found[0], bounds.last.weights, power)
    return Point(value, bounds.derivatives(found[1], z, np.ones(z.shape[:2])), {}, found[0])


def _between(known: list[float], start: int, end: int) -> float:
    """What is known of the way from one cut to another; ``known`` is from the inputs."""
    before = known[start] if start >= 0 else 1.0
    return known[end] / before if before > 0 else 0.0


def contracted(
    nodes: list[Node], factors: list[float], regions: list[RegionBound], blocks: Blocks
) -> tuple[list[Node], list[float], dict[int, str], float, Blocks]:
    """A graph in which each region is one node, as :func:`~artclip.lipschitz.listing.listing` takes it."""
    place, kept = {-1: -1}, list[Node]()
    made, names = list[float](), dict[int, str]()
    waiting = list(regions)
    for i, node in enumerate(nodes):
        if waiting and waiting[0].start < i < waiting[0].end:
            continue
        if waiting and i == waiting[0].end:
            one = waiting.pop(0)
            names[len(kept)] = one.name
            made.append(one.value)
            kept.append(Node(one.name, IDENTITY, (place[one.start],), node.size))
        else:
            names[len(kept)] = node.name
            made.append(factors[i])
            kept.append(replace(node, parents=tuple(place[p] for p in node.parents)))
        place[i] = len(kept) - 1
    left = {
        place[i]: (place[parent], bound)
        for i, (parent, bound) in blocks.items()
        if i in place and parent in place and isinstance(kept[place[i]].operation, Add)
    }
    return kept, made, names, 2.0, left
