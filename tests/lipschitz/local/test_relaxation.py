"""Lines hold an activation on its interval, and closely."""

import numpy as np
import pytest

from artclip.graph import ACTIVATIONS, activations
from artclip.lipschitz.local.relaxation import relaxation

RNG = np.random.default_rng(0)
KINDS = {
    **ACTIVATIONS,
    "leaky": activations.leaky_relu(0.1),
    "steeper below": activations.leaky_relu(2.0),
    "prelu": activations.prelu(RNG.standard_normal(40)),
    "shrink": activations.soft_shrink(0.5),
    "softplus, sharp": activations.softplus(20.0),
    "one after the other": ACTIVATIONS["tanh"].followed_by(ACTIVATIONS["relu"]),
}


@pytest.mark.parametrize("name", KINDS)
def test_lines_hold_the_function_on_all_of_the_interval(name):
    activation = KINDS[name]
    low = RNG.normal(scale=3, size=(50, 40))
    high = low + RNG.choice([0, 1e-9, 1e-3, 0.3, 2, 20], low.shape) * RNG.uniform(size=low.shape)
    lines = relaxation(activation, low, high)
    for share in np.concatenate([[0, 1], RNG.uniform(size=500)]):
        z = np.clip(low + share * (high - low), low, high)
        value = activation.apply(z)
        assert (lines.below * z + lines.below_at_0 <= value).all()
        assert (value <= lines.above * z + lines.above_at_0).all()


@pytest.mark.parametrize("name", KINDS)
def test_on_short_intervals_they_are_as_close_as_the_function_bends(name):
    activation = KINDS[name]
    low = np.full((1, 40), 0.3)
    gaps = []
    for width in (0.1, 0.01):
        lines = relaxation(activation, low, low + width)
        middle = low + width / 2
        gaps.append(float(np.max((lines.above - lines.below) * middle + lines.above_at_0 - lines.below_at_0)))
    if np.isfinite(activation.curvature):  # the square of the width
        assert gaps[0] <= 1.05 * activation.curvature * 0.1**2 / 4
        assert gaps[1] <= 1.05 * activation.curvature * 0.01**2 / 4
    else:
        assert gaps[1] < gaps[0] / 8 + 1e-9


def test_of_a_relu_they_are_the_chord_and_the_closer_of_zero_and_identity():
    lines = relaxation(ACTIVATIONS["relu"], np.array([[-1.0, -2.0, 1.0, -3.0]]), np.array([[3.0, 1.0, 2.0, -1.0]]))
    np.testing.assert_allclose(lines.above, [[0.75, 1 / 3, 1, 0]])
    np.testing.assert_allclose(lines.above_at_0, [[0.75, 2 / 3, 0, 0]])
    np.testing.assert_allclose(lines.below, [[1, 0, 1, 0]])
    assert (lines.below_at_0 == 0).all()


@pytest.mark.parametrize("name", [n for n, a in ACTIVATIONS.items() if np.isfinite(a.curvature)])
def test_the_curvature_is_that_of_the_function(name):
    step = 1e-3
    z = np.arange(-12, 12, step)[None]
    second = np.abs(np.diff(ACTIVATIONS[name].apply(z), 2)).max() / step**2
    assert second <= ACTIVATIONS[name].curvature * (1 + 1e-6)
    assert second > 0.98 * ACTIVATIONS[name].curvature
