"""CLIP against adversarial training and other defences on MNIST: AutoAttack, Lipschitz bounds, cost.

Each defence has one setting, which is chosen from a grid on 5,000 validation images with a seed that is not used again:
of those that cost at most a point of clean accuracy against plain training, the one that stands best against PGD on the
margin at eps = 1.5. (If none is that accurate, the most accurate.) The grids are in ``TRAININGS``; none is larger than
CLIP's. Then nets from other seeds, trained on the remaining 55,000 images, meet AutoAttack on test images at two radii.

Run: ``python benchmarks/defences.py [PROCESSES]``, some forty minutes on two cores. MNIST comes from the folder that
ARTCLIP_DATA names.
"""

from __future__ import annotations

import sys
from typing import Any

import joblib
import numpy as np
import rivals
import torch
from common import clean, mnist, save, with_validation

from artclip import CLIPTrainer, WeightRegularizationTrainer, evaluate, lipschitz_lower_bound, lipschitz_upper_bound
from artclip.frameworks.torch_nets import cosine_scheduler, make_classifier

CHOICE_SEED, NB_CHOICE, NB_ATTACKED, RADII = 100, 1000, 500, (1.5, 2.0)
CHEAP = {
    "standard": [{}],
    "weight": [{"lamda": v} for v in (1e-5, 1e-4, 1e-3)],
    "gaussian": [{"sigma": v} for v in (0.3, 0.5, 0.7)],
    "jacobian": [{"lamda": v} for v in (0.01, 0.03, 0.1)],
}
CLIP = {"clip": [{"lamda": v} for v in (0.05, 0.1, 0.2)]}
SINGLE_STEP = {"adversarial, 1 step": [{"eps": v, "max_iter": 1} for v in (1.5, 1.75, 2.0)]}
SEVEN_STEPS = {"adversarial, 7 steps": [{"eps": v, "max_iter": 7} for v in (1.5, 2.0)]}
THREE_STEPS = {"adversarial, 3 steps": [{"eps": v, "max_iter": 3} for v in (1.5, 2.0)]}
# (net, activation) -> epochs, seeds, defence -> grid
TRAININGS: dict[tuple[str, str], tuple[int, tuple[int, ...], dict[str, list[dict[str, Any]]]]] = {
    ("mlp-200-80", "relu"): (10, (0, 1, 2), {**CHEAP, **CLIP, **SINGLE_STEP, **SEVEN_STEPS}),
    ("mlp-200-80", "gelu"): (10, (0, 1, 2), {"standard": [{}], **CLIP, **SINGLE_STEP}),
    ("cnn", "relu"): (5, (0, 1), {"standard": [{}], **CLIP, **SINGLE_STEP, **THREE_STEPS}),
}
LEARNING_RATE = 3e-3
Arrays = tuple[np.ndarray, np.ndarray]


def make(name: str, classifier: Any, seed: int, options: dict[str, Any]) -> Any:
    if name in ("standard", "clip"):
        return CLIPTrainer(classifier, seed=seed, **(options or {"lamda": 0.0}))
    if name == "weight":
        return WeightRegularizationTrainer(classifier, seed=seed, **options)
    return getattr(rivals, name.partition(",")[0])(classifier, seed, **options)


def train(
    net: str, activation: str, nb_epochs: int, name: str, options: dict[str, Any], seed: int, data: Arrays
) -> Any:
    torch.set_num_threads(1)
    classifier = make_classifier(net, (1, 28, 28), 10, (0, 1), activation, LEARNING_RATE, seed)
    trainer = make(name, classifier, seed, options)
    trainer.fit(*data, batch_size=128, nb_epochs=nb_epochs, scheduler=cosine_scheduler(classifier, nb_epochs))
    return trainer


def attacked(classifier: Any, data: Arrays, eps: float, attacks: list[str], nb: int, seed: int) -> Any:
    x, y = data[0][:nb], data[1][:nb]
    return evaluate(
        classifier, x, y, eps=eps, attacks=attacks, lipschitz=False, masking=eps == RADII[0], seed=seed, verbose=False
    )


