"""An optimizer for PyTorch that keeps the matrices of a net orthogonal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from artclip import checks
from artclip.frameworks import stiefel

MATRICES = stiefel.Matrices(
    transposed=lambda m: m.mT,
    length=torch.linalg.matrix_norm,
    eye=lambda n, like: torch.eye(n, dtype=like.dtype, device=like.device),
)
"""What PyTorch does with matrices."""
_BETAS, _EPS = (0.9, 0.999), 1e-8  # of Adam, for vectors


class StiefelMuon(torch.optim.Optimizer):
    """Muon whose matrices stay orthogonal, so that dense layers stay 1-Lipschitz without a parametrisation.

    A matrix of m rows and n columns keeps orthonormal rows (m <= n) or columns. A kernel of a convolution counts as the
    matrix of its outputs and all else; where the stride is its size, the convolution is 1-Lipschitz too. Parameters of
    one axis or none are trained by Adam. The matrices that are given are replaced by the nearest orthogonal ones at
    once.

    Args:
        params: parameters in the order of the layers, or groups of them as dicts, whose ``"role"`` is ``"orthogonal"``
            (the default), ``"free"`` or ``"vector"``.
        lr: angle in radians, > 0 and <= 0.5, by which a step turns a matrix.
        momentum: of matrices, in [0, 1).
        adam: learning rate of the vectors, over ``lr``, > 0.
        free_last: whether the last matrix stays free, as the logits need a scale; without groups.

    After weights were changed by others, as by ``load_state_dict``, call :meth:`project`: a step returns to the
    manifold from near it alone. ``fit`` of artclip's trainers begins with it.

    Raises:
        TypeError: a parameter is complex.
        ValueError: an argument out of its range, no matrix, or a weight that is not finite.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.95,
        adam: float = 0.15,
        free_last: bool = True,
    ) -> None:
        stiefel.check_angle("lr", lr)
        checks.positive("adam", adam)
        checks.decay("momentum", momentum)
        if isinstance(params, Tensor):
            raise TypeError("params is one tensor; give a list of parameters, as net.parameters()")
        given = list(params)
        if not any(isinstance(group, dict) for group in given):
            given = _groups(given, free_last)
        super().__init__(given, {"lr": lr, "momentum": momentum, "adam": adam, "role": "orthogonal"})
        if not self.orthogonal:
            raise ValueError(
                "there is no matrix to keep orthogonal; give the parameters of a net of two layers or more"
            )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As of ``torch.optim.Optimizer``: further parameters, whose matrices are made orthogonal at once."""
        group = {**self.defaults, **param_group}
        given = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        tensors = [p[1] if isinstance(p, tuple) else p for p in given]
        _check(group, tensors)
        matrices = [p for p in tensors if p.requires_grad] if group["role"] == "orthogonal" else []
        found = [_nearest(p) for p in matrices]
        super().add_param_group({**param_group, "params": given})
        _put(matrices, found)

    @property
    def orthogonal(self) -> list[Tensor]:
        """The matrices that stay orthogonal."""
        held = [p for group in self.param_groups if group["role"] == "orthogonal" for p in group["params"]]
        return [p for p in held if p.requires_grad]

    def project(self) -> None:
        """Replace the matrices by the nearest orthogonal ones: after weights were loaded.

        Raises:
            ValueError: one of them is not finite.
        """
        matrices = self.orthogonal
        _put(matrices, [_nearest(p) for p in matrices])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update.

        Args:
            closure: evaluates the loss anew, as PyTorch's optimizers have it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["lr"] > stiefel.MOST_ANGLE:  # a scheduler may have raised it
                stiefel.check_angle("lr", group["lr"])
            for p in group["params"]:
                if p.grad is not None:
                    (_vector if group["role"] == "vector" else _matrix)(p, self.state[p], group)
        return loss


def _nearest(p: Tensor) -> Tensor:
    return torch.from_numpy(stiefel.nearest(p.detach().flatten(1).double().cpu().numpy())).view(p.shape)


@torch.no_grad()
def _put(matrices: list[Tensor], found: list[Tensor]) -> None:
    for p, matrix in zip(matrices, found, strict=True):
        p.copy_(matrix)


def _check(group: dict[str, Any], parameters: list[Any]) -> None:
    checks.one_of("role", group["role"], stiefel.ROLES)
    stiefel.check_angle("lr", group["lr"])
    for p in parameters:
        if not isinstance(p, Tensor):
            raise TypeError(f"params holds a {type(p).__name__}; expected parameters")
        if p.is_complex():
            raise TypeError(f"a parameter is {p.dtype}; expected real numbers")
        if p.ndim < 2 and group["role"] != "vector":
            raise ValueError(f"a parameter of shape {tuple(p.shape)} is no matrix; its role is 'vector'")


def _groups(parameters: list[Any], free_last: bool) -> list[dict[str, Any]]:
    """Parameters, or names and parameters, by their roles; without frozen ones, but for the last matrix."""
    tensors = [p[1] if isinstance(p, tuple) else p for p in parameters]
    found: dict[str, list[Any]] = {}
    shapes = [tuple(getattr(p, "shape", ())) for p in tensors]
    for given, p, role in zip(parameters, tensors, stiefel.roles(shapes, free_last), strict=True):
        if getattr(p, "requires_grad", True):
            found.setdefault(role, []).append(given)
    return [{"params": some, "role": role} for role, some in found.items()]


def _enough(t: Tensor) -> Tensor:
    """In float32 what has 16 bits, in which the iterations do not converge and Adam divides by 0."""
    return t.float() if t.dtype in (torch.float16, torch.bfloat16) else t


def _matrix(p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    w, gradient = (_enough(t).flatten(1) for t in (p, p.grad))
    if "mean" not in state:
        state["mean"] = torch.zeros_like(gradient)
    state["mean"] = gradient.lerp(state["mean"].to(gradient.dtype), group["momentum"])
    ahead = gradient.lerp(state["mean"], group["momentum"])
    is_tall = len(w) > w.shape[1]
    if is_tall:
        w, ahead = w.mT, ahead.mT
    if group["role"] == "free":
        w = w - group["lr"] * MATRICES.direction(ahead)
    else:
        w = MATRICES.stepped(w, ahead, group["lr"])
    p.copy_((w.mT if is_tall else w).reshape(p.shape))


def _vector(p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    gradient = _enough(p.grad)
    if "step" not in state:
        state |= {"step": torch.zeros(()), "mean": torch.zeros_like(gradient), "square": torch.zeros_like(gradient)}
    state["step"] += 1
    count = float(state["step"])  # on the CPU, so nothing waits for the device
    for name, value, beta in zip(("mean", "square"), (gradient, gradient.square()), _BETAS, strict=True):
        state[name] = value.lerp(state[name].to(gradient.dtype), beta)  # loaded states have the type of p
    mean, square = state["mean"] / (1 - _BETAS[0] ** count), state["square"] / (1 - _BETAS[1] ** count)
    p.copy_(_enough(p) - group["lr"] * group["adam"] * mean / (square.sqrt() + _EPS))
