"""What outputs move by at most in balls around samples."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np

from artclip.frameworks import Function, graph_of
from artclip.frameworks.check import refuse_defences
from artclip.graph import LayerGraph
from artclip.graph.simplify import simplified
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.local.ball import Balls, box_of
from artclip.lipschitz.local.kinks import NotPiecewise, in_lines
from artclip.lipschitz.local.linear_bounds import LinearBounds, OutOfTime
from artclip.lipschitz.local.rounding import lost_by_rounding
from artclip.lipschitz.upper import lipschitz_upper_bound
from artclip.norms import lengths

_NUMBERS = 1 << 20  # entries of the widest layer, of all samples that are looked at together
_LINES, _BALLS = 0.3, 0.5  # shares of the time: for bounds of the outputs, and for constants in balls


def changes_around(
    f: Function, x: np.ndarray, eps: float, p: float, q: float, max_seconds: float
) -> tuple[np.ndarray, list[str]]:
    """Upper bounds (n,) of ‖f(u) − f(x)‖_q for valid inputs u within eps of each sample, and remarks; inf for none.

    The least of three: what straight lines through the layers bound the outputs by (CROWN), and eps times the Lipschitz
    constant in the ball and of all inputs. What rounding of the model's own outputs may add is added.

    Args:
        f: adapter of the model.
        x: samples, shape (n, *input_shape).
        eps: radius > 0.
        p, q: norms of inputs and outputs.
        max_seconds: for all of it, > 0.
    """
    budget, found, remarks = Budget(max_seconds), np.full(len(x), math.inf), list[str]()
    points = np.asarray(x, np.float64).reshape(len(x), -1)
    try:
        refuse_defences(f)
        graph = graph_of(f, max_seconds=max_seconds / 4)
    except (TypeError, ValueError) as error:
        return found, [f"Nothing is proved: {error}"]
    # A ball in L1 lies in that of the same radius in L2.
    balls = Balls(points, np.full(len(x), eps), max(p, 2), *box_of(f, True))
    try:
        found = np.fmin(found, _by_lines(in_lines(simplified(graph)), balls, q, Budget(_LINES * max_seconds)))
    except NotPiecewise as error:
        remarks.append(f"No bounds of the outputs in balls: {error}")
    with suppress(TypeError, ValueError):  # what has no straight lines was said
        seconds = _BALLS * max_seconds
        near = lipschitz_upper_bound(
            f, p, q, around=x, radius=eps, domain="clip_values", max_seconds=seconds, verbose=False
        )
        found = np.fmin(found, eps * near)
    try:
        left = max(1.0, min(max_seconds / 4, budget.left()))
        found = np.fmin(found, eps * lipschitz_upper_bound(f, p, q, max_seconds=left, verbose=False).value)
    except (TypeError, ValueError) as error:
        remarks.append(f"No bound by the Lipschitz constant: {error}")
    unit = np.ones((1, graph.nodes[-1].size))
    return found + 2 * lost_by_rounding(graph, balls, f.precision)[:, 0] * lengths(unit, q)[0], remarks


def _by_lines(graph: LayerGraph, balls: Balls, q: float, budget: Budget) -> np.ndarray:
    """By bounds of each output in the balls, (n,); inf for those that there was no time for."""
    found, together = np.full(len(balls), math.inf), max(1, _NUMBERS // graph.widest)
    with suppress(OutOfTime), np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, len(balls), together):
            part = slice(first, first + together)
            low, high = LinearBounds(graph, balls.of(part), budget).range_of(len(graph.nodes) - 1)
            at = graph.evaluate(balls.of(part).x)
            found[part] = np.nan_to_num(lengths(np.maximum(high - at, at - low), q), nan=math.inf)
    return found
