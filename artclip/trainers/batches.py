"""Where batches come from: arrays in a seeded order, or an ART data generator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from artclip import checks


class Batches(Protocol):
    """One epoch after the other of (x, y) batches."""

    nb_batches: int

    def epoch(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of the next epoch."""


class ArrayBatches:
    """Shuffled batches of arrays.

    Args:
        x, y: the same number n >= 1 of samples and labels.
        batch_size: samples a batch, >= 1; the last batch may be shorter. A single sample left over joins the batch
            before it, since BatchNorm cannot train on one.
        drop_last: leave a short last batch out.
        seed: seed of the order.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, batch_size: int, drop_last: bool, seed: int) -> None:
        self._x, self._y, self._rng = x, y, np.random.default_rng(seed)
        bounds = list(range(0, len(x), batch_size))
        left_over = len(x) - bounds[-1]
        if (drop_last and left_over < batch_size and len(bounds) > 1) or (
            left_over == 1 < batch_size and len(bounds) > 1
        ):
            bounds.pop()
        ends = [*bounds[1:], bounds[-1] + batch_size if drop_last else len(x)]
        self._bounds = list(zip(bounds, ends, strict=True))
        self.nb_batches = len(bounds)

    def epoch(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of the next epoch, in a new order."""
        order = self._rng.permutation(len(self._x))
        for start, end in self._bounds:
            index = order[start:end]
            yield self._x[index], self._y[index]


class GeneratorBatches:
    """Batches of an ART ``DataGenerator``, each checked as it comes.

    Args:
        generator: with ``size``, ``batch_size`` and ``get_batch()``.
        trainable: adapter of the classifier, which knows shapes and labels.
    """

    def __init__(self, generator: Any, trainable: Any) -> None:
        if not all(hasattr(generator, name) for name in ("get_batch", "size", "batch_size")):
            raise TypeError(
                f"generator is a {type(generator).__name__}; expected an ART DataGenerator, "
                "for example art.data_generators.NumpyDataGenerator"
            )
        if not generator.size:
            raise ValueError("the generator's size is not known; give size= when you make it")
        self._generator, self._trainable = generator, trainable
        self.nb_batches = math.ceil(generator.size / generator.batch_size)

    def epoch(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As many batches as cover ``size`` samples."""
        for _ in range(self.nb_batches):
            x, y = self._generator.get_batch()
            x, y = checks.data(x, y, self._trainable.input_shape, self._trainable.nb_classes)
            yield self._trainable.training_data(x, y)
