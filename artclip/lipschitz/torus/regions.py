"""Parts of a graph that do the same at every place of images: convolutions, activations, sums, pools in windows."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from artclip.graph import Activation, Add, Concat, Convolution, Gather, LayerGraph, Node
from artclip.graph.composition import Composition
from artclip.graph.filters import Filter, Images, filter_of, pointwise
from artclip.graph.matrix_norms import exponent_of

Key = Hashable
"""Of what a piece makes: the index of a node, -1 for the inputs, or (index, part) inside a composition."""


@dataclass(frozen=True)
class Piece:
    """A sum of filters, or an activation.

    Attributes:
        key: of what it makes.
        parents: keys of what it takes.
        filters: one for each parent; none for an activation.
        slopes: least and largest one of an activation.
        images: what it makes.
    """

    key: Key
    parents: tuple[Key, ...]
    filters: tuple[Filter, ...]
    slopes: tuple[float, float]
    images: Images


@dataclass(frozen=True)
class Region:
    """Pieces in order, from what one node makes to what another makes.

    Attributes:
        start, end: these nodes; start may be -1.
        given: images of the start.
        pieces: each after its parents, that of the end last.
    """

    start: int
    end: int
    given: Images
    pieces: list[Piece]

    def until(self, end: int) -> Region:
        """As far as another of its nodes."""
        last = next(n for n, piece in enumerate(self.pieces) if piece.key == end)
        return replace(self, end=end, pieces=self.pieces[: last + 1])

    @property
    def nb_convolutions(self) -> int:
        """Filters that are no matrix for each pixel."""
        return sum(not f.is_pointwise for piece in self.pieces for f in piece.filters)


def cuts(graph: LayerGraph) -> list[int]:
    """Nodes that all ways from the inputs to the outputs go through, in order, the inputs (-1) first."""
    found, first = [], len(graph.nodes)
    for i in reversed(range(-1, len(graph.nodes))):
        if first >= i:  # of the parents of all later nodes
            found.append(i)
        first = min(first, *graph.nodes[i].parents) if i >= 0 else first
    return found[::-1]


def region(graph: LayerGraph, start: int, ends: list[int]) -> Region | None:
    """The longest region behind a node, or ``None``.

    Args:
        graph: from :func:`artclip.lipschitz.local.kinks.in_lines`, as far as that goes.
        start: a cut of the graph, or -1.
        ends: nodes that may be the end.
    """
    given = _images_of(graph, start)
    if given is None or given.size != graph.size_of(start):
        return None
    grown = _Grown(start, given)
    for i in range(start + 1, len(graph.nodes)):
        if not grown.add(i, graph.nodes[i], graph):
            break
    found = [i for i in ends if i in grown.made and i > start]
    return Region(start, start, given, grown.pieces).until(found[-1]) if found else None


def _images_of(graph: LayerGraph, start: int) -> Images | None:
    """What the first convolution behind a node takes."""
    for node in graph.nodes[start + 1 :]:
        if start in node.parents:
            for part in _parts(node.operation):
                if isinstance(part, Convolution):
                    found = filter_of(part, None)
                    return None if found is None else found.given
                if not isinstance(part, Gather):
                    break
    return None


def _parts(operation: Any) -> tuple[Any, ...]:
    return operation.parts if isinstance(operation, Composition) else (operation,)


class _Grown:
    """The pieces that are understood.

    Each image lies at the corner of a torus. What a filter with windows takes has to be 0 around it, as inputs are and
    what comes out of an activation, whose slopes there count as 0; windows that stay inside may take anything.
    """

    def __init__(self, start: int, given: Images) -> None:
        self.pieces: list[Piece] = []
        self.made: dict[Key, Images] = {start: given}
        self._start = start
        self._clean: dict[Key, bool] = {start: True}
        self._spacing: dict[Key, tuple[int, ...]] = {start: (1,) * len(given.sides)}

    def add(self, i: int, node: Node, graph: LayerGraph) -> bool:
        """Whether the node is understood."""
        if any(p not in self.made for p in node.parents):
            return False
        operation: Any = node.operation
        if isinstance(operation, Activation):
            slopes = min(operation.low, 0.0), max(operation.high, 0.0)
            return self._put(Piece(i, node.parents, (), slopes, self.made[node.parents[0]]))
        if isinstance(operation, (Add, Concat)):
            return self._join(i, node)
        parts = _parts(operation)
        if node.parents[0] == self._start and _is_order(parts[0], graph, self._start):
            parts = parts[1:]  # the norm of inputs in another order is the same
        key: Key = node.parents[0]
        for n, part in enumerate(parts):
            found = filter_of(part, self.made[key])
            if found is None or not (found.is_inside or self._clean[key]) or exponent_of(found.kernel):
                return False
            made = i if n == len(parts) - 1 else (i, n)
            if not self._put(Piece(made, (key,), (found,), (1.0, 1.0), found.made)):
                return False
            key = made
        return bool(parts)

    def _join(self, i: int, node: Node) -> bool:
        """A sum, or channels side by side."""
        given = [self.made[p] for p in node.parents]
        if isinstance(node.operation, Add):
            matrices = [w * np.eye(g.channels) for w, g in zip(node.operation.weights, given, strict=True)]
        else:
            whole = np.eye(sum(g.channels for g in given))
            matrices = np.split(whole, np.cumsum([g.channels for g in given])[:-1], axis=1)
        filters = tuple(pointwise(m, g) for m, g in zip(matrices, given, strict=True))
        if any(f.made != filters[0].made or exponent_of(f.kernel) for f in filters):
            return False
        return self._put(Piece(i, node.parents, filters, (1.0, 1.0), filters[0].made))

    def _put(self, piece: Piece) -> bool:
        """Whether all of its parents' pixels are as far apart."""
        spacings = {self._spacing[p] for p in piece.parents}
        if len(spacings) > 1 or (piece.filters and math.prod(piece.images.sides) == 1):
            return False  # one pixel for a whole image is dense
        (spacing,) = spacings
        if piece.filters:
            spacing = tuple(a * b for a, b in zip(spacing, piece.filters[0].stride, strict=True))
        # Behind an image that is cropped lies what was cut off.
        still = all(self._clean[p] for p in piece.parents) and all(f.is_pointwise and f.is_whole for f in piece.filters)
        self.pieces.append(piece)
        self.made[piece.key], self._spacing[piece.key] = piece.images, spacing
        self._clean[piece.key] = still or not piece.filters
        return True


def _is_order(part: Any, graph: LayerGraph, start: int) -> bool:
    """Whether an operation on what a node makes, which nobody else asks for, is another order of it."""
    if not isinstance(part, Gather) or part.index is None or len(part.index) != graph.size_of(start):
        return False
    asked = sum(node.parents.count(start) for node in graph.nodes)
    return asked == 1 and bool((np.sort(part.index) == np.arange(len(part.index))).all())
