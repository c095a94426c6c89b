"""Steep choices of slopes in a graph of layers, from below."""

import numpy as np

from artclip import graph as G
from artclip.graph.adjoint import adjoints

_STARTS, _ROUNDS, _POWERS = 3, 8, 8


def forward(graph, slopes, v):
    """Tangents (1, size) of all nodes, by their index."""
    at = {-1: v}
    for i, node in enumerate(graph.nodes):
        before = [at[p] for p in node.parents]
        if isinstance(node.operation, G.Activation):
            at[i] = slopes[i] * before[0]
        elif isinstance(node.operation, (G.Add, G.Concat)):
            at[i] = node.operation.apply(*before)
        else:
            at[i] = node.operation.apply(before[0]) - node.operation.apply(0 * before[0])
    return at


def backward(graph, slopes, u):
    """Coefficients (1, size) of all nodes, for those u of the last."""
    at = {len(graph.nodes) - 1: u}
    for i in reversed(range(len(graph.nodes))):
        if i in at:
            node, sizes = graph.nodes[i], [graph.size_of(p) for p in graph.nodes[i].parents]
            bends = isinstance(node.operation, G.Activation)
            parts = [slopes[i] * at[i]] if bends else adjoints(node.operation, at[i], sizes)
            for p, part in zip(node.parents, parts, strict=True):
                at[p] = at.get(p, 0) + part
    return at


def steepest(graph, rng):
    """The largest norm of a Jacobian that is found: the power method, and slopes that make its result longer."""
    acts = [i for i, node in enumerate(graph.nodes) if isinstance(node.operation, G.Activation)]
    ends = {i: (graph.nodes[i].operation.low, graph.nodes[i].operation.high) for i in acts}
    best = 0.0
    for start in range(_STARTS):
        share = {i: rng.integers(0, 2, (1, graph.nodes[i].size)) if start else 1.0 for i in acts}
        slopes = {
            i: ends[i][0] + (ends[i][1] - ends[i][0]) * share[i] * np.ones((1, graph.nodes[i].size)) for i in acts
        }
        v = rng.standard_normal((1, graph.inputs))
        for _ in range(_ROUNDS):
            for _ in range(_POWERS):
                v = v / max(float(np.linalg.norm(v)), 1e-300)
                u = forward(graph, slopes, v)[len(graph.nodes) - 1]
                best = max(best, float(np.linalg.norm(u)))
                v = np.broadcast_to(backward(graph, slopes, u).get(-1, 0.0), v.shape)
            v = v / max(float(np.linalg.norm(v)), 1e-300)
            for i in acts:
                at = forward(graph, slopes, v)
                gain = backward(graph, slopes, at[len(graph.nodes) - 1])[i] * at[graph.nodes[i].parents[0]]
                slopes[i] = np.where(gain > 0, ends[i][1], np.where(gain < 0, ends[i][0], slopes[i]))
    return best
