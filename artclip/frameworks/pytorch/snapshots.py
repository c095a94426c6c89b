"""A snapshot of a training on PyTorch as arrays and JSON, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from artclip.frameworks.pytorch import optimizers
from artclip.frameworks.pytorch.function import as_tensor

Snapshot = tuple[dict[str, Any], dict[str, Any], dict[str, torch.Tensor] | None]
"""State of the model, of its optimizer, and averages of the weights, where there are some."""


def pack(snapshot: Snapshot) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name, and what else there is to a snapshot, fit for JSON."""
    model, optimizer, averages = snapshot
    arrays, short = {}, []
    tensors = {f"model.{name}": t for name, t in model.items() if isinstance(t, torch.Tensor)}
    tensors |= {f"averages.{name}": t for name, t in (averages or {}).items()}
    plain: dict[str, dict[str, Any]] = {}
    for i, state in optimizer["state"].items():
        tensors |= {f"optimizer.{i}.{key}": t for key, t in state.items() if isinstance(t, torch.Tensor)}
        plain[str(i)] = {key: v for key, v in state.items() if not isinstance(v, torch.Tensor)}
    for name, t in tensors.items():
        if t.dtype == torch.bfloat16:  # which numpy lacks
            short.append(name)
            t = t.view(torch.int16)
        arrays[name] = t.detach().cpu().contiguous().numpy()
    groups = [
        {k: v.item() if isinstance(v, torch.Tensor) else v for k, v in g.items()} for g in optimizer["param_groups"]
    ]
    return arrays, {"bfloat16": short, "optimizer": plain, "groups": groups}


def unpack(arrays: dict[str, np.ndarray], record: dict[str, Any], groups: list[dict[str, Any]]) -> Snapshot:
    """The snapshot that was packed.

    Args:
        groups: ``param_groups`` of the optimizer that it is for, whose kinds of values the settings take.
    """
    tensors = {name: as_tensor(a.copy()) for name, a in arrays.items()}
    tensors |= {name: tensors[name].view(torch.bfloat16) for name in record["bfloat16"]}
    state: dict[int, dict[str, Any]] = {int(i): dict(plain) for i, plain in record["optimizer"].items()}
    model: dict[str, torch.Tensor] = {}
    averages: dict[str, torch.Tensor] = {}
    for name, t in tensors.items():
        kind, _, rest = name.partition(".")
        if kind != "optimizer":
            (model if kind == "model" else averages)[rest] = t
        else:
            i, _, key = rest.partition(".")
            state[int(i)][key] = t
    ours = dict(enumerate(groups))
    settings = [
        {k: optimizers.kind_of(ours.get(i, {}).get(k), v) if k != "params" else v for k, v in g.items()}
        for i, g in enumerate(record["groups"])
    ]
    return model, {"state": state, "param_groups": settings}, averages or None
