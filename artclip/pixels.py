"""Images of 8 bits that stay so in memory, and are float32 in [0, 1] where they are read."""

from __future__ import annotations

from typing import Any

import numpy as np


class Uint8Images:
    """An array of images that takes a byte a pixel, and gives float32 in [0, 1] when it is indexed.

    It stands for ``pixels.astype(np.float32) / 255``, number for number, and takes a quarter of its memory.
    ``np.asarray(images)`` makes the whole float32 array.

    Args:
        pixels: unsigned bytes, shape (n, ...).

    Attributes:
        pixels: the bytes.
        shape, ndim, dtype: of the float32 array that it stands for.

    Raises:
        TypeError: the pixels are no array of unsigned bytes.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, pixels: np.ndarray) -> None:
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim == 0:
            found = getattr(pixels, "dtype", type(pixels).__name__)
            raise TypeError(f"pixels are {found}; give an array of unsigned bytes (uint8)")
        self.pixels = pixels

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...)."""
        return self.pixels.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.pixels.ndim

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Any) -> np.ndarray:
        return _floats(self.pixels[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array of floats cannot be had without a copy: the pixels are bytes")
        return _floats(self.pixels).astype(self.dtype if dtype is None else dtype, copy=False)

    def __repr__(self) -> str:
        return f"Uint8Images(shape={self.shape})"


def _floats(pixels: np.ndarray) -> np.ndarray:
    """In one pass; the same numbers as ``pixels.astype(np.float32) / 255``."""
    return np.divide(pixels, np.float32(255), dtype=np.float32)
