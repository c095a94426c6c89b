"""The smooth bound from above is a bound with its own gradient, and training by it makes certificates."""

import numpy as np
import pytest

from artclip import CLIPTrainer, certified_radius, evaluate, lipschitz_bracket, lipschitz_upper_bound, load_data
from artclip.frameworks import function_of, nets_of, trainable_of
from artclip.lipschitz.smooth_upper import ORDER, SmoothBound
from tests.nets.common import NB_CLASSES, same_weights

NETS = ("linear", "mlp", "sigmoid", "cnn", "series", "branches")


def schatten(matrix, p):
    return (np.linalg.svd(matrix, compute_uv=False) ** p).sum() ** (1 / p)


@pytest.fixture(params=NETS)
def net(request):
    return request.param


@pytest.fixture
def bound(nets, net):
    classifier = nets.to_double(net)
    f = trainable_of(classifier)
    with f.fitting(0):
        yield classifier, f, SmoothBound(f, classifier)


def test_dense_layers_have_their_schatten_norm_and_its_dual(nets):
    classifier = nets.to_double("mlp")
    f = trainable_of(classifier)
    bound = SmoothBound(f, classifier)
    duals, expected = bound.duals(), 1.0
    for weight, dual in zip(f.weights(), duals, strict=True):
        w, d = (f.to_numpy([t]).reshape(tuple(t.shape)) for t in (weight, dual))
        norm = schatten(w, ORDER)
        assert (w * d).sum() == pytest.approx(norm, rel=1e-9)
        assert schatten(d, ORDER / (ORDER - 1)) == pytest.approx(1, rel=1e-9)
        assert np.linalg.norm(w, 2) <= norm <= np.linalg.norm(w, 2) * min(w.shape) ** (1 / ORDER)
        expected *= norm
    assert f.to_numpy([bound.value(duals)]).item() == pytest.approx(expected, rel=1e-9)


def test_it_lies_a_little_above_the_product_of_norms(bound):
    classifier, f, smooth = bound
    found = f.to_numpy([smooth.value(smooth.duals())]).item()
    product = lipschitz_upper_bound(classifier, method="product").value
    assert 0.95 * product <= found <= 1.3 * product


def test_its_gradient_is_that_of_the_norm(nets, bound):
    classifier, f, smooth = bound
    duals = smooth.duals()
    gradients, step = nets.gradients(classifier, lambda: smooth.value(duals)), 1e-5
    for index, gradient in enumerate(gradients):
        if gradient is None or gradient.ndim < 2:
            continue
        at = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        values = []
        for sign in (1, -1):
            nets.nudge(classifier, index, at, sign * step)
            values.append(f.to_numpy([smooth.value(smooth.duals())]).item())
            nets.nudge(classifier, index, at, -sign * step)
        assert gradient[at] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4)


def test_margins_bound_what_outputs_part_by(nets, net, bound):
    _, f, smooth = bound
    margins = f.to_numpy([smooth.margins(smooth.duals())]).reshape(NB_CLASSES, NB_CLASSES)
    x = nets.data(net)[0].astype(np.float64)
    u, v = x[:30], x[30:60]
    apart = (f.predict(u) - f.predict(v)) / np.linalg.norm((u - v).reshape(30, -1), axis=1)[:, None]
    assert (np.abs(apart[:, :, None] - apart[:, None]) <= margins + 1e-5).all()


def test_training_makes_certificates_that_no_attack_breaks(nets):
    """At equal epochs, far more is certified than by plain training, and the bracket closes."""
    name = function_of(nets.classifier()).name
    (x, y), (x_test, y_test) = load_data("digits", channels_first=name == "torch")
    x_test, y_test = x_test[:100], y_test[:100]
    shares, gaps, eps = [], [], 0.5
    for options in ({}, {"certify_eps": eps}):
        classifier = nets_of(name).make_classifier("mlp-200-80", x.shape[1:], 10, activation="maxmin")
        trainer = CLIPTrainer(classifier, lamda=0.0, seed=0, **options)
        trainer.fit(x, y, batch_size=32, nb_epochs=8)
        radii = certified_radius(classifier, x_test, y_test)
        shares.append((radii >= eps).mean())
        lower, upper = lipschitz_bracket(classifier, x_test, domain="free", nb_restarts=4, max_iter=20, seed=0)
        gaps.append(upper.value / lower.value)
    held = radii >= eps
    attack = {"attacks": ["pgd-margin:max_iter=40,nb_restarts=1"], "lipschitz": False, "masking": False, "seed": 0}
    assert evaluate(classifier, x_test[held], y_test[held], eps=eps, verbose=False, **attack).robust_accuracy == 1
    assert shares[1] > shares[0] + 0.3
    assert gaps[1] < min(1.15, gaps[0])


def test_a_radius_of_zero_changes_nothing_and_a_warm_up_does_not_stop_it(nets):
    x, y = nets.data()
    found = []
    for options in ({}, {"certify_eps": 0.0}, {"certify_eps": 0.1}, {"certify_eps": 0.1, "warmup_epochs": 2}):
        classifier = nets.classifier()
        CLIPTrainer(classifier, lamda=0.0, seed=0, **options).fit(x, y, batch_size=16, nb_epochs=2)
        found.append(nets.weights(classifier))
    assert same_weights(found[0], found[1], atol=0)
    assert not same_weights(found[0], found[2], atol=1e-4)
    assert same_weights(found[2], found[3], atol=0)


def test_nets_that_cannot_be_certified_are_refused_as_they_were(nets):
    x, y = nets.data("batchnorm")
    classifier = nets.classifier("batchnorm")
    before = nets.weights(classifier)
    for options in ({"certify_eps": 0.1}, {"upper_penalty": 0.1}):
        with pytest.raises(ValueError, match="BatchNorm"):
            CLIPTrainer(classifier, **options).fit(x, y)
    with pytest.raises(ValueError, match="certify_eps=-1"):
        CLIPTrainer(classifier, certify_eps=-1)
    assert same_weights(before, nets.weights(classifier), atol=0)


def test_a_regressor_is_refused(nets):
    x, y = np.zeros((20, 1), np.float32), np.zeros(20, np.float32)
    with pytest.raises(ValueError, match=r"certify_eps=0\.1 needs a classifier"):
        CLIPTrainer(nets.regressor(), certify_eps=0.1).fit(x, y)
