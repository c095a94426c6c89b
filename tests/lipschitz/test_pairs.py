"""Pairs on functions whose steepest pair is known."""

import itertools
import math

import numpy as np
import pytest

from artclip import PairSet
from artclip.frameworks import function_of
from artclip.lipschitz.pair_rule import DOMAINS, INITS, mean_side
from tests.nets import NAMES
from tests.nets import default as nets

NORMS = (1, 2, math.inf)
RNG = np.random.default_rng(5)
MATRIX = RNG.standard_normal((4, 7))


def ends(pairs):
    """u and v as arrays."""
    return [pairs.rule.f.host(t) for t in (pairs.u, pairs.v)]


def operator_norm(matrix, p, q):
    """max ‖Wx‖_q over ‖x‖_p = 1, exactly."""
    if p == 1:  # attained at a unit vector
        return np.linalg.norm(matrix, q, axis=0).max()
    if q == math.inf:  # rows, in the dual norm of p
        return np.linalg.norm(matrix, {2: 2, math.inf: 1}[p], axis=1).max()
    if p == math.inf:  # attained at a vector of signs
        return max(np.linalg.norm(matrix @ s, q) for s in itertools.product((-1, 1), repeat=matrix.shape[1]))
    if q == 1:  # transpose: (2, 1) is the dual of (inf, 2)
        return operator_norm(matrix.T, math.inf, 2)
    return np.linalg.norm(matrix, 2)


@pytest.mark.parametrize(("p", "side"), [(1, 4.0), (2, math.sqrt(56 / 3)), (math.inf, 6.0)])
def test_the_mean_side_of_a_box_is_the_side_of_the_cube_of_its_diagonal(p, side):
    low = np.array([1.0, 0.0, -3.0])
    assert mean_side(low, low + np.array([2.0, 4.0, 6.0]), p) == pytest.approx(side)
    assert mean_side(low, low, p) == 1


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("q", NORMS)
def test_ascent_reaches_the_operator_norm_of_a_linear_model(p, q):
    f = function_of(nets.linear_classifier(MATRIX))
    x = RNG.uniform(size=(64, 7)).astype(np.float32)
    pairs = PairSet(f, x, 64, norm=p, output_norm=q, domain="free", seed=0).ascend(100)
    expected = operator_norm(MATRIX, p, q)
    assert pairs.quotients().max() == pytest.approx(expected, rel=1e-3)
    assert pairs.quotients().max() <= expected * (1 + 1e-5)


def test_every_pair_reaches_the_spectral_norm_in_l2():
    f = function_of(nets.linear_classifier(MATRIX))
    x = RNG.uniform(size=(8, 7)).astype(np.float32)
    quotients = PairSet(f, x, 8, domain="free", seed=1).ascend(200).quotients()
    np.testing.assert_allclose(quotients, np.linalg.norm(MATRIX, 2), rtol=1e-3)


def test_power_method_never_descends_on_a_linear_model():
    f = function_of(nets.linear_classifier(MATRIX))
    x = RNG.uniform(size=(8, 7)).astype(np.float32)
    for p, q in itertools.product(NORMS, NORMS):
        pairs = PairSet(f, x, 8, norm=p, output_norm=q, domain="free", seed=2)
        before = pairs.quotients()
        for _ in range(10):
            after = pairs.ascend().quotients()
            assert (after >= before * (1 - 1e-5)).all(), (p, q)
            before = after


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_pairs_stay_apart_and_in_their_domain(p, init, domain):
    f = function_of(nets.classifier("cnn"))
    x, _ = nets.data("cnn")
    x = np.round(x)  # corners of the box, where there is least room
    pairs = PairSet(f, x, 10, norm=p, init=init, domain=domain, seed=0).settle()
    for _ in range(5):
        u, v = ends(pairs)
        lengths = np.linalg.norm((v - u).reshape(10, -1), p, axis=1)
        np.testing.assert_allclose(lengths, pairs.rule.separation, rtol=1e-4)
        if domain == "clip_values":
            assert u.min() >= 0
            assert v.min() >= 0
            assert u.max() <= 1
            assert v.max() <= 1
        assert np.isfinite(pairs.quotients()).all()
        pairs.ascend()


def test_free_pairs_do_leave_the_box():
    f = function_of(nets.linear_classifier(MATRIX))
    pairs = PairSet(f, np.ones((5, 7), np.float32), 5, domain="free", separation=1.0, seed=0).ascend(3)
    assert np.max(ends(pairs)) > 1


def test_identical_points_and_constant_functions_give_finite_quotients():
    f = function_of(nets.linear_classifier(np.zeros((3, 7))))
    x = np.full((4, 7), 0.5, np.float32)
    for init in INITS:
        pairs = PairSet(f, x, 4, init=init, seed=0).settle().anchor(x).ascend(3)
        assert (pairs.quotients() == 0).all()
        u, v = ends(pairs)
        assert np.isfinite(u).all()
        np.testing.assert_allclose(np.linalg.norm(u - v, axis=1), pairs.rule.separation, rtol=1e-4)


