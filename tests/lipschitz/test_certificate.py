"""Certificates: exact on linear models, and no attack breaks what they certify."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from artclip import CLIPTrainer, certified_radius, lipschitz_lower_bound, lipschitz_upper_bound
from artclip.evaluation.attacks import pgd
from tests.nets import torch_nets as nets


def test_linear_models_are_certified_up_to_the_boundary():
    matrix = np.random.default_rng(0).standard_normal((4, 9))
    model = nets.linear_classifier(matrix, preprocessing=(0.3, 0.25))
    x = np.random.default_rng(1).uniform(size=(50, 9)).astype(np.float32)
    logits = model.predict(x)
    best = logits.argmax(1)
    distances = [
        min((f[i] - f[j]) / np.linalg.norm(matrix[i] - matrix[j]) * 0.25 for j in range(4) if j != i)
        for f, i in zip(logits, best, strict=True)
    ]
    radii = certified_radius(model, x)
    assert (radii <= np.array(distances)).all()
    np.testing.assert_allclose(radii, distances, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "cnn", "batchnorm"])
def test_no_attack_breaks_a_certified_sample(name):
    x, y = nets.data(name, n=300)
    model = nets.classifier(name, lr=0.3)
    CLIPTrainer(model, lamda=0.02, seed=0).fit(x, y, batch_size=20, nb_epochs=20)
    radii = certified_radius(model, x, y)
    assert ((radii > 0) <= (model.predict(x).argmax(1) == y)).all()
    assert np.median(radii[radii > 0]) > 0.005
    for eps in np.quantile(radii[radii > 0], [0.1, 0.5, 0.9]):
        held = radii >= eps
        adversarial = pgd(model, x[held], y[held], 2, float(eps), seed=0, steps=100)
        assert (model.predict(adversarial).argmax(1) == y[held]).all()


def test_constants_for_pairs_certify_more_than_one_for_all():
    x, y = nets.data(n=200)
    model = nets.classifier(lr=0.3)
    CLIPTrainer(model, lamda=0.02, seed=0).fit(x, y, batch_size=20, nb_epochs=20)
    bound = lipschitz_upper_bound(model)
    pairs, shared = certified_radius(model, x, y, bound), certified_radius(model, x, y, bound.value)
    assert (pairs >= shared * (1 - 1e-9)).all()
    assert pairs.mean() > 1.01 * shared.mean()


def test_what_is_no_upper_bound_is_refused():
    model, (x, y) = nets.classifier(), nets.data()
    with pytest.raises(ValueError, match="needs an upper bound from L2 to L2"):
        certified_radius(model, x, y, lipschitz_lower_bound(model, x, nb_restarts=2, max_iter=2))
    with pytest.raises(ValueError, match="needs an upper bound from L2 to L2"):
        certified_radius(model, x, y, lipschitz_upper_bound(model, norm=1))
    with pytest.raises(ValueError, match="lipschitz=-1"):
        certified_radius(model, x, y, -1)
    with pytest.raises(ValueError, match="label 7"):
        certified_radius(model, x, np.full(len(x), 7))
    assert certified_radius(model, x, np.eye(3)[y]).shape == (60,)
