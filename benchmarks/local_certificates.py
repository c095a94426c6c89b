"""Certificates in balls beside those by Lipschitz constants, on nets that CLIP trained.

MNIST, three seeds, settings not chosen. Each test image that the net gets right is certified within two L2 radii, by
constants for pairs of classes (``certified_radius``), by linear bounds of the layers in the ball, and by both ways in
the ball (linear bounds, and constants along the way); PGD on the margin is an upper bound of the robust accuracy. No
image that is certified may be broken: the script ends there if one is. Seconds are CPU seconds that one radius of one
image takes in the ball, on one thread.

Run: ``python benchmarks/local_certificates.py [PROCESSES]``, an hour on two cores. MNIST comes from the folder that
ARTCLIP_DATA names.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import joblib
import numpy as np
import torch
from common import attacked, check_unbroken, clean, parts, save

from artclip import CLIPTrainer, certified_radius, lipschitz_upper_bound
from artclip.frameworks import function_of, graph_of
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier
from artclip.lipschitz.local.labels import LabelBounds

RADII, SEEDS = (0.5, 1.0), (0, 1, 2)
NB_TRAINING, NB_EPOCHS, BATCH_SIZE, LEARNING_RATE = 30_000, 8, 128, 3e-3
ATTACK = ["pgd-margin:max_iter=100,nb_restarts=2"]
# Net, activation, λ, and how many images are certified.
NETS: list[tuple[str, str, float, int]] = [
    ("mlp-200-80", "relu", 0.2, 500),
    ("mlp-200-80", "gelu", 0.2, 500),
    ("mlp-200-80", "gelu", 0.8, 500),
    ("cnn", "relu", 0.2, 30),
    ("cnn", "gelu", 0.2, 10),
]


def figures(net: str, activation: str, lamda: float, nb: int, seed: int) -> dict[str, Any]:
    """One net on test images."""
    torch.set_num_threads(1)
    (x, y), _, test = parts("mnist")
    options: dict[str, Any] = {"activation": activation, "learning_rate": LEARNING_RATE, "seed": seed}
    classifier = make_classifier(net, (1, 28, 28), 10, (0, 1), **options)
    trainer = CLIPTrainer(classifier, lamda=lamda, seed=seed)
    scheduler = cosine_scheduler(classifier, NB_EPOCHS)
    trainer.fit(x[:NB_TRAINING], y[:NB_TRAINING], batch_size=BATCH_SIZE, nb_epochs=NB_EPOCHS, scheduler=scheduler)
    row: dict[str, Any] = {"net": net, "activation": activation, "λ": lamda, "seed": seed, "images": nb}
    row["clean"] = clean(classifier, test)
    x, y = (part[:nb] for part in test)
    radii = certified_radius(classifier, x, y, lipschitz_upper_bound(classifier))
    right = np.flatnonzero(classifier.predict(x).argmax(1) == y)
    graph, f = graph_of(classifier), function_of(classifier)
    lines, bounds = (LabelBounds(graph, f, None, 2, lines_alone=alone) for alone in (True, False))
    for eps in RADII:
        by_constants, by_lines, local = radii >= eps, np.zeros(nb, bool), np.zeros(nb, bool)
        by_lines[right] = lines.keep(x[right], y[right], eps) == 1
        started = time.process_time()
        local[right] = bounds.keep(x[right], y[right], eps) == 1
        row[f"seconds {eps:g}"] = (time.process_time() - started) / len(right)
        found = attacked(classifier, x, y, eps, ATTACK, seed)
        check_unbroken(found, local | by_constants, net)
        shares = {"constants": by_constants, "lines": by_lines, "ball": local, "PGD": found.survivors}
        row |= {f"{name} {eps:g}": 100 * float(np.mean(share)) for name, share in shares.items()}
    print(row, flush=True)
    return row


def main() -> None:
    jobs = [(*net, seed) for net in NETS for seed in SEEDS]
    nb_processes = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    parallel = joblib.Parallel(n_jobs=nb_processes, batch_size=1, return_as="generator")
    settings: dict[str, Any] = {"data": "MNIST", "training images": NB_TRAINING, "epochs": NB_EPOCHS}
    settings |= {"optimizer": f"Adam {LEARNING_RATE}, cosine", "batch_size": BATCH_SIZE, "attack": ATTACK, "threads": 1}
    rows: list[dict[str, Any]] = []
    for row in parallel(joblib.delayed(figures)(*job) for job in jobs):
        rows.append(row)
        save("local_certificates", settings, rows, "torch")


if __name__ == "__main__":
    main()
