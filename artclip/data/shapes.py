"""Inputs in the shape that a model wants."""

from __future__ import annotations

import math

import numpy as np

from artclip import checks


def fit_to(x: np.ndarray, input_shape: tuple[int, ...] | None) -> np.ndarray:
    """Inputs in the shape that a model wants: channels moved to the other end, pixels in one row, other axes of one.

    Args:
        x: inputs, shape (n, ...).
        input_shape: of one sample, as the model wants it; ``None`` or () to leave x as it is.

    Raises:
        ValueError: x cannot be brought into that shape without changing what it shows.
    """
    shape = tuple(input_shape or x.shape[1:])
    moved = {x.shape[1:]: x}
    if x.ndim == 4:
        for turned in (np.moveaxis(x, 1, -1), np.moveaxis(x, -1, 1)):
            moved.setdefault(turned.shape[1:], turned)
    if shape in moved:
        return moved[shape]
    in_a_row = len(shape) - shape.count(1) <= 1 and math.prod(shape) == math.prod(x.shape[1:])
    if checks.same_but_for_ones(x.shape[1:], shape) or in_a_row:
        return x.reshape(len(x), *shape)
    raise ValueError(f"the data have inputs of shape {x.shape[1:]}, but the model wants {shape}")
