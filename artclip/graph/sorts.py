"""MaxMin as others write it, the larger and the smaller of two channels side by side, as the sort that it is.

By layers it would be two maxima that are concatenated, of constant √2 in L2; a sort has constant 1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from artclip.graph.layer_graph import LayerGraph
from artclip.graph.linear import Concat, Gather, Scale
from artclip.graph.nodes import Node
from artclip.graph.nonlinear import Maximum, Sort

_MOST = 1 << 24  # numbers of an index


def with_sorts(graph: LayerGraph) -> LayerGraph:
    """The graph with a sort where the larger and the smaller of each two entries stand side by side, whatever signs
    they are written with."""
    nodes: list[Node] = []
    place = {-1: -1}  # of a node among the new ones
    for i, given in enumerate(graph.nodes):
        node = replace(given, parents=tuple(place[p] for p in given.parents))
        twice = _is_negative(node) and node.parents[0] >= 0 and _is_negative(nodes[node.parents[0]])
        if twice and i < len(graph.nodes) - 1:
            (place[i],) = nodes[node.parents[0]].parents
            continue
        node, negative = _without_negatives(node, nodes)
        sort = _sort(node, nodes, graph.inputs)
        if sort is None:
            nodes.append(_gathered_once(_of_what_was_gathered(node, nodes), nodes, graph.inputs))
        else:
            first, order = sort
            nodes += [first, replace(node, operation=order, parents=(len(nodes),))]
        if negative:
            nodes.append(Node(f"{node.name} (negative)", Scale(np.array([-1.0])), (len(nodes) - 1,), node.size))
        place[i] = len(nodes) - 1
    return replace(graph, nodes=nodes).pruned()


def _is_negative(node: Node) -> bool:
    operation = node.operation
    return isinstance(operation, Scale) and bool((operation.factors == -1).all()) and not np.any(operation.shift)


def _without_negatives(node: Node, nodes: list[Node]) -> tuple[Node, bool]:
    """A node of negatives as the negative of one: -max(-a, -b) is min(a, b), and negatives side by side wait for it."""
    before = [nodes[parent] for parent in node.parents if parent >= 0]
    if len(before) < len(node.parents) or not all(map(_is_negative, before)):
        return node, False
    parents = tuple(parent.parents[0] for parent in before)
    if isinstance(node.operation, Maximum):
        return replace(node, operation=replace(node.operation, sign=-node.operation.sign), parents=parents), True
    return (replace(node, parents=parents), True) if isinstance(node.operation, Concat) else (node, False)


def _gathered_once(node: Node, nodes: list[Node], inputs: int) -> Node:
    """A concatenation of entries of one and the same node, as entries of it."""
    if not isinstance(node.operation, Concat) or node.size > _MOST:
        return node
    sources, parts = set(), []
    for parent in node.parents:
        operation = nodes[parent].operation if parent >= 0 else None
        if isinstance(operation, Gather) and operation.index is not None and np.ndim(operation.shift) == 0:
            if operation.shift != 0:
                return node
            sources.add(nodes[parent].parents[0])
            parts.append(operation.index)
        else:
            sources.add(parent)
            parts.append(np.arange(inputs if parent < 0 else nodes[parent].size))
    if len(sources) > 1:
        return node
    return replace(node, operation=Gather(np.concatenate(parts)), parents=(sources.pop(),))


def _of_what_was_gathered(node: Node, nodes: list[Node]) -> Node:
    """A maximum over entries that were gathered, as one over those entries where they come from."""
    if not isinstance(node.operation, Maximum) or node.operation.copies != 1 or node.parents[0] < 0:
        return node
    before = nodes[node.parents[0]].operation
    if not isinstance(before, Gather) or before.index is None or np.any(before.shift != 0) or (before.index < 0).any():
        return node
    windows = node.operation.windows
    windows = np.where(windows >= 0, before.index[windows], -1)
    return replace(node, operation=replace(node.operation, windows=windows), parents=nodes[node.parents[0]].parents)


def _sort(node: Node, nodes: list[Node], inputs: int) -> tuple[Node, Gather] | None:
    """The sort, and which of its entries, that a concatenation of a maximum and a minimum is; ``None`` for others."""
    if not isinstance(node.operation, Concat) or len(node.parents) != 2 or min(node.parents) < 0:
        return None
    both = [nodes[parent] for parent in node.parents]
    one, other = (of.operation for of in both)
    if not isinstance(one, Maximum) or not isinstance(other, Maximum) or one.sign == other.sign:
        return None
    if both[0].parents != both[1].parents or max(one.copies, other.copies) > 1 or one.windows.shape[1] != 2:
        return None
    index = np.sort(one.windows, 1)
    distinct = len(np.unique(index)) == index.size
    if not distinct or index.min() < 0 or not np.array_equal(index, np.sort(other.windows, 1)):
        return None
    parent = both[0].parents
    size = inputs if parent[0] < 0 else nodes[parent[0]].size
    first, second = (index[:, 1], index[:, 0]) if one.sign > 0 else (index[:, 0], index[:, 1])
    return Node(f"{node.name} (sort)", Sort(index), parent, size), Gather(np.concatenate([first, second]))
