"""An augmentation whose results are checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from artclip import checks
from artclip.hashing.contents import NotHashable, content_digest


class Augmented:
    """A function of (batch, generator), of which each result is looked at.

    Args:
        function: of a batch, shape (n, ...), and a NumPy generator; gives a batch of the same shape.
        box: ``clip_values`` inside which it must lie, or ``None``.

    Raises:
        TypeError: it is no function.
    """

    def __init__(self, function: Any, box: Any = None) -> None:
        if not callable(function):
            raise TypeError(
                f"augmentation={function!r} is {checks.kind_of(function)}; give a function of (batch, generator), as "
                "RandomCropFlip() from artclip.data"
            )
        self._function, self._box = function, box

    def __str__(self) -> str:
        """What tells it from others: its settings where it says them, else its name and a hash of what it does."""
        if type(self._function).__str__ is not object.__str__ and not hasattr(self._function, "__code__"):
            return str(self._function)
        name = str(getattr(self._function, "__qualname__", type(self._function).__name__))
        try:
            return f"{name} ({content_digest(self._function)[:12]})"
        except NotHashable:  # of such a one the name has to do
            return name

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The batch, augmented.

        Raises:
            TypeError, ValueError: the result is no array of that shape, not finite, or outside the box.
        """
        found = checks.array("the augmented batch", self._function(x, rng))
        if found.shape != x.shape:
            raise ValueError(
                f"augmentation made a batch of shape {found.shape} of one of shape {x.shape}; keep the shape"
            )
        checks.inputs(found, x.shape[1:], "the augmented batch", self._box)
        return found.astype(x.dtype, copy=False)

    def try_on(self, x: np.ndarray) -> None:
        """Augment a few samples, so that what does not fit fails before a training changes anything."""
        self(x.copy(), np.random.default_rng(0))
