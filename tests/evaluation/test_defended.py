"""Defences that work in numpy, and models that answer at random: attacked through an estimate, and labelled."""

import numpy as np
import pytest
from art.defences.preprocessor import FeatureSqueezing, GaussianAugmentation, ThermometerEncoding

from artclip import CLIPTrainer, LipschitzPenalty, certified_radius, evaluate, lipschitz_lower_bound
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.random_outputs import DRAWS, VOTES, is_random, majority
from tests.nets import default

W = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], np.float32)
X = np.random.default_rng(0).uniform(0.2, 0.8, (80, 4)).astype(np.float32)
Y = (X @ W.T).argmax(1)
PGD = "pgd-margin:max_iter=20,nb_restarts=1"
OPTIONS = {"norm": 2, "eps": 0.1, "seed": 0, "verbose": False}


def squeezed(nets, bits=4):
    defence = FeatureSqueezing(clip_values=(0, 1), bit_depth=bits)
    return nets.linear_classifier(W, preprocessing_defences=[defence])


def test_gradients_pass_a_defence_in_numpy(nets):
    classifier = squeezed(nets)
    attacked = EvaluatedModel(classifier, X, Y).classifier
    outputs = (np.rint(15 * X) / 15) @ W.T  # ART's predict fails here: the defence gives float64
    np.testing.assert_allclose(attacked.predict(X), outputs, atol=1e-6)
    gradients = attacked.with_loss("margin").loss_gradient(X, np.eye(2)[Y])
    np.testing.assert_allclose(gradients, np.where(Y[:, None] == 0, W[1] - W[0], W[0] - W[1]), atol=1e-6)
    right = outputs.argmax(1) == Y
    found = evaluate(classifier, X, Y, attacks=[PGD], lipschitz=True, masking=False, **OPTIONS)
    assert found.accuracy["clean"] == right.mean()
    far = np.abs(X[:, 0] - X[:, 1]) / np.sqrt(2)
    assert not found.survivors[far < 0.05].any()  # by three eighths of a step of rounding
    assert found.survivors[right & (far > 0.1 + np.sqrt(2) / 30)].all()
    assert found.settings["bpda"] == ["FeatureSqueezing"]
    assert "BPDA" in found.to_markdown()
    assert "BPDA" in found.to_html()
    assert found.lipschitz == {}
    assert "FeatureSqueezing works in numpy" in found.settings["no_upper_bound"]


def test_attacks_by_outputs_alone_run_besides():
    found = evaluate(squeezed(default), X, Y, attacks="quick", lipschitz=False, masking=False, **OPTIONS)
    assert [o.chosen.attack.title for o in found.outcomes] == [
        *("noise", "minimum norm", "Square", "coordinate search", "NES-PGD")
    ]
    assert "has the defence FeatureSqueezing in numpy" in found.to_markdown()


def test_what_needs_the_true_gradient_refuses(nets):
    classifier = squeezed(nets)
    for ask in (
        lambda: CLIPTrainer(classifier).fit(X, Y, nb_epochs=1),
        lambda: LipschitzPenalty(classifier, X),
        lambda: lipschitz_lower_bound(classifier, X),
        lambda: certified_radius(classifier, X, lipschitz=1.0),
    ):
        with pytest.raises(ValueError, match="FeatureSqueezing works in numpy"):
            ask()


def test_a_defence_that_changes_the_shape():
    """A thermometer makes ten entries of one; ART has its own estimate of the gradient."""
    torch = pytest.importorskip("torch")
    from art.estimators.classification import PyTorchClassifier

    defence = ThermometerEncoding(clip_values=(0, 1), num_space=10, channels_first=False)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 2))
    options = {"preprocessing_defences": [defence], "device_type": "cpu", "channels_first": False}
    classifier = PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (1, 1, 4), 2, **options)
    x = X.reshape(-1, 1, 1, 4)
    y = classifier.predict(x).argmax(1)
    found = evaluate(classifier, x, y, attacks=[PGD], lipschitz=False, masking=False, **OPTIONS)
    assert found.accuracy["clean"] == 1
    assert not found.outcomes[0].error


