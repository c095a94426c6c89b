"""What was taken from a source of data, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from artclip.pixels import Uint8Images

Split = tuple[Any, np.ndarray]
_SHOWN = 10  # names of classes


@dataclass(frozen=True)
class DataDescription:
    """What was taken from a source of data.

    Attributes:
        name: as the user gave it.
        source: where it was found, and of what kind, as ``"JPEG copies in cifar-10.tar.xz"``, or "".
        nb_train, nb_test: samples of the two parts.
        shape: of one input.
        low, high: range of the training inputs.
        class_names: names of the classes, in the order of the labels; () where they have none.
        notes: what was done to make it fit, and how it was split where the source is not.
    """

    name: str
    source: str = ""
    nb_train: int = 0
    nb_test: int = 0
    shape: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 1.0
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        kind = f" ({self.source})" if self.source else ""
        said = [f"{self.nb_train:,} training and {self.nb_test:,} test inputs of shape {self.shape}"]
        said.append(f"from {self.low:.4g} to {self.high:.4g}")
        if self.class_names:
            shown = ", ".join(self.class_names[:_SHOWN]) + ", …" * (len(self.class_names) > _SHOWN)
            said.append(f"{len(self.class_names)} classes: {shown}")
        return f"{self.name}{kind}: {'; '.join((', '.join(said[:2]), *said[2:], *self.notes))}"

    def of(self, splits: tuple[Split, Split], class_names: Sequence[str] = ()) -> DataDescription:
        """The same with the figures of the data themselves."""
        (x, _), (x_test, _) = splits
        low, high = _range(x)
        names = tuple(class_names) or self.class_names
        found = replace(self, nb_train=_length(x), nb_test=_length(x_test), shape=tuple(x.shape[1:]), class_names=names)
        return replace(found, low=low, high=high)


def _length(x: Any) -> int:
    return len(x) if x.ndim else 0  # a single number is refused later, by name


def _range(x: Any) -> tuple[float, float]:
    if isinstance(x, Uint8Images):
        return (int(x.pixels.min()) / 255, int(x.pixels.max()) / 255) if len(x) else (0.0, 0.0)
    return (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
