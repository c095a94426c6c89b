"""Programs, as of ``torch.export`` or converted from ONNX, as modules for batches of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

# Operators whose second argument is a shape.
_SHAPED = ("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.expand.default")
_UNITS = 1000.0  # of rounding, that outputs in batches of several sizes may differ


class Program(nn.Module):
    """A program without a train mode, which may take only batches of some size, and inputs of one dtype.

    Args:
        program: gives outputs of shape (n, k) for inputs of shape (n, *input_shape).
        size: samples that one pass may have; ``None`` for any number.
        exact: whether each pass must have that many; the last one is then filled up with copies of its last sample.
        dtype: of the inputs.
    """

    def __init__(
        self, program: nn.Module, size: int | None = None, exact: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.program, self.size, self.exact, self.dtype = program, size, exact, dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of the program, for as many samples as x has."""
        whole = x.to(self.dtype)
        if self.size is None:
            return self._part(whole, x.dtype)
        if self.exact and len(x) % self.size:
            whole = torch.cat([whole, whole[-1:].expand(-len(x) % self.size, *x.shape[1:])])
        return torch.cat([self._part(part, x.dtype) for part in whole.split(self.size)])[: len(x)]

    def _part(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        outputs = self.program(x)
        if not isinstance(outputs, torch.Tensor):
            raise ValueError(f"the program gives a {type(outputs).__name__}; export a module that gives logits alone")
        return outputs.to(dtype)

    def train(self, mode: bool = True) -> Program:
        """Nothing: a program stays in the mode that it was exported in."""
        return self


def for_any_batch(sliced: Program, make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Program:
    """A program for any number of samples, if it gives what the one that runs in slices gives; else that one.

    Args:
        sliced: takes batches of one size alone.
        make: gives the program without that limit.
        shape: of one input.
    """
    if sliced.size is None or not all(shape):
        return sliced
    generator = torch.Generator().manual_seed(0)
    try:
        free = Program(make(), None, False, sliced.dtype)
        for scale in (1.0, 0.1, 10.0):
            x = torch.randn(2 * sliced.size + 1, *shape, generator=generator) * scale
            with torch.no_grad():
                ours, theirs = free(x), sliced(x)
            allowed = _UNITS * torch.finfo(sliced.dtype).eps * float(theirs.abs().max())
            if ours.shape != theirs.shape or not bool(((ours - theirs).abs() <= allowed).all()):
                return sliced
    except Exception:  # of whatever kind a shape provokes that does not fit
        return sliced
    return free


def loosened(program: Any, batch: int) -> nn.Module:
    """The program without checks of its inputs, and with shapes that begin with the size of the batch left open."""
    try:
        module = program.module(check_guards=False)
    except TypeError:  # PyTorch before 2.9 has no such argument, and no such checks in the graph
        module = program.module()
    module._forward_pre_hooks.clear()  # which compare sizes with those that were exported
    for node in module.graph.nodes:
        value = node.meta.get("val")
        if str(node.target) in _SHAPED and isinstance(value, torch.Tensor) and value.shape[:1] == (batch,):
            before = node.args[0].meta.get("val")
            held = isinstance(before, torch.Tensor) and before.shape[:1] == (batch,)
            expanded = str(node.target) == "aten.expand.default"
            # A constant is expanded to one sample: arithmetic broadcasts it to the batch.
            first = 1 if expanded and not (held and before.ndim == value.ndim) else -1
            node.args = (node.args[0], [first, *map(int, value.shape[1:])], *node.args[2:])
    module.recompile()
    return module
