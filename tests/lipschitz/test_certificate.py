"""Certificates: exact on linear models, and no attack breaks what they certify."""

from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip import (
    CLIPTrainer,
    LipschitzEstimate,
    certified_radius,
    evaluate,
    lipschitz_lower_bound,
    lipschitz_upper_bound,
    load_data,
)
from artclip.frameworks.pytorch.nets import make_classifier
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
    with pytest.raises(ValueError, match="sample 1 has 2 largest entries"):
        certified_radius(model, x, np.where(np.arange(len(x))[:, None] == 1, [1, 0, 1], np.eye(3)[y]))
    assert certified_radius(model, x, np.eye(3)[y]).shape == (60,)


def test_an_estimate_is_for_one_model_as_it_is():
    model, (x, y) = nets.classifier(), nets.data()
    bound = lipschitz_upper_bound(model)
    assert bound.nb_outputs == 3
    radii = certified_radius(model, x, y, bound)
    np.testing.assert_array_equal(certified_radius(model, x, y, bound), radii)
    plain = LipschitzEstimate(bound.value, "upper", 2, 2, "free", "by hand", 0.0)  # taken at its word
    assert (certified_radius(model, x, y, plain) > 0).any()
    with torch.no_grad():
        weight = next(model.model.parameters())
        weight[(0,) * weight.ndim] += 1e-6
    with pytest.raises(ValueError, match="made for other weights"):
        certified_radius(model, x, y, bound)
    with pytest.raises(ValueError, match="made for a model of 3 outputs, and this one has 2"):
        certified_radius(dense(nn.ReLU(), 2), np.zeros((1, 4), np.float32), lipschitz=bound)


def dense(activation, outputs=3, scaling=(0.0, 1.0)):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 6), activation, nn.Linear(6, outputs))
    return PyTorchClassifier(net, nn.CrossEntropyLoss(), (4,), outputs, device_type="cpu", preprocessing=scaling)


@pytest.mark.parametrize("other", [dense(nn.Tanh()), dense(nn.ReLU(), scaling=(0.0, 0.5))])
def test_other_layers_and_another_scaling_are_another_model(other):
    x, model = np.zeros((1, 4), np.float32), dense(nn.ReLU())
    bound = lipschitz_upper_bound(model)
    assert certified_radius(dense(nn.ReLU()), x, lipschitz=bound) == certified_radius(model, x, lipschitz=bound)
    with pytest.raises(ValueError, match="for other weights, or for another model"):
        certified_radius(other, x, lipschitz=bound)


def test_regressors_have_no_labels():
    from art.estimators.regression import PyTorchRegressor

    model = PyTorchRegressor(nn.Linear(4, 3), nn.MSELoss(), (4,), device_type="cpu")
    with pytest.raises(ValueError, match="regressor"):
        certified_radius(model, np.zeros((2, 4), np.float32), lipschitz=1.0)


def test_rounding_of_deep_models_counts():
    """A hundred layers that keep a difference of 1 beside outputs of 1e4: rounding moves it by 1e-2 or so."""
    net = nn.Sequential(*(layer for _ in range(50) for layer in (nn.Linear(2, 2), nn.LeakyReLU(0.9))))
    with torch.no_grad():
        for layer in net[::2]:
            layer.weight.copy_(torch.tensor([[0.6, 0.4], [0.4, 0.6]]) * 1.1)
            layer.bias.fill_(100.0)
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), (2,), 2, clip_values=(0, 1), device_type="cpu")
    bound = lipschitz_upper_bound(model, method="product")
    outputs = model.predict(np.zeros((1, 2), np.float32))
    assert bound.rounding > 2 * np.finfo(np.float32).eps * np.abs(outputs).max()
    shallow = lipschitz_upper_bound(dense(nn.ReLU()))
    assert 0 < shallow.rounding < 1e-6


def test_an_estimate_of_a_model_that_computes_something_else_now_is_refused():
    torch = pytest.importorskip("torch")
    from tests.nets import torch_nets

    model = torch_nets.classifier("mlp")
    x = torch_nets.data("mlp", n=5)[0]
    upper = lipschitz_upper_bound(model, max_iter=5)
    assert certified_radius(model, x, None, upper).shape == (5,)
    first = next(m for m in model.model.modules() if isinstance(m, torch.nn.Linear))
    handle = first.register_forward_hook(lambda module, inputs, outputs: 30 * outputs)  # not seen in the weights
    with pytest.raises(ValueError, match="made for other weights, or for another model"):
        certified_radius(model, x, None, upper)
    handle.remove()
    assert certified_radius(model, x, None, upper).shape == (5,)


def test_what_a_defence_makes_of_outputs_has_no_bound():
    from art.defences.postprocessor import HighConfidence

    x = np.zeros((4, 6), np.float32)
    for active in (True, False):
        defence = HighConfidence(cutoff=0.4, apply_fit=False, apply_predict=active)
        model = PyTorchClassifier(
            nn.Linear(6, 3), nn.CrossEntropyLoss(), (6,), 3, device_type="cpu", postprocessing_defences=[defence]
        )
        calls = (
            lipschitz_upper_bound,
            partial(lipschitz_lower_bound, x=x),
            partial(certified_radius, x=x, lipschitz=9.0),
        )
        for call in calls:
            if active:
                with pytest.raises(ValueError, match="the postprocessing defence HighConfidence changes what predict"):
                    call(model)
            else:
                call(model)
