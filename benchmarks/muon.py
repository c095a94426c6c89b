"""Muon, an optimizer whose updates of a matrix are orthogonal: all its singular values move alike.

Jordan, Jin, Boza, You, Cesista, Newhouse, Bernstein 2024 (https://kellerjordan.github.io/posts/muon/). PyTorch and
Keras have it as ``torch.optim.Muon``, for matrices alone, and ``keras.optimizers.Muon``; this one also takes the
biases, and does its matrix products on the smaller Gram matrix, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from artclip.frameworks.pytorch.stiefel import MATRICES


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two and more axes, Adam for the others.

    Args:
        params: parameters, or groups of them.
        lr: of the matrices, > 0; a kernel counts as the matrix of its outputs and all else.
        momentum: in [0, 1), of the matrices.
        adam: learning rate of the others, over ``lr``.
    """

    def __init__(self, params: Iterable[Any], lr: float = 0.02, momentum: float = 0.95, adam: float = 0.15) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "adam": adam})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """One update."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    (self._matrix if p.ndim >= 2 else self._other)(p, group)

    def _matrix(self, p: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[p], group["momentum"]
        if not state:
            state["mean"] = torch.zeros_like(p)
        state["mean"].lerp_(p.grad, 1 - momentum)
        direction = orthogonal(p.grad.lerp(state["mean"], momentum).flatten(1)).view_as(p)
        p.add_(direction, alpha=-group["lr"] * max(1.0, len(p) / p[0].numel()) ** 0.5)

    def _other(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state |= {"mean": torch.zeros_like(p), "square": torch.zeros_like(p), "steps": 0}
        state["steps"] += 1
        state["mean"].lerp_(p.grad, 0.1)
        state["square"].lerp_(p.grad.square(), 0.001)
        mean, square = state["mean"] / (1 - 0.9 ** state["steps"]), state["square"] / (1 - 0.999 ** state["steps"])
        p.addcdiv_(mean, square.sqrt() + 1e-8, value=-group["lr"] * group["adam"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Near the closest matrix, shape (m, n), with singular values of 1."""
    return MATRICES.direction(matrix) if len(matrix) <= matrix.shape[1] else MATRICES.direction(matrix.T).T
