"""Nets whose matrices stay orthogonal: the optimizer, what the bound makes of it, and training by both."""

from functools import partial

import numpy as np
import pytest

from artclip import CLIPTrainer, certified_radius, lipschitz_lower_bound, lipschitz_upper_bound, load_data
from artclip.frameworks import function_of, nets_of, trainable_of
from artclip.lipschitz.smooth_upper import SmoothBound
from tests.nets import FRAMEWORKS, of
from tests.nets.common import same_weights, smaller


def from_orthogonal(matrix):
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    return np.abs(wide @ wide.T - np.eye(len(wide))).max()


@pytest.mark.parametrize("name", ["mlp", "cnn", "branches"])
def test_matrices_stay_orthogonal_while_the_net_learns(nets, name):
    x, y = nets.data(name)
    classifier = nets.classifier(name, lr=0.05, optimizer=nets.stiefel)
    trainer = CLIPTrainer(classifier, lamda=0.0, seed=0)
    trainer.fit(x, y, batch_size=20, nb_epochs=1)
    before = nets.weights(classifier)
    trainer.fit(x, y, batch_size=20, nb_epochs=6)
    held = nets.orthogonal(classifier)
    assert held
    assert len(held) == len(trainable_of(classifier).weights()) - 1  # the last has a scale of its own
    assert max(map(from_orthogonal, held)) < 1e-4
    assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]
    after = nets.weights(classifier)
    assert not any(np.array_equal(before[k], after[k]) for k in before)  # biases and the last matrix move too


def test_weights_that_were_loaded_are_put_on_the_manifold_by_the_next_fit(nets):
    x, y = nets.data()
    classifier = nets.classifier(lr=0.05, optimizer=nets.stiefel)
    CLIPTrainer(classifier, lamda=0.0, seed=0).fit(x, y, batch_size=20, nb_epochs=1)
    for index in range(2):
        nets.nudge(classifier, index, (0,) * (2 - index), 3.0)
    assert max(map(from_orthogonal, nets.orthogonal(classifier))) > 1
    CLIPTrainer(classifier, lamda=0.0, seed=0).fit(x, y, batch_size=20, nb_epochs=1)
    assert max(map(from_orthogonal, nets.orthogonal(classifier))) < 1e-4


def test_art_s_own_fit_keeps_them_orthogonal_too(nets):
    x, y = nets.data()
    classifier = nets.classifier(lr=0.05, optimizer=nets.stiefel)
    classifier.fit(x, y, batch_size=20, nb_epochs=2)
    assert max(map(from_orthogonal, nets.orthogonal(classifier))) < 1e-4


def test_a_frozen_layer_is_left_as_it_is(nets):
    x, y = nets.data("frozen")
    classifier = nets.classifier("frozen", lr=0.05, optimizer=partial(nets.stiefel, free_last=False))
    names, before = nets.frozen(classifier), nets.weights(classifier)
    CLIPTrainer(classifier, lamda=0.0, seed=0).fit(x, y, batch_size=20, nb_epochs=2)
    after = nets.weights(classifier)
    assert names
    assert all(np.array_equal(before[n], after[n]) for n in names)
    assert max(map(from_orthogonal, nets.orthogonal(classifier))) < 1e-4


def test_arguments_that_make_no_sense_are_refused(nets):
    for rate, options in ((0.6, {}), (0.0, {}), (0.1, {"momentum": 1.0}), (0.1, {"adam": 0.0})):
        with pytest.raises(ValueError, match=r"radians|=0|=1"):
            nets.classifier(lr=rate, optimizer=partial(nets.stiefel, **options))
    x, y = nets.data("linear")
    with pytest.raises(ValueError, match="no matrix to keep orthogonal"):
        CLIPTrainer(nets.classifier("linear", lr=0.1, optimizer=nets.stiefel), lamda=0.0).fit(x, y)


@pytest.fixture(
    scope="module", params=[(f, net) for f in FRAMEWORKS for net in ("lipconvnet", "lipresnet")], ids="-".join
)
def certified(request):
    """A small net on digits, its registry, and test data."""
    framework, net = request.param
    nets = of(framework)
    name = function_of(nets.classifier()).name
    (x, y), test = load_data("digits", channels_first=name == "torch")
    with pytest.MonkeyPatch.context() as patch:
        smaller(patch)
        classifier = nets_of(name).make_classifier(net, x.shape[1:], 10)
    trainer = CLIPTrainer(classifier, lamda=0.0, certify_eps=0.3, seed=0)
    trainer.fit(x, y, batch_size=32, nb_epochs=6)
    return nets, classifier, test


def test_its_bound_is_that_of_the_last_layer_and_nearly_attained(certified):
    nets, classifier, (x, _) = certified
    assert max(map(from_orthogonal, nets.orthogonal(classifier))) < 1e-4
    f = trainable_of(classifier)
    bound = SmoothBound(f, classifier)
    assert len(bound.duals()) == 1  # of the last layer alone
    last = f.to_numpy([f.weights()[-1]]).reshape(10, -1)
    upper = lipschitz_upper_bound(classifier, method="product").value
    assert upper == pytest.approx(np.linalg.norm(last, 2), rel=1e-3)
    lower = lipschitz_lower_bound(classifier, x[:100], domain="free", nb_restarts=4, max_iter=20, seed=0).value
    assert 0.7 * upper <= lower <= upper
    margins = f.to_numpy([bound.margins(bound.duals())]).reshape(10, 10)
    expected = np.linalg.norm(last[:, None] - last, axis=2)
    np.testing.assert_allclose(margins, expected, rtol=1e-4, atol=1e-3 * upper)  # near 0 on the diagonal


def test_it_certifies_most_of_what_it_gets_right(certified):
    _, classifier, (x, y) = certified
    radii = certified_radius(classifier, x, y, lipschitz_upper_bound(classifier, method="product"))
    assert (radii >= 0.2).mean() > 0.6


def test_images_of_any_size_and_colours(nets, monkeypatch):
    name = function_of(nets.classifier()).name
    smaller(monkeypatch)
    for height, width, channels in ((5, 6, 3), (4, 9, 1)):
        shape = (channels, height, width) if name == "torch" else (height, width, channels)
        x = np.random.default_rng(0).random((12, *shape), dtype=np.float32)
        classifier = nets_of(name).make_classifier("lipconvnet", shape, 3, seed=1)
        CLIPTrainer(classifier, lamda=0.0, certify_eps=0.1, seed=0).fit(x, np.arange(12) % 3, nb_epochs=1)
        assert lipschitz_upper_bound(classifier, method="product").value < 2
        again = nets_of(name).make_classifier("lipconvnet", shape, 3, seed=1)
        first = nets_of(name).make_classifier("lipconvnet", shape, 3, seed=1)
        assert same_weights(nets.weights(again), nets.weights(first), atol=0)
    with pytest.raises(ValueError, match="is a net for images"):
        nets_of(name).make_classifier("lipresnet", (64,), 3)
    with pytest.raises(ValueError, match=r"learning_rate=0\.1 is too large"):
        nets_of(name).make_classifier("lipconvnet", shape, 3, learning_rate=0.1)
