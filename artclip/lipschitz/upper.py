"""Upper bounds: a proof over the layers of a network, whatever the input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, overload

import numpy as np

from artclip import checks
from artclip.frameworks import Function, function_of, graph_of
from artclip.graph.equivalence import inputs_to_try
from artclip.graph.simplify import simplified
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.estimate import LipschitzEstimate, fingerprint
from artclip.lipschitz.graph_bounds import READING, GraphBounds
from artclip.lipschitz.local.around import bounds_around

METHODS = ("auto", "product", "eclipse", "lipsdp", "exact")
ROUNDING = 1e-7  # relative, added to every bound: far above what rounding in float64 does to it


@overload
def lipschitz_upper_bound(
    estimator: Any,
    norm: float | str = 2,
    output_norm: float | str = 2,
    method: str = "auto",
    max_iter: int = 300,
    max_seconds: float = 60.0,
    verbose: bool = False,
) -> LipschitzEstimate: ...


@overload
def lipschitz_upper_bound(
    estimator: Any,
    norm: float | str = 2,
    output_norm: float | str = 2,
    method: str = "auto",
    max_iter: int = 300,
    max_seconds: float = 60.0,
    verbose: bool = False,
    *,
    around: np.ndarray,
    radius: float | np.ndarray,
    domain: str = "free",
) -> np.ndarray: ...


def lipschitz_upper_bound(
    estimator: Any,
    norm: float | str = 2,
    output_norm: float | str = 2,
    method: str = "auto",
    max_iter: int = 300,
    max_seconds: float = 60.0,
    verbose: bool = False,
    around: np.ndarray | None = None,
    radius: float | np.ndarray | None = None,
    domain: str = "free",
) -> LipschitzEstimate | np.ndarray:
    """An upper bound of the Lipschitz constant over all inputs, valid or not; the constant itself for tiny ReLU nets.

    With ``around`` and ``radius``: one for each sample, of pairs of inputs that are both in the ball around it. There
    most units cannot switch, so that the bound is mostly far smaller. It is the least of three: LipSDP with the slopes
    that each unit has in the ball, intervals of the Jacobian's entries (Fast-Lip: Weng et al. 2018, arXiv 1804.09699),
    and the product of the layers' norms.

    The network is read as a graph of layers. Layers in a row multiply, parallel ones add, and stretches of dense layers
    (convolutions on small images among them) are bounded together by LipSDP, which is tighter than their product; so
    are convolutions, sums and pools on images of any size, where it takes seconds. It is a bound in real arithmetic,
    for the weights as they are stored.

    Args:
        estimator: ART PyTorch or TensorFlow estimator.
        norm, output_norm: 1, 2 or inf, on flattened inputs and outputs.
        method: ``"product"`` of the layers' norms (for large convolutions a bound within a few per cent);
            ``"eclipse"`` (ECLipsE-Fast, closed form) for stretches of dense layers; ``"lipsdp"`` for these and for
            convolutions; ``"exact"``, the steepest linear piece of a network of ReLUs with 16 units at most, by
            enumeration; ``"auto"`` for the constant where that takes seconds, else for the least of the bounds, with
            fewer steps, or none, where layers are so wide that they take minutes.
        max_iter: steps of the optimisation in LipSDP, >= 1; each is a bound, the best is taken.
        max_seconds: time for it, > 0; what was reached by then is a bound too, and ``notes`` say what was left out.
            Layers are read and compared with ``predict`` in any case, and each has a norm by its weights alone: about
            three seconds of one core for a ResNet-18 on images of 32×32. With time to spare the same weights give the
            same bound.
        verbose: show a progress bar, on a terminal or in a notebook.
        around: samples, shape (n, *input_shape), in the units of ``clip_values``; with ``method="auto"`` alone.
        radius: of their balls, > 0, in input units and in the norm of the inputs: one for all, or shape (n,).
        domain: ``"free"``: all inputs of a ball count; ``"clip_values"``: valid ones alone.

    Returns:
        Without ``around`` an estimate of kind ``"upper"`` or ``"exact"``; ``layers`` holds the factors. It is rounded
        up by 10⁻⁷, which is far more than float64 loses on the way. With it, an array (n,) of bounds; samples for which
        there was no time have the product of the norms.

    Raises:
        TypeError: an estimator whose layers cannot be read.
        ValueError: a layer without a rule or without a Lipschitz constant, or in balls without straight lines, by its
            name; weights that are not finite; a network too large for ``method="exact"``; or another bad argument.
    """
    from tqdm.auto import tqdm

    checks.one_of("method", method, METHODS)
    checks.positive_integer("max_iter", max_iter)
    checks.positive("max_seconds", max_seconds)
    p, q = checks.norm("norm", norm), checks.norm("output_norm", output_norm)
    budget = Budget(max_seconds)
    if around is not None or radius is not None or domain != "free":
        if method != "auto":
            raise ValueError(f'method={method!r} is of all inputs; in balls use method="auto"')
        return (1 + ROUNDING) * bounds_around(estimator, around, radius, p, q, domain, budget, verbose)
    with tqdm(disable=None if verbose else True, desc="Lipschitz upper bound: layers") as bar:
        graph, f = graph_of(estimator, max_seconds=READING * max_seconds), function_of(estimator)
        late = [] if budget.left() > 0 else [f"reading the layers took {budget.used():.0f} s, so all else: no time"]
        rounding, graph = graph.rounding, simplified(graph)
        bounds = GraphBounds(graph, budget, bar)
        best = bounds.exact(p, q) if method == "exact" else bounds.least(p, q, method, max_iter)
    best = replace(best, notes=[*f.notes(), *late, *best.notes])
    return LipschitzEstimate(
        value=best.value * (1 + ROUNDING),
        kind=best.kind,
        norm=p,
        output_norm=q,
        domain="free",
        method="; ".join([best.method, *best.notes]),
        seconds=budget.used(),
        layers=best.listing.layers,
        branches=best.listing.branches,
        inside=best.listing.inside,
        gram=_rounded_up(best.gram) if p == q == 2 else None,
        history=best.history,
        notes=best.notes,
        fingerprint=fingerprint(f, f.input_shape),
        nb_outputs=graph.nodes[-1].size,
        probe=_probe(f),
        rounding=rounding,
    )


def _probe(f: Function) -> tuple[np.ndarray, np.ndarray]:
    """A few inputs, and what the model gives for them."""
    tried = inputs_to_try(f.input_shape, f.clip_values, None).values()
    x = np.concatenate([part[:1] for part in tried]).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return x, f.predict(x)


def _rounded_up(gram: np.ndarray | None) -> np.ndarray | None:
    """With what rounding may have taken from it on its diagonal."""
    if gram is None:
        return None
    return gram * (1 + ROUNDING) ** 2 + np.eye(len(gram)) * (ROUNDING * float(gram.diagonal().max()))
