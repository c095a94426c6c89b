"""Seconds of ART's own PGD over those of ``artclip.evaluate`` with the same settings, and the accuracy each finds.

PGD of 100 steps and 5 restarts in L2 on the first 2,000 test images of MNIST, on nets trained with CLIP; eps is such
that about 30 % of the images stand. ART's attack is called as its user would call it, with its default batch of 32 and
with the batch that artclip chose.

Run: ``python benchmarks/evaluate_speed.py [torch] [tensorflow]``, about 20 minutes on two cores. MNIST comes from
the folder that ARTCLIP_DATA names.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from art.attacks.evasion import ProjectedGradientDescent
from common import save

import artclip
from artclip.frameworks import nets_of
from artclip.frameworks.keras.startup import start_tensorflow

STEPS, RESTARTS, N, STANDING = 100, 5, 2000, 0.3
NETS = {"torch": ("mlp-200-80", "cnn"), "tensorflow": ("mlp-200-80",)}
QUIET: dict[str, Any] = {"lipschitz": False, "masking": False, "verbose": False, "seed": 0, "nb_distances": 0}


def trained(framework: str, model: str) -> tuple[Any, np.ndarray, np.ndarray]:
    made = nets_of(framework)
    (x, y), (x_test, y_test) = artclip.load_data("mnist", channels_first=made.CHANNELS_FIRST)
    classifier = made.make_classifier(model, x.shape[1:], 10, seed=0)
    artclip.CLIPTrainer(classifier, seed=0).fit(x[:20000], y[:20000], nb_epochs=3)
    return classifier, x_test[:N], y_test[:N]


def budget(classifier: Any, x: np.ndarray, y: np.ndarray) -> float:
    """eps, to a hundredth, under which about 30 % of 500 images stand."""
    low, high = 0.0, 8.0
    while high - low > 0.01:
        middle = (low + high) / 2
        attack = ["pgd:max_iter=40,nb_restarts=1"]
        found = artclip.evaluate(classifier, x[:500], y[:500], eps=middle, attacks=attack, **QUIET)
        low, high = (middle, high) if found.robust_accuracy > STANDING else (low, middle)
    return round(high, 2)


def by_art(classifier: Any, x: np.ndarray, y: np.ndarray, eps: float, batch_size: int) -> dict[str, float]:
    np.random.seed(0)  # noqa: NPY002
    options = {"eps_step": 2.5 * eps / STEPS, "max_iter": STEPS, "num_random_init": RESTARTS, "batch_size": batch_size}
    began = time.perf_counter()
    attack = ProjectedGradientDescent(classifier, norm=2, eps=eps, verbose=False, **options)
    adversarial = attack.generate(x, np.eye(10, dtype=np.float32)[y])
    right = (classifier.predict(x).argmax(1) == y) & (classifier.predict(adversarial).argmax(1) == y)
    return {"seconds": time.perf_counter() - began, "accuracy": float(right.mean())}


def measured(framework: str, model: str) -> dict[str, Any]:
    classifier, x, y = trained(framework, model)
    eps = budget(classifier, x, y)
    attack = [f"pgd:max_iter={STEPS},nb_restarts={RESTARTS}"]
    began = time.perf_counter()
    found = artclip.evaluate(classifier, x, y, eps=eps, attacks=attack, **QUIET)
    ours = {"seconds": time.perf_counter() - began, "accuracy": found.robust_accuracy}
    size = found.settings["batch_size"]
    theirs = {f"batch {b}": by_art(classifier, x, y, eps, b) for b in (32, size)}
    return {
        "framework": framework,
        "net": model,
        "eps": eps,
        "clean": found.accuracy["clean"],
        "artclip": {**ours, "batch": size},
        "ART": theirs,
        "ART's seconds over artclip's": {k: v["seconds"] / ours["seconds"] for k, v in theirs.items()},
        "accuracy, artclip's less ART's": {k: ours["accuracy"] - v["accuracy"] for k, v in theirs.items()},
    }


def main() -> None:
    frameworks = sys.argv[1:] or list(NETS)
    if "tensorflow" in frameworks:
        start_tensorflow()
    results = []
    for framework in frameworks:
        for model in NETS[framework]:
            results.append(measured(framework, model))
            print(results[-1], flush=True)
    settings = {"attack": f"L2 PGD, {STEPS} steps, {RESTARTS} restarts", "images": N, "training": "CLIP, 3 epochs"}
    save("evaluate_speed", settings, results, *frameworks)


if __name__ == "__main__":
    main()
