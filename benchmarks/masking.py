"""What a weak attack and a masked gradient make of a figure, on MNIST, and which signs ``artclip.evaluate`` shows.

The net of the published CLIP code, 784-200-80-10 with a sigmoid after each layer, the last one too, trained plainly
and with CLIP; attacked by its recipe, an L2 PGD along the sign of the gradient through that output, and by artclip's
standard set. Then a net with logits as large as defensive distillation leaves them, and nets with nothing to hide.

Run: ``python benchmarks/masking.py``, about 15 minutes on two cores. MNIST comes from the folder that ARTCLIP_DATA
names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_numpy import (
    ProjectedGradientDescentNumpy,
)
from art.estimators.classification import PyTorchClassifier
from common import mnist, save
from torch import nn

import artclip

EPS, N, SEEDS = 2.0, 500, (0, 1, 2)
Arrays = tuple[np.ndarray, np.ndarray]


class SignGradient(ProjectedGradientDescentNumpy):
    """L2 PGD that steps along the sign of the gradient, and scales back into the ball."""

    def _compute_perturbation(self, x: np.ndarray, y: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
        return np.sign(self.estimator.loss_gradient(x, y))


class Times(nn.Module):
    """Logits times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """z, of any shape, times the factor."""
        return self.factor * z


def wrap(model: nn.Module) -> PyTorchClassifier:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    return PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (784,), 10, optimizer, clip_values=(0.0, 1.0), device_type="cpu"
    )


def trained(seed: int, data: Arrays, activation: Any, head: list[nn.Module], lamda: float) -> PyTorchClassifier:
    torch.manual_seed(seed)
    body = [nn.Linear(784, 200), activation(), nn.Linear(200, 80), activation(), nn.Linear(80, 10)]
    classifier = wrap(nn.Sequential(*body, *head))
    artclip.CLIPTrainer(classifier, lamda=lamda, seed=seed).fit(*data, nb_epochs=5)
    return classifier


def recipe(classifier: PyTorchClassifier, steps: int = 40) -> ProjectedGradientDescentNumpy:
    return SignGradient(
        classifier, norm=2, eps=EPS, eps_step=0.1, max_iter=steps, num_random_init=1, batch_size=512, verbose=False
    )


def ordinary(classifier: PyTorchClassifier) -> ProjectedGradientDescentNumpy:
    return ProjectedGradientDescentNumpy(
        classifier,
        norm=2,
        eps=EPS,
        eps_step=0.125,
        max_iter=40,
        num_random_init=1,
        batch_size=512,
        verbose=False,
    )


def look(classifier: PyTorchClassifier, test: Arrays, attacks: dict[str, Any], seed: int) -> dict[str, Any]:
    x, y = test[0][:N], test[1][:N]
    standard = {n: n for n in ("pgd", "pgd-margin", "square", "autoattack-set:square_queries=1000")}
    found = artclip.evaluate(
        classifier, x, y, eps=EPS, attacks={**attacks, **standard}, lipschitz=False, seed=seed, verbose=False
    )
    accuracy = {name: 100 * value for name, value in found.accuracy.items()}
    return {
        "accuracy": accuracy,
        "worst case": 100 * found.robust_accuracy,
        "signs": [{"name": w.name, "finding": w.finding} for w in found.warnings],
        "seconds": found.seconds,
    }


def main() -> None:
    training, test = mnist()
    training = training[0][:20000], training[1][:20000]
    rows = []
    for seed in SEEDS:
        for name, lamda in (("sigmoid output, plain", 0.0), ("sigmoid output, CLIP", 0.1)):
            classifier = trained(seed, training, nn.Sigmoid, [nn.Sigmoid()], lamda)
            attacks = {"sign-gradient recipe": recipe(classifier), "PGD through the output": ordinary(classifier)}
            rows.append({"net": name, "seed": seed, **look(classifier, test, attacks, seed)})
            print(rows[-1], flush=True)
        honest = trained(seed, training, nn.ReLU, [], 0.0)
        large = wrap(nn.Sequential(honest.model, Times(30.0)))
        for name, net in (("ReLU, logits × 30", large), ("ReLU, plain", honest)):
            attacks = {"PGD through the output": ordinary(net)}
            rows.append({"net": name, "seed": seed, **look(net, test, attacks, seed)})
            print(rows[-1], flush=True)
        flat = trained(seed, training, nn.ReLU, [], 0.05)
        attacks = {"PGD through the output": ordinary(flat)}
        rows.append({"net": "ReLU, CLIP", "seed": seed, **look(flat, test, attacks, seed)})
        print(rows[-1], flush=True)
    settings = {"eps": EPS, "norm": 2, "images": N, "net": "784-200-80-10", "nb_epochs": 5, "training images": 20000}
    save("masking", settings, rows, "torch")


if __name__ == "__main__":
    main()
