"""Short fits: gradients of a default one over those of plain training, and what more penalised steps would gain.

The counts are the same on every machine. Accuracies are of digits, λ = 0.1, three seeds, penalised every so many steps:
clean, and under PGD on the margin (L2 0.5, 20 steps), which is a weak attack, good for comparing these rows only.

Run: ``python benchmarks/short_fits.py``. Ten minutes on a CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from common import attacked, clean, save

from artclip import CLIPTrainer, load_data
from artclip.frameworks.pytorch.nets import make_classifier

BATCH, STEPS = 128, (60, 120, 240, 360, 480, 720, 1440)
INTERVALS, SEEDS = (1, 2, 4, 6, 12), (0, 1, 2)
NETS = (("mlp", "relu", "Adam"), ("mlp", "relu", "SGD"), ("cnn", "relu", "SGD"), ("mlp-200-80", "gelu", "SGD"))


def gradients(nb_steps: int) -> float:
    """Inputs through which gradients are taken, over the samples that are trained on."""
    rng = np.random.default_rng(0)
    x, y = rng.random((10 * BATCH, 64), dtype=np.float32), rng.integers(0, 10, 10 * BATCH)
    trainer = CLIPTrainer(make_classifier("mlp", (64,), 10), lamda=0.1, seed=0)
    trainer.fit(x, y, batch_size=BATCH, nb_epochs=nb_steps // 10)
    return float(np.mean([record["gradients"] for record in trainer.history])) / len(x)


def classifier_of(net: str, activation: str, optimizer: str, seed: int) -> Any:
    """Adam with 0.002, or SGD with 0.1 and momentum 0.9."""
    made = make_classifier(net, (1, 8, 8), 10, (0, 1), activation, 2e-3, seed)
    if optimizer == "Adam":
        return made
    sgd = torch.optim.SGD(made.model.parameters(), lr=0.1, momentum=0.9)
    return PyTorchClassifier(made.model, made.loss, (1, 8, 8), 10, optimizer=sgd, clip_values=(0, 1))


def accuracies(net: tuple[str, str, str], nb_epochs: int, interval: int) -> dict[str, Any]:
    """Means over the seeds; with an interval of 0 of plain training."""
    (x, y), test = load_data("digits")
    rows = []
    for seed in SEEDS:
        classifier, lamda = classifier_of(*net, seed), 0.1 if interval else 0.0
        trainer = CLIPTrainer(classifier, lamda, pair_interval=interval or 1, seed=seed)
        trainer.fit(x, y, batch_size=BATCH, nb_epochs=nb_epochs)
        found = attacked(classifier, *test, 0.5, ["pgd-margin:max_iter=20,nb_restarts=1"], seed)
        rows.append([clean(classifier, test), 100 * found.robust_accuracy])
    means, deviations = np.mean(rows, 0), np.std(rows, 0, ddof=1)
    row = {"net": " ".join(net), "steps": 12 * nb_epochs, "interval": interval}
    row |= {"clean": means[0], "PGD margin": means[1], "deviation": deviations.tolist()}
    print(row, flush=True)
    return row


def main() -> None:
    counts = {str(n): gradients(n) for n in STEPS}
    rows = [accuracies(net, n, k) for net in NETS for n in (4, 12) for k in (0, *INTERVALS)]
    save("short_fits", {"batch_size": BATCH, "lamda": 0.1}, {"gradients": counts, "accuracies": rows}, "torch")


if __name__ == "__main__":
    main()
