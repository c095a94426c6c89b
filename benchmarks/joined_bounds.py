"""Upper bounds of nets whose branches join: all layers together, beside the product of the layers' norms.

MNIST, three seeds: residual nets of dense blocks, a net of MaxMin, and one of two branches, trained plainly and with
CLIP, settings not chosen. ``Lip ≥`` is searched among all inputs, so that a bracket is the upper bound over it.

Run: ``python benchmarks/joined_bounds.py``, a quarter of an hour. MNIST comes from the folder that ARTCLIP_DATA names.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from common import clean, mnist, save
from torch import nn

import artclip
from artclip.frameworks.pytorch.nets import MaxMin

SEEDS, NB_EPOCHS, BATCH_SIZE, NB_SEARCHED = (0, 1, 2), 3, 128, 1000
LAMDAS = (0.0, 0.05)


class Residual(nn.Module):
    """Dense blocks, each added to what it takes."""

    def __init__(self, activation: type[nn.Module], width: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(784, width), nn.Linear(width, 10)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), activation(), nn.Linear(width, width)) for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


class Branches(nn.Module):
    """Two ways through a net, side by side at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 32))
        self.other = nn.Sequential(nn.Linear(784, 64), nn.Tanh(), nn.Linear(64, 32))
        self.last = nn.Sequential(nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.one(x), self.other(x)], 1))


NETS = {
    "residual, ReLU": lambda: Residual(nn.ReLU),
    "residual, GELU": lambda: Residual(nn.GELU),
    "MaxMin 128-128": lambda: nn.Sequential(
        *(nn.Linear(784, 128), MaxMin(), nn.Linear(128, 128), MaxMin(), nn.Linear(128, 10))
    ),
    "two branches": Branches,
}


def figures(name: str, lamda: float, seed: int, data: Any) -> dict[str, Any]:
    """One net."""
    (x, y), test = data
    torch.manual_seed(seed)
    net = NETS[name]()
    options = {"optimizer": torch.optim.Adam(net.parameters(), 2e-3), "clip_values": (0.0, 1.0), "device_type": "cpu"}
    classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), (784,), 10, **options)
    artclip.CLIPTrainer(classifier, lamda=lamda, seed=seed).fit(x, y, batch_size=BATCH_SIZE, nb_epochs=NB_EPOCHS)
    row: dict[str, Any] = {"net": name, "λ": lamda, "seed": seed, "clean": clean(classifier, test)}
    lower = artclip.lipschitz_lower_bound(classifier, x[:NB_SEARCHED], domain="free", seed=seed).value
    row["Lip ≥, free"] = lower
    for method in ("product", "auto"):
        found = artclip.lipschitz_upper_bound(classifier, method=method)
        row |= {method: found.value, f"{method} / Lip ≥": found.value / lower, f"seconds of {method}": found.seconds}
        row[f"method of {method}"] = found.method
    print(row, flush=True)
    assert all(math.isfinite(row[k]) and row[k] >= 1 for k in ("product / Lip ≥", "auto / Lip ≥"))
    return row


def main() -> None:
    torch.set_num_threads(1)
    data = mnist()
    rows = [figures(name, lamda, seed, data) for name in NETS for lamda in LAMDAS for seed in SEEDS]
    settings = {"data": "MNIST", "epochs": NB_EPOCHS, "optimizer": "Adam 2e-3", "batch_size": BATCH_SIZE}
    save("joined_bounds", {**settings, "images searched from": NB_SEARCHED, "threads": 1}, rows, "torch")


if __name__ == "__main__":
    main()
