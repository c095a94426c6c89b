"""Outputs that are constant in steps beside gradients, and outputs that float32 hardly holds."""

import warnings

import numpy as np
import pytest
from art.estimators.classification import SklearnClassifier
from sklearn.svm import LinearSVC

from artclip import evaluate
from artclip.evaluation.attack_classifier import AttackClassifier
from artclip.evaluation.attacks import for_model
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.losses import LOSSES
from tests import nets as registries

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(60, 6)).astype(np.float32)
W = RNG.standard_normal((6, 4))
Y = (X @ W).argmax(1)
OPTIONS = {"seed": 0, "verbose": False, "lipschitz": False}


def test_labels_with_gradients_are_attacked_to_the_truth():
    """The radius of a linear model is known; its one-hot outputs hide how near the boundary is."""
    y = ((X - 0.5) @ W).argmax(1)
    model = LinearSVC(C=100).fit(X, y)
    z, w = model.decision_function(X), model.coef_
    k, rows = len(w), range(len(X))
    near = [min((z[i, y[i]] - z[i, j]) / np.linalg.norm(w[y[i]] - w[j]) for j in range(k) if j != y[i]) for i in rows]
    eps = float(np.median(near))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = evaluate(SklearnClassifier(model), X[:20], y[:20], eps=eps, attacks="standard", **OPTIONS)
    assert found.robust_accuracy == pytest.approx((np.array(near)[:20] > eps).mean(), abs=0.01)
    assert "HopSkipJump" in [o.chosen.attack.title for o in found.outcomes]
    assert "outputs in steps" in [w.name for w in found.warnings]
    assert any("constant in steps" in line for line in found.notes())


def torch_rounded(digits):
    import torch
    from art.estimators.classification import PyTorchClassifier

    class Rounded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(6, 4, bias=False)
            self.linear.weight.data = torch.from_numpy(W.T.astype(np.float32).copy())

        def forward(self, x):
            z = self.linear(x)
            return z if digits is None else z + (torch.round(z, decimals=digits) - z).detach()

    return PyTorchClassifier(Rounded(), torch.nn.CrossEntropyLoss(), (6,), 4, clip_values=(0, 1), device_type="cpu")


def tensorflow_rounded(digits):
    import keras
    import tensorflow as tf
    from art.estimators.classification import TensorFlowV2Classifier

    def step(z):
        return z if digits is None else z + tf.stop_gradient(tf.round(z * 10.0**digits) / 10.0**digits - z)

    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, use_bias=False), keras.layers.Lambda(step)])
    model.layers[0].set_weights([W])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return TensorFlowV2Classifier(model, 4, (6,), loss_object=loss, clip_values=(0, 1))


@pytest.mark.parametrize("framework", registries.FRAMEWORKS)
def test_rounded_outputs_are_seen_and_honest_ones_are_not(framework):
    make = {"torch": torch_rounded, "tensorflow": tensorflow_rounded}[framework]
    for digits, stepped in ((0, True), (None, False)):
        attacked = EvaluatedModel(make(digits), X, Y).classifier
        assert attacked.has_gradients
        assert not attacked.flat
        assert attacked.stepped is stepped
        names = [c.attack.title for c in for_model("standard", 2, attacked)]
        assert ("HopSkipJump" in names) is stepped


def test_the_targeted_margin_is_the_difference_of_two_logits():
    z, y = np.array([[1.0, 3.0, 2.0]]), np.array([[0.5, 1.0, 0.0]])
    value, cotangents = LOSSES["targeted margin"](z, y)
    assert value == -2
    assert cotangents.tolist() == [[1, -1, 0]]


@pytest.mark.parametrize("scale", [1e-12, 1e25])
def test_gradients_of_any_size_lead_somewhere(scale):
    """Their squares vanish or overflow in float32."""
    nets = registries.default
    usual, scaled = (nets.linear_classifier(m, clip_values=(0, 1)) for m in (W.T, scale * W.T))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found, wanted = (
            evaluate(c, X, Y, eps=0.1, attacks=["pgd-margin:max_iter=10,nb_restarts=1"], masking=False, **OPTIONS)
            for c in (scaled, usual)
        )
    assert found.robust_accuracy == pytest.approx(wanted.robust_accuracy, abs=0.02)
    assert wanted.robust_accuracy < 0.9
    gradient = AttackClassifier(scaled, X, 4, 64).with_loss("margin").loss_gradient(X, np.eye(4)[Y])
    assert np.abs(gradient).max() == pytest.approx(1, rel=1e-6)
