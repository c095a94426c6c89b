"""A lower and an upper bound of one constant, and what to make of two that contradict each other."""

from __future__ import annotations

import inspect
import time
from dataclasses import replace
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import function_of
from artclip.lipschitz.estimate import LipschitzEstimate
from artclip.lipschitz.lower import lipschitz_lower_bound
from artclip.lipschitz.upper import lipschitz_upper_bound

_UNITS = 8  # of rounding of the model's dtype, by which a lower bound may come out above the upper one
_OF_BALLS = {"around", "radius", "domain"}  # arguments of the upper bound that are not of all inputs
_SHARE = 0.5  # of the time, for the upper bound


class Contradiction(ValueError):
    """A lower bound lies above an upper one, so that one of them is wrong."""


def lipschitz_bracket(
    estimator: Any, x: np.ndarray, norm: float | str = 2, output_norm: float | str = 2, **options: Any
) -> tuple[LipschitzEstimate, LipschitzEstimate]:
    """A lower and an upper bound: the Lipschitz constant over all inputs lies between them.

    Args:
        estimator, x, norm, output_norm: as for :func:`lipschitz_lower_bound` and :func:`lipschitz_upper_bound`.
        options: other arguments of either. ``method`` is that of the upper bound, ``max_iter`` counts the ascents of
            the lower one, ``verbose`` is for both, and ``max_seconds`` is for both together. The model is checked and
            its layers are read in any case: of a ResNet-18 on images of 32×32 that takes about five seconds of one
            core, and eight with TensorFlow, which compiles it.

    Returns:
        The lower bound, for valid inputs or, with ``domain="free"``, for all; and the upper one, for all.

    Raises:
        TypeError, ValueError: as those.
        Contradiction: the lower bound exceeds the upper one by more than rounding.
    """
    began = time.perf_counter()
    lower, upper = _options(lipschitz_lower_bound), _options(lipschitz_upper_bound) - _OF_BALLS
    for name in options:
        if name not in lower | upper:
            known = ", ".join(sorted(lower | upper))
            raise TypeError(f"lipschitz_bracket has no argument {name!r}; it takes {known}")
    options = {name: value for name, value in options.items() if name != "max_seconds" or value is not None}
    for_upper = {name: value for name, value in options.items() if name in upper - {"max_iter"}}
    for_lower = {name: value for name, value in options.items() if name in lower}
    if "max_seconds" in options:
        checks.positive("max_seconds", options["max_seconds"])
        for_upper["max_seconds"] = _SHARE * options["max_seconds"]
    f, free = function_of(estimator), options.get("domain") == "free"
    checks.inputs(x, f.input_shape or None, box=None if free else f.clip_values)  # before the work of the upper bound
    above = lipschitz_upper_bound(estimator, norm, output_norm, **for_upper)
    if "max_seconds" in for_lower:
        left = options["max_seconds"] - (time.perf_counter() - began)
        for_lower["max_seconds"] = max(left, (1 - _SHARE) * options["max_seconds"] / 2)
    below = lipschitz_lower_bound(estimator, x, norm, output_norm, **for_lower)
    return _compared(below, above, _UNITS * f.precision), above


def _options(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters) - {"estimator", "x", "norm", "output_norm"}


def _compared(lower: LipschitzEstimate, upper: LipschitzEstimate, rounding: float) -> LipschitzEstimate:
    """The lower bound, cut off at the upper one."""
    if lower.value > upper.value * (1 + rounding):
        raise Contradiction(
            f"two bounds contradict each other: {lower}, with the pair (u, v) that attains it, and {upper}, from "
            f"layers {upper.layers}. One of them is wrong: either the model does not compute the same at each call, or "
            "artclip has a fault. Please report it with the model, or its layers"
        )
    return replace(lower, value=min(lower.value, upper.value))
