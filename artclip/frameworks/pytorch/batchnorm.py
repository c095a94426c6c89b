"""PyTorch's BatchNorm in a penalty: normalised by the batch, as in the loss, whatever else is passed with it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from artclip.frameworks.replaced import replaced


def layers_of(module: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers of a model."""
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def of_one(error: ValueError, module: nn.Module) -> ValueError | None:
    """What to raise where a layer without running averages met a batch of one, by PyTorch's error; or ``None``."""
    if "more than 1 value per channel" not in str(error):
        return None
    names = [
        name.removeprefix("_model.")
        for name, layer in module.named_modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None
    ]
    if not names:
        return None
    return ValueError(
        f"the model has BatchNorm without running averages (track_running_stats=False), layer {', '.join(names)}: in "
        "eval mode too it normalises by the batch, and takes no batch of one sample. So it is no function of one "
        "input: make the layer with track_running_stats=True and train it again"
    )


def normalised_by(layers: list[nn.Module], rows: int, total: int) -> AbstractContextManager[None]:
    """Inside, layers in train mode normalise by the first rows of what they are given.

    Mean and variance carry gradients; the running averages stay as they are.

    Args:
        layers: those of the model.
        rows: of the batch that goes first.
        total: rows in all. A layer may see a multiple of both.
    """

    def normalised(layer: Any, x: torch.Tensor) -> torch.Tensor:
        wide = x if x.dtype.itemsize >= 4 else x.float()
        if layer.affine:
            weight, bias = layer.weight.to(wide.dtype), layer.bias.to(wide.dtype)
        else:
            weight, bias = wide.new_ones(x.shape[1]), wide.new_zeros(x.shape[1])
        return _ByFirstRows.apply(wide, weight, bias, len(x) * rows // total, layer.eps).to(x.dtype)

    return replaced([layer for layer in layers if layer.training], "forward", lambda layer: partial(normalised, layer))


class _ByFirstRows(torch.autograd.Function):
    """PyTorch's BatchNorm by given averages, and what these add to the gradient in the rows they are of.

    Written as a formula of tensors it would take nearly three times the operators, and memory for each of them.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, rows: int, eps: float
    ) -> torch.Tensor:
        variance, mean = torch.var_mean(x[:rows], [0, *range(2, x.ndim)], correction=0)
        ctx.save_for_backward(x, weight, mean, variance, torch.rsqrt(variance + eps))
        ctx.rows, ctx.eps = rows, eps
        return nn.functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, variance, scale = ctx.saved_tensors
        by_x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, mean, scale, False, ctx.eps, [True, True, True]
        )
        first, shape = x[: ctx.rows], (1, -1, *(1 for _ in x.shape[2:]))
        scaled = weight * scale
        slope = scaled * scale * by_weight
        shift = torch.addcmul(scaled * by_bias, slope, mean, value=-1)
        by_mean_and_variance = torch.addcmul(shift.reshape(shape), first, slope.reshape(shape))
        by_x[: ctx.rows].sub_(by_mean_and_variance, alpha=first.shape[1] / first.numel())
        return by_x, by_weight, by_bias, None, None
