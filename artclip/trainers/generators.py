"""ART's data generators, read without an end: data that end start anew, and no batch is drawn for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_ENDS = ("StopIteration", "OutOfRangeError")  # the second is TensorFlow's


class Endless:
    """The batches of an ART ``DataGenerator`` one after the other, from the start again where they end.

    ART's own generators differ: that of TensorFlow raises at the end of the data, and that of Keras begins a new
    iterator for each batch, so that of a ``Sequence`` or a list it gives the first batch each time.

    Args:
        generator: with ``size``, ``batch_size`` and ``get_batch()``.
    """

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self._peeked: tuple[Any, Any] | None = None
        names = [base.__name__ for base in type(generator).__mro__]
        self._is_keras, self._is_tensorflow = "KerasDataGenerator" in names, "TensorFlowV2DataGenerator" in names
        self._batches: Iterator[Any] = iter(())

    def peek(self) -> tuple[Any, Any]:
        """The batch that comes next, which stays the next one."""
        if self._peeked is None:
            self._peeked = self.get()
        return self._peeked

    def get(self) -> tuple[Any, Any]:
        """The next batch."""
        if self._peeked is not None:
            batch, self._peeked = self._peeked, None
            return batch
        try:
            batch = self._next()
        except Exception as error:
            if type(error).__name__ not in _ENDS:
                raise
            batch = self._anew()
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            nb = len(batch) if isinstance(batch, (tuple, list)) else 1
            raise ValueError(
                f"the generator gives batches of {nb} parts; expected (x, y). Weights of samples are not supported"
            )
        return batch[0], batch[1]

    def _next(self) -> Any:
        return next(self._batches) if self._is_keras else self._generator.get_batch()

    def _anew(self) -> Any:
        """The first batch, after the last one."""
        if self._is_keras:
            self._batches = _once(self._generator.iterator)
        elif self._is_tensorflow:
            self._generator._iterator_iter = iter(self._generator.iterator)
        try:
            return self._next()
        except Exception as error:
            if type(error).__name__ not in _ENDS:
                raise
            raise ValueError(
                f"the batches of the {type(self._generator).__name__} have come to their end and cannot start anew; "
                "give one that can be read again and again, such as a Dataset, a Sequence or a list of batches, or a "
                "generator that loops over its data"
            ) from None


def _once(source: Any) -> Iterator[Any]:
    """What a source of Keras gives in one pass: a generator, a function that makes one, a Sequence, or a list."""
    if callable(source) and not hasattr(source, "__getitem__"):
        source = source()
    if not (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
        yield from source
        return
    for index in range(len(source)):
        yield source[index]
    getattr(source, "on_epoch_end", lambda: None)()


def as_array(part: Any) -> Any:
    """A tensor as an array; arrays and lists as they are."""
    return part.numpy() if hasattr(part, "numpy") and not isinstance(part, np.ndarray) else part
