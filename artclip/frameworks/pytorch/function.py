"""PyTorch: a ``torch.nn.Module`` as a function."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from artclip.frameworks.base import Function
from artclip.frameworks.check import not_a_tensor, shape_of_outputs
from artclip.frameworks.pytorch import batchnorm
from artclip.frameworks.pytorch.joint_pass import has_modes
from artclip.frameworks.pytorch.random import Stream
from artclip.frameworks.unwrap import logits_of


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """The array as a CPU tensor, copied only where it is read-only, strided or of foreign byte order."""
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))


def rows_of(array: np.ndarray, index: np.ndarray) -> torch.Tensor:
    """``array[index]`` as a CPU tensor, by PyTorch's faster gather where it can see the whole array without a copy."""
    if array.flags.carray and array.dtype.isnative:
        return torch.from_numpy(array).index_select(0, torch.from_numpy(index))
    return as_tensor(array[index])


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Context after which the module has the buffers that it had, with the values that they had.

    So has what parametrisations keep as parameters that are not trained, as the vectors of a power iteration.
    """
    scripted = torch.jit.ScriptModule  # its buffers cannot be put elsewhere
    holders = [(m._buffers, dict(m._buffers)) for m in module.modules() if not isinstance(m, scripted)]
    fixed = (p for name, p in module.named_parameters() if not p.requires_grad and ".parametrizations." in f".{name}")
    values = [(b, b.detach().clone()) for b in (*module.buffers(), *fixed)]
    try:
        yield
    finally:
        for holder, buffers in holders:
            holder.clear()
            holder.update(buffers)
        for buffer, value in values:
            if not torch.equal(buffer, value):
                buffer.detach().copy_(value)


class _EvalMode:
    """Context in which the modules that have modes are in eval mode; each returns to the mode it was in."""

    def __init__(self, module: nn.Module) -> None:
        self.modules = [m for m in module.modules() if has_modes(m)]

    def __enter__(self) -> None:
        self._modes = [m.training for m in self.modules]
        for m in self.modules:
            m.training = False

    def __exit__(self, *_: object) -> None:
        for m, mode in zip(self.modules, self._modes, strict=True):
            m.training = mode


class TorchFunction(Function):
    """A ``torch.nn.Module`` as a function of raw inputs.

    Args:
        module: maps a tensor (n, *input_shape) to a tensor (n, ...), in its own device and dtype.
    """

    name, arrays = "torch", torch

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.input_shape: tuple[int, ...] = ()
        self.clip_values = None
        self._look()

    def _look(self) -> None:
        """Where the module is, in which dtype, and what it is made of."""
        like = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        self.device = like.device if like is not None else torch.device("cpu")
        self.dtype = like.dtype if like is not None else torch.float32
        self._eval_mode = _EvalMode(self.module)
        self._batchnorm = batchnorm.layers_of(self.module)
        self.has_batchnorm = bool(self._batchnorm)
        # Whether something in front of the model, or in it, may write into its input.
        in_place = (getattr(m, "inplace", False) for m in self.module.modules())
        self._may_write = bool(self._eval_mode.modules) or any(in_place)

    def check_gradients(self) -> None:
        if torch.is_inference_mode_enabled():
            raise RuntimeError(
                "inside torch.inference_mode() nothing has a gradient, by which models train and pairs climb; leave "
                "it, or use torch.no_grad()"
            )

    def follow(self) -> bool:
        before = self.device, self.dtype
        self._look()
        return before != (self.device, self.dtype)

    def connected(self, x: torch.Tensor) -> bool:
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            outputs = self._outputs(x)
        return outputs.requires_grad and torch.autograd.grad(outputs.sum(), x, allow_unused=True)[0] is not None

    def full_precision(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, enabled=False)

    def state(self) -> Iterator[np.ndarray]:
        for value in self.module.state_dict().values():
            if isinstance(value, torch.Tensor):
                yield value.detach().cpu().contiguous().view(torch.uint8 if value.ndim else value.dtype).numpy()

    def _deployed(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._outputs(x)

    def _outputs(self, x: torch.Tensor) -> torch.Tensor:
        with self._eval_mode:
            try:
                outputs = self._deployed(x.clone() if self._may_write else x)
            except ValueError as error:
                if (said := batchnorm.of_one(error, self.module)) is None:
                    raise
                raise said from error
        if self.takes_logits:
            outputs = logits_of(outputs, torch.is_tensor)
        if not isinstance(outputs, torch.Tensor):
            raise not_a_tensor(outputs)
        shape_of_outputs(tuple(outputs.shape), x.shape[0], self.told_classes)
        return self._flat(outputs)

    def _flat(self, outputs: torch.Tensor) -> torch.Tensor:
        """Shape (n, k), in the model's dtype: under autocast outputs come in a lower one, and are to be subtracted."""
        return (outputs if outputs.ndim == 2 else outputs.reshape(len(outputs), -1)).to(self.dtype)

    def _normalised_by(self, rows: int, total: int) -> AbstractContextManager[None]:
        return batchnorm.normalised_by(self._batchnorm, rows, total)

    @torch.no_grad()
    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward(x)

    @torch.no_grad()
    def value_alone(self, x: torch.Tensor) -> torch.Tensor:
        return self._outputs(x)

    def pullback(self, x: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            outputs = self._outputs(x)

        def pull(cotangents: torch.Tensor) -> torch.Tensor:
            return torch.autograd.grad(outputs, x, cotangents)[0]

        return outputs.detach(), pull

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        with Stream(self.device, seed) as stream, stream.turn():
            yield

    def unchanged(self) -> AbstractContextManager[None]:
        return buffers_kept(self.module)

    def tensor(self, array: Any) -> torch.Tensor:
        tensor = array if isinstance(array, torch.Tensor) else as_tensor(np.asarray(array))
        return tensor.to(self.device, self.dtype, non_blocking=True)

    def host(self, x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        x = x.detach().cpu()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()  # NumPy has no bfloat16

    def kept(self, t: torch.Tensor) -> torch.Tensor:
        return t.detach().clone()

    def to_numpy(self, tensors: Sequence[torch.Tensor]) -> np.ndarray:
        joined = torch.cat([t.detach().reshape(-1) for t in tensors]).cpu()  # not every device has float64
        return joined.to(torch.float64).numpy()

    def in_float64(self) -> TorchFunction | None:
        if self.dtype == torch.float64:
            return self
        twin = copy.copy(self)
        try:
            with torch.no_grad():  # else the weights of a TorchScript copy are made of those of the program
                twin.module = copy.deepcopy(self.module).double()
        except Exception:  # modules may hold anything
            return None
        twin.dtype = torch.float64
        twin._eval_mode, twin._batchnorm = _EvalMode(twin.module), batchnorm.layers_of(twin.module)
        return twin

    @property
    def precision(self) -> float:
        return torch.finfo(self.dtype).eps

    def norm(self, t: torch.Tensor, p: float) -> torch.Tensor:
        return torch.linalg.vector_norm(t, p, dim=tuple(range(1, t.ndim)), keepdim=True)

    def compile(self, step: Callable[..., Any], nb_resizable: int = 2) -> Callable[..., Any]:
        return step  # torch.compile was measured slower on small nets, and takes minutes on large ones

    def split(self, t: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        return list(t.split(list(sizes)))

    def constants(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [t.detach() for t in tensors]

    def one_hot_argmax(self, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(t).scatter_(1, t.argmax(1, keepdim=True), 1.0)

    def sort(self, t: torch.Tensor) -> torch.Tensor:
        return torch.sort(t).values
