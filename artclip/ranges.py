"""The range of inputs: what lies in it, what fills little of it, and what to write for inputs of another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

_CHUNK = 1 << 22  # elements looked at together: a memory-mapped array is never copied whole
_NARROW = 0.02  # of the range of valid inputs, that data fill at least


def chunks(a: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of an array along its first axis, each with the index of its first row."""
    step = max(1, _CHUNK // max(1, math.prod(a.shape[1:])))
    return ((start, a[start : start + step]) for start in range(0, len(a), step))


def _extent(a: np.ndarray) -> tuple[float, float]:
    """Least and largest element, in one pass."""
    ends = [(float(part.min()), float(part.max())) for _, part in chunks(a)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def in_range(name: str, x: np.ndarray, box: Any) -> None:
    """Raise ``ValueError`` where x leaves the box by more than rounding.

    Args:
        name: of x.
        x: finite numbers, shape (n, *input_shape).
        box: ``clip_values``, (low, high), each a number or an array that broadcasts to x; ``None`` for none.
    """
    if box is None:
        return
    low, high = (np.asarray(v, dtype=np.float64) for v in box)
    room = 1e-6 * max(1.0, float(np.abs(low).max()), float(np.abs(high).max()))
    if all(_inside(part, low - room, high + room) for _, part in chunks(x)):
        return
    least, most = _extent(x)
    how = _rescaled(least, most, float(low.min()), float(high.max()))
    raise ValueError(f"{name} lies in [{least:.4g}, {most:.4g}], outside the clip_values {range_of(box)}; {how}")


def range_of(box: Any) -> str:
    """``clip_values`` in words, as ``0 to 1``."""
    return " to ".join(_span(np.asarray(v, dtype=np.float64)) for v in box) if box is not None else "none"


def narrow(x: np.ndarray, box: Any) -> list[str]:
    """A line where x fills so little of its ``clip_values`` that these are likely of other units; else none."""
    if box is None or 0 in x.shape:
        return []
    wide = float(np.max(box[1])) - float(np.min(box[0]))
    least, most = _extent(x)
    filled = most - least
    few = filled < _NARROW * wide
    return [f"data fill {filled:.3g} of a range of {wide:g}; give the clip_values of the data"] if few else []


def _inside(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    if low.ndim == high.ndim == 0:  # without arrays of truths
        return bool(x.min() >= low and x.max() <= high)
    return bool((x >= low).all() and (x <= high).all())


def _span(value: np.ndarray) -> str:
    least, most = float(value.min()), float(value.max())
    return f"{least:.4g}" if least == most else f"({least:.4g} … {most:.4g}, by feature)"


def _rescaled(least: float, most: float, low: float, high: float) -> str:
    """What to write for inputs in [least, most] where they are to lie in [low, high]."""
    in_units = (low, high) == (0, 1) and least >= 0 and 2 < most <= 255
    top = next(top for top in (16, 100, 255) if most <= top) if in_units else math.ceil(most)
    ends = 0 if in_units else math.floor(least), top
    wider = f"give the classifier clip_values={ends} (--clip-values {ends[0]},{ends[1]}) if it takes such inputs"
    if in_units:
        return f"write x / {top} for values of 0 to {top}, or {wider}"
    if least < 0 <= low:
        return f"if x was standardised, give it as it was, and the classifier preprocessing=(mean, std); or {wider}"
    return f"scale x into that range, or {wider}"