def tried(net: str, activation: str, nb_epochs: int, name: str, options: dict[str, Any], data: list[Arrays]) -> Any:
    """A setting on validation images."""
    training, validation, _ = data
    classifier = train(net, activation, nb_epochs, name, options, CHOICE_SEED, training).classifier
    attack = ["pgd-margin:max_iter=40,nb_restarts=1"]
    found = attacked(classifier, validation, RADII[0], attack, NB_CHOICE, CHOICE_SEED)
    row = {"options": options, "clean": clean(classifier, validation), "PGD margin": 100 * found.robust_accuracy}
    print("tried", net, activation, name, row, flush=True)
    return row


def choose(rows: list[dict[str, Any]], least: float) -> dict[str, Any]:
    accurate = [row for row in rows if row["clean"] >= least]
    if accurate:
        return max(accurate, key=lambda row: row["PGD margin"])["options"]
    return max(rows, key=lambda row: row["clean"])["options"]


def figures(
    net: str, activation: str, nb_epochs: int, name: str, options: dict[str, Any], seed: int, data: list[Arrays]
) -> dict[str, Any]:
    """A training on test images."""
    training, _, test = data
    trainer = train(net, activation, nb_epochs, name, options, seed, training)
    classifier, row = trainer.classifier, {"net": net, "activation": activation, "training": name, "seed": seed}
    row |= {"options": options, "clean": clean(classifier, test)}
    for eps in RADII:
        found = attacked(classifier, test, eps, ["pgd-margin", "autoattack"], NB_ATTACKED, seed)
        row[f"AutoAttack {eps:g}"] = 100 * found.robust_accuracy
        row |= {"signs": [w.name for w in found.warnings]} if eps == RADII[0] else {}
    row["Lip ≥"] = lipschitz_lower_bound(classifier, test[0], seed=seed).value
    row["Lip ≤"] = lipschitz_upper_bound(classifier).value
    row["mean Jacobian norm"] = _jacobian(classifier.model, test[0][:1000])
    row["quotient shown"] = trainer.history[-1].get("lipschitz")
    row["gradients"] = sum(r["gradients"] for r in trainer.history) / len(training[0])
    row["seconds"] = sum(r["seconds"] for r in trainer.history)
    print(row, flush=True)
    return row


def _jacobian(net: torch.nn.Module, x: np.ndarray) -> float:
    """Mean over the points of the spectral norm of the Jacobian."""
    points = torch.from_numpy(x).requires_grad_(True)
    rows = [torch.autograd.grad(o.sum(), points, retain_graph=True)[0].flatten(1) for o in net(points).unbind(1)]
    return float(torch.linalg.matrix_norm(torch.stack(rows, 1), 2).mean())


def main() -> None:
    training, test = ((x.reshape(-1, 1, 28, 28).astype(np.float32), y) for x, y in mnist())
    data = [*with_validation(*training), test]
    parallel = joblib.Parallel(n_jobs=int(sys.argv[1]) if len(sys.argv) > 1 else 2, batch_size=1)
    asked = [
        (net, activation, nb_epochs, name, options, data)
        for (net, activation), (nb_epochs, _, trainings) in TRAININGS.items()
        for name, grid in trainings.items()
        for options in grid
    ]
    answers = parallel(joblib.delayed(tried)(*a) for a in asked)
    chosen, trials = {}, []
    for (net, activation), (_, _, trainings) in TRAININGS.items():
        rows = {
            name: [r for a, r in zip(asked, answers, strict=True) if (a[0], a[1], a[3]) == (net, activation, name)]
            for name in trainings
        }
        least = rows["standard"][0]["clean"] - 1.0
        for name, tries in rows.items():
            chosen[net, activation, name] = choose(tries, least)
            trials.append({"net": net, "activation": activation, "training": name, "trials": tries})
    jobs = [
        (net, activation, nb_epochs, name, chosen[net, activation, name], seed, data)
        for (net, activation), (nb_epochs, seeds, trainings) in TRAININGS.items()
        for name in trainings
        for seed in seeds
    ]
    results = parallel(joblib.delayed(figures)(*job) for job in jobs)
    settings = {"optimizer": f"Adam {LEARNING_RATE}, cosine", "batch_size": 128, "attacked images": NB_ATTACKED}
    save("defences", {**settings, "threads": 1}, {"validation": trials, "test": results}, "torch")


if __name__ == "__main__":
    main()
