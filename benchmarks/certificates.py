"""Certified accuracy on MNIST, L2: what each training can prove of itself.

784-200-80-10 with MaxMin units, in the rows named so a wider net. Nothing is chosen: every setting of every training is
reported, on test images, over seeds, after equally many epochs of equal batches, by Adam or, where it says so, by Muon,
with one schedule; the schedule of the radius is equal too where there is one. All certificates are by
``certified_radius``; the 1-Lipschitz net has its constant by construction. PGD on the margin bounds robust accuracy
from above.

Run: ``python benchmarks/certificates.py [PROCESSES]``, an hour and a half on two cores. The 1-Lipschitz net joins in
where deel-torchlip is installed.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import joblib
import numpy as np
import rivals
import torch
from bounds import mlp
from common import attacked, check_unbroken, clean, parts, save
from muon import Muon
from torch import nn

from artclip import CLIPTrainer, certified_radius, lipschitz_bracket
from artclip.frameworks.pytorch.nets import MaxMin, cosine_scheduler, make_classifier

RADII = (0.3, 0.5, 1.0, 1.58)
NB_EPOCHS, BATCH_SIZE, LEARNING_RATE, NB_ATTACKED = 20, 128, 3e-3, 500
SEEDS = (0, 1, 2)
TRAININGS: list[tuple[str, dict[str, Any]]] = [
    ("standard", {}),
    ("clip", {"lamda": 0.1}),
    ("clip, upper_penalty", {"lamda": 0.03, "upper_penalty": 0.1}),
    ("clip, upper_penalty", {"lamda": 0.03, "upper_penalty": 0.2}),
    *(("gloro", {"eps": eps}) for eps in (0.5, 1.0, 1.58)),
    *(("one_lipschitz", {"scale": scale}) for scale in (1.0, 2.0, 5.0) if find_spec("deel")),
    *(("clip, certify_eps", {"lamda": 0.0, "certify_eps": eps}) for eps in (0.5, 1.0, 1.4, 1.75)),
    ("clip, certify_eps", {"lamda": 0.01, "certify_eps": 1.75}),
    ("clip, certify_eps, 80 epochs", {"lamda": 0.0, "certify_eps": 1.75, "nb_epochs": 80}),
    *(("clip, certify_eps, Muon", {"lamda": 0.0, "certify_eps": eps}) for eps in (1.0, 1.75)),
    ("clip, certify_eps, Muon", {"lamda": 0.01, "certify_eps": 1.75}),
    ("gloro, Muon", {"eps": 1.58}),
    *(("one_lipschitz, Muon", {"scale": scale}) for scale in (1.0, 2.0) if find_spec("deel")),
    ("clip, certify_eps, Muon, wide", {"lamda": 0.01, "certify_eps": 1.75}),
    ("gloro, wide", {"eps": 1.58}),
]


def wide(input_shape: tuple[int, ...], nb_classes: int) -> nn.Module:
    """784-400-200-10."""
    return nn.Sequential(nn.Flatten(), *mlp(MaxMin, 400, 200))


def figures(name: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """One training on test images."""
    torch.set_num_threads(1)
    training, _, test = parts("mnist")
    kind, settings = name.partition(",")[0], dict(options)
    nb_epochs = settings.pop("nb_epochs", NB_EPOCHS)
    lipschitz: Any = None
    if kind == "one_lipschitz":
        trainer, lipschitz = rivals.one_lipschitz((1, 28, 28), LEARNING_RATE, seed, **settings), settings["scale"]
    else:
        net = wide if "wide" in name else "mlp-200-80"
        classifier = make_classifier(net, (1, 28, 28), 10, (0, 1), "maxmin", LEARNING_RATE, seed)
        kinds: dict[str, Any] = {"standard": rivals.plain, "gloro": rivals.gloro, "clip": CLIPTrainer}
        trainer = kinds[kind](classifier, seed=seed, **settings)
    classifier = trainer.classifier
    if "Muon" in name:
        classifier._optimizer = Muon(classifier.model.parameters())
    trainer.fit(
        *training, batch_size=BATCH_SIZE, nb_epochs=nb_epochs, scheduler=cosine_scheduler(classifier, nb_epochs)
    )
    classifier.model.eval()
    row: dict[str, Any] = {"training": name, "options": options, "seed": seed, "clean": clean(classifier, test)}
    if lipschitz is None:
        lower, lipschitz = lipschitz_bracket(classifier, test[0], max_seconds=20, seed=seed)
        row |= {"Lip ≥": lower.value, "Lip ≤": lipschitz.value}
    radii = certified_radius(classifier, *test, lipschitz)
    row |= {f"certified {eps:g}": 100 * float(np.mean(radii >= eps)) for eps in RADII}
    x, y = (a[:NB_ATTACKED] for a in test)
    found = attacked(classifier, x, y, RADII[-1], ["pgd-margin"], seed)
    check_unbroken(found, radii[:NB_ATTACKED] >= RADII[-1], name)
    row |= {f"PGD margin {RADII[-1]:g}": 100 * found.robust_accuracy}
    row["seconds"] = sum(r["seconds"] for r in trainer.history)
    print(row, flush=True)
    return row


def main() -> None:
    jobs = [(name, options, seed) for name, options in TRAININGS for seed in SEEDS]
    parallel = joblib.Parallel(n_jobs=int(sys.argv[1]) if len(sys.argv) > 1 else 2, batch_size=1)
    settings = {
        "net": "784-200-80-10 or, wide, 784-400-200-10, MaxMin",
        "optimizer": f"Adam {LEARNING_RATE} or Muon 0.02, cosine",
        "batch_size": BATCH_SIZE,
        "nb_epochs": NB_EPOCHS,
        "nb_attacked": NB_ATTACKED,
    }
    save("certificates", settings, parallel(joblib.delayed(figures)(*job) for job in jobs), "torch")


if __name__ == "__main__":
    main()
