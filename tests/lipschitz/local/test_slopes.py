"""Slopes on an interval hold all difference quotients there, and closely where the function bends little."""

import numpy as np
import pytest

from artclip.graph import ACTIVATIONS, activations
from artclip.lipschitz.local.slopes import slopes
from tests.lipschitz.local.test_relaxation import KINDS

RNG = np.random.default_rng(2)
KNOWN = [name for name, a in KINDS.items() if a.kinked or a.kind[:1] == ("clamp",) or np.isfinite(a.curvature)]


@pytest.mark.parametrize("name", KINDS)
def test_no_quotient_is_outside(name):
    activation = KINDS[name]
    low = RNG.normal(scale=3, size=(50, 40))
    high = low + RNG.choice([0, 1e-9, 1e-3, 0.3, 2, 20], low.shape) * RNG.uniform(size=low.shape)
    least, most = slopes(activation, low, high)
    assert (least <= most).all()
    assert (least >= activation.low).all()
    assert (most <= activation.high).all()
    for _ in range(300):
        u, v = (np.clip(low + share * (high - low), low, high) for share in RNG.uniform(size=(2, *low.shape)))
        far = np.abs(u - v) > 1e-6
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = (activation.apply(u) - activation.apply(v)) / (u - v)
        assert (quotient[far] >= least[far] - 1e-7).all()
        assert (quotient[far] <= most[far] + 1e-7).all()


@pytest.mark.parametrize("name", KNOWN)
def test_on_short_intervals_without_a_kink_they_are_about_one_slope(name):
    activation = KINDS[name]
    low = np.full((1, 40), 0.3)
    least, most = slopes(activation, low, low + 1e-3)
    bend = 0.0 if activation.kinked or activation.kind[:1] == ("clamp",) else activation.curvature
    assert (most - least <= 2e-3 * bend + 1e-9).all()


def test_an_elu_bends_as_it_is_said_to():
    z = np.linspace(-5, 3, 4001)
    for elu in (ACTIVATIONS["elu"], activations.elu(0.5, 2.0, 2.0)):
        assert np.isfinite(elu.curvature)
        assert np.abs(np.diff(elu.apply(z), 2)).max() <= elu.curvature * (z[1] - z[0]) ** 2 * (1 + 1e-6)
    assert not np.isfinite(ACTIVATIONS["selu"].curvature)