def noisy(nets, rate=0.5):
    """A linear net with dropout that stays on, of its inputs."""
    if nets.__name__.endswith("torch_nets"):
        import torch

        class Dropped(torch.nn.Module):
            def forward(self, x):
                return torch.nn.functional.dropout(x, rate, training=True)

        linear = torch.nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W))
        return torch.nn.Sequential(Dropped(), linear)
    import keras
    import tensorflow as tf

    class Kept(keras.layers.Layer):
        def call(self, x):
            return tf.nn.dropout(x, rate)

    net = keras.Sequential([keras.Input((4,)), Kept(), keras.layers.Dense(2, use_bias=False)])
    net.layers[-1].set_weights([W.T])
    return net


def test_random_outputs_are_averaged(nets):
    model = noisy(nets)
    evaluated = EvaluatedModel(model, X, Y, seed=1)
    attacked = evaluated.classifier
    assert evaluated.is_random
    assert attacked.nb_draws == DRAWS
    spreads = []
    for call in (lambda: evaluated.f.outputs(X, 100), lambda: attacked.predict(X)):
        spreads.append(np.std([call() for _ in range(40)], axis=0).mean())
    assert spreads[1] == pytest.approx(spreads[0] / np.sqrt(DRAWS), rel=0.15)
    gradients = attacked.with_loss("margin").loss_gradient(np.repeat(X[:1], 400, 0), np.eye(2)[np.repeat(Y[:1], 400)])
    expected = (W[1] - W[0]) * (1 if Y[0] == 0 else -1)
    np.testing.assert_allclose(gradients.mean(0), expected, atol=0.1)
    options = {**OPTIONS, "attacks": [PGD], "clip_values": (0, 1)}
    first, again = (evaluate(model, X, Y, masking=False, **options) for _ in range(2))
    assert (first.survivors == again.survivors).all()
    assert first.settings["nb_draws"] == DRAWS
    assert "expectation over transformation" in first.to_markdown()
    assert first.robust_accuracy < first.accuracy["clean"]
    assert "the model draws random numbers" in first.settings["no_upper_bound"]


def test_the_label_that_counts_is_that_of_most_draws():
    """A model that is right in four of five draws is right in 98.8 % of majorities of eleven."""
    torch = pytest.importorskip("torch")

    class Swaps(torch.nn.Module):
        def forward(self, x):
            z = x @ torch.from_numpy(W).T.to(x)
            return torch.where(torch.rand(len(x), 1) < 0.2, z.flip(1), z)

    with torch.random.fork_rng():
        evaluated = EvaluatedModel(Swaps(), np.tile(X, (10, 1)), np.tile(Y, 10), seed=0)
    assert 0.975 < evaluated.right.mean() < 0.998
    assert "a single draw gets 80." in evaluated.remarks[-1] or "a single draw gets 79." in evaluated.remarks[-1]
    votes = np.array([[0, 1, -1, 2], [0, 1, -1, 1], [1, 0, 2, 0]])
    assert majority(votes).tolist() == [0, 1, -1, 0]
    assert VOTES % 2 == 1


def test_noise_before_the_model_is_both():
    defence = GaussianAugmentation(sigma=0.05, augmentation=False, apply_fit=False, apply_predict=True)
    classifier = default.linear_classifier(W, preprocessing_defences=[defence])
    found = evaluate(classifier, X, Y, attacks=[PGD], **OPTIONS)
    assert found.settings["bpda"] == ["GaussianAugmentation"]
    assert found.settings["nb_draws"] == DRAWS
    assert "random outputs" in [w.name for w in found.warnings]
    assert 0 < found.robust_accuracy < found.accuracy["clean"]


def test_rounding_is_not_random(nets):
    classifier, (x, y), rng = nets.classifier(), nets.data(), np.random.default_rng(0)
    assert not is_random(lambda a: classifier.predict(a) * (1 + 1e-5 * rng.random()), x)
    assert EvaluatedModel(classifier, x, y).classifier.nb_draws == 1
