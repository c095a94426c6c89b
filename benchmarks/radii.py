"""Lower and upper truth about each image: the radius that is proved, and the nearest adversarial example found.

MNIST, an MLP of 200 and 80 ReLUs, one seed, three trainings whose settings are not chosen. The first 100 test images
that the net gets right: L2 radii by ``certified_radius(method="auto")``, distances by the minimum-norm attack of
``evaluate``. A radius above a distance ends the script, since one of the two would be wrong.

Run: ``python benchmarks/radii.py``, ten minutes. MNIST comes from the folder that ARTCLIP_DATA names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from common import attacked, clean, parts, save

import artclip
from artclip.comparison.defences import parse
from artclip.comparison.training_config import TrainingConfig
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier

TRAININGS = ("standard", "clip:lamda=0.2", "pgd:eps=1.5,max_iter=7")
NB_TRAINING, NB_EPOCHS, BATCH_SIZE, NB_IMAGES, SEED = 30_000, 8, 128, 100, 0


def figures(text: str) -> dict[str, Any]:
    """One training."""
    (x, y), _, test = parts("mnist")
    classifier = make_classifier(
        "mlp-200-80", (1, 28, 28), 10, (0, 1), activation="relu", learning_rate=3e-3, seed=SEED
    )
    trainer = parse(text).train(classifier, TrainingConfig("torch", 2.0, 1.5, 0.5, NB_EPOCHS, BATCH_SIZE, SEED))
    scheduler = cosine_scheduler(classifier, NB_EPOCHS)
    trainer.fit(x[:NB_TRAINING], y[:NB_TRAINING], batch_size=BATCH_SIZE, nb_epochs=NB_EPOCHS, scheduler=scheduler)
    row: dict[str, Any] = {"training": text, "clean": clean(classifier, test)}
    right = np.flatnonzero(classifier.predict(test[0][:500]).argmax(1) == test[1][:500])[:NB_IMAGES]
    x, y = test[0][right], test[1][right]
    found = attacked(classifier, x, y, 1.0, ["noise"], SEED, nb_distances=NB_IMAGES)
    radii = artclip.certified_radius(classifier, x, y, method="auto")
    if (radii > found.distance * (1 + 1e-3)).any():
        raise AssertionError(f"{text}: a radius is larger than the distance of an adversarial example")
    row["distance"], row["radius"] = np.round(found.distance, 4).tolist(), np.round(radii, 4).tolist()
    print(text, row["clean"], "medians", np.median(found.distance), np.median(radii), flush=True)
    return row


def main() -> None:
    torch.set_num_threads(1)
    settings = {"data": "MNIST", "net": "mlp-200-80, ReLU", "training images": NB_TRAINING, "epochs": NB_EPOCHS}
    settings |= {"batch_size": BATCH_SIZE, "optimizer": "Adam 0.003, cosine", "images": NB_IMAGES, "seed": SEED}
    save("radii", settings, [figures(text) for text in TRAININGS], "torch")


if __name__ == "__main__":
    main()
