"""Values that are not finite: seen, counted, stepped off, and never a class."""

import numpy as np
import pytest

from artclip import evaluate
from artclip.evaluation.attack_classifier import AttackClassifier
from tests import nets as registries

OPTIONS = {"seed": 0, "verbose": False, "lipschitz": False}
X = np.random.default_rng(0).uniform(size=(60, 6)).astype(np.float32)
X[:, ::2] = 0  # where a logarithm has no slope


def models(framework):
    """name -> classifier: a linear model, the same through logarithms, with a class never chosen, and NaN in places."""
    weights = np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)
    if framework == "torch":
        import torch
        from art.estimators.classification import PyTorchClassifier

        w = torch.tensor(weights)

        class Net(torch.nn.Module):
            def __init__(self, function):
                super().__init__()
                self.function, self.unused = function, torch.nn.Parameter(torch.zeros(1))

            def forward(self, x):
                return self.function(x)

        def wrap(function, clip_values=(0, 1)):
            loss = torch.nn.CrossEntropyLoss()
            return PyTorchClassifier(Net(function), loss, (6,), 3, clip_values=clip_values, device_type="cpu")

        exp, log, where, inf = torch.exp, torch.log, torch.where, float("inf")
        mask, nan = torch.tensor([0.0, 0.0, -inf]), torch.tensor(float("nan"))
    else:
        import keras
        import tensorflow as tf
        from art.estimators.classification import TensorFlowV2Classifier

        w = tf.constant(weights)

        def wrap(function, clip_values=(0, 1)):
            inputs = keras.Input((6,))
            model = keras.Model(inputs, keras.layers.Lambda(function, output_shape=(3,))(inputs))
            return TensorFlowV2Classifier(model, 3, (6,), clip_values=clip_values)

        exp, log, where = tf.exp, tf.math.log, tf.where
        mask, nan = tf.constant([0.0, 0.0, -np.inf]), tf.constant(np.nan)
    return {
        "plain": wrap(lambda x: x @ w),
        "logarithms": wrap(lambda x: exp(log(x)) @ w),
        "masked": wrap(lambda x: x @ w + mask),
        "nan": wrap(lambda x: where(x[:, 1:2] > 0.8, nan, x @ w)),
        "unbounded": wrap(lambda x: x @ w, None),
    }


@pytest.fixture(scope="module", params=registries.FRAMEWORKS)
def made(request):
    return models(request.param)


def test_attacks_step_off_points_without_a_gradient(made):
    """The same function: what is found is the same, and a sign tells of the gradients."""
    y = made["plain"].predict(X).argmax(1)
    options = {"eps": 0.25, "attacks": ["pgd:max_iter=30,nb_restarts=1"], **OPTIONS}
    plain, logs = (evaluate(made[name], X, y, **options) for name in ("plain", "logarithms"))
    assert plain.robust_accuracy < 0.8
    assert logs.robust_accuracy == pytest.approx(plain.robust_accuracy, abs=0.02)
    (sign,) = [w for w in logs.warnings if w.name == "gradients that are not finite"]
    assert f"at {int(logs.right.sum())} of" in sign.finding
    assert not [w for w in plain.warnings if "finite" in w.name]
    here, there = (AttackClassifier(made[name], X, 3, 64).with_loss("margin") for name in ("plain", "logarithms"))
    labels = np.eye(3)[y]
    np.testing.assert_allclose(here.loss_gradient(X, labels), there.loss_gradient(X, labels), rtol=2e-2, atol=2e-2)
    assert there.nb_astray == 60
    assert here.nb_astray == 0


def test_a_class_that_is_never_chosen(made):
    """Logits of minus infinity are equal to themselves, and all attacks go on."""
    y = made["masked"].predict(X).argmax(1)
    assert set(y) <= {0, 1}
    attacks = [
        "pgd:max_iter=20,nb_restarts=1",
        "pgd-margin:max_iter=20,nb_restarts=1",
        "apgd-dlr:max_iter=20",
        "deepfool",
    ]
    found = evaluate(made["masked"], X, y, eps=0.2, attacks=attacks, full=True, **OPTIONS)
    assert not found.warnings
    assert not any(o.error for o in found.outcomes)
    weights = np.asarray(made["plain"].predict(np.eye(6, dtype=np.float32)))
    lead = np.abs(X @ (weights[:, 0] - weights[:, 1]))
    assert found.accuracy["pgd:max_iter=20,nb_restarts=1"] >= np.mean(
        lead > 0.2 * np.linalg.norm(weights[:, 0] - weights[:, 1]) * 1.001
    )
    assert max(found.accuracy[name] for name in attacks) <= found.robust_accuracy + 0.1


def test_nan_is_no_class(made):
    """Not the first one, as argmax has it: a wrong answer, on samples and of attacks."""
    y = made["plain"].predict(X).argmax(1)
    lost = X[:, 1] > 0.8
    found = evaluate(made["nan"], X, y, eps=0.05, attacks=["fgsm"], **OPTIONS)
    np.testing.assert_array_equal(found.right, ~lost)
    (sign,) = [w for w in found.warnings if w.name == "outputs that are not finite"]
    assert f"NaN for {lost.sum()} of 60 samples" in sign.finding
    assert "random outputs" not in [w.name for w in found.warnings]
    blind = evaluate(made["nan"], X, y, eps=0.05, attacks=["fgsm"], masking=False, **OPTIONS)
    assert f"Outputs are NaN for {lost.sum()} of 60 samples, which count as wrong." in blind.to_markdown()


def test_a_large_budget_is_one_that_reaches_another_label(made):
    """Without clip_values nothing says what the largest input is; another sample does."""
    x = 100 * X
    y = made["unbounded"].predict(x).argmax(1)
    found = evaluate(made["unbounded"], x, y, eps=0.5, attacks=["pgd:max_iter=20,nb_restarts=1"], **OPTIONS)
    assert found.robust_accuracy > 0.8
    assert found.curve[-1][0] > 1  # once the end of it
    assert not found.warnings
    one = x[y == y[0]]
    found = evaluate(made["unbounded"], one, y[y == y[0]], eps=0.5, attacks=["pgd:max_iter=5,nb_restarts=1"], **OPTIONS)
    assert not found.warnings
