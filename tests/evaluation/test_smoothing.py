"""Randomised smoothing: radii against those of linear models, where they are known."""

import math

import numpy as np
import pytest
from scipy import stats

from artclip import compare, evaluate, smoothed_radius
from artclip.evaluation.smoothing import Smoothing
from tests.nets import FRAMEWORKS, default

RNG = np.random.default_rng(0)
SIGMA, DRAWS = 0.5, 1000


def plane(nets, size=5):
    """A linear model of two classes, samples, labels, and their distances to the plane between them."""
    w = RNG.normal(size=(2, size)).astype(np.float32)
    w -= w.mean(1, keepdims=True)  # the plane goes through the middle of the box
    x = RNG.uniform(0, 1, (60, size)).astype(np.float32)
    logits = x @ w.T
    away = np.abs(logits[:, 0] - logits[:, 1]) / np.linalg.norm(w[0] - w[1])
    return nets.linear_classifier(w), x, logits.argmax(1), away


def test_radii_of_a_linear_model_are_distances_less_what_the_draws_leave_open(nets):
    classifier, x, y, away = plane(nets)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    settings = {"sigma": SIGMA, "nb_draws": DRAWS, "alpha": 1e-6, "seed": 0}
    radii = smoothed_radius(classifier, x, y, **settings)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert np.all(radii <= away)
    # Under noise the share of a linear model's label is Φ(distance/σ); its bound lies 10 deviations below at most.
    share = stats.norm.cdf(away / SIGMA)
    least = share - 10 * np.sqrt(share * (1 - share) / DRAWS) - 16 / DRAWS
    expected = SIGMA * stats.norm.ppf(np.clip(least, 0.5, None))
    assert np.all(radii >= expected)
    np.testing.assert_array_equal(radii, smoothed_radius(classifier, x, y, **settings))
    assert not smoothed_radius(classifier, x, 1 - y, **settings).any()


def test_no_radius_is_larger_than_where_all_draws_agree(nets):
    classifier, x, y, away = plane(nets)
    small = Smoothing(0.01, 500)
    far = away > 0.1
    radii = smoothed_radius(classifier, x[far], y[far], small.sigma, small.nb_draws, seed=0)
    np.testing.assert_allclose(radii, small.largest)
    assert small.largest == pytest.approx(0.01 * stats.norm.ppf(0.001 ** (1 / 500)))
    assert Smoothing(1.0, 100_000).largest == pytest.approx(3.81, abs=0.005)
    assert "no radius above 0.0221 can be" in small.said(0.5)
    assert "no radius" not in small.said(0.01)


def test_the_confidence_holds():
    """The bound of a share is above it in alpha of all cases at most."""
    from artclip.evaluation.smoothing import _lower

    alpha, share, nb = 0.05, 0.8, 200
    counts = np.random.default_rng(0).binomial(nb, share, 4000)
    over = np.mean([_lower(int(count), nb, alpha) > share for count in counts])
    assert 0.02 < over <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / len(counts))
    assert _lower(0, nb, alpha) == 0


def test_outputs_that_are_no_numbers_prove_nothing(nets):
    classifier, (_, x, y, _) = nets.linear_classifier(np.full((2, 5), np.nan, np.float32)), plane(nets)
    with pytest.raises(ValueError, match="all outputs of the model are NaN"):
        smoothed_radius(classifier, x, y, SIGMA, 100, seed=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sigma": 0}, "sigma=0"),
        ({"sigma": 1.0, "nb_draws": 10}, "nb_draws=10"),
        ({"sigma": 1.0, "alpha": 0.6}, "below 1/2"),
    ],
)
def test_what_cannot_be_is_refused(nets, options, said):
    classifier, x, y, _ = plane(nets)
    with pytest.raises(ValueError, match=said):
        smoothed_radius(classifier, x, y, **options)


def test_a_regressor_has_no_label(nets):
    regressor = nets.regressor()
    x = np.zeros((2, *regressor.input_shape), np.float32)
    with pytest.raises(ValueError, match="this estimator is a regressor"):
        smoothed_radius(regressor, x, np.zeros(2, int), 1.0)


