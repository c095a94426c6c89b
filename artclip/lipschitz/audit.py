"""An audit: is a claimed Lipschitz constant true? A pair of inputs breaks it, a bound proves it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import Function, function_of, single_layers_of
from artclip.frameworks.check import check, give_range
from artclip.frameworks.single_layer import SingleLayer
from artclip.lipschitz.audit_result import Audit, AuditedLayer
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.estimate import LipschitzEstimate
from artclip.lipschitz.lower import lipschitz_lower_bound
from artclip.lipschitz.upper import lipschitz_upper_bound

TOLERANCE = 1e-5  # relative: what weights in float32, layer upon layer, may miss a constant by
# Shares of the time until which the upper bound, the layers, and a search among valid inputs have to be done.
_UPPER, _LAYERS, _VALID = 0.2, 0.6, 0.75
_RESTARTS, _SEARCHES = 64, 6  # of the first search, and how many there are at most, each with twice as many
_SEEDS = 1 << 32
_LIMIT = 60.0  # seconds of an upper bound where there is no limit for all
_LEAST = 1.0  # seconds that a search or a bound is given at least


@dataclass(frozen=True)
class _Rules:
    """What all searches of an audit share."""

    norm: float
    output_norm: float
    seed: int
    budget: Budget

    def left(self, share: float, parts: int = 1) -> float | None:
        """Seconds for one of so many parts, until a share of the time is over; ``None`` for no limit."""
        left = self.budget.left_until(share)
        return None if left == math.inf else max(_LEAST, left / parts)


def audit(
    estimator: Any,
    x: np.ndarray,
    claimed: float = 1.0,
    norm: float | str = 2,
    output_norm: float | str = 2,
    domain: str = "free",
    claimed_layers: float | None = None,
    tolerance: float = TOLERANCE,
    layers: bool = True,
    max_seconds: float | None = 60.0,
    seed: int | None = 0,
    verbose: bool = False,
    clip_values: Any = None,
) -> Audit:
    """Put a claimed Lipschitz constant to the test, of a model and of each of its layers.

    A search for steep pairs (:func:`artclip.lipschitz_lower_bound`) tries to break the claim; what it finds is a pair
    of inputs that anyone can check. An upper bound (:func:`artclip.lipschitz_upper_bound`) proves the claim where it is
    below. Where neither does, the search goes on from other seeds with more pairs until the time is over. Each layer is
    searched and bounded alone, on all inputs, starting from what goes into it for x, so that it is seen where a claim
    fails.

    Args:
        estimator: as for :func:`artclip.lipschitz_lower_bound`: an ART estimator, or a bare ``torch.nn.Module`` or
            Keras model. f is what ``predict`` returns, ART's scaling of inputs included.
        x: shape (n, *input_shape): data to start from, inside ``clip_values`` unless the domain is free.
        claimed: the Lipschitz constant that f is said to have at most, >= 0.
        norm, output_norm: that the claim is in: 1, 2 or inf, on flattened inputs and outputs.
        domain: ``"free"``: a claim for all inputs; ``"clip_values"``: for valid ones alone.
        claimed_layers: the constant that each layer is said to have at most by itself, >= 0; ``None`` where there is
            no such claim, and layers are measured for information.
        tolerance: a claim is broken by more than this share of it, >= 0.
        layers: look at each layer too; only where both norms are the same.
        max_seconds: time for all, > 0, but a second at least for each search and bound, and what reading the layers
            takes; ``None`` for one search of each, however long it takes.
        seed: of the searches, or ``None``.
        verbose: show progress bars, on a terminal or in a notebook.
        clip_values: range (low, high) of valid inputs of a bare model; ``None`` for none. An estimator has its own.

    Returns:
        An :class:`Audit`: its ``verdict`` is ``"broken"``, ``"proved"`` or ``"open"``, its ``broken`` says whether a
        claim is broken, of the model or of a layer.

    Raises:
        TypeError, ValueError: as :func:`artclip.lipschitz_lower_bound`.
    """
    numbers = {"claimed": claimed, "tolerance": tolerance, "claimed_layers": claimed_layers}
    for name, number in numbers.items():
        if number is not None or name != "claimed_layers":
            checks.non_negative(name, number)
    checks.one_of("domain", domain, ("clip_values", "free"))
    checks.switches(layers=layers)
    if max_seconds is not None:
        checks.positive("max_seconds", max_seconds)
    p, q = checks.norm("norm", norm), checks.norm("output_norm", output_norm)
    if claimed_layers is not None and (p != q or not layers):
        raise ValueError("claimed_layers needs layers=True and the same norm of inputs and outputs, as of each layer")
    f = function_of(estimator)
    give_range(f, clip_values)
    x = checks.inputs(x, f.input_shape or None, box=None if domain == "free" else f.clip_values)
    f.input_shape = f.input_shape or tuple(x.shape[1:])
    check(f, x[:2])
    rules = _Rules(p, q, checks.seed_or_drawn(seed), Budget(math.inf if max_seconds is None else max_seconds))
    upper, why = _bounded(f, rules, rules.left(_UPPER))
    parts = single_layers_of(f, x) if layers and p == q else []
    limit = claimed * (1 + tolerance)
    proved = upper is not None and upper.value <= limit
    audited = list(_audited(parts, rules, 1.0 if proved else _LAYERS, verbose))
    lower = _searched(f, x, domain, rules, limit, proved, verbose)
    return Audit(
        claimed=float(claimed),
        tolerance=float(tolerance),
        claimed_layers=None if claimed_layers is None else float(claimed_layers),
        lower=lower,
        upper=upper,
        domain=domain,
        no_upper=why,
        layers=audited,
        valid=_valid(f, lower),
        seconds=rules.budget.used(),
    )


def _searched(
    f: Function, x: np.ndarray, domain: str, rules: _Rules, limit: float, proved: bool, verbose: bool
) -> LipschitzEstimate:
    """The steepest pair of one search, and of more where neither a proof nor a pair has settled the matter.

    Valid inputs go first, also where all count: a pair of them is the better evidence.
    """
    given: dict[str, Any] = {"norm": rules.norm, "output_norm": rules.output_norm, "verbose": verbose}
    first = ["clip_values"] if domain == "free" and f.clip_values is not None and not proved else []
    best: LipschitzEstimate | None = None
    for i, part in enumerate([*first, *[domain] * _SEARCHES]):
        seconds, seed = rules.left(1.0 if i >= len(first) else _VALID), (rules.seed + i) % _SEEDS
        pairs = _RESTARTS << max(0, i - len(first))
        found = lipschitz_lower_bound(f, x, **given, domain=part, nb_restarts=pairs, seed=seed, max_seconds=seconds)
        best = found if best is None or found.value > best.value else best
        if best.value > limit:
            break
        if i >= len(first) and (proved or seconds is None or rules.budget.left_until(1.0) < 2 * found.seconds):
            break
    assert best is not None
    return best


def _audited(parts: list[SingleLayer], rules: _Rules, share: float, verbose: bool) -> Iterator[AuditedLayer]:
    """Each layer by itself."""
    from tqdm.auto import tqdm

    for i, part in enumerate(tqdm(parts, disable=None if verbose else True, desc="audit: layers")):
        if part.f is None or part.inputs is None:
            yield AuditedLayer(part.name, part.kind, constant=part.constant, why=part.why)
            continue
        upper, no_upper = _bounded(part.f, rules, rules.left(share, 2 * (len(parts) - i)))
        lower, why = None, ""
        try:
            lower = lipschitz_lower_bound(
                part.f,
                part.inputs,
                rules.norm,
                rules.norm,
                domain="free",
                seed=rules.seed,
                max_seconds=rules.left(share, len(parts) - i),
            )
        except (ValueError, TypeError) as error:
            why = str(error)
        yield AuditedLayer(part.name, part.kind, lower=lower, upper=upper, why=why, no_upper=no_upper)


def _bounded(f: Function, rules: _Rules, max_seconds: float | None) -> tuple[LipschitzEstimate | None, str]:
    """An upper bound, or why there is none."""
    limit = _LIMIT if max_seconds is None else max_seconds
    try:
        return lipschitz_upper_bound(f, rules.norm, rules.output_norm, max_seconds=limit), ""
    except (ValueError, TypeError) as error:
        return None, str(error)


def _valid(f: Function, lower: LipschitzEstimate) -> bool | None:
    """Whether both inputs of a pair are valid; ``None`` where all are."""
    if f.clip_values is None or lower.u is None or lower.v is None:
        return None
    low, high = f.clip_values
    return all(bool((t >= low).all() and (t <= high).all()) for t in (lower.u, lower.v))
