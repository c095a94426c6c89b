"""Where batches come from: arrays in a seeded order, or an ART data generator."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from artclip import checks
from artclip.frameworks.base import Tensor
from artclip.frameworks.trainable import Trainable
from artclip.pixels import Uint8Images
from artclip.trainers.augmented import Augmented
from artclip.trainers.generators import Endless, as_array

NB_KEPT, MOST_BYTES = 2048, 1 << 26  # of a generator's latest batches


class Batches(Protocol):
    """One epoch after the other of (x, y) batches, as tensors."""

    nb_batches: int
    batch_size: int
    order: Any
    """State of the generator of the order, before an epoch; ``None`` where the order is not ours. It may be set."""

    def epoch(self, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of the next epoch, from the one of this number on."""

    def deployed(self) -> tuple[np.ndarray, np.ndarray]:
        """Samples as they come when the model is deployed, and their labels: all, or some of late."""


class ArrayBatches:
    """Shuffled batches of arrays.

    Args:
        trainable: adapter that makes the tensors.
        x, y: the same number n >= 1 of samples and labels, checked.
        batch_size: samples a batch, >= 1; the last batch may be shorter. A single sample left over joins the batch
            before it, since BatchNorm cannot train on one.
        drop_last: leave a short last batch out.
        seed: seed of the order.
        augmentation: of each batch, or ``None``.
    """

    def __init__(
        self,
        trainable: Trainable,
        x: np.ndarray,
        y: np.ndarray,
        batch_size: int,
        drop_last: bool,
        seed: int,
        augmentation: Augmented | None = None,
    ) -> None:
        self._trainable, self._rng = trainable, np.random.default_rng(seed)
        trainable.multi_label = _several_labels(trainable, y)
        with trainable.seeded(seed):  # defences at fit may draw, as Mixup
            self._x, self._y = trainable.training_data(x, y)
        self._raw, self._augmentation = (x, y), augmentation
        self._labels: np.ndarray | None = None
        bounds = list(range(0, len(x), batch_size))
        left_over = len(x) - bounds[-1]
        short = left_over < batch_size if drop_last else left_over == 1 < batch_size
        if short and len(bounds) > 1:
            bounds.pop()
        ends = [*bounds[1:], bounds[-1] + batch_size if drop_last else len(x)]
        self._bounds = list(zip(bounds, ends, strict=True))
        self.nb_batches, self.batch_size = len(bounds), batch_size

    def deployed(self) -> tuple[np.ndarray, np.ndarray]:
        """All samples, without what applies at fit alone, and their labels."""
        x, y = self._raw
        if self._labels is None:  # once: each check of a training asks
            self._labels = self._trainable.labels(y)
        return x, self._labels

    def some(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Up to 1024 samples, in their order, as they are trained on."""
        nb = len(self._x)
        rows = np.sort(np.random.default_rng(seed).choice(nb, min(nb, 1024), replace=False))
        return self._x[rows], self._y[rows]

    @property
    def order(self) -> Any:
        """State of the generator of the order."""
        return dict(self._rng.bit_generator.state)

    @order.setter
    def order(self, state: Any) -> None:
        self._rng.bit_generator.state = state

    def epoch(self, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of the next epoch, in a new order, from the one of this number on."""
        order = self._rng.permutation(len(self._x))
        key = 0 if self._augmentation is None else int(self._rng.integers(1 << 62))
        for number, (start, end) in enumerate(self._bounds[first:], first):
            rows = order[start:end]
            if self._augmentation is None and not isinstance(self._x, Uint8Images):
                yield self._trainable.batch(self._x, self._y, rows)
                continue
            x = self._x[rows]
            if self._augmentation is not None:
                with self._trainable.drawing():
                    x = self._augmentation(x, np.random.default_rng([key, number]))
            yield self._trainable.batch(x, self._y[rows], np.arange(len(x)))


class GeneratorBatches:
    """Batches of an ART ``DataGenerator``, each checked as it comes.

    Args:
        trainable: adapter that knows shapes and labels, and makes the tensors.
        generator: with ``size``, ``batch_size`` and ``get_batch()``.
        seed: by which a generator that draws from global ones, as ART's of NumPy does to shuffle, draws the first batch
            before a fit; inside of one it draws as the model does.
        keep: whether :meth:`deployed` will be asked for, which takes copies of the batches.
    """

    def __init__(self, trainable: Trainable, generator: Any, seed: int, keep: bool = False) -> None:
        if not all(hasattr(generator, name) for name in ("get_batch", "size", "batch_size")):
            raise TypeError(
                f"generator is {checks.kind_of(generator)}; expected an ART DataGenerator, "
                "for example art.data_generators.NumpyDataGenerator"
            )
        if not generator.size:
            raise ValueError("the generator's size is not known; give size= when you make it")
        self._generator, self._trainable, self._keeps = Endless(generator), trainable, keep
        # Another one than that of the fit: by the same, the second epoch would be shuffled as the first.
        self._seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
        self._recent: deque[tuple[np.ndarray, np.ndarray]] = deque()
        self._joined: tuple[np.ndarray, np.ndarray] | None = None  # of these, since the last one came
        self.order: Any = None
        self.nb_batches, self.batch_size = math.ceil(generator.size / generator.batch_size), generator.batch_size

    def peek(self) -> tuple[np.ndarray, np.ndarray]:
        """The batch that will come next, checked, as arrays."""
        with self._trainable.seeded(self._seed):
            return self._checked(*self._generator.peek())

    def get(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch, checked, as arrays; inside a fit."""
        with self._trainable.drawing():
            return self._checked(*self._generator.get())

    def _checked(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        x, y, f = as_array(x), as_array(y), self._trainable
        x, y = checks.data(x, y, f.input_shape, f.nb_classes, box=f.clip_values)
        f.multi_label |= _several_labels(f, y)
        if self._keeps:
            self._keep(x, y)
        return f.training_data(x, y)

    def _keep(self, x: np.ndarray, y: np.ndarray) -> None:
        """Keep copies of the latest batches: a generator may write into its own."""
        self._recent.append((x.copy(), y.copy()))
        self._joined = None
        while len(self._recent) > 2 and sum(len(x) for x, _ in self._recent) - len(self._recent[0][0]) >= NB_KEPT:
            self._recent.popleft()
        while len(self._recent) > 2 and sum(x.nbytes for x, _ in self._recent) > MOST_BYTES:
            self._recent.popleft()

    def deployed(self) -> tuple[np.ndarray, np.ndarray]:
        """The latest batches, but for the last, which has just been learnt and shows too high an accuracy."""
        if self._joined is None:
            learnt = list(self._recent)[:-1] or list(self._recent)
            x, y = (np.concatenate(parts) for parts in zip(*learnt, strict=True))
            self._joined = x, self._trainable.labels(y)
        return self._joined

    def epoch(self, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """As many batches as cover ``size`` samples, less those before the first."""
        for _ in range(first, self.nb_batches):
            yield self._trainable.batch(*self.get())


def _several_labels(trainable: Trainable, y: np.ndarray) -> bool:
    """Whether samples have several labels each, or none; refused where the loss is of one class a sample."""
    if trainable.nb_classes is None or y.ndim < 2 or y.shape[1] < 2:
        return False
    sums = y.sum(1, dtype=np.float64)
    wrong = np.abs(sums - 1) > 1e-3
    if wrong.any() and not trainable.takes_several_labels():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"the labels of sample {row} add up to {sums[row]:g}, so they name several classes or none, and the "
            "classifier's loss is one of a single class; give it a loss of several labels, as BCEWithLogitsLoss or "
            "BinaryCrossentropy, or labels that add up to 1"
        )
    return bool(wrong.any())
