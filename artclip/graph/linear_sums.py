"""Sums of linear functions of one and the same tensor, as the one matrix that they are: x − mean(x), x + W·x.

By layers such a sum would have the sum of its terms' norms: 2 for x − mean(x), which is a projection of norm 1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from artclip.graph.layer_graph import LayerGraph
from artclip.graph.linear import Add, Dense
from artclip.graph.nodes import Node

_MOST = 1 << 20  # entries of a matrix, whose norm takes a second or two


def with_linear_sums(graph: LayerGraph) -> LayerGraph:
    """The graph with a matrix where all terms of a sum are linear in one tensor, and it is small."""
    nodes = list(graph.nodes)
    for i, node in enumerate(nodes):
        if isinstance(node.operation, Add):
            nodes[i] = _one_matrix(node, nodes, graph) or node
    return graph if nodes == graph.nodes else replace(graph, nodes=nodes).pruned()


def _one_matrix(node: Node, nodes: list[Node], graph: LayerGraph) -> Node | None:
    """The node as a matrix and a shift, or ``None``."""
    source = _source(node.parents, nodes)
    if source is None:
        return None
    columns = graph.size_of(source)
    if columns * node.size > _MOST:
        return None
    whole, shift = np.zeros((node.size, columns)), np.zeros(node.size)
    for weight, parent in zip(node.operation.weights, node.parents, strict=True):  # type: ignore[attr-defined]
        if parent == source:
            whole += weight * np.eye(columns)
            continue
        matrix = nodes[parent].operation.after(None, columns)  # type: ignore[attr-defined]
        if matrix is None:
            return None
        whole += weight * matrix
        shift += weight * nodes[parent].operation.apply(np.zeros((1, columns)))[0]
    return Node(node.name, Dense(whole, 1, shift), (source,), node.size)


def _source(parents: tuple[int, ...], nodes: list[Node]) -> int | None:
    """The node that all terms are linear functions of, itself among them or not; ``None`` where there is none."""
    behind = {p: nodes[p].parents[0] for p in parents if p >= 0 and hasattr(nodes[p].operation, "after")}
    for source in {*behind.values(), *parents}:
        if all(p == source or behind.get(p) == source for p in parents) and any(p != source for p in parents):
            return source
    return None
