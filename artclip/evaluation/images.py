"""Whether inputs are images, and as what they are shown."""

from __future__ import annotations

import math

import numpy as np

from artclip.norms import column


def showable(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which inputs are finite, shape (n,); and the inputs, zeros in the place of those that are not."""
    finite = np.isfinite(x.reshape(len(x), -1)).all(1)
    return finite, np.where(column(finite, x), x, 0)


def image_shape(shape: tuple[int, ...], channels_first: bool) -> tuple[int, ...] | None:
    """Inputs of that shape as images: themselves, or a square of grey pixels; ``None`` where they are neither."""
    if len(shape) == 3:
        return shape
    size, side = math.prod(shape), math.isqrt(math.prod(shape))
    if side * side != size or side < 4:
        return None
    return (1, side, side) if channels_first else (side, side, 1)
