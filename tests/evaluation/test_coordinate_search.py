"""Distances where the units of features differ: against all points of a grid."""

import math

import numpy as np
import pytest

from artclip import evaluate
from artclip.evaluation import minimum_norm
from artclip.norms import lengths
from tests.nets import default

SCALE = np.array([0.01, 1, 1, 100, 1, 1], np.float32)
FREE = [0, 3]
QUIET = {"verbose": False, "seed": 0, "lipschitz": False, "masking": False}


def distances_and_grid(norm):
    """Distances found and, of the points of a grid, the least with another label."""
    ends = np.zeros(6, np.float32), 4 * SCALE
    classifier = default.classifier(seed=5, clip_values=ends, preprocessing=(2 * SCALE, SCALE / 2))
    x = (np.random.default_rng(0).uniform(0, 4, (80, 6)) * SCALE).astype(np.float32)
    y = classifier.predict(x).argmax(1)
    steps = np.linspace(0, 1, 41)
    grid = np.stack(np.meshgrid(*(ends[1][i] * steps for i in FREE)), -1).reshape(-1, 2).astype(np.float32)
    points = np.repeat(x[:, None], len(grid), 1)
    points[:, :, FREE] = grid
    wrong = (
        classifier.predict(points.reshape(-1, 6), batch_size=10**5).argmax(1).reshape(points.shape[:2]) != y[:, None]
    )
    away = lengths((points - x[:, None]).reshape(-1, 6).astype(float), norm).reshape(wrong.shape)
    least = np.where(wrong, away, math.inf).min(1)
    fixed = np.setdiff1d(np.arange(6), FREE)
    return evaluate(classifier, x, y, norm, 10.0, "quick", fixed=fixed, **QUIET).distance, least


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_no_point_of_a_grid_is_much_nearer(norm, monkeypatch):
    found, grid = distances_and_grid(norm)
    there = np.isfinite(grid)
    assert there.sum() > 10
    assert np.all(found[there] < 2 * grid[there])
    assert np.mean(found[there] > 1.1 * grid[there]) < 0.1
    if norm != 1:
        monkeypatch.setattr(minimum_norm, "applies", lambda *_: False)
        climbed, _ = distances_and_grid(norm)
        assert np.max(climbed[there] / found[there]) > 2
        assert np.all(found[there] <= climbed[there] * (1 + 1e-6))
