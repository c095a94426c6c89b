"""Intervals that hold each entry of a net's Jacobian (Fast-Lip: Weng et al. 2018, arXiv 1804.09699)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from artclip.graph import Activation, LayerGraph
from artclip.graph.adjoint import adjoints, in_size
from artclip.lipschitz.gram_bounds import Slopes
from artclip.norms import change, dual_norm

_ROUNDING = 1e-9  # relative, added to each norm

Entries = tuple[np.ndarray, np.ndarray]
"""Middle and half width of intervals."""


def entries(graph: LayerGraph, slopes: Slopes) -> Entries:
    """Intervals of the entries (k, inputs) of all Jacobians whose slopes lie in given intervals.

    Args:
        graph: from :func:`artclip.lipschitz.local.kinks.in_lines`.
        slopes: of each activation.
    """
    last = len(graph.nodes) - 1
    at: dict[int, Entries] = {last: (np.eye(graph.nodes[last].size), np.zeros((graph.nodes[last].size,) * 2))}
    for i in range(last, -1, -1):
        if i not in at:
            continue
        node, (c, r) = graph.nodes[i], at.pop(i)
        operation: Any = node.operation
        if isinstance(operation, Activation):
            low, high = slopes[i]
            middle, half = (low + high) / 2, (high - low) / 2
            parts = [(c * middle, np.abs(c) * half + r * (np.abs(middle) + half))]
        else:
            sizes = [graph.size_of(p) for p in node.parents]
            parts = list(zip(adjoints(operation, c, sizes), adjoints(in_size(operation), r, sizes), strict=True))
        for parent, (middle, half) in zip(node.parents, parts, strict=True):
            before = at.get(parent)
            at[parent] = (middle, half) if before is None else (before[0] + middle, before[1] + half)
    found = at.get(-1)
    return (np.zeros((graph.nodes[last].size, graph.inputs)),) * 2 if found is None else found


def norm_of(interval: Entries, p: float, q: float) -> float:
    """An upper bound of the norms from p to q, 1, 2 or inf, of all matrices with entries in intervals."""
    c, r = interval
    largest = np.abs(c) + r
    rows, columns = largest.shape
    found = [
        float(np.linalg.norm(largest, dual_norm(p), axis=1).max(initial=0.0)) * change(rows, math.inf, q),
        float(np.linalg.norm(largest, q, axis=0).max(initial=0.0)) * change(columns, p, 1),
    ]
    two = min(float(np.linalg.norm(c, 2)) + float(np.linalg.norm(r, 2)), float(np.linalg.norm(largest, 2)))
    found.append(change(columns, p, 2) * two * change(rows, 2, q))
    found += [change(columns, p, s) * float(np.linalg.norm(largest, s)) * change(rows, s, q) for s in (1, math.inf)]
    return min(found) * (1 + _ROUNDING)
