"""Budgets and noise in units of the inputs: whether they are so small that they are rather of other units."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from artclip.evaluation.attacks import AttackConfig

_SMALL = 0.01  # of the inputs' range, which noise and budgets below hardly move
_SMALL_INF = 0.001  # in L∞, where 1/255 is usual


def rising(name: str, values: Any, check: Callable[[str, Any], None]) -> list[float]:
    """One number or several, each checked by a function of :mod:`artclip.checks`: in order, each once."""
    several = [values] if np.ndim(values) == 0 else list(values)
    if not several:
        raise ValueError(f"{name} is empty; give a number > 0, or several")
    for value in several:
        check(name, value)
    return sorted({float(value) for value in several})


def too_small(chosen: Iterable[AttackConfig], norm: float, eps: float, x: np.ndarray, clip_values: Any) -> list[str]:
    """A line for noise, and for a budget, that is next to nothing beside the range of the inputs.

    Args:
        chosen: attacks that are run.
        norm: of the budget eps.
        eps: the largest budget.
        x: inputs, shape (n, *input_shape).
        clip_values: their range (low, high), or ``None`` for that of x.
    """
    low, high = (x.min(), x.max()) if clip_values is None else clip_values
    wide, least, most = float(np.max(np.subtract(high, low))), float(np.min(low)), float(np.max(high))
    if wide <= 0:
        return []
    sizes = [
        (c.title, c.options["sigma"], _SMALL, f"half of the range is noise:sigma={wide / 2:g}")
        for c in chosen
        if c.attack.title == "noise" and c.given is None
    ]
    if any(c.attack.in_budget for c in chosen):
        least_eps = _SMALL_INF if norm == np.inf else _SMALL
        sizes.append((f"eps={eps:g}", eps, least_eps, f"what is meant for inputs in [0, 1] is eps={eps * wide:g}"))
    return [
        f"{what} is {size / wide:.2g} of the range of the inputs, {least:g} to {most:g}, and hardly moves them; it is "
        f"in their units, in which {instead}"
        for what, size, small, instead in sizes
        if 0 < size < small * wide
    ]
