"""PyTorch's optimizers: which can serve here, their settings, and the limit of the gradient that they are given."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn


def limit(parameters: list[torch.Tensor], norm: float) -> None:
    """Scale the gradient of all parameters down to an L2 norm, where it is longer."""
    for p in parameters:
        if p.grad is not None and p.grad.is_sparse:  # of an Embedding; it has no norm
            p.grad = p.grad.to_dense()
    nn.utils.clip_grad_norm_(parameters, norm)


def kind_of(now: Any, value: Any) -> Any:
    """A setting of an optimizer as it was before it went through JSON: a tuple, a rate in a tensor, or a number."""
    if isinstance(now, torch.Tensor) and isinstance(value, (int, float)):
        return torch.full_like(now, value)
    return tuple(value) if isinstance(value, list) else value


def refuse_others(optimizer: Any) -> None:
    """Raise ``ValueError`` where one step is more than one gradient, or takes no gradient of a penalty."""
    name = type(optimizer).__name__
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if (closure is not None and closure.default is closure.empty) or hasattr(optimizer, "second_step"):
        raise ValueError(
            f"the classifier's optimizer is {name}, whose step evaluates the loss several times (a closure); here one "
            "step takes one gradient, of loss and penalty: give an optimizer such as SGD or Adam"
        )
    if callable(getattr(optimizer, "eval", None)):  # as of schedulefree
        raise ValueError(
            f"the classifier's optimizer is {name}, which has other weights in train and in eval mode; here they are "
            "the same: give an optimizer such as SGD or Adam"
        )
    if isinstance(optimizer, torch.optim.SparseAdam):
        raise ValueError("SparseAdam takes sparse gradients alone, and that of a penalty is dense: give Adam instead")
