"""Constants of operations on several entries."""

import numpy as np
import pytest

from artclip.graph import Normalisation


@pytest.mark.parametrize("seed", range(20))
def test_normalisation_is_as_steep_as_its_jacobian_at_a_constant_input(seed):
    rng = np.random.default_rng(seed)
    groups, n = rng.integers(1, 4), int(rng.integers(2, 9))
    scale = rng.standard_normal(groups * n) if seed % 3 else np.round(rng.standard_normal(groups * n))
    layer = Normalisation(np.arange(groups * n).reshape(groups, n), scale, np.zeros(1), 0.25)
    centre = np.eye(n) - 1 / n
    true = max(np.linalg.norm(row[:, None] * centre, 2) for row in scale.reshape(groups, n)) / 0.5
    assert true * (1 - 1e-12) <= layer.factor(2) <= true * (1 + 1e-6) + 1e-12
