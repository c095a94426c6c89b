"""The sigmoid, softmax or ReLU at the end of a PyTorch model, and the model without it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from artclip.frameworks.pytorch.function import TorchFunction

_aten = torch.ops.aten
# What each may be called, in modules and in forward; the operations of exported programs among them.
_KINDS: dict[Any, str] = {
    **dict.fromkeys((torch.sigmoid, torch.special.expit, torch.Tensor.sigmoid, functional.sigmoid), "sigmoid"),
    **dict.fromkeys((torch.sigmoid_, torch.Tensor.sigmoid_, _aten.sigmoid.default), "sigmoid"),
    **dict.fromkeys((torch.softmax, torch.Tensor.softmax, functional.softmax, torch.special.softmax), "probabilities"),
    **dict.fromkeys((_aten.softmax.int, _aten._softmax.default), "probabilities"),
    **dict.fromkeys((torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, functional.relu), "rectified"),
    **dict.fromkeys((_aten.relu.default, _aten.relu_.default), "rectified"),
}


class _Calls(TorchFunctionMode):
    """Counts the activations inside, and keeps what the last of them gave."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0
        self.last: tuple[str, torch.Tensor] | None = None

    def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if function in _KINDS:
            self.times += 1
            self.last = _KINDS[function], output.detach().clone()
        return output


class _Without(TorchFunctionMode):
    """Gives back its input in the place of the last of so many activations; a pass more starts anew."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times, self._count = times, 0

    def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in _KINDS:
            self._count += 1
            if self._count % self._times == 0:
                return args[0] if args else (kwargs or {})["input"]
        return function(*args, **(kwargs or {}))


def find(f: TorchFunction, x: Any) -> tuple[str, Callable[[], AbstractContextManager[Any]]] | None:
    """What the model ends in, and contexts in which it ends before that; ``None`` if no activation makes its outputs.

    Args:
        f: the model's adapter.
        x: a few inputs, to see which activation comes last.
    """
    with torch.no_grad(), _Calls() as calls:
        outputs = f.forward(f.tensor(x))
    if calls.last is None:
        return None
    kind, last = calls.last
    if last.numel() != outputs.numel() or not torch.equal(last.reshape(outputs.shape).to(outputs.dtype), outputs):
        return None
    return kind, lambda: _Without(calls.times)
