"""Upper bounds of convolutional nets: convolutions together on a torus, beside the product of the layers' norms.

Nets by name on CIFAR-10 (JPEG copies), trained plainly and with CLIP on 20,000 images, three seeds, settings not
chosen. ``Lip ≥`` is searched among all inputs, so that a bracket is the upper bound over it. Share of 1,000 test images
that constants for pairs of classes certify within 36/255; where any are, PGD on the margin may break none of them.

Run: ``python benchmarks/convolutional_bounds.py [NET ...]``, an hour. CIFAR-10 comes from the folder that ARTCLIP_DATA
names.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import torch
from common import attacked, check_unbroken, clean, parts, recorded, save

import artclip
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier

SEEDS, BATCH_SIZE, NB_TRAINING, NB_SEARCHED, NB_CERTIFIED = (0, 1, 2), 128, 20_000, 500, 1000
LAMDAS = (0.0, 0.1)
EPS = 36 / 255
NETS = {"cnn": 8, "resnet": 4, "convnet": 4}  # and how many epochs
ATTACK = ["pgd-margin:max_iter=40,nb_restarts=1"]


def figures(net: str, lamda: float, seed: int) -> dict[str, Any]:
    """One net."""
    (x, y), _, test = parts("cifar-10")
    classifier = make_classifier(net, (3, 32, 32), 10, (0, 1), seed=seed)
    trainer = artclip.CLIPTrainer(classifier, lamda=lamda, seed=seed)
    scheduler = cosine_scheduler(classifier, NETS[net])
    trainer.fit(x[:NB_TRAINING], y[:NB_TRAINING], batch_size=BATCH_SIZE, nb_epochs=NETS[net], scheduler=scheduler)
    row: dict[str, Any] = {"net": net, "λ": lamda, "seed": seed, "epochs": NETS[net], "clean": clean(classifier, test)}
    search = {"domain": "free", "seed": seed, "nb_restarts": 16, "max_seconds": 60}
    row["Lip ≥, free"] = lower = artclip.lipschitz_lower_bound(classifier, x[:NB_SEARCHED], **search).value
    x, y = (part[:NB_CERTIFIED] for part in test)
    for method in ("product", "auto"):
        found = artclip.lipschitz_upper_bound(classifier, method=method)
        row |= {method: found.value, f"{method} / Lip ≥": found.value / lower, f"seconds of {method}": found.seconds}
        certified = artclip.certified_radius(classifier, x, y, found) >= EPS
        row |= {f"method of {method}": found.method, f"certified by {method}": 100 * float(certified.mean())}
        assert math.isfinite(found.value)
        assert found.value >= lower
        if certified.any():
            attack = attacked(classifier, x[certified], y[certified], EPS, ATTACK, seed)
            check_unbroken(attack, np.ones(len(attack.survivors), bool), net)
    print(row, flush=True)
    return row


def main() -> None:
    torch.set_num_threads(1)
    rows = [row for row in recorded("convolutional_bounds", []) if row["net"] in NETS]
    for net in sys.argv[1:] or NETS:
        rows = [row for row in rows if row["net"] != net]
        for lamda in LAMDAS:
            for seed in SEEDS:
                rows.append(figures(net, lamda, seed))
                settings = {
                    "data": "CIFAR-10, JPEG copies",
                    "training images": NB_TRAINING,
                    "optimizer": "Adam 2e-3, cosine",
                }
                settings |= {"batch_size": BATCH_SIZE, "eps": EPS, "attack": ATTACK, "threads": 1}
                save("convolutional_bounds", settings, sorted(rows, key=lambda r: list(NETS).index(r["net"])), "torch")


if __name__ == "__main__":
    main()
