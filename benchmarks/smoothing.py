"""Two kinds of certificate on MNIST: by constants that hold everywhere, and by noise with a confidence.

One net each, two hidden layers, three seeds, 20 epochs, nothing chosen. The first has MaxMin units and is trained by
``certify_eps`` at each radius without pairs; its label is one pass, its proof is the Lipschitz constant. The others are
trained on Gaussian noise, and the label that most copies with noise get is certified by 10,000 draws, with a confidence
of 99.9 % for each image (Cohen, Rosenfeld, Kolter 2019, arXiv 1902.02918). The first 1,000 test images count.

Run: ``python benchmarks/smoothing.py``, half an hour on one core; every row is saved as it comes, and a later run goes
on from there. The data come from the folder that ARTCLIP_DATA names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from common import mnist, recorded, save

from artclip import CLIPTrainer, NoiseTrainer, certified_radius, lipschitz_upper_bound, smoothed_radius
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier

RADII, SEEDS, NB_IMAGES = (0.5, 1.0, 1.58), (0, 1, 2), 1000
NB_EPOCHS, BATCH_SIZE, NB_DRAWS, ALPHA = 20, 128, 10_000, 1e-3
CERTIFY_EPS, SIGMAS = (1.0, 1.75), (0.25, 0.5, 1.0)


def fitted(trainer: Any, x: np.ndarray, y: np.ndarray) -> float:
    """CPU seconds of a training."""
    scheduler = cosine_scheduler(trainer.classifier, NB_EPOCHS)
    trainer.fit(x, y, batch_size=BATCH_SIZE, nb_epochs=NB_EPOCHS, scheduler=scheduler)
    return float(sum(record["cpu_seconds"] for record in trainer.history))


def row(kind: str, value: float, seed: int) -> dict[str, Any]:
    """A net, and what is certified of the test images."""
    training, test = mnist()
    x, y = (a[:NB_IMAGES] for a in test)
    classifier = make_classifier(
        "mlp-200-80", (784,), 10, activation="maxmin" if kind == "certify_eps" else "relu", seed=seed
    )
    if kind == "certify_eps":
        seconds = fitted(CLIPTrainer(classifier, lamda=0.0, certify_eps=value, seed=seed), *training)
        radii, passes = certified_radius(classifier, x, y, lipschitz_upper_bound(classifier)), 1
        clean = float((classifier.predict(x).argmax(1) == y).mean())
    else:
        seconds = fitted(NoiseTrainer(classifier, value, seed=seed), *training)
        radii, passes = smoothed_radius(classifier, x, y, value, NB_DRAWS, ALPHA, seed), 100 + NB_DRAWS
        clean = float((radii > 0).mean())
    shares = {f"certified {r:g}": 100 * float((radii >= r).mean()) for r in RADII}
    about = {"kind": kind, "value": value, "seed": seed, "clean": 100 * clean}
    return {**about, **shares, "passes": passes, "CPU seconds": seconds}


def main() -> None:
    """All rows; those that are there already stay."""
    torch.set_num_threads(1)
    rows = recorded("smoothing", [])
    done = {(r["kind"], r["value"], r["seed"]) for r in rows}
    wanted = [("certify_eps", v) for v in CERTIFY_EPS] + [("sigma", v) for v in SIGMAS]
    for kind, value in wanted:
        for seed in SEEDS:
            if (kind, value, seed) not in done:
                rows.append(row(kind, value, seed))
                print(rows[-1], flush=True)
                settings = {"epochs": NB_EPOCHS, "images": NB_IMAGES, "draws": NB_DRAWS, "alpha": ALPHA, "threads": 1}
                save("smoothing", settings, rows, "torch")


if __name__ == "__main__":
    main()
