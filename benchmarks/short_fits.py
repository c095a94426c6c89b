"""Gradients of a default fit over those of plain training: fits of fewer than 720 steps penalise more often.

Run: ``python benchmarks/short_fits.py``. Half a minute on a CPU; the counts are the same on every machine.
"""

from __future__ import annotations

import numpy as np
from common import save

from artclip import CLIPTrainer
from artclip.frameworks.pytorch.nets import make_classifier

BATCH, STEPS = 128, (60, 120, 240, 360, 480, 720, 1440)


def gradients(nb_steps: int) -> float:
    """Inputs through which gradients are taken, over the samples that are trained on."""
    rng = np.random.default_rng(0)
    x, y = rng.random((10 * BATCH, 64), dtype=np.float32), rng.integers(0, 10, 10 * BATCH)
    trainer = CLIPTrainer(make_classifier("mlp", (64,), 10), lamda=0.1, seed=0)
    trainer.fit(x, y, batch_size=BATCH, nb_epochs=nb_steps // 10)
    return float(np.mean([record["gradients"] for record in trainer.history])) / len(x)


def main() -> None:
    save("short_fits", {"batch_size": BATCH, "lamda": 0.1}, {str(n): gradients(n) for n in STEPS}, "torch")


if __name__ == "__main__":
    main()
