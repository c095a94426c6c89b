"""What artclip asks of a framework: a function f, its input gradient, one parameter update, a few tensor functions.

Algorithms (pairs, λ control, training loop) are written once against these two classes. Tensors are opaque to
them but for Python's operators, ``abs`` and slicing, which all frameworks share.

They hold no state that changes from step to step, so that a framework may compile a step once: what changes is
passed in and returned, or kept in a :class:`Cell`. In a compiled step numbers may be tensors and the first axis of a
tensor may have no size yet; :meth:`Function.rows` and :meth:`Function.cond` stand for ``len`` and ``if`` there.

Adding a framework: one file that subclasses :class:`Trainable`, and one line in ``frameworks/__init__.py``.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

Tensor = Any
"""A tensor of whichever framework is at work."""


class Cell(Protocol):
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
    input_shape: tuple[int, ...]
    clip_values: tuple[np.ndarray, np.ndarray] | None
    access = "backpropagation"
    """How gradients are had: ``"backpropagation"``, ``"class_gradient"`` or ``"predict alone"``."""
    nb_classes: int | None = None
    """Number of classes; ``None`` for a regressor, or where f is not known to be a classifier."""
    told_classes: int | None = None
    """What a classifier's estimator says of the number of its outputs, which is compared with them."""
    multi_label = False
    """Whether each output is a label of its own, right or wrong by itself."""
    takes_logits = False
    """Whether a model may give several outputs, of which the logits count (:func:`own_loops.logits_of`)."""
    has_batchnorm = False
    """Whether :meth:`forward_beside` passes the batch too."""

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

    def follow(self) -> bool:
        """Look again where the model is, and in which dtype; whether it has moved."""
        return False

    def state(self) -> Iterator[np.ndarray]:
        """Parameters and buffers, where the model shows them: what a change of the model changes."""
        return iter(())

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Outputs f(x), flattened to shape (n, k); differentiable in x and in the parameters."""

    def forward_beside(self, x: Tensor, batch: Tensor) -> Tensor:
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

    def whole(self, x: Tensor) -> Tensor:
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

    # the few tensor functions that Python's operators lack
    @abc.abstractmethod
    def norm(self, t: Tensor, p: float) -> Tensor:
        """p-norm (p = 1, 2, inf) over all axes but the first, kept as axes of length one; gradient 0 at 0."""

    @abc.abstractmethod
    def sign(self, t: Tensor) -> Tensor:
        """Sign of each entry: -1, 0 or 1, in the dtype of t."""

    @abc.abstractmethod
    def where(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """a where the condition holds, else b."""

    @abc.abstractmethod
    def clip(self, t: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """t limited to [low, high], entry by entry."""

    @abc.abstractmethod
    def reshape(self, t: Tensor, shape: tuple[int, ...]) -> Tensor:
        """t in another shape; one entry of it may be -1."""

    @abc.abstractmethod
    def rows(self, t: Tensor) -> Any:
        """Length of the first axis: an int, or a scalar tensor where a compiled step does not know it yet."""

    @abc.abstractmethod
    def cond(self, condition: Any, a: Callable[[], Any], b: Callable[[], Any]) -> Any:
        """``a()`` if the condition, a bool or a boolean tensor, holds, else ``b()``; both of the same structure."""

    @abc.abstractmethod
    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """A step as a function of two tensors, then of tensors and numbers, compiled where the framework gains by it.

        It is compiled once: the first two tensors may change in length, numbers in value, and nothing else.
        """

    @abc.abstractmethod
    def cell(self, value: Any, resizable: bool = False) -> Cell:
        """A place for a number or a tensor that is read and set from step to step; ``resizable`` in its first axis."""

    @abc.abstractmethod
    def concat(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tensors joined along the first axis."""

    @abc.abstractmethod
    def constants(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors without their gradients."""

    @abc.abstractmethod
    def mean(self, t: Tensor) -> Tensor:
        """Mean of all entries."""

    @abc.abstractmethod
    def max(self, t: Tensor) -> Tensor:
        """Largest entry."""

    @abc.abstractmethod
    def largest(self, t: Tensor) -> Tensor:
        """1 at the first largest entry of each row (n, k), 0 elsewhere, in the dtype of t."""

    @abc.abstractmethod
    def sort(self, t: Tensor) -> Tensor:
        """Entries of a one-axis tensor in ascending order."""


Objective = Callable[[], tuple[Tensor, tuple[Tensor, ...]]]
"""Computes a scalar to descend, and values to report."""

Raise = Callable[[Tensor, Tensor], Tensor]
"""Makes of the outputs of a batch and its one-hot labels, both (n, k), the outputs that the loss is to see."""


class Trainable(Function):
    """A function with parameters, loss and optimizer: an ART estimator that can be fitted."""

    has_defences: bool
    """Whether ART's preprocessing has more than the scaling."""
    scaling: tuple[Tensor, Tensor] | None
    """Mean and std of ART's scaling, broadcastable to a batch, or ``None``."""
    optimizer: Any
    """That of the estimator, as its framework has it."""
    optimizer_name: str
    """Name of the optimizer's class."""
    max_grad_norm: float | None = None
    """L2 norm to which :meth:`update` scales the whole gradient down where it is longer; ``None`` for no limit."""
    weights_file: str
    """What :meth:`save_weights` calls its file, as ``model.pt``."""

    threshold = 0.5
    """Output above which the class of a single output, or a label of its own, is 1."""
    estimator: Any
    """The ART estimator."""

    leads = True
    """Whether this process shows progress and writes to the disk: one of those that train together does."""

    @property
    def alone(self) -> bool:
        """Whether no other process trains with this one."""
        return True

    def spread(self) -> Trainable:
        """This estimator, to be trained on all devices that work together, where there are several."""
        return self

    def agreed(self, value: Any) -> Any:
        """The value that the leading process has."""
        return value

    def total(self, x: Tensor) -> int:
        """Samples of a batch on all devices."""
        return int(x.shape[0])

    @abc.abstractmethod
    def described(self) -> dict[str, Any]:
        """Layers, loss and settings of the optimizer as JSON can say them: what decides a training, weights aside."""

    @abc.abstractmethod
    def kept_loss(self) -> dict[str, Any] | None:
        """The loss as a record, of ``class`` and ``settings``, where it is the framework's own; else ``None``."""

    @abc.abstractmethod
    def check_trainable(self) -> None:
        """Raise ``ValueError`` if the estimator lacks an optimizer, a loss or trainable parameters."""

    @abc.abstractmethod
    def fitting(self, seed: int) -> AbstractContextManager[None]:
        """Train mode and :meth:`seeded` inside; modes and randomness as found afterwards."""

    @abc.abstractmethod
    def training_data(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Training arrays as the estimator's own ``fit`` would see them, but for the mean/std scaling of x."""

    @abc.abstractmethod
    def labels(self, y: np.ndarray) -> np.ndarray:
        """Labels (index, one-hot or probabilities) or regression targets as the estimator's loss wants them."""

    @abc.abstractmethod
    def batch(self, x: np.ndarray, y: np.ndarray, index: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """One batch as tensors: all of x and y, or the samples that index, shape (n,), names.

        y is as from :meth:`labels`. The tensors are the model's own copy where index is given.
        """

    @abc.abstractmethod
    def loss(self, x: Tensor, y: Tensor, raised: Raise | None = None) -> tuple[Tensor, Tensor]:
        """The estimator's loss on a batch in train mode, and the number of right predictions (NaN for a regressor).

        Args:
            x, y: the batch.
            raised: what a classifier's outputs pass through before the loss; predictions are those without it.

        Raises:
            ValueError: there are outputs to pass through something, and the loss is computed out of reach.
        """

    def right(self, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        """What is right of each prediction: 1 or 0; of several labels a sample, the share of them.

        Args:
            outputs: shape (n, k).
            y: n labels as from :meth:`labels`.

        Returns:
            Shape (n,), float64.
        """
        if self.multi_label or outputs.shape[1] == 1:
            return np.asarray(((outputs > self.threshold) == (y.reshape(outputs.shape) > 0.5)).mean(1))
        index = y.argmax(1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
        return np.asarray(outputs.argmax(1) == index, dtype=np.float64)

    def takes_several_labels(self) -> bool:
        """Whether the loss is one of labels that do not exclude each other."""
        return True

    @abc.abstractmethod
    def update(self, objectives: Sequence[Objective]) -> tuple[Tensor, ...]:
        """One optimizer step down the sum of the objectives; returns their values, detached, last objective first.

        They are differentiated one after the other, so that memory holds one at a time. The last has the loss of the
        batch; those before it are penalties.
        """

    @property
    def averages_weights(self) -> bool:
        """Whether :meth:`finish` puts averages of the weights in their place."""
        return False

    def finish(self) -> None:
        """What the framework's own ``fit`` does with the optimizer at the end of a training."""

    @abc.abstractmethod
    def blind_loss(self, y: np.ndarray) -> float:
        """What guessing costs, as a scale: log(nb_classes), or a regressor's loss at the mean of the targets y."""

    @abc.abstractmethod
    def weights(self) -> list[Tensor]:
        """Trainable weights of the layers as matrices (outputs, inputs), without biases and normalisation."""

    @abc.abstractmethod
    def matmul(self, a: Tensor, b: Tensor, transpose: bool = False) -> Tensor:
        """Matrix products a·b, or a·bᵀ, over the last two axes; the axes before them are broadcast."""

    @abc.abstractmethod
    def evaluate(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> tuple[float, float]:
        """Mean loss and accuracy (NaN for a regressor) in eval mode."""

    @abc.abstractmethod
    def snapshot(self) -> Any:
        """Copy of parameters, buffers and optimizer state."""

    @abc.abstractmethod
    def restore(self, snapshot: Any) -> None:
        """Put a snapshot back."""

    @abc.abstractmethod
    def pack(self, snapshot: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """A snapshot as arrays, named ``model.…`` and ``optimizer.…``, and what else there is to it, fit for JSON."""

    @abc.abstractmethod
    def unpack(self, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> Any:
        """The snapshot that was packed."""

    @abc.abstractmethod
    def randomness(self) -> list[np.ndarray]:
        """States of the generators that the model draws from in training, inside :meth:`fitting`."""

    @abc.abstractmethod
    def set_randomness(self, states: list[np.ndarray]) -> None:
        """Put them back."""

    @abc.abstractmethod
    def save_weights(self, path: str) -> None:
        """Write parameters and buffers to a file that loads without running code."""

    @abc.abstractmethod
    def is_finite(self) -> bool:
        """Whether all parameters are finite (waits for the device)."""
