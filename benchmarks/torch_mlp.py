"""The PyTorch net of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def mlp(activation: str, seed: int, optimizer: Callable[..., Any] | None = None) -> PyTorchClassifier:
    """784-200-80-10 on logits."""
    torch.manual_seed(seed)
    act = ACTIVATIONS[activation]
    net = nn.Sequential(nn.Linear(784, 200), act(), nn.Linear(200, 80), act(), nn.Linear(80, 10))
    make = optimizer or (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    return PyTorchClassifier(
        net,
        nn.CrossEntropyLoss(),
        (784,),
        10,
        optimizer=make(net.parameters()),
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
