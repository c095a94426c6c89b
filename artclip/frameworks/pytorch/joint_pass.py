"""Whether a batch and points beside it may go through a PyTorch model together, and what the pass keeps of each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules import module as of_all

# Hooks that PyTorch calls for every module there is.
_FORWARD, _BACKWARD = (
    [getattr(of_all, f"_global_{way}{when}_hooks", {}) for when in ("", "_pre")] for way in ("forward", "backward")
)
# Modules of which train and eval mode are the same function, so that switching them is wasted time.
_MODELESS = (
    *(nn.Linear, nn.Flatten, nn.Unflatten, nn.Identity, nn.Sequential, nn.ModuleList),
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.LayerNorm, nn.GroupNorm),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Sigmoid, nn.Tanh),
    *(nn.Softmax, nn.LogSoftmax, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
)


def has_modes(module: nn.Module) -> bool:
    """Whether train and eval mode of a module, apart from those in it, may be two functions."""
    if any(_FORWARD) or module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        return True  # as of nn.utils.spectral_norm, which updates its estimate in train mode
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0  # without it no need to switch, and cuDNN cannot differentiate an RNN in eval mode
    return type(module) not in _MODELESS and not _is_wrapper_of_art(module)


def _is_wrapper_of_art(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__name__ == "ModelWrapper" and kind.__module__.startswith("art.")


def joins_passes(
    module: nn.Module, outputs: Callable[[torch.Tensor], torch.Tensor], sample: torch.Tensor, rows: int
) -> bool:
    """Whether a pass may take points beside the batch, and keeps less of them than the gradient of all parameters is.

    Args:
        module: the model, of modules without modes.
        outputs: a pass through it.
        sample: a batch of one.
        rows: number of points.
    """
    if any(map(_may_mix_samples, module.modules())) or any(map(_is_hooked, module.parameters())) or any(_BACKWARD):
        return False
    places = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept = 0

    def pack(t: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        if (place := t.untyped_storage().data_ptr()) not in places:
            places.add(place)
            kept += t.numel() * t.itemsize
        return t

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        found = outputs(sample)  # it holds all that was kept, so that no place is taken twice
    del found
    return rows * kept <= sum(p.numel() * p.itemsize for p in module.parameters() if p.requires_grad)


def _is_hooked(parameter: nn.Parameter) -> bool:
    """Whether something sees, or changes, the gradient that each pass adds to a parameter."""
    return bool(parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None))


def _may_mix_samples(module: nn.Module) -> bool:
    """Whether a module without modes, apart from those in it, may let a sample see the others of its batch."""
    if module._backward_hooks or module._backward_pre_hooks:
        return True  # they see the gradients of a whole pass
    if isinstance(module, (nn.Softmax, nn.LogSoftmax)):
        return module.dim not in (1, -1)
    if isinstance(module, nn.Flatten):
        return module.start_dim < 1
    if isinstance(module, nn.Unflatten):
        return not isinstance(module.dim, int) or module.dim < 1
    return isinstance(module, nn.RNNBase)  # by the layout that they are told
