"""Trainings that several devices must end as one device does, and how the two are compared."""

import numpy as np
import pytest

from artclip import CLIPTrainer, WeightRegularizationTrainer

# Net of the registry, and a trainer of its classifier.
CASES = {
    "default": ("cnn", lambda c: CLIPTrainer(c, lamda=0.05, pair_interval=3, nb_pairs=12, seed=0)),
    "steepest": (
        "mlp",
        lambda c: CLIPTrainer(c, lamda=0.05, nb_pairs=12, pair_init="near", reduction="max", pair_interval=2, seed=0),
    ),
    "target": ("mlp", lambda c: CLIPTrainer(c, target_accuracy=0.8, pair_interval=2, restore_best=True, seed=0)),
    "bracket": (
        "sigmoid",
        lambda c: CLIPTrainer(c, lamda=0.05, pair_interval=2, upper_penalty=0.01, certify_eps=0.1, seed=0),
    ),
    "weight": ("mlp", lambda c: WeightRegularizationTrainer(c, lamda=0.01, seed=0)),
    "few": ("mlp", lambda c: CLIPTrainer(c, lamda=0.05, nb_pairs=1, pair_interval=1, seed=0)),
    "batchnorm": ("batchnorm", lambda c: CLIPTrainer(c, lamda=0.05, pair_interval=2, nb_pairs=8, seed=0)),
}
FIGURES = ("loss", "accuracy", "lipschitz", "penalty", "lamda", "gradients", "val_loss", "val_accuracy")


def assert_same(one, other):
    """Of two trainings, each its history and weights."""
    np.testing.assert_allclose(one[1], other[1], atol=1e-5)
    for a, b in zip(one[0], other[0], strict=True):
        assert [a[key] for key in FIGURES] == pytest.approx([b[key] for key in FIGURES], abs=1e-5)
