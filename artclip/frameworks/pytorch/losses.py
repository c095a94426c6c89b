"""PyTorch: what a loss tells of the outputs, and what is made of it; ART's numpy defences with a gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from art.config import ART_NUMPY_DTYPE
from art.utils import check_and_transform_label_format
from torch import nn
from torch.nn import functional

from artclip.frameworks.trainable import LogitShift, Trainable

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


class TorchLoss(Trainable):
    """The part of an estimator that its loss decides: labels, the loss of outputs, and which predictions are right.

    Attributes:
        estimator: that of ART.
        dtype: of the model.
    """

    estimator: Any
    dtype: torch.dtype

    def labels(self, y: np.ndarray) -> np.ndarray:
        if self.nb_classes is None:
            return y
        if self.multi_label:  # which ART would reduce to the largest
            return y.astype(np.float32)
        if y.ndim == 1 and getattr(self.estimator, "_int_labels", False):
            return y.astype(np.int64)
        return np.asarray(self.estimator.reduce_labels(check_and_transform_label_format(y, self.nb_classes)))

    def _loss_of(
        self, outputs: torch.Tensor, y: torch.Tensor, shift_logits: LogitShift | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.nb_classes is None:
            loss = one_number(self.estimator.loss(outputs.reshape(y.shape), y))
            return loss, torch.full_like(loss, math.nan)
        if outputs.ndim == 1 and y.ndim == 2:  # as ART gives labels of two classes
            outputs = outputs[:, None]
        seen = outputs if shift_logits is None else shift_logits(outputs.to(self.dtype), self._one_hot(y, outputs))
        return one_number(self.estimator.loss(seen, y)), self._correct(outputs.detach(), y)

    def _one_hot(self, y: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        index = y.argmax(1) if y.ndim == 2 else y
        return torch.zeros_like(outputs, dtype=self.dtype).scatter_(1, index[:, None], 1.0)

    def _correct(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.multi_label:
            return ((outputs > self.threshold) == (y > 0.5)).to(self.dtype).mean(1).sum()
        if outputs.ndim == 1 or outputs.shape[1] == 1:  # one output: probability, or log-odds before a sigmoid
            return ((outputs.reshape(-1) > self.threshold) == (y.reshape(-1) > 0.5)).sum()
        labels = y.argmax(1) if y.ndim == 2 else y
        return (outputs.argmax(1) == labels).sum()

    def takes_several_labels(self) -> bool:
        return not isinstance(self.estimator.loss, OF_ONE_CLASS)

    @property
    def loss_function(self) -> Any:
        return self.estimator.loss

    def loss_at_mean(self, y: np.ndarray) -> float:
        targets = self.tensor(y)
        with torch.no_grad():
            return float(self.to_numpy([self.estimator.loss(targets.mean(0).expand_as(targets), targets)]).mean())
