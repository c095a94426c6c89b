"""PyTorch on several devices: one process each, as ``torchrun`` starts them, in one training.

Each process takes its share of the rows of whatever is computed: of the batch, of the pairs that climb, and of their
ends in the penalty. Outputs and input gradients are put together, so that all go on with the same numbers and the
algorithm need not know. Gradients in the parameters are averaged once a step, in one message.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from artclip.frameworks import global_random
from artclip.frameworks.pytorch.estimator import TorchEstimator
from artclip.frameworks.trainable import LogitShift


def several() -> bool:
    """Whether this process is one of several that work together."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size() > 1
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "TORCHELASTIC_RUN_ID" in os.environ:
        warnings.warn(
            f"torchrun started {os.environ['WORLD_SIZE']} processes, but they have no process group, so each trains a "
            "model of its own; call torch.distributed.init_process_group() first",
            RuntimeWarning,
            stacklevel=6,
        )
    return False


def on_all_devices(f: TorchEstimator) -> TorchEstimator:
    """The estimator, to be trained by all processes that work together, where there are several."""
    return DistributedTorchEstimator(f.estimator) if several() else f


class DistributedTorchEstimator(TorchEstimator):
    """An ART PyTorch estimator, trained by all processes of the process group.

    BatchNorm normalises by the rows of its process, as in DistributedDataParallel; running averages are averaged. Every
    process has the same model and the same data, or the same ``DataGenerator`` of other batches, and calls
    ``fit`` alike; the batch size is that of all together. Outside :meth:`fitting` nothing is shared, so a process may
    call anything else by itself.
    """

    def __init__(self, estimator: Any) -> None:
        super().__init__(estimator)
        if any(isinstance(m, nn.parallel.DistributedDataParallel) for m in self.module.modules()):
            raise ValueError(
                "the model is wrapped in DistributedDataParallel; give ART the model itself: artclip averages the "
                "gradients of all processes"
            )
        self._rank, self._nb_ranks = dist.get_rank(), dist.get_world_size()
        self.is_main_process = self._rank == 0
        averages = [(m.running_mean, m.running_var) for m in self._batchnorm]
        self._buffers: list[Any] = [b for pair in averages for b in pair if b is not None]
        self._sharing, self._total, self._own = False, 0, slice(0, 0)

    @property
    def is_single_process(self) -> bool:
        return False

    @contextmanager
    def fitting(self, seed: int) -> Iterator[None]:
        for tensor in self.module.state_dict().values():
            if isinstance(tensor, torch.Tensor):
                dense = tensor.contiguous()
                dist.broadcast(dense, 0)
                tensor.copy_(dense)
        # Dropout and the like must not drop the same on all.
        own = seed if self.is_main_process else int(np.random.SeedSequence([seed, self._rank]).generate_state(1)[0])
        with super().fitting(own):
            self._sharing = True
            try:
                yield
            finally:
                self._sharing = False

    def broadcast(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, 0, device=self.device if dist.get_backend() == "nccl" else None)
        return box[0]

    # the batch
    def batch(self, x: np.ndarray, y: np.ndarray, index: np.ndarray | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        if index is None:  # of a generator of this process
            sizes = torch.zeros(self._nb_ranks, dtype=torch.int64, device=self.device)
            sizes[self._rank] = len(x)
            dist.all_reduce(sizes)
            ends = np.cumsum(sizes.cpu().numpy())
            self._total, self._own = int(ends[-1]), slice(int(ends[self._rank]) - len(x), int(ends[self._rank]))
            return super().batch(x, y)
        self._total, self._own = len(index), self._share(len(index))
        return super().batch(x, y, index[self._own])

    def batch_alone(self, x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return super().batch(x, y)

    def total(self, x: torch.Tensor) -> int:
        return self._total

    def gathered(self, x: torch.Tensor) -> torch.Tensor:
        return x if len(x) == self._total else self._joined(x, self._own, self._total)

    def loss(
        self, x: torch.Tensor, y: torch.Tensor, shift_logits: LogitShift | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        loss, correct = super().loss(x, y, shift_logits)
        if len(x) == self._total:  # all have all
            return loss, correct
        share = 1.0 if self.sums_loss else len(x) / self._total
        return loss * (share * self._nb_ranks), correct * self._nb_ranks  # such that their mean is right

    def joins_passes(self, rows: int) -> bool:
        return False  # the rows of the pairs are shared out otherwise than those of the batch

    def _averaged(self, values: list[torch.Tensor]) -> list[torch.Tensor]:
        # Parameters without a gradient here may have one elsewhere.
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        parts = [*gradients, *self._buffers, *(v.to(self.dtype) for v in values)]
        flat = torch.cat([part.reshape(-1) for part in parts])
        dist.all_reduce(flat)
        means = (flat / self._nb_ranks).split([part.numel() for part in parts])
        rest = iter(means)
        for parameter in self._parameters:
            parameter.grad = next(rest).reshape(parameter.shape).to(parameter.dtype)
        for buffer in self._buffers:
            buffer.copy_(next(rest).reshape(buffer.shape))
        return [mean.reshape(()) for mean in rest]

    # rows of anything
    def _share(self, n: int) -> slice:
        """The rows of this process; all of them, on each, where they are fewer than processes."""
        if n < self._nb_ranks:
            return slice(0, n)
        return slice(n * self._rank // self._nb_ranks, n * (self._rank + 1) // self._nb_ranks)

    def _is_shared(self, x: torch.Tensor) -> bool:
        return self._sharing and len(x) >= self._nb_ranks

    def _joined(self, own: torch.Tensor, rows: slice, n: int) -> torch.Tensor:
        """The rows of all processes, without gradients."""
        whole = torch.zeros((n, *own.shape[1:]), dtype=own.dtype, device=own.device)
        whole[rows] = own.detach()
        dist.all_reduce(whole)
        return whole

    def _with_gradient(self, own: torch.Tensor, rows: slice, n: int) -> torch.Tensor:
        """The rows of all processes; those of this one have a gradient, such that the mean over all is right."""
        whole = self._joined(own, rows, n)
        if not own.requires_grad:
            return whole
        mine = whole[rows] + self._nb_ranks * (own - own.detach())
        return torch.cat([whole[: rows.start], mine, whole[rows.stop :]])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self._is_shared(x):
            return super().forward(x)
        rows = self._share(len(x))
        return self._with_gradient(super().forward(x[rows]), rows, len(x))

    def forward_with_batch_statistics(self, x: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        if not self._is_shared(x):
            return super().forward_with_batch_statistics(x, batch)
        rows = self._share(len(x))
        return self._with_gradient(super().forward_with_batch_statistics(x[rows], batch), rows, len(x))

    def pullback(self, x: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        if not self._is_shared(x):
            return super().pullback(x)
        rows = self._share(len(x))
        outputs, pull = super().pullback(x[rows])
        return self._joined(outputs, rows, len(x)), lambda c: self._joined(pull(c[rows]), rows, len(x))

    def evaluate(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> tuple[float, float]:
        if not self._sharing or len(x) < self._nb_ranks:
            return super().evaluate(x, y, batch_size)
        rows = self._share(len(x))
        means = super().evaluate(x[rows], y[rows], batch_size)
        sums = torch.tensor(means, dtype=self.dtype, device=self.device) * (rows.stop - rows.start)
        dist.all_reduce(sums)
        loss, accuracy = (self.to_numpy([sums]) / len(x)).tolist()
        return loss, accuracy

    # randomness: a checkpoint has that of the leading process
    def set_randomness(self, states: list[np.ndarray]) -> None:
        if self.is_main_process:
            super().set_randomness(states)
            return
        words = [self._rank, *np.concatenate([s.reshape(-1).view(np.uint8) for s in states]).tolist()]
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        nb = global_random.NB_STATES
        super().set_randomness([*global_random.of_seed(seed), generator.get_state().numpy(), *states[nb + 1 :]])
