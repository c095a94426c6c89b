"""Losses of attacks: their slopes, what they grow with, and that they do not saturate."""

import numpy as np
import pytest

from artclip.evaluation.losses import LOSSES, cross_entropy, margin

RNG = np.random.default_rng(0)


def labels(n, k, targets=True):
    marks = np.array([RNG.permutation(k)[:2] for _ in range(n)])
    y = np.eye(k)[marks[:, 0]]
    return y + 0.5 * np.eye(k)[marks[:, 1]] if targets else y


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("k", [4, 10])
def test_cotangents_are_the_slopes_of_the_values(name, k):
    z, y = RNG.normal(0, 3, (20, k)), labels(20, k)
    cotangents, h = LOSSES[name](z, y)[1], 1e-6
    for j in range(k):
        step = h * np.eye(k)[j]
        slopes = (LOSSES[name](z + step, y)[0] - LOSSES[name](z - step, y)[0]) / (2 * h)
        np.testing.assert_allclose(cotangents[:, j], slopes, atol=1e-6)


def test_cross_entropy_is_the_usual_one_but_for_a_growing_function():
    z, y = RNG.normal(0, 3, (50, 5)), labels(50, 5, targets=False)
    usual = np.log(np.exp(z).sum(1)) - z[np.arange(50), y.argmax(1)]
    np.testing.assert_allclose(np.log1p(np.exp(cross_entropy(z, y)[0])), usual, rtol=1e-9)
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    gradient, ours = softmax - y, cross_entropy(z, y)[1]
    cosine = (gradient * ours).sum(1) / np.linalg.norm(gradient, axis=1) / np.linalg.norm(ours, axis=1)
    np.testing.assert_allclose(cosine, 1, rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_no_loss_saturates(name, scale):
    z, y = scale * RNG.normal(0, 3, (30, 6)), labels(30, 6)
    value, cotangents = LOSSES[name](z, y)
    assert np.isfinite(value).all()
    leading = z.argmax(1) == y.argmax(1)  # DLR is constant where the true class comes third
    slopes = cotangents[np.arange(30), y.argmax(1)][leading]
    assert leading.any()
    assert (slopes != 0).all() if name == "targeted DLR" else (slopes < 0).all()


def test_the_margin_is_positive_exactly_where_the_label_is_wrong():
    z, y = RNG.normal(0, 1, (200, 4)), labels(200, 4, targets=False)
    assert ((margin(z, y)[0] > 0) == (z.argmax(1) != y.argmax(1))).all()