@pytest.mark.parametrize(
    ("nets", "kind"), [(FRAMEWORKS[0], "of a function"), *((f, "own") for f in FRAMEWORKS)], indirect=["nets"]
)
def test_estimators_that_art_smooths_are_told_from_their_nets(nets, kind):
    from art.estimators.certification.randomized_smoothing import NumpyRandomizedSmoothing

    classifier, x, y, away = plane(nets)
    smoothed = (
        nets.smoothed(classifier, SIGMA)
        if kind == "own"
        else NumpyRandomizedSmoothing(classifier, sample_size=10, scale=SIGMA)
    )
    radii = smoothed_radius(classifier, x, y, SIGMA, seed=3)
    np.testing.assert_array_equal(smoothed_radius(smoothed, x, y, SIGMA, seed=3), radii)
    options = {"eps": 0.3, "attacks": ["fgsm"], "masking": False, "nb_distances": 0, "seed": 3, "verbose": False}
    plain, found = (evaluate(c, x, y, **options) for c in (classifier, smoothed))
    np.testing.assert_array_equal(found.smoothed, radii)
    assert found.robust_accuracy == plain.robust_accuracy
    assert plain.smoothed is None
    columns = found.columns()
    # Noise moves a linear model's label as often to one side as to the other: the most frequent one is its own, but
    # for samples so near the plane that 1,000 draws cannot tell.
    assert np.all(found.smoothed_right[away > 0.2 * SIGMA])
    assert not np.any((radii > 0) & ~found.smoothed_right)
    assert columns["clean, smoothed"] == pytest.approx(100 * found.smoothed_right.mean())
    assert columns["clean, smoothed"] >= 100 * (radii > 0).mean()
    assert columns["certified, smoothed"] == pytest.approx(100 * (radii >= 0.3).mean())
    assert "all others of the net without noise" in str(found).replace("\n  ", " ")
    assert "clean, smoothed" not in plain.columns()


def test_a_comparison_keeps_both_certificates_apart():
    _, x, y, _ = plane(default)
    options = {"nb_seeds": 1, "nb_epochs": 2, "attacks": ["fgsm"], "curve_samples": 0, "masking": False}
    found = compare(
        ((x, y), (x, y)), "mlp", "standard,smoothing:sigma=0.2,nb_draws=200", eps=0.4, verbose=False, **options
    )
    plain, smoothed = found.rows
    assert "smoothed" not in plain or plain["smoothed"]["mean"] is None
    assert 0 <= smoothed["smoothed_certified"]["mean"] <= smoothed["smoothed"]["mean"] <= 1
    least = "σ = 0.2, all others of the net without noise; each sample is certified by 200 draws"
    assert any(least in note and "no radius above 0.36" in note for note in smoothed["notes"])
    assert "certified L2 0.4 |" in found.to_markdown()
    assert "certified L2 0.4, smoothed" in found.to_markdown()
    assert "cert. smoothed" in str(found)
    assert found.paired("standard", "standard", "certified")


@pytest.mark.parametrize("setting", ["nb_draws=10", "alpha=0.7", "sigma=0"])
def test_a_comparison_refuses_settings_before_any_training(setting):
    _, x, y, _ = plane(default)
    with pytest.raises(ValueError, match=f"smoothing.*{setting}"):
        compare(((x, y), (x, y)), "mlp", f"standard,smoothing:{setting}", nb_epochs=10**6, verbose=False)


def test_most_draws_without_a_label_are_of_no_class():
    import torch

    class Half(torch.nn.Module):
        """No numbers where a sum is above 0."""

        def forward(self, x):
            s = x.sum(1, keepdim=True)
            return torch.cat([torch.where(s > 0, torch.nan, s), torch.zeros_like(s)], 1) * torch.tensor([[-1.0, 1.0]])

    x = np.array([[3.0, 3.0], [-3.0, -3.0]], np.float32)
    right, radii = Smoothing(0.5, 100).right_and_radii(Half(), x, np.zeros(2, int), 0)
    assert right.tolist() == [False, True]
    assert radii[0] == 0 < radii[1]
