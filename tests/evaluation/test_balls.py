"""Steps and projections: the nearest points of balls and ranges, by the conditions that they must meet."""

import math

import numpy as np
import pytest

from artclip.evaluation.balls import into_ball, steepest, still_free
from artclip.norms import dual_norm, lengths

RNG = np.random.default_rng(0)
NORMS = (1, 2, math.inf)


@pytest.mark.parametrize("norm", NORMS)
def test_the_steepest_direction_gains_the_dual_norm(norm):
    g = RNG.standard_normal((20, 3, 4))
    d = steepest(g, norm)
    np.testing.assert_allclose(lengths(d, norm), 1)
    np.testing.assert_allclose((g * d).sum((1, 2)), lengths(g, dual_norm(norm)))
    assert not steepest(np.zeros((2, 5)), norm).any()


def test_in_l1_a_share_of_the_coordinates_moves_alike():
    g = RNG.standard_normal((3, 50))
    for share, counts in ((0.1, [5, 5, 5]), (np.array([0.0, 0.2, 1.0]), [1, 10, 50])):
        d = steepest(g, 1, share)
        assert (d != 0).sum(1).tolist() == counts
        np.testing.assert_allclose(lengths(d, 1), 1)
        assert all(np.abs(a[b != 0]).min() >= np.abs(a[b == 0]).max(initial=0) for a, b in zip(g, d, strict=True))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_end_in_ball_and_range(norm, dtype):
    v = RNG.standard_normal((200, 30)).astype(dtype) * 3
    down, up = RNG.uniform(0, 0.5, (2, 200, 30)).astype(dtype)
    radius = RNG.uniform(0.01, 5, 200)
    found = into_ball(v, radius, norm, down, up)
    assert found.dtype == dtype
    assert np.all(lengths(found, norm) <= radius * (1 + 1e-5))
    assert np.all((found >= -down) & (found <= up))
    inside = into_ball(0.01 * v, 1e3, norm)
    np.testing.assert_array_equal(inside, (0.01 * v).astype(dtype))


@pytest.mark.parametrize("norm", [1, math.inf])
def test_they_are_the_nearest(norm):
    """No other point of ball and range is nearer: <v − p, q − p> <= 0 for all q."""
    v = RNG.standard_normal((50, 12)) * 2
    down, up = RNG.uniform(0, 0.6, (2, 50, 12))
    radius = RNG.uniform(0.2, 3, 50)
    p = into_ball(v, radius, norm, down, up)
    for _ in range(200):
        q = into_ball(RNG.standard_normal(v.shape) * RNG.uniform(0.01, 5), radius, norm, down, up)
        assert np.all(((v - p) * (q - p)).sum(1) <= 1e-3 * np.abs(v).max())


def test_ends_of_the_range_are_not_left():
    g = np.array([[1.0, -1.0, 1.0, -1.0]])
    at = np.array([[1.0, 0.0, 0.0, 1.0]])
    assert still_free(g, at, 0.0, 1.0).tolist() == [[0.0, 0.0, 1.0, -1.0]]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [0, 1e-44, 1e-15, 1e15])
@pytest.mark.parametrize("radius", [0, 1e-15, 1e-3, 1e15])
def test_sizes_far_apart_raise_no_warning(norm, size, radius):
    v = np.array([[size, 0, 0], [-1, 0, 0]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        found = into_ball(v, radius, norm, 1.0, 1.0)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 0], [min(size, radius, 1), -min(1, radius)], rtol=1e-5, atol=1e-7)
