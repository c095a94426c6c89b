"""Factors of layers as they multiply to a bound: where branches join, with what each of them makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from artclip.graph import Add, Concat, Node
from artclip.lipschitz.product import Blocks, joined


@dataclass(frozen=True)
class Listing:
    """Parts of a network and their factors, as :class:`~artclip.lipschitz.estimate.LipschitzEstimate` has them."""

    layers: list[tuple[str, float]]
    branches: dict[int, list[float]] = field(default_factory=dict)
    inside: list[int] = field(default_factory=list)


def listing(nodes: list[Node], factors: list[float], names: dict[int, str], p: float, blocks: Blocks) -> Listing:
    """The parts of a graph whose nodes have these factors.

    Args:
        nodes, factors: of the graph, from the p-norm to the p-norm, p in 1, 2 and inf.
        names: of the parts, by the index of the node that has the factor; all other nodes have the factor 1.
        blocks: as :meth:`~artclip.lipschitz.product.Norms.blocks` has them.
    """
    before = _before(nodes)
    found, last, main = Listing([]), len(nodes) - 1, set[int]()
    while last >= 0:
        main.add(last)
        last = before[last]
    for i in sorted(names):
        node, factor = nodes[i], factors[i]
        if isinstance(node.operation, (Add, Concat)):
            parts = _branches(nodes, factors, i, before[i], p, blocks)
            weights = getattr(node.operation, "weights", [1.0] * len(parts))
            found.branches[len(found.layers)] = [abs(w) * float(b) for w, b in zip(weights, parts, strict=True)]
            factor *= float(joined(node, parts, p))
            if i in blocks:
                factor = min(factor, blocks[i][1])
        if i not in main:
            found.inside.append(len(found.layers))
        found.layers.append((names[i], factor))
    return found


def _before(nodes: list[Node]) -> list[int]:
    """Of each node the last one that all ways from the input to it go through, -1 for the input itself."""
    found: list[int] = []
    for node in nodes:
        place, *others = node.parents
        for other in others:
            while place != other:
                place, other = (found[place], other) if place > other else (place, found[other])
        found.append(place)
    return found


def _branches(nodes: list[Node], factors: list[float], i: int, first: int, p: float, blocks: Blocks) -> list[Decimal]:
    """The bound at each parent of a node, where that at ``first``, which all of them come from, is 1."""
    at = {first: Decimal(1)}
    for j in range(first + 1, i):
        if all(parent in at for parent in nodes[j].parents):
            at[j] = Decimal(factors[j]) * joined(nodes[j], [at[parent] for parent in nodes[j].parents], p)
            if j in blocks and blocks[j][0] in at:
                at[j] = min(at[j], Decimal(blocks[j][1]) * at[blocks[j][0]])
    return [at[parent] for parent in nodes[i].parents]
