"""Upper bounds of a Lipschitz constant in balls around samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import function_of, graph_of
from artclip.graph import LayerGraph
from artclip.graph.simplify import simplified
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.graph_bounds import READING, GraphBounds
from artclip.lipschitz.local.ball import Balls, box_of
from artclip.lipschitz.local.jacobian import entries, norm_of
from artclip.lipschitz.local.kinks import NotPiecewise, in_lines
from artclip.lipschitz.local.linear_bounds import LinearBounds, OutOfTime
from artclip.lipschitz.local.slopes import slopes_in
from artclip.lipschitz.pair_rule import DOMAINS
from artclip.lipschitz.slope_constants import SlopeConstants
from artclip.norms import change

_NUMBERS = 1 << 20  # entries of the widest layer, of all samples that are looked at together
_ENTRIES = 1 << 26  # of the Jacobian of a layer, of which each is bounded


def bounds_around(
    estimator: Any,
    around: np.ndarray | None,
    radius: float | np.ndarray | None,
    p: float,
    q: float,
    domain: str,
    budget: Budget,
    verbose: bool,
) -> np.ndarray:
    """Upper bounds (n,) of ‖f(u) - f(v)‖ / ‖u - v‖ for u and v in the same ball; arguments as for
    :func:`artclip.lipschitz_upper_bound`, with norms from p to q.
    """
    from tqdm.auto import tqdm

    checks.one_of("domain", domain, DOMAINS)
    if around is None or radius is None:
        raise ValueError("balls need samples and a radius: give around=x and radius=r; of all inputs, leave both out")
    f = function_of(estimator)
    x = checks.inputs(around, f.input_shape or None, name="around", box=f.clip_values)
    radii = checks.radii("radius", radius, len(x))
    # A ball in L1 lies in that of the same radius in L2.
    balls = Balls(np.asarray(x, np.float64).reshape(len(x), -1), radii, max(p, 2), *box_of(f, domain == "clip_values"))
    graph = simplified(graph_of(estimator, max_seconds=READING * budget.left()))
    lines, last = _before_the_end(graph, q)
    everywhere = GraphBounds(graph, budget, tqdm(disable=True)).least(p, q, "product", 1).value
    found = np.full(len(x), everywhere)
    with (
        tqdm(disable=None if verbose else True, desc="Lipschitz upper bound: balls", total=len(x)) as bar,
        suppress(OutOfTime),
    ):
        constants, together = SlopeConstants(lines), max(1, _NUMBERS // lines.widest)
        for first in range(0, len(x), together):
            part = slice(first, min(len(x), first + together))
            for i, bound in enumerate(_bounds(lines, constants, balls.of(part), p, q, budget), first):
                found[i] = min(found[i], last * bound)
                bar.update()
    return found


def _before_the_end(graph: LayerGraph, q: float) -> tuple[LayerGraph, float]:
    """The graph in straight lines, without layers at its end for which none are known, and the constant of these."""
    factor, reason = 1.0, None
    while True:
        try:
            return in_lines(graph), factor
        except NotPiecewise as error:
            reason, last = reason or error, graph.nodes[-1]
        if last.parents != (len(graph.nodes) - 2,) or not last.parents[0] >= 0:
            raise NotPiecewise(f"{reason}; for a bound over all inputs leave around and radius out") from None
        factor, graph = factor * float(last.operation.factor(q)), replace(graph, nodes=graph.nodes[:-1])


def _bounds(
    graph: LayerGraph, constants: SlopeConstants, balls: Balls, p: float, q: float, budget: Budget
) -> Iterator[float]:
    """One bound after the other, infinite where there is none."""
    outputs = graph.nodes[-1].size
    small = outputs * graph.widest <= _ENTRIES
    with np.errstate(over="ignore", invalid="ignore"):
        lines = LinearBounds(graph, balls, budget)
        for i in range(len(balls)):
            if budget.left() < 0:
                raise OutOfTime
            slopes, least = slopes_in(graph, lines, i), math.inf
            if small:
                least = float(np.fmin(least, norm_of(entries(graph, slopes), p, q)))
            if constants.is_possible and budget.affords(constants.cost):
                factor = change(graph.inputs, p, 2) * change(outputs, 2, q)
                least = float(np.fmin(least, factor * constants.all(slopes, budget=budget)[0]))
            yield least
