"""What artclip asks of a framework: a function f, its input gradient, one parameter update, a few tensor functions.

Algorithms (pairs, λ control, training loop) are written once against :class:`Function` and, in its own file,
:class:`~artclip.frameworks.trainable.Trainable`. Tensors are opaque to them but for Python's operators, ``abs`` and
slicing, which all frameworks share.

They hold no state that changes from step to step, so that a framework may compile a step once: what changes is passed
in and returned, or kept in a :class:`StepVariable`. In a compiled step numbers may be tensors and the first axis of a
tensor may have no size yet; :meth:`Function.rows` and :meth:`Function.cond` stand for ``len`` and ``if`` there.

Adding a framework: one file that subclasses :class:`Trainable`, and one line in ``frameworks/__init__.py``.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

Tensor = Any
"""A tensor of whichever framework is at work."""


class StepVariable(Protocol):
    """A value that outlives a step, compiled or not."""

    value: Any


def box_of(estimator: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The ``clip_values`` of an ART estimator in float64, or ``None``."""
    if estimator.clip_values is None:
        return None
    low, high = (np.asarray(v, dtype=np.float64) for v in estimator.clip_values)
    return low, high


class Function(abc.ABC):
    """A model as the function f that is deployed: in eval mode, on raw inputs, preprocessing included."""

    name: str
    arrays: Any
    """The module of the framework's functions on tensors, as far as they have NumPy's names and arguments."""
    input_shape: tuple[int, ...]
    clip_values: tuple[np.ndarray, np.ndarray] | None
    access = "backpropagation"
    """How gradients are had: ``"backpropagation"``, ``"class_gradient"`` or ``"predict alone"``."""
    nb_classes: int | None = None
    """Number of classes; ``None`` for a regressor, or where f is not known to be a classifier."""
    told_classes: int | None = None
    """What a classifier's estimator says of the number of its outputs, which is compared with them."""
    told_threshold: float | None = None
    """Output above which the class of a single output is 1, where the loss tells; ``None`` where it does not."""
    told_shares = False
    """Whether that loss takes a single output for a probability."""
    class_labels: np.ndarray | None = None
    """The label (k,) of each column, where an estimator has others than 0 to k − 1."""
    multi_label = False
    """Whether each output is a label of its own, right or wrong by itself."""
    takes_logits = False
    """Whether a model may give several outputs, of which the logits count (:func:`~.unwrap.logits_of`)."""
    approximated: tuple[str, ...] = ()
    """Defences in front of the model that work in numpy: gradients pass them as ART estimates it (BPDA)."""
    is_random = False
    """Whether two calls on the same inputs differ, as :mod:`artclip.evaluation.random_outputs` finds."""
    has_batchnorm = False
    """Whether :meth:`forward_with_batch_statistics` passes the batch too."""

    # f
    def predict(self, x: np.ndarray) -> np.ndarray:
        """f(x) in float64, shape (n, k), rounded as the user's own ``predict`` rounds it."""
        return self.to_numpy([self.value(self.tensor(x))]).reshape(len(x), -1)

    def outputs(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """:meth:`predict`, so many inputs at a time."""
        return np.concatenate([self.predict(x[i : i + batch_size]) for i in range(0, len(x), batch_size)])

    def full_precision(self) -> AbstractContextManager[None]:
        """Inside, nothing is computed in less than the model's own precision because a context outside says so."""
        return nullcontext()

    def notes(self) -> list[str]:
        """Where f is not what its user may take it for."""
        return []

    def unchanged(self) -> AbstractContextManager[None]:
        """Buffers that predictions change inside, as counters of calls, are put back at the end."""
        return nullcontext()

    def connected(self, x: Tensor) -> bool:
        """Whether outputs have a gradient in the inputs x at all, be it 0."""
        return True

    def check_gradients(self) -> None:  # noqa: B027, most frameworks have no such context
        """Raise ``RuntimeError`` in a context in which the framework takes no gradients at all."""

    def follow(self) -> bool:
        """Look again where the model is, and in which dtype; whether it has moved."""
        return False

    def state(self) -> Iterator[np.ndarray]:
        """Parameters and buffers, where the model shows them: what a change of the model changes."""
        return iter(())

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Outputs f(x), flattened to shape (n, k); differentiable in x and in the parameters."""

    def forward_with_batch_statistics(self, x: Tensor, batch: Tensor) -> Tensor:
        """:meth:`forward`, but BatchNorm layers that are being trained normalise x by mean and variance of the batch.

        These carry gradients, so that a penalty on the outputs is one on the function that the loss trains. With the
        running averages instead, which lag behind the weights and have no gradient, training finds weights that are
        flat by the averages and steep by the batches.
        """
        if not self.has_batchnorm:
            return self._outputs(x)
        rows, both = self.rows(batch), self.concat([batch, x])
        with self._normalised_by(rows, self.rows(both)):
            return self._outputs(both)[rows:]

    def _outputs(self, x: Tensor) -> Tensor:
        """:meth:`forward` on this device alone."""
        return self.forward(x)

    def _normalised_by(self, rows: Any, total: Any) -> AbstractContextManager[None]:
        """Inside, BatchNorm layers normalise by the first rows of all; asked for where there are such layers."""
        raise NotImplementedError

    def gathered(self, x: Tensor) -> Tensor:
        """The inputs of a batch on all devices, where x has those on this one."""
        return x

    def value(self, x: Tensor) -> Tensor:
        """:meth:`forward` without gradients."""
        return self.constants([self.forward(x)])[0]

    def value_alone(self, x: Tensor) -> Tensor:
        """:meth:`value` on this device alone."""
        return self.constants([self._outputs(x)])[0]

    @abc.abstractmethod
    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Outputs f(x) of shape (n, k), and the map from output cotangents (n, k) to input gradients.

        No gradient is taken in the parameters.
        """

    def linearise(self) -> Callable[[np.ndarray], tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]:
        """:meth:`pullback` on arrays, for many calls: outputs in float64, gradients in the model's dtype.

        What it pulls back is lost once gradients were taken.
        """

        def at(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
            outputs, pull = self.pullback(self.tensor(x))
            return self.to_numpy([outputs]).reshape(len(x), -1), lambda c: np.asarray(self.host(pull(self.tensor(c))))

        return at

    @abc.abstractmethod
    def seeded(self, seed: int) -> AbstractContextManager[None]:
        """Inside, the framework's global randomness follows from the seed; afterwards it is as found."""

    # between numpy and the framework
    @abc.abstractmethod
    def tensor(self, array: Any) -> Tensor:
        """An array, or a tensor of the framework, on the model's device, in the model's dtype."""

    @abc.abstractmethod
    def host(self, x: Any) -> Any:
        """A tensor as a numpy array; anything else as it is."""

    def kept(self, t: Tensor) -> Any:
        """A copy of a tensor, of a kind that the framework's users save."""
        return self.host(t)

    @abc.abstractmethod
    def to_numpy(self, tensors: Sequence[Tensor]) -> np.ndarray:
        """All values of the tensors, flattened and joined, as float64: one transfer to the host."""

    def in_float64(self) -> Function | None:
        """The same function with the same weights, computed in float64; itself where it is; ``None`` where none is had.

        It is a copy that shares nothing with the model. That it is the same function is for the caller to see.
        """
        return None

    @property
    @abc.abstractmethod
    def precision(self) -> float:
        """Machine epsilon of the model's dtype."""

    @property
    def tiny(self) -> float:
        """What keeps a division by a gradient finite: far below any that means something, far above the least number.

        In float32 and float64, and in 16 bits.
        """
        return 1e-12 if self.precision < 1e-5 else 1e-4

    # the few tensor functions that Python's operators lack: as in NumPy, which most frameworks follow, and not compiled
    @abc.abstractmethod
    def norm(self, t: Tensor, p: float) -> Tensor:
        """p-norm (p = 1, 2, inf) over all axes but the first, kept as axes of length one; gradient 0 at 0."""

    def sign(self, t: Tensor) -> Tensor:
        """Sign of each entry: -1, 0 or 1, in the dtype of t."""
        return self.arrays.sign(t)

    def where(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """a where the condition holds, else b."""
        return self.arrays.where(condition, a, b)

    def maximum(self, a: Tensor, b: Tensor) -> Tensor:
        """The larger of each two entries."""
        return self.arrays.maximum(a, b)

    def clip(self, t: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """t limited to [low, high], entry by entry."""
        return self.arrays.clip(t, low, high)

    def reshape(self, t: Tensor, shape: tuple[int, ...]) -> Tensor:
        """t in another shape; one entry of it may be -1."""
        return t.reshape(shape)

    def rows(self, t: Tensor) -> Any:
        """Length of the first axis: an int, or a scalar tensor where a compiled step does not know it yet."""
        return t.shape[0]

    def cond(self, condition: Any, a: Callable[[], Any], b: Callable[[], Any]) -> Any:
        """``a()`` if the condition, a bool or a boolean tensor, holds, else ``b()``; both of the same structure."""
        return a() if condition else b()

    def compile(self, step: Callable[..., Any], nb_resizable: int = 2) -> Callable[..., Any]:
        """A step as a function of tensors, then of tensors and numbers, compiled where the framework gains by it.

        It is compiled once: the first tensors may change in length, numbers in value, and nothing else.

        Args:
            nb_resizable: how many of the tensors, the first ones, may change in length, >= 2.
        """
        return step

    def step_variable(self, value: Any, resizable: bool = False) -> StepVariable:
        """A place for a number or a tensor that is read and set from step to step; ``resizable`` in its first axis."""
        return SimpleNamespace(value=value)

    def concat(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tensors joined along the first axis."""
        return self.arrays.concatenate(list(tensors))

    def roll(self, t: Tensor) -> Tensor:
        """The rows of t one place up, the first below the last."""
        return self.arrays.roll(t, -1, 0)

    def split(self, t: Tensor, sizes: Sequence[Any]) -> list[Tensor]:
        """Parts of so many rows each, which make up t."""
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        return [t[end - size : end] for size, end in zip(sizes, ends, strict=True)]

    @abc.abstractmethod
    def constants(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors without their gradients."""

    def mean(self, t: Tensor) -> Tensor:
        """Mean of all entries."""
        return t.mean()

    def sum(self, t: Tensor) -> Tensor:
        """Sum of all entries."""
        return t.sum()

    def max(self, t: Tensor) -> Tensor:
        """Largest entry."""
        return t.max()

    @abc.abstractmethod
    def one_hot_argmax(self, t: Tensor) -> Tensor:
        """1 at the first largest entry of each row (n, k), 0 elsewhere, in the dtype of t."""

    def sort(self, t: Tensor) -> Tensor:
        """Entries of a one-axis tensor in ascending order."""
        return self.arrays.sort(t)