def test_a_narrow_feature_does_not_close_the_gap():
    classifier = nets.linear_classifier(np.eye(2) * [[1.0], [100.0]], clip_values=(np.zeros(2), np.array([1.0, 1e-3])))
    x = RNG.uniform(size=(5, 2)).astype(np.float32) * [1.0, 1e-3]
    pairs = PairSet(function_of(classifier), x, 5, separation=0.1, seed=0).ascend(5)
    u, v = ends(pairs)
    assert np.linalg.norm(u - v, axis=1).min() > 1e-4
    assert (u[:, 1] >= 0).all()
    assert (v[:, 1] <= 1e-3).all()
    assert pairs.quotients().max() <= 100 * (1 + 1e-3)


def test_quotients_are_those_of_predict_by_hand():
    for name in NAMES:
        classifier = nets.classifier(name)
        x, _ = nets.data(name)
        pairs = PairSet(function_of(classifier), x, 6, seed=0).ascend(2)
        u, v = ends(pairs)
        difference = classifier.predict(u).astype(np.float64) - classifier.predict(v)
        by_hand = np.linalg.norm(difference, axis=1) / np.linalg.norm((u - v).reshape(6, -1).astype(np.float64), axis=1)
        np.testing.assert_allclose(pairs.quotients(), by_hand, rtol=2e-4, err_msg=name)


def test_preprocessing_counts_as_part_of_f():
    scaled = nets.linear_classifier(MATRIX, preprocessing=(0.3, 0.25))
    pairs = PairSet(function_of(scaled), RNG.uniform(size=(8, 7)).astype(np.float32), 8, domain="free").ascend(100)
    assert pairs.quotients().max() == pytest.approx(np.linalg.norm(MATRIX, 2) / 0.25, rel=1e-3)


def test_same_seed_same_pairs_and_global_rng_untouched():
    f, (x, _) = function_of(nets.classifier()), nets.data()
    nets.set_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = nets.rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    a, b, c = (PairSet(f, x, 8, init="noise", seed=s).ascend(2).quotients() for s in (7, 7, 8))
    assert (a == b).all()
    assert (a != c).any()
    assert before[0] == nets.rng_state()
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_ascent_leaves_the_model_alone():
    classifier = nets.classifier("batchnorm")
    x, _ = nets.data("batchnorm")
    before = nets.weights(classifier)
    PairSet(function_of(classifier), x, 8, seed=0).ascend(3).refresh(x)
    assert nets.same_weights(before, nets.weights(classifier))  # running statistics of BatchNorm included


def test_refresh_replaces_the_flattest_and_keeps_the_steepest():
    f, (x, _) = function_of(nets.classifier(seed=3)), nets.data()
    pairs = PairSet(f, x, 8, seed=0).ascend(2)
    before, quotients = f.host(pairs.state[0]).copy(), pairs.quotients()
    after = f.host(pairs.refresh(nets.data(seed=9)[0], share=0.25).state[0])
    changed = (before != after).any(axis=1)
    assert changed.sum() == 2
    assert set(np.flatnonzero(changed)) == set(np.argsort(quotients)[:2])


def test_data_pairs_shrink_to_the_separation():
    f, (x, _) = function_of(nets.classifier()), nets.data()
    pairs = PairSet(f, x, 8, init="data", separation=0.01, seed=0)
    far = np.linalg.norm(np.subtract(*ends(pairs)), axis=1).mean()
    near = np.linalg.norm(np.subtract(*ends(pairs.settle())), axis=1)
    assert far > 0.1
    np.testing.assert_allclose(near, 0.01, rtol=1e-3)


def test_quotients_near_rounding_are_refused():
    f, (x, _) = function_of(nets.classifier()), nets.data()
    with pytest.raises(ValueError, match="rounding"):
        PairSet(f, x, 4, separation=1e-6)
    PairSet(function_of(nets.to_double()), x, 4, separation=1e-6)  # float64 has the digits for it


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": 3}, "norm=3"),
        ({"output_norm": "max"}, "output_norm='max'"),
        ({"init": "far"}, "init='far'"),
        ({"domain": "box"}, "domain='box'"),
        ({"nb_pairs": 0}, "nb_pairs=0"),
        ({"separation": -1.0}, "separation=-1.0"),
    ],
)
def test_bad_options_are_named(options, message):
    f, (x, _) = function_of(nets.classifier()), nets.data()
    with pytest.raises(ValueError, match=message):
        PairSet(f, x, **options)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_the_outputs_do_not_matter(scale):
    x = RNG.uniform(size=(8, 7)).astype(np.float32)
    f = function_of(nets.linear_classifier(MATRIX * scale))
    quotients = PairSet(f, x, 8, domain="free", seed=1).ascend(200).quotients()
    np.testing.assert_allclose(quotients, np.linalg.norm(MATRIX, 2) * scale, rtol=1e-3)
