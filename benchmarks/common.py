"""What the benchmarks share: the net, the data, the record of machine and versions, interleaved timing."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

import artclip

RESULTS = Path(__file__).parent / "results"
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def mnist() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """MNIST as vectors of 784 in [0, 1]."""
    (x_train, y_train), (x_test, y_test) = artclip.load_data("mnist")
    return (x_train.reshape(-1, 784), y_train), (x_test.reshape(-1, 784), y_test)


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


def interleaved(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each function in each round. Rounds alternate, so a slow spell of the machine hits all alike."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, base: str) -> dict[str, float]:
    """Median over rounds of the ratio within a round, and its quartiles."""
    values = np.array(seconds[name]) / np.array(seconds[base])
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "quartiles": [float(low), float(high)], "rounds": len(values)}


def save(name: str, settings: dict[str, Any], results: Any) -> None:
    """Write ``results/NAME.json`` with machine and versions."""
    record = {
        "settings": settings,
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "versions": {n: version(n) for n in ("artclip", "adversarial-robustness-toolbox", "numpy", "torch")},
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"written: {path}")
