"""PyTorch: what a loss tells of the outputs, and ART's defences that work in numpy as functions with a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.config import ART_NUMPY_DTYPE
from torch import nn
from torch.nn import functional

# Losses that take one class a sample; and those whose outputs are log-odds.
OF_ONE_CLASS = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
_OF_LOG_ODDS = (nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss, nn.SoftMarginLoss)
_LOG_ODDS = (functional.binary_cross_entropy_with_logits, functional.soft_margin_loss)
# Losses that draw a single output to the labels 0 and 1.
_OF_LABELS = (nn.BCELoss, nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
_LABELS = (functional.binary_cross_entropy, functional.mse_loss, functional.l1_loss)


def threshold(loss: Any) -> float | None:
    """Output above which the class of a single output is 1; ``None`` where the loss does not tell."""
    loss = getattr(loss, "func", loss)  # of a functools.partial
    if isinstance(loss, _OF_LOG_ODDS) or loss in _LOG_ODDS:
        return 0.0
    return 0.5 if isinstance(loss, _OF_LABELS) or loss in _LABELS else None


def takes_probabilities(loss: Any) -> bool:
    """Whether the loss takes a single output for the probability of class 1."""
    return isinstance(loss, nn.BCELoss) or getattr(loss, "func", loss) is functional.binary_cross_entropy


class Defended(torch.autograd.Function):
    """A defence in numpy: the real one forward, its own estimate of the gradient backward, for most the identity."""

    @staticmethod
    def forward(ctx: Any, defence: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.defence, ctx.array = defence, x.detach().cpu().numpy().astype(ART_NUMPY_DTYPE)
        return torch.from_numpy(np.array(defence(ctx.array.copy())[0])).to(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        (gradient,) = gradients
        estimate = ctx.defence.estimate_gradient(ctx.array, gradient.cpu().numpy().astype(ART_NUMPY_DTYPE))
        return None, torch.from_numpy(np.array(estimate)).to(gradient)


def one_number(loss: torch.Tensor) -> torch.Tensor:
    """The loss of a batch, refused where it is not summed up."""
    if loss.numel() != 1:
        raise ValueError(
            f"the loss gives numbers of shape {tuple(loss.shape)} for a batch, and a step goes down one: give it "
            "reduction='mean'"
        )
    return loss
