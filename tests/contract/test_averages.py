"""Averages of weights, on every framework: the formula, and what they do not go with."""

import numpy as np
import pytest

from artclip import CLIPTrainer, WeightRegularizationTrainer
from tests.nets.common import same_weights


def test_a_training_ends_with_the_averages_that_numpy_computes(nets, monkeypatch):
    """Against weights that are read after each step."""
    from artclip.trainers.loop import Epochs

    classifier, decay = nets.classifier("batchnorm"), 0.4
    paths = [nets.weights(classifier)]
    original = Epochs._step

    def step(epochs, *arguments):
        values = original(epochs, *arguments)
        paths.append(nets.weights(classifier))
        return values

    monkeypatch.setattr(Epochs, "_step", step)
    CLIPTrainer(classifier, lamda=0.01, ema_decay=decay, seed=0).fit(
        *nets.data("batchnorm"), batch_size=20, nb_epochs=4
    )
    expected = {k: v.astype(np.float64) for k, v in paths[0].items()}
    for t, now in enumerate(paths[1:]):
        d = min(decay, (1 + t) / (10 + t))
        expected = {k: d * v + (1 - d) * now[k] for k, v in expected.items()}
    found = nets.weights(classifier)
    floats = [k for k, v in found.items() if v.dtype.kind == "f"]
    assert len(paths) == 13
    assert len(floats) >= 8  # of layers, and of BatchNorm's statistics
    for k in floats:
        np.testing.assert_allclose(found[k], expected[k], atol=1e-6, err_msg=k)
    # The bias before BatchNorm stays where it was.
    assert sum(not np.allclose(found[k], paths[-1][k], atol=1e-4) for k in floats) >= 6


def test_a_linear_model_has_the_averages_of_its_closed_form(nets):
    """Softmax regression by gradient descent on the whole data, in NumPy."""
    x = np.random.default_rng(0).uniform(0, 1, (40, 3)).astype(np.float32)
    y = np.arange(40) % 2
    matrix, lr = np.array([[0.5, -0.2, 0.1], [-0.3, 0.4, 0.2]], np.float32), 0.1

    def trained(**options):
        classifier = nets.linear_classifier(matrix, lr=lr)
        WeightRegularizationTrainer(classifier, lamda=0.0, seed=0, **options).fit(x, y, batch_size=40, nb_epochs=5)
        (found,) = (w for w in nets.weights(classifier).values() if w.ndim == 2)
        return found if found.shape == matrix.shape else found.T

    weights = matrix.astype(np.float64)
    average = weights.copy()
    for t in range(5):
        outputs = x @ weights.T
        shares = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
        weights = weights - lr * (shares - np.eye(2)[y]).T @ x / len(x)
        d = min(0.25, (1 + t) / (10 + t))
        average = d * average + (1 - d) * weights
    np.testing.assert_allclose(trained(ema_decay=0.25), average, atol=2e-6)
    np.testing.assert_allclose(trained(), weights, atol=2e-6)


def test_averages_change_nothing_but_the_end(nets, tmp_path):
    def trained(**options):
        trainer = CLIPTrainer(nets.classifier("batchnorm"), seed=0, **options)
        trainer.fit(*nets.data("batchnorm"), batch_size=20, nb_epochs=2)
        return [record["loss"] for record in trainer.history], nets.weights(trainer.classifier)

    plain, averaged = trained(), trained(ema_decay=0.9)
    assert plain[0] == averaged[0]
    assert not same_weights(plain[1], averaged[1], atol=1e-4)


@pytest.mark.parametrize("options", [{"restore_best": True}, {"target_accuracy": 0.9}])
def test_what_ends_with_one_moment_does_not_go_with_averages(nets, options):
    classifier = nets.classifier()
    before = nets.weights(classifier)
    with pytest.raises(ValueError, match=r"weights of one moment, and ema_decay=0\.9 with averages; choose one"):
        CLIPTrainer(classifier, ema_decay=0.9, **options).fit(*nets.data(), nb_epochs=1)
    assert same_weights(before, nets.weights(classifier))


@pytest.mark.parametrize("bad", [1, 1.0, -0.1, float("nan"), "0.9", True])
def test_a_decay_out_of_its_range_is_refused(nets, bad):
    for trainer in (CLIPTrainer, WeightRegularizationTrainer):
        with pytest.raises(ValueError, match="ema_decay="):
            trainer(nets.classifier(), ema_decay=bad)
