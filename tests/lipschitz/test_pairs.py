"""Pairs on functions whose steepest pair is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from artclip import PairSet
from artclip.frameworks import function_of
from artclip.lipschitz.pairs import DOMAINS, INITS, PairRule
from tests import nets

NORMS = (1, 2, math.inf)
RNG = np.random.default_rng(5)
MATRIX = RNG.standard_normal((4, 7))


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
        u, v = pairs.u.numpy(), pairs.v.numpy()
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
    assert max(pairs.u.max(), pairs.v.max()) > 1


def test_identical_points_and_constant_functions_give_finite_quotients():
    f = function_of(nets.linear_classifier(np.zeros((3, 7))))
    x = np.full((4, 7), 0.5, np.float32)
    for init in INITS:
        pairs = PairSet(f, x, 4, init=init, seed=0).settle().anchor(x).ascend(3)
        assert (pairs.quotients() == 0).all()
        assert np.isfinite(pairs.u.numpy()).all()
        np.testing.assert_allclose((pairs.u - pairs.v).norm(dim=1), pairs.rule.separation, rtol=1e-4)


def test_a_narrow_feature_does_not_close_the_gap():
    classifier = nets.linear_classifier(np.eye(2) * [[1.0], [100.0]], clip_values=(np.zeros(2), np.array([1.0, 1e-3])))
    x = RNG.uniform(size=(5, 2)).astype(np.float32) * [1.0, 1e-3]
    pairs = PairSet(function_of(classifier), x, 5, separation=0.1, seed=0).ascend(5)
    u, v = pairs.u.numpy(), pairs.v.numpy()
    assert np.linalg.norm(u - v, axis=1).min() > 1e-4
    assert (u[:, 1] >= 0).all()
    assert (v[:, 1] <= 1e-3).all()
    assert pairs.quotients().max() <= 100 * (1 + 1e-3)


def test_quotients_are_those_of_predict_by_hand():
    for name in nets.NETS:
        classifier = nets.classifier(name)
        x, _ = nets.data(name)
        pairs = PairSet(function_of(classifier), x, 6, seed=0).ascend(2)
        u, v = pairs.u.numpy(), pairs.v.numpy()
        difference = classifier.predict(u).astype(np.float64) - classifier.predict(v)
        by_hand = np.linalg.norm(difference, axis=1) / np.linalg.norm((u - v).reshape(6, -1).astype(np.float64), axis=1)
        np.testing.assert_allclose(pairs.quotients(), by_hand, rtol=2e-4, err_msg=name)


def test_preprocessing_counts_as_part_of_f():
    scaled = nets.linear_classifier(MATRIX, preprocessing=(0.3, 0.25))
    pairs = PairSet(function_of(scaled), RNG.uniform(size=(8, 7)).astype(np.float32), 8, domain="free").ascend(100)
    assert pairs.quotients().max() == pytest.approx(np.linalg.norm(MATRIX, 2) / 0.25, rel=1e-3)


def test_per_channel_preprocessing_and_channels():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 6, 3))
    from art.estimators.classification import PyTorchClassifier

    std = np.array([0.5, 0.1], np.float32)
    classifier = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), (2, 6, 6), 3, preprocessing=(np.zeros(2, np.float32), std), device_type="cpu"
    )
    matrix = net[1].weight.detach().numpy().reshape(3, 2, 36) / std[None, :, None]
    x, _ = nets.data("cnn")
    pairs = PairSet(function_of(classifier), x, 8, domain="free", seed=0).ascend(200)
    assert pairs.quotients().max() == pytest.approx(np.linalg.norm(matrix.reshape(3, -1), 2), rel=1e-3)


def test_same_seed_same_pairs_and_global_rng_untouched():
    f, (x, _) = function_of(nets.classifier()), nets.data()
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    a, b, c = (PairSet(f, x, 8, init="noise", seed=s).ascend(2).quotients() for s in (7, 7, 8))
    assert (a == b).all()
    assert (a != c).any()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_ascent_takes_no_parameter_gradient():
    classifier = nets.classifier("batchnorm")
    x, _ = nets.data("batchnorm")
    before = nets.weights(classifier)
    PairSet(function_of(classifier), x, 8, seed=0).ascend(3).refresh(x)
    assert all(p.grad is None for p in classifier.model.parameters())
    assert nets.same_weights(before, nets.weights(classifier))  # running statistics of BatchNorm included


def test_refresh_replaces_the_flattest_and_keeps_the_steepest():
    f, (x, _) = function_of(nets.classifier(seed=3)), nets.data()
    pairs = PairSet(f, x, 8, seed=0).ascend(2)
    before, quotients = pairs.state[0].numpy().copy(), pairs.quotients()
    after = pairs.refresh(nets.data(seed=9)[0], share=0.25).state[0].numpy()
    changed = (before != after).any(axis=1)
    assert changed.sum() == 2
    assert set(np.flatnonzero(changed)) == set(np.argsort(quotients)[:2])


def test_data_pairs_shrink_to_the_separation():
    f, (x, _) = function_of(nets.classifier()), nets.data()
    pairs = PairSet(f, x, 8, init="data", separation=0.01, seed=0)
    far = (pairs.u - pairs.v).norm(dim=1).mean()
    near = (pairs.settle().u - pairs.v).norm(dim=1)
    assert far > 0.1
    np.testing.assert_allclose(near, 0.01, rtol=1e-3)


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("q", NORMS)
def test_quotient_gradient_in_the_parameters_equals_finite_differences(p, q):
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    rule = PairRule(function_of(net), p, q, 0.5)
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 3))
    w /= np.linalg.norm(w, p, axis=1, keepdims=True)
    state = torch.from_numpy(rng.standard_normal((4, 3))), torch.from_numpy(w)
    (rule.quotients(state) ** 2).mean().backward()
    weight = net[0].weight
    for i, j in itertools.product(range(5), range(3)):
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[i, j] += step
                values.append(float((rule.quotients(state) ** 2).mean()))
                weight[i, j] -= step
        assert float(weight.grad[i, j]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_quotients_near_rounding_are_refused():
    f, (x, _) = function_of(nets.classifier()), nets.data()
    with pytest.raises(ValueError, match="rounding"):
        PairSet(f, x, 4, separation=1e-6)
    PairSet(function_of(nn.Linear(6, 2).double()), x, 4, separation=1e-6)  # float64 has the digits for it


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


@pytest.mark.parametrize("p", NORMS)
def test_default_separation_serves_large_images(p):
    """150,528 inputs, as of an ImageNet classifier: the default is above rounding in every norm."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2, bias=False))
    x = np.random.default_rng(0).uniform(size=(2, 3, 224, 224)).astype(np.float32)
    pairs = PairSet(function_of(net), x, 2, norm=p, domain="free", seed=0).ascend(5)
    expected = operator_norm(net[1].weight.detach().numpy(), p, 2) if p != math.inf else None
    if expected:
        assert pairs.quotients().max() <= expected * 1.02
        assert pairs.quotients().max() >= expected * 0.5


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_the_outputs_do_not_matter(scale):
    x = RNG.uniform(size=(8, 7)).astype(np.float32)
    f = function_of(nets.linear_classifier(MATRIX * scale))
    quotients = PairSet(f, x, 8, domain="free", seed=1).ascend(200).quotients()
    np.testing.assert_allclose(quotients, np.linalg.norm(MATRIX, 2) * scale, rtol=1e-3)
