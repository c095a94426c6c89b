"""Which slopes an activation has on an interval."""

from __future__ import annotations

import numpy as np

from artclip.graph import Activation, LayerGraph
from artclip.lipschitz.gram_bounds import Slopes
from artclip.lipschitz.local.linear_bounds import LinearBounds

_PARTS = 32  # of an interval, over which differences of values are taken
_ROUNDING = 1e-14  # of a value, relative: that of special functions


def slopes(activation: Activation, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the least and largest slope of an activation where its inputs are in [low, high], of the same shape.

    Over a part of length h the mean slope is the difference of two values over h, and where the second derivative is c
    at most, no slope there is further from it than c·h/2. Of activations with jumps of slopes only those that are
    linear but for one kink, and clamps, are looked at; of others all slopes count.
    """
    if activation.kinked:
        return np.where(low >= 0, activation.high, activation.low), np.where(high <= 0, activation.low, activation.high)
    if activation.kind[:1] == ("clamp",):
        _, least, most = activation.kind
        inside, apart = (low >= least) & (high <= most), (high <= least) | (low >= most)
        return inside.astype(np.float64), 1.0 - apart
    everywhere = np.full(low.shape, activation.low), np.full(low.shape, activation.high)
    if not np.isfinite(activation.curvature):
        return everywhere
    h = (high - low) / _PARTS
    at = [low + i * h for i in range(_PARTS)] + [high]
    values = np.stack([activation.apply(z) for z in at])
    size = np.abs(values).max(0) + np.maximum(np.abs(low), np.abs(high)) * max(abs(activation.low), activation.high)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        means = np.diff(values, axis=0) / h
        off = activation.curvature * h / 2 * (1 + _ROUNDING) + 2 * _ROUNDING * size / h
        least, most = means.min(0) - off, means.max(0) + off
    known = np.isfinite(least) & np.isfinite(most)
    return (
        np.where(known, np.maximum(least, everywhere[0]), everywhere[0]),
        np.where(known, np.minimum(most, everywhere[1]), everywhere[1]),
    )


def slopes_in(graph: LayerGraph, bounds: LinearBounds, i: int) -> Slopes:
    """Slopes of all activations of a graph in a ball.

    Args:
        graph: that of the bounds.
        bounds: of some balls.
        i: which of them.
    """
    found = {}
    for at, node in enumerate(graph.nodes):
        if isinstance(node.operation, Activation):
            low, high = bounds.range_of(node.parents[0])
            found[at] = slopes(node.operation, low[i], high[i])
    return found
