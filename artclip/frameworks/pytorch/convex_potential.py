"""A residual layer for PyTorch that is 1-Lipschitz."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from artclip import checks


class ConvexPotential(nn.Module):
    """x - 2·Wᵀ·ReLU(W·x + b): a step down a convex potential, which is 1-Lipschitz where ‖W‖ <= 1.

    W is one weight, used twice. Where its rows are orthonormal, each step reflects, so that gradients keep their norm;
    :class:`artclip.frameworks.pytorch.stiefel.StiefelMuon` keeps them so (Meunier, Delattre, Araujo, Allauzen 2022,
    arXiv 2110.12690, who divide by ‖W‖² instead).

    Args:
        features: of an input.
        units: rows of W; ``None`` for as many.
    """

    def __init__(self, features: int, units: int | None = None) -> None:
        super().__init__()
        for name, value in {"features": features, "units": features if units is None else units}.items():
            checks.positive_integer(name, value)
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(units or features, features)))
        self.bias = nn.Parameter(torch.zeros(units or features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (n, features), as x."""
        hidden = functional.relu(functional.linear(x, self.weight, self.bias))
        return x + functional.linear(hidden, -2.0 * self.weight.t())
