"""What a PyTorch classifier is made of, as JSON can say it: layers, loss and optimizer."""

from __future__ import annotations

import inspect
import re
from typing import Any

import torch
from torch import nn

from artclip.hashing.digests import plain

# Of a group of parameters: what schedulers keep there, and how, not what, the optimizer computes.
_NOT_SETTINGS = ("params", "param_names", "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum")
_HOW = ("foreach", "fused", "capturable", "differentiable")
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_LOSSES = "torch.nn.modules.loss"
_OLD = ("self", "size_average", "reduce")  # arguments that reduction stands for
_TENSORS = ("weight", "pos_weight")  # arguments that have to be tensors, single numbers too


def described(estimator: Any, module: nn.Module) -> dict[str, Any]:
    """What decides how an estimator trains, besides its weights. Classes of the user's own may change their names."""
    return {
        "layers": [_layer(m) for m in module.modules() if _is_torchs(m) and not isinstance(m, _CONTAINERS)],
        "frozen": [name for name, p in module.named_parameters() if not p.requires_grad],
        "loss": _loss(estimator.loss),
        "optimizer_settings": _optimizer(estimator.optimizer),
    }


def _is_torchs(part: Any) -> bool:
    return type(part).__module__.startswith("torch.")


def _layer(module: nn.Module) -> str:
    settings = re.sub(r"(, )?inplace=(True|False)", "", module.extra_repr())
    return f"{type(module).__name__}({settings})"


def _loss(loss: Any) -> Any:
    if not isinstance(loss, nn.Module):
        return plain(loss)
    own = {name: value for name, value in vars(loss).items() if not name.startswith("_") and name != "training"}
    buffers = {name: t.detach().cpu().float().numpy() for name, t in loss.named_buffers()}
    kind = {"class": type(loss).__name__} if _is_torchs(loss) else {}
    return plain({**kind, **own, **buffers})


def _optimizer(optimizer: Any) -> Any:
    groups = [_group(g) for g in getattr(optimizer, "param_groups", ())]
    return groups[0] if len(groups) == 1 else groups


def _group(group: dict[str, Any]) -> dict[str, Any]:
    left_out = {*_NOT_SETTINGS, *_HOW, *(("momentum", "betas") if "max_momentum" in group else ())}
    settings = {name: value for name, value in group.items() if name not in left_out}
    settings["lr"] = group.get("initial_lr", group.get("lr"))  # schedulers move the other
    return {k: plain(v.item() if isinstance(v, torch.Tensor) else v) for k, v in settings.items()}


def kept_loss(loss: Any) -> dict[str, Any] | None:
    """A loss of PyTorch's own as a record from which :func:`loss_of` makes it again; ``None`` for any other."""
    kind = type(loss)
    if kind.__module__ != _LOSSES:
        return None
    settings = {name: getattr(loss, name, None) for name in inspect.signature(kind).parameters if name not in _OLD}
    settings = {k: v.detach().cpu().tolist() if isinstance(v, torch.Tensor) else v for k, v in settings.items()}
    flat = all(v is None or isinstance(v, (bool, int, float, str, list)) for v in settings.values())
    return {"class": kind.__name__, "settings": settings} if flat else None


def loss_of(record: dict[str, Any]) -> nn.Module:
    """The loss that a record names.

    Raises:
        ValueError: it names none, or settings that it does not have.
    """
    try:
        kind, settings = getattr(nn, record["class"]), record["settings"]
        if kind.__module__ != _LOSSES:
            raise TypeError
        are_tensors = {k for k, v in settings.items() if isinstance(v, list) or (k in _TENSORS and v is not None)}
        found: nn.Module = kind(**{k: torch.tensor(v) if k in are_tensors else v for k, v in settings.items()})
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError):
        raise ValueError(f"{record!r} is no loss of PyTorch's own") from None
    return found
