"""A smaller graph that computes the same, so that bounds by layers are tighter: never looser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from artclip.graph.activations import Activation
from artclip.graph.composition import compose, is_identity
from artclip.graph.layer_graph import LayerGraph
from artclip.graph.linear import IDENTITY
from artclip.graph.linear_sums import with_linear_sums
from artclip.graph.nodes import Node
from artclip.graph.sorts import with_sorts


def simplified(graph: LayerGraph) -> LayerGraph:
    """The graph with linear operations in a row as one, such as a convolution and the BatchNorm behind it, and so with
    activations in a row; with sorts where a larger and a smaller entry stand side by side; with a matrix where a sum is
    linear in one tensor; without identities, and without what the output does not depend on."""
    graph = _in_a_row(with_sorts(graph.pruned()))
    summed = with_linear_sums(graph)
    return graph if summed is graph else _in_a_row(summed)


def _in_a_row(graph: LayerGraph) -> LayerGraph:
    """The graph with operations in a row as one, and without identities."""
    uses = [0] * len(graph.nodes)
    for p in (p for node in graph.nodes for p in node.parents if p >= 0):
        uses[p] += 1
    nodes: list[Node] = []
    place = {-1: -1}  # of a node's outputs among the new nodes
    free: dict[int, bool] = {}  # whether a new node is asked for by one node alone
    for i, node in enumerate(graph.nodes):
        parents = tuple(place[p] for p in node.parents)
        if is_identity(node.operation):
            (place[i],) = parents
            if parents[0] >= 0:
                free[parents[0]] = free[parents[0]] and uses[i] <= 1
            continue
        parent = nodes[parents[0]] if len(parents) == 1 and parents[0] >= 0 and free[parents[0]] else None
        joined = None if parent is None else _joined(parent, node, nodes, graph.inputs)
        if parent is None or joined is None:
            nodes.append(replace(node, parents=parents))
            place[i] = len(nodes) - 1
        else:
            nodes[parents[0]] = Node(_name(parent, node), joined, parent.parents, node.size)
            place[i] = parents[0]
        free[place[i]] = uses[i] <= 1
    if place[len(graph.nodes) - 1] < 0:  # the whole is the identity
        return replace(graph, nodes=[Node(graph.nodes[-1].name, IDENTITY, (-1,), graph.inputs)])
    return replace(graph, nodes=nodes)


def _joined(first: Node, second: Node, nodes: list[Node], inputs: int) -> Any:
    """One operation in place of two, or ``None``."""
    one, other = first.operation, second.operation
    if isinstance(one, Activation) and isinstance(other, Activation):
        return one.followed_by(other)
    if hasattr(one, "after") and hasattr(other, "after"):
        before = first.parents[0]
        return compose(one, other, (inputs if before < 0 else nodes[before].size, first.size, second.size))
    return None


def _name(first: Node, second: Node) -> str:
    """From the first of the joined nodes to the last."""
    return f"{first.name.split(' to ')[0]} to {second.name.split(' to ')[-1]}"
