"""What CLIP gives on MNIST, 784-200-80-10 on logits: accuracy, attacked accuracy, steepness, and stability over λ.

λ is chosen on 5,000 validation images: the largest of the grid that costs at most 0.8 points of clean accuracy there,
with a seed that is not used again. All figures in ``test`` are from test images, with nets trained from three other
seeds on the remaining 55,000.

Run: ``python benchmarks/mnist_mlp.py``, about 15 minutes on two cores. MNIST comes from the folder that ARTCLIP_DATA
names.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from common import clean, mnist, save, with_validation
from torch_mlp import mlp

from artclip import CLIPTrainer, evaluate, lipschitz_lower_bound

NB_EPOCHS, SEEDS, CHOICE_SEED, NB_ATTACKED = 10, (0, 1, 2), 100, 1000
GRID = (0.03, 0.05, 0.07, 0.1)
STABILITY = {"lamda": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0), "nb_epochs": 5, "pair_interval": 1}
OPTIMIZERS = {
    "relu": ("SGD 0.1, momentum 0.9", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "sigmoid": ("Adam 0.003", lambda p: torch.optim.Adam(p, lr=3e-3)),
}
CHEAP = {"lamda": 0.03, "nb_pairs": 16, "pair_interval": 12}
Arrays = tuple[np.ndarray, np.ndarray]


def train(activation: str, seed: int, data: Arrays, nb_epochs: int = NB_EPOCHS, **options: Any) -> CLIPTrainer:
    classifier = mlp(activation, seed, OPTIMIZERS[activation][1])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(classifier.optimizer, nb_epochs)
    trainer = CLIPTrainer(classifier, seed=seed, **options)
    trainer.fit(*data, nb_epochs=nb_epochs, scheduler=scheduler)
    return trainer


def attacked(classifier: Any, data: Arrays, eps: float, steps: int, margin: bool, seed: int) -> float:
    """Accuracy in % on the first images under ART's L2 PGD with one random start."""
    attack = f"pgd{'-margin' if margin else ''}:max_iter={steps},nb_restarts=1"
    found = evaluate(
        classifier,
        data[0][:NB_ATTACKED],
        data[1][:NB_ATTACKED],
        eps=eps,
        attacks=[attack],
        lipschitz=False,
        masking=False,
        seed=seed,
        verbose=False,
    )
    return 100 * found.robust_accuracy


def figures(trainer: CLIPTrainer, data: Arrays, seed: int) -> dict[str, float]:
    classifier = trainer.classifier
    return {
        "clean": clean(classifier, data),
        "PGD-40 L2 1.0, cross-entropy": attacked(classifier, data, 1.0, 40, False, seed),
        "PGD-100 L2 1.5, margin": attacked(classifier, data, 1.5, 100, True, seed),
        "PGD-100 L2 2.0, margin": attacked(classifier, data, 2.0, 100, True, seed),
        "Lipschitz, lower bound by pair ascent": lipschitz_lower_bound(
            classifier, data[0], nb_restarts=256, max_iter=100, seed=seed
        ).value,
        "mean quotient of the training pairs": trainer.history[-1]["lipschitz"],
        "skipped steps": sum(r["skipped_steps"] for r in trainer.history),
    }


def choose(activation: str, training: Arrays, validation: Arrays) -> dict[str, Any]:
    accuracies = {
        lamda: clean(train(activation, CHOICE_SEED, training, lamda=lamda).classifier, validation)
        for lamda in (0.0, *GRID)
    }
    allowed = [lamda for lamda in GRID if accuracies[lamda] >= accuracies[0.0] - 0.8]
    return {"validation accuracy": {str(k): v for k, v in accuracies.items()}, "lamda": max(allowed, default=min(GRID))}


def stability(training: Arrays, validation: Arrays) -> list[dict[str, Any]]:
    rows = []
    for lamda in STABILITY["lamda"]:
        for seed in SEEDS:
            trainer = train("relu", seed, training, 5, lamda=lamda, pair_interval=1)
            accuracy = clean(trainer.classifier, validation)
            skipped = sum(r["skipped_steps"] for r in trainer.history)
            rows.append({"lamda": lamda, "seed": seed, "validation accuracy": accuracy, "skipped steps": skipped})
            print("stability", rows[-1], flush=True)
    return rows


def main() -> None:
    warnings.simplefilter("error", RuntimeWarning)  # a stretch undone would be one
    training, test = mnist()
    training, validation = with_validation(*training)
    results: dict[str, Any] = {}
    for activation, (optimizer, _) in OPTIMIZERS.items():
        choice = choose(activation, training, validation)
        print(activation, choice, flush=True)
        settings: dict[str, dict[str, Any]] = {
            "plain": {"lamda": 0.0},
            "CLIP, defaults": {},
            "CLIP, chosen λ": {"lamda": choice["lamda"]},
            "CLIP, cheap": CHEAP,
        }
        rows = []
        for name, options in settings.items():
            for seed in SEEDS:
                row = figures(train(activation, seed, training, **options), test, seed)
                rows.append({"training": name, "options": options, "seed": seed, **row})
                print(activation, rows[-1], flush=True)
        results[activation] = {"optimizer": optimizer, "choice": choice, "test": rows}
    results["stability of ReLU nets"] = {"settings": STABILITY, "runs": stability(training, validation)}
    settings = {"net": "784-200-80-10 on logits", "nb_epochs": NB_EPOCHS, "schedule": "cosine", "batch_size": 128}
    save(
        "mnist_mlp", {**settings, "attacked images": NB_ATTACKED, "threads": torch.get_num_threads()}, results, "torch"
    )


if __name__ == "__main__":
    main()
