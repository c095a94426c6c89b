"""The sigmoid, softmax or ReLU at the end of a PyTorch model, and the model without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from artclip.frameworks.torch import TorchFunction

_HEADS = (nn.Sigmoid, nn.Softmax, nn.ReLU)


def find(f: TorchFunction, x: Any) -> Callable[[], AbstractContextManager[None]] | None:
    """A context in which the model ends before its last activation; ``None`` if no module makes its outputs.

    Args:
        f: the model's adapter.
        x: a few inputs, to see which module comes last.
    """
    calls: list[tuple[nn.Module, torch.Tensor]] = []
    with ExitStack() as stack:
        for module in f.module.modules():
            if isinstance(module, _HEADS):
                handle = module.register_forward_hook(lambda m, _, output: calls.append((m, output)))
                stack.callback(handle.remove)
        with torch.no_grad():
            outputs = f.forward(f.tensor(x))
    if not calls:
        return None
    head, last = calls[-1]
    if last.numel() != outputs.numel() or not torch.equal(last.reshape(outputs.shape), outputs):
        return None
    times = sum(module is head for module, _ in calls)  # one module may serve the hidden layers as well

    @contextmanager
    def without() -> Iterator[None]:
        count = 0

        def bare(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += 1
            return inputs[0] if count % times == 0 else output

        handle = head.register_forward_hook(bare)
        try:
            yield
        finally:
            handle.remove()

    return without
