"""What artclip asks of a framework for training: loss, update, weights, snapshots."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from artclip.frameworks.base import Function, Tensor

Objective = Callable[[], tuple[Tensor, tuple[Tensor, ...]]]
"""Computes a scalar to descend, and values to report."""

LogitShift = Callable[[Tensor, Tensor], Tensor]
"""Makes of the outputs of a batch and its one-hot labels, both (n, k), the outputs that the loss is to see."""


class Trainable(Function):
    """A function with parameters, loss and optimizer: an ART estimator that can be fitted."""

    scaling: tuple[Tensor, Tensor] | None
    """Mean and std of ART's scaling, broadcastable to a batch, or ``None``."""
    optimizer: Any
    """That of the estimator, as its framework has it."""
    optimizer_name: str
    """Name of the optimizer's class."""
    max_grad_norm: float | None = None
    """L2 norm to which :meth:`update` scales the whole gradient down where it is longer; ``None`` for no limit."""
    ema_decay = 0.0
    """Decay, in (0, 1), of the averages of the weights that :meth:`fitting` keeps; 0 for none."""
    weights_file: str
    """What :meth:`save_weights` calls its file, as ``model.pt``."""

    threshold = 0.5
    """Output above which the class of a single output, or a label of its own, is 1."""
    estimator: Any
    """The ART estimator."""

    is_main_process = True
    """Whether this process shows progress and writes to the disk: one of those that train together does."""

    @property
    def is_single_process(self) -> bool:
        """Whether no other process trains with this one."""
        return True

    def broadcast(self, value: Any) -> Any:
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

    def drawing(self) -> AbstractContextManager[Any]:
        """Inside :meth:`fitting`: what is drawn from global generators in here follows from its seed."""
        return nullcontext()

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

    def batch_alone(self, x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
        """:meth:`batch` of all of x and y, for this device alone."""
        return self.batch(x, y)

    @abc.abstractmethod
    def loss(self, x: Tensor, y: Tensor, shift_logits: LogitShift | None = None) -> tuple[Tensor, Tensor]:
        """The estimator's loss on a batch in train mode, and the number of right predictions (NaN for a regressor).

        Args:
            x, y: the batch.
            shift_logits: what a classifier's outputs pass through before the loss; predictions are those without it.

        Raises:
            ValueError: there are outputs to pass through something, and the loss is computed out of reach.
        """

    def joins_passes(self, rows: int) -> bool:
        """Whether :meth:`joint_loss` may take the batch and so many points beside it.

        That needs a model whose train and eval mode are the same function of each sample by itself, and it saves memory
        where a pass keeps less of the points than a second gradient of all parameters takes.
        """
        return False

    def joint_loss(
        self, rows: Tensor, y: Tensor, shift_logits: LogitShift | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """:meth:`loss` of a batch, and :meth:`forward` of the batch and of points beside it, in one pass.

        Args:
            rows: the batch, and below it the points, shape (n + m, *input_shape).
            y: labels of the batch, n of them.
            shift_logits: as for :meth:`loss`.

        Returns:
            Loss, number of right predictions, outputs (n, k) of the batch, outputs (m, k) at the points.
        """
        raise NotImplementedError

    computes_own_loss = False
    """Whether a step of the user's own computes and differentiates the loss."""

    @abc.abstractmethod
    def deployed_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`loss` of the model as deployed, summed over the samples and on this device alone.

        It is differentiable in x.
        """

    @abc.abstractmethod
    def gradient(self, x: Tensor, scalar: Callable[[Tensor], Tensor], differentiable: bool = False) -> Tensor:
        """Gradient in x of a scalar function of x.

        Args:
            differentiable: whether the gradient has one of its own, in the parameters (double backpropagation). Then it
                is taken within an objective of :meth:`update`.
        """

    @abc.abstractmethod
    def noise(self, like: Tensor, step: Any, normal: bool = False) -> Tensor:
        """Random numbers inside :meth:`fitting`: uniform in [-1, 1], or standard normal.

        Args:
            like: of the shape and dtype asked for.
            step: of the fit, a float from 0: a framework without a generator of its own draws by it and the seed.
        """

    @abc.abstractmethod
    def log_softmax(self, t: Tensor) -> Tensor:
        """Logarithms of the softmax of each row (n, k)."""

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
        return np.asarray(outputs.argmax(1) == class_indices(y), dtype=np.float64)

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
        return self.ema_decay > 0

    def finish(self) -> None:
        """What the framework's own ``fit`` does with the optimizer at the end; and averages in the place of weights."""

    batch_size = 1
    """Samples of a step: what a loss that is a sum over them grows with."""

    def chance_loss(self, y: np.ndarray) -> float:
        """What guessing costs, as a scale: log(nb_classes), or a regressor's loss at the mean of the targets y.

        Of a loss that is a sum over samples, that of :attr:`batch_size` of them.
        """
        rows = self.batch_size if self.sums_loss else 1
        if self.nb_classes is None:
            return self.loss_at_mean(y) * (rows / len(y) if self.sums_loss else 1)
        return rows * math.log(2 if self.multi_label else max(2, self.nb_classes))

    loss_grows = False
    """Whether a loss that does not say so itself was seen to be a sum over samples."""

    @property
    @abc.abstractmethod
    def loss_function(self) -> Any:
        """The loss, as the framework has it."""

    @property
    def told_reduction(self) -> str | None:
        """What the loss says of itself: ``"sum"``, ``"mean"``, or ``None`` where it says nothing."""
        return getattr(self.loss_function, "reduction", None)

    @property
    def sums_loss(self) -> bool:
        """Whether the loss is a sum over samples, and no mean."""
        return self.loss_grows if self.told_reduction is None else self.told_reduction == "sum"

    @abc.abstractmethod
    def loss_at_mean(self, y: np.ndarray) -> float:
        """A regressor's loss at the mean of the targets y."""

    @abc.abstractmethod
    def weights(self) -> list[Tensor]:
        """Trainable weights of the layers as matrices (outputs, inputs), without biases and normalisation."""

    def stays_orthogonal(self, live: Callable[[], Tensor]) -> bool:
        """Whether the optimizer keeps the matrix orthogonal that ``live`` reads, as a layer of the graph has it."""
        return False

    @abc.abstractmethod
    def matmul(self, a: Tensor, b: Tensor, transpose: bool = False) -> Tensor:
        """Matrix products a·b, or a·bᵀ, over the last two axes; the axes before them are broadcast."""

    def evaluate(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> tuple[float, float]:
        """Mean loss and accuracy (NaN for a regressor) in eval mode."""
        parts = (slice(start, start + batch_size) for start in range(0, len(x), batch_size))
        sums = [self.deployed_loss(*self.batch_alone(x[part], y[part])) for part in parts]
        losses, correct = (self.to_numpy(values).sum() for values in zip(*sums, strict=True))
        return float(losses) / len(x), float(correct) / len(x)

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
        """States of the global generators, and of those of layers, from which is drawn inside :meth:`fitting`."""

    @abc.abstractmethod
    def set_randomness(self, states: list[np.ndarray]) -> None:
        """Put them back."""

    @abc.abstractmethod
    def own_generators(self) -> list[str]:
        """Generators of random numbers that layers hold as attributes of their own, whose states are not kept."""

    @abc.abstractmethod
    def save_weights(self, path: str) -> None:
        """Write parameters and buffers to a file that loads without running code."""

    @abc.abstractmethod
    def is_finite(self) -> bool:
        """Whether all parameters are finite (waits for the device)."""


def class_indices(y: np.ndarray) -> np.ndarray:
    """Class indices (n,) of labels as from :meth:`Trainable.labels`."""
    return y.argmax(1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1).round().astype(np.int64)
