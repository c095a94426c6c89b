"""Straight lines below and above an activation on an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from artclip.graph import Activation

_POINTS, _MORE_POINTS = (
    33,
    129,
)  # of an interval at which an activation is evaluated: where its bend is bounded, and not
_ROUNDING = 1e-13  # of values that are added up, relative


@dataclass(frozen=True)
class Relaxation:
    """Lines that hold a function φ of each entry: below(z) <= φ(z) <= above(z) on the interval of the entry.

    Attributes:
        below, above: slopes (n, size).
        below_at_0, above_at_0: the lines at 0, (n, size).
    """

    below: np.ndarray
    below_at_0: np.ndarray
    above: np.ndarray
    above_at_0: np.ndarray


def relaxation(activation: Activation, low: np.ndarray, high: np.ndarray) -> Relaxation:
    """Lines that hold an activation where its inputs are in [low, high], each of shape (n, size).

    Of those that are tried for either side, the one is taken that is closest in the middle of the interval, and so
    over all of it on average.
    """
    return _of_kink(activation, low, high) if activation.kinked else _of_curve(activation, low, high)


def _of_kink(activation: Activation, low: np.ndarray, high: np.ndarray) -> Relaxation:
    """Of slopes ``activation.low`` below 0 and the larger ``activation.high`` above (Zhang et al. 2018, arXiv
    1811.00866): above it the chord; below it the one of the two lines that it is made of which is the closer."""
    flat, steep = activation.low, activation.high
    below = np.where(high > -low, steep, flat)
    with np.errstate(divide="ignore", invalid="ignore"):
        chord = (steep * high - flat * low) / (high - low)
    bent = (low < 0) & (high > 0)
    above = np.where(bent, chord, below)
    above = np.where(bent, np.clip(above, flat, steep), above)
    at_0 = np.where(bent, np.maximum((steep - above) * high, (flat - above) * low), 0.0)
    return Relaxation(below, np.zeros_like(below), above, at_0 + _ROUNDING * np.abs(at_0))


def _of_curve(activation: Activation, low: np.ndarray, high: np.ndarray) -> Relaxation:
    """Of any function whose slopes are bounded, from its values at points of the interval.

    Between two points that are h apart, φ(z) - s·z is no further from the line through its values than h²·c/8, where
    c is the curvature; and no further beyond the nearer of them than h·p·q/(p + q), where its slopes are in [-p, q].
    """
    points = _POINTS if np.isfinite(activation.curvature) else _MORE_POINTS
    step = (high - low) / (points - 1)
    at = [low + i * step for i in range(points - 1)] + [high]
    values = [activation.apply(z) for z in at]
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = [
            (values[-1] - values[0]) / (high - low),
            (values[1] - values[0]) / step,
            (values[-1] - values[-2]) / step,
            (values[points // 2 + 1] - values[points // 2]) / step,
        ]
    middle = (low + high) / 2
    size = np.maximum(np.abs(values[0]), np.abs(values[-1])) + np.maximum(np.abs(low), np.abs(high))
    best: list[tuple[np.ndarray, np.ndarray]] = []
    for slope in slopes:
        slope = np.clip(np.where(np.isfinite(slope), slope, 0.0), activation.low, activation.high)
        p, q = slope - activation.low, activation.high - slope
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.where(p + q > 0, step * p * q / (p + q), 0.0)
        off = np.minimum(off, step**2 * activation.curvature / 8) if points == _POINTS else off
        off = off + _ROUNDING * size * (1 + np.abs(slope))
        least, most = (values[0] - slope * at[0] for _ in range(2))
        for z, value in zip(at[1:], values[1:], strict=True):
            rest = value - slope * z
            least, most = np.minimum(least, rest), np.maximum(most, rest)
        lines = (slope, least - off), (slope, most + off)
        if not best:
            best = list(lines)
            continue
        for i, sign in enumerate((1, -1)):  # the higher one below, the lower one above
            (s, c), (old, constant) = lines[i], best[i]
            better = sign * (s * middle + c) > sign * (old * middle + constant)
            best[i] = np.where(better, s, old), np.where(better, c, constant)
    return Relaxation(*best[0], *best[1])
