"""JAX through ART's experimental classifier: pairs and lower bounds, and why there is no training."""

from itertools import pairwise

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp
from art.experimental.estimators.classification.jax import JaxClassifier

from artclip import CLIPTrainer, PairSet, evaluate, lipschitz_lower_bound
from artclip.frameworks import function_of

RNG = np.random.default_rng(0)


def predict(model, x):
    *hidden, (w, b) = model
    for v, c in hidden:
        x = jnp.tanh(x @ v + c)
    return x @ w + b


def classifier(*widths, **kwargs):
    model = [
        (jnp.asarray(RNG.standard_normal((m, n)) / np.sqrt(m), jnp.float32), jnp.zeros(n)) for m, n in pairwise(widths)
    ]

    def loss(model, x, y):
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(predict(model, x)) * y, axis=1))

    def update(model, x, y):
        gradients = jax.grad(loss)(model, x, y)
        return [(w - 0.5 * dw, b - 0.5 * db) for (w, b), (dw, db) in zip(model, gradients, strict=True)]

    options = {"clip_values": (0.0, 1.0), **kwargs}
    return JaxClassifier(model, predict, loss, update, (widths[0],), widths[-1], **options)


def test_ascent_reaches_the_spectral_norm_through_preprocessing():
    linear = classifier(20, 3, preprocessing=(0.3, 0.25))
    x = RNG.uniform(size=(50, 20)).astype(np.float32)
    expected = np.linalg.norm(np.asarray(linear.model[0][0]), 2) / 0.25
    pairs = PairSet(function_of(linear), x, 8, domain="free", seed=0).ascend(100)
    assert pairs.quotients().max() == pytest.approx(expected, rel=1e-3)
    assert lipschitz_lower_bound(linear, x, seed=0).value == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_lower_bound_is_the_quotient_of_its_pair_by_hand_less_its_doubt(norm):
    net = classifier(6, 16, 3)
    x = RNG.uniform(size=(30, 6)).astype(np.float32)
    est = lipschitz_lower_bound(net, x, norm=norm, nb_restarts=8, max_iter=10, seed=0)
    both = net.predict(np.stack([est.u, est.v])).astype(np.float64)
    distance = np.linalg.norm(est.u.astype(np.float64) - est.v, float(norm))
    shown = np.linalg.norm(both[0] - both[1]) / distance
    assert shown * (1 - 1e-3) < est.value < shown
    assert min(est.u.min(), est.v.min()) >= 0


def test_a_trained_net_is_steeper():
    net = classifier(6, 16, 3)
    x = RNG.uniform(size=(200, 6)).astype(np.float32)
    y = np.eye(3)[np.argmax(x @ RNG.standard_normal((6, 3)), axis=1)]
    before = lipschitz_lower_bound(net, x, nb_restarts=16, seed=0).value
    net.fit(x, y, batch_size=20, nb_epochs=30)
    assert lipschitz_lower_bound(net, x, nb_restarts=16, seed=0).value > 1.5 * before


def test_the_largest_entry_of_each_row_is_marked():
    f = function_of(classifier(3, 3))
    marked = f.host(f.one_hot_argmax(f.tensor([[1, 3, 2], [5, 5, 0], [-3, -2, -1]])))
    np.testing.assert_array_equal(marked, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_training_is_refused_with_the_reason():
    with pytest.raises(TypeError, match="update_func makes the whole step"):
        CLIPTrainer(classifier(6, 3))


def test_evaluation_reaches_the_optimum_of_a_linear_model():
    """Two classes: the margin falls by eps times the norm of the difference of the weights, and no further."""
    linear = classifier(6, 2, clip_values=None)
    (w, b), x = linear.model[0], RNG.standard_normal((100, 6)).astype(np.float32)
    margin = np.abs(x @ np.asarray(w[:, 0] - w[:, 1]) + np.asarray(b[0] - b[1]))
    eps, labels = 0.5, linear.predict(x).argmax(1)
    attacks = ["pgd:max_iter=20,nb_restarts=1", "pgd-margin:max_iter=20,nb_restarts=1"]
    found = evaluate(linear, x, labels, eps=eps, attacks=attacks, verbose=False, seed=0)
    assert not any(o.error for o in found.outcomes)
    reach = eps * np.linalg.norm(np.asarray(w[:, 0] - w[:, 1]))
    assert found.robust_accuracy == pytest.approx(np.mean(margin > reach), abs=0.02)
