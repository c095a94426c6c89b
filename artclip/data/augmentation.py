"""Augmentation of batches of images: random crops and flips, by name or as a function of your own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from artclip import checks

NAME = "crop-flip"


@dataclass(frozen=True)
class RandomCropFlip:
    """Random crops of padded images, and half of them mirrored, each image by draws of its own.

    The usual augmentation of CIFAR-10: He, Zhang, Ren, Sun 2016, arXiv 1512.03385, section 4.2.

    Args:
        padding: rows and columns of zeros at each side before the crop, >= 0; the crop has the size of the image.
        flip: mirror left and right, with probability 1/2.
        channels_first: whether images are (channels, height, width); ``None`` tells by which end has 1, 3 or 4.

    Raises:
        ValueError, TypeError: an argument out of its range.
    """

    padding: int = 4
    flip: bool = True
    channels_first: bool | None = None

    def __post_init__(self) -> None:
        checks.positive_integer("padding", self.padding, least=0)
        checks.switches(flip=self.flip)

    def __str__(self) -> str:
        return f"{NAME}:padding={self.padding},flip={int(self.flip)}"

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The batch, augmented.

        Args:
            x: images, shape (n, channels, height, width) or (n, height, width, channels), of any dtype.
            rng: what is drawn from.

        Returns:
            Another array of the shape and dtype of x.

        Raises:
            ValueError: x are no images.
        """
        first = self._channels_first(x)
        images: np.ndarray = x if first else np.moveaxis(x, -1, 1)
        p = self.padding
        n, _, height, width = images.shape
        padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)))
        down, right = rng.integers(0, 2 * p + 1, (2, n))
        flipped = np.less(rng.random(n), 0.5)
        found: np.ndarray = sliding_window_view(padded, (height, width), axis=(2, 3))[np.arange(n), :, down, right]
        if self.flip:
            found = np.where(flipped[:, None, None, None], found[..., ::-1], found)
        return np.ascontiguousarray(found if first else np.moveaxis(found, 1, -1))

    def _channels_first(self, x: np.ndarray) -> bool:
        if x.ndim != 4:
            raise ValueError(
                f"{NAME} is of images, and inputs of shape {x.shape[1:]} are none; expected (channels, height, width) "
                "or (height, width, channels)"
            )
        if self.channels_first is not None:
            return self.channels_first
        first, last = (x.shape[axis] in (1, 3, 4) for axis in (1, 3))
        if not first and not last:
            raise ValueError(f"{NAME}: neither end of the shape {x.shape[1:]} of an image is 1, 3 or 4 channels")
        return first if first != last else x.shape[1] <= x.shape[3]


Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def augmentation_of(given: Any, channels_first: bool | None = None) -> Augmentation | None:
    """The augmentation that a text names, as ``crop-flip`` or ``crop-flip:padding=2,flip=0``; a function as it is.

    Raises:
        ValueError, TypeError: it is not known.
    """
    if given is None or (callable(given) and not isinstance(given, str)):
        return given
    if not isinstance(given, str):
        raise TypeError(f"augmentation={given!r} is {checks.kind_of(given)}; give {NAME!r} or a function of (x, rng)")
    name, _, settings = given.partition(":")
    if name != NAME:
        raise ValueError(f"augmentation={given!r} is not known; use {NAME!r}, or {NAME}:padding=4,flip=1")
    options: dict[str, Any] = {"channels_first": channels_first}
    for setting in filter(None, settings.split(",")):
        option, _, value = setting.partition("=")
        if option not in ("padding", "flip") or not value.isdigit():
            raise ValueError(f"augmentation={given!r}: {setting!r} is not understood; use padding=4 or flip=0")
        options[option] = int(value)
    return RandomCropFlip(**options)
