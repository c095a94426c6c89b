"""The CLIP step that the cost benchmarks time, on either framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from artclip import CLIPTrainer
from artclip.frameworks import trainable_of
from artclip.trainers.loop import Epochs

BATCH_SIZE, STEPS = 128, 24
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "dense": {"pair_interval": 2},
    "robust": {"lamda": 0.4},
    "certificate": {"lamda": 0.0, "certify_eps": 1.0},
}


def clip_step(
    classifier: Any, x: np.ndarray, y: np.ndarray, nb_steps: int = STEPS, **options: Any
) -> Callable[[], None]:
    """The steps of :class:`artclip.CLIPTrainer` in a long training, batches included.

    ``nb_steps`` is a multiple of the interval.
    """
    trainer = CLIPTrainer(classifier, seed=0, **options)
    f = trainable_of(trainer.classifier)
    sample = x[:1000], y[:1000]
    terms = trainer._loss(f, sample), trainer._regularizer(f, sample, 0, 10**6)
    epoch = Epochs(f, None, *terms, None)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)

    def steps() -> None:
        order = rng.permutation(len(x))[: nb_steps * BATCH_SIZE]
        for i in range(nb_steps):
            index = order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
            epoch._step(*f.batch(x, y, index), trainer.lamda)

    return steps
