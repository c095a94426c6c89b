"""What rounding does to outputs in balls."""

from __future__ import annotations

import math

import numpy as np

from artclip.graph import LayerGraph
from artclip.graph.equivalence import moved_by_rounding
from artclip.lipschitz.local.ball import Balls
from artclip.lipschitz.precision import allowance

_CORNERS = 2  # of a ball's hull, besides the least and the largest inputs, at which outputs are rounded


def lost_by_rounding(graph: LayerGraph, balls: Balls, precision: float) -> np.ndarray:
    """What rounding moves outputs by in balls, about, (n, 1): the most at samples and at corners of the hull.

    A layer's outputs are rounded the more the larger they are, and where they cancel, that is far more than what the
    net's outputs show.

    Args:
        graph: the layers.
        balls: n of them.
        precision: unit of rounding of the model.
    """
    low, high = balls.range()
    rng, found = np.random.default_rng(0), np.zeros((len(balls), 1))
    corners = [np.where(rng.uniform(size=low.shape) < 0.5, low, high) for _ in range(_CORNERS)]
    with np.errstate(over="ignore", invalid="ignore"):
        for x in (balls.x, low, high, *corners):
            outputs = graph.evaluate(x)
            moved = moved_by_rounding(graph, x, outputs, precision)
            found = np.maximum(found, allowance(outputs, moved, precision))
    return np.nan_to_num(found, nan=math.inf)
