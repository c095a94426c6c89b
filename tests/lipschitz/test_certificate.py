"""Certificates: exact on linear models, and no attack breaks what they certify."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip import CLIPTrainer, certified_radius, evaluate, lipschitz_lower_bound, lipschitz_upper_bound, load_data
from artclip.frameworks.torch_nets import make_classifier
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
        attack = {"eps": float(eps), "attacks": ["pgd-margin:max_iter=100,nb_restarts=1"], "lipschitz": False}
        assert evaluate(model, x[held], y[held], **attack, masking=False, seed=0, verbose=False).robust_accuracy == 1


class Margin(nn.Module):
    """The largest wrong logit less the right one, which does not saturate."""

    def forward(self, outputs, labels):
        labels = labels if labels.ndim == 1 else labels.argmax(1)
        right = outputs.gather(1, labels[:, None])[:, 0]
        return (outputs.scatter(1, labels[:, None], -torch.inf).amax(1) - right).mean()


def test_no_strong_attack_breaks_a_certified_sample():
    """PGD on the margin, 100 steps and 5 restarts, at the least radius of each tenth of 600 digits."""
    (x, y), _ = load_data("digits")
    model = make_classifier("mlp", (1, 8, 8), 10)
    CLIPTrainer(model, lamda=0.02, seed=0).fit(x, y, batch_size=64, nb_epochs=20)
    x, y = x[:600], y[:600]
    radii = certified_radius(model, x, y)
    assert np.mean(radii > 0.1) > 0.5
    margin = PyTorchClassifier(
        model.model, Margin(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu", preprocessing=(0.0, 1.0)
    )
    order = np.argsort(radii)
    order, attacked = order[radii[order] > 0], 0
    for tenth in np.array_split(order, 10):
        eps = float(radii[tenth].min())
        attack = ProjectedGradientDescent(
            margin, 2, eps, 2.5 * eps / 100, max_iter=100, num_random_init=5, batch_size=len(tenth), verbose=False
        )
        adversarial = attack.generate(x[tenth], np.eye(10, dtype=np.float32)[y[tenth]])
        assert (model.predict(adversarial).argmax(1) == y[tenth]).all()
        attacked += len(tenth)
    assert attacked >= 500
    far = ProjectedGradientDescent(margin, 2, 3.0, 0.1, max_iter=50, verbose=False)  # the attack does attack
    assert np.mean(model.predict(far.generate(x, np.eye(10, dtype=np.float32)[y])).argmax(1) == y) < 0.1


def test_constants_for_pairs_certify_more_than_one_for_all():
    x, y = nets.data(n=200)
    model = nets.classifier(lr=0.3)
    CLIPTrainer(model, lamda=0.02, pair_interval=12, seed=0).fit(x, y, batch_size=20, nb_epochs=20)
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
