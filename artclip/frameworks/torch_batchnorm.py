"""PyTorch's BatchNorm in a penalty: normalised by the batch, as in the loss, whatever else is passed with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def layers_of(module: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers of a model."""
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


class NormalisedBy:
    """Context in which BatchNorm layers in train mode normalise by the first rows of what they are given.

    Mean and variance carry gradients; the running averages stay as they are.

    Args:
        layers: those of the model.
        rows: of the batch that goes first.
        total: rows in all. A layer may see a multiple of both.
    """

    def __init__(self, layers: list[nn.Module], rows: int, total: int) -> None:
        self._layers, self._rows, self._total = layers, rows, total

    def __enter__(self) -> None:
        self._hooks = [m.register_forward_hook(self._normalised) for m in self._layers if m.training]

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _normalised(self, layer: Any, inputs: tuple[torch.Tensor, ...], outputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        wide = x if x.dtype.itemsize >= 4 else x.float()
        axes, shape = [0, *range(2, x.ndim)], (1, -1, *(1 for _ in x.shape[2:]))
        variance, mean = torch.var_mean(wide[: len(x) * self._rows // self._total], axes, correction=0)
        scale = torch.rsqrt(variance + layer.eps)
        if layer.affine:
            scale = scale * layer.weight
        shift = -mean * scale
        if layer.affine:
            shift = shift + layer.bias
        return (wide * scale.reshape(shape) + shift.reshape(shape)).to(outputs.dtype)
