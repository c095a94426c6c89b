"""A classifier of two classes with one output, log-odds or a probability: it is trained, measured, certified, saved."""

import functools

import numpy as np
import pytest

from artclip import (
    CLIPTrainer,
    certified_radius,
    evaluate,
    load_model,
    robustness_curve,
    save,
)
from artclip.evaluation.preflight import preflight
from tests.nets import FRAMEWORKS, default

D = 6
RNG = np.random.default_rng(0)
W = RNG.standard_normal(D).astype(np.float32)
X = RNG.uniform(0, 1, (80, D)).astype(np.float32)
Z = (X @ W - np.median(X @ W)).astype(np.float32)
Y = (Z > 0).astype(int)
EPS = 0.1
OPTIONS = {"norm": 2, "eps": EPS, "attacks": ["pgd-margin:max_iter=20,nb_restarts=1"], "seed": 0, "verbose": False}


def _torch(kind, shape, loss, hidden):
    import torch
    from art.estimators.classification import PyTorchClassifier

    torch.manual_seed(0)
    stack = [torch.nn.Linear(D, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)] if hidden else [torch.nn.Linear(D, 1)]
    if not hidden:
        with torch.no_grad():
            stack[0].weight.copy_(torch.from_numpy(W)[None])
            stack[0].bias.fill_(float(-np.median(X @ W)))
    stack += [torch.nn.Sigmoid()] if kind == "sigmoid" else []
    stack += [torch.nn.Flatten(0)] if shape == "(n,)" else []
    net = torch.nn.Sequential(*stack)
    losses = {"logits": torch.nn.BCEWithLogitsLoss, "sigmoid": torch.nn.BCELoss}
    options = {"optimizer": torch.optim.Adam(net.parameters(), 0.05), "clip_values": (0, 1), "device_type": "cpu"}
    return PyTorchClassifier(net, (loss or losses[kind])(), (D,), 2, **options)


def _keras(kind, wrapper, hidden):
    import keras
    from art.estimators.classification import KerasClassifier, TensorFlowV2Classifier

    stack = [keras.layers.Dense(8, "relu")] if hidden else []
    last = keras.layers.Dense(1, "sigmoid" if kind == "sigmoid" else None)
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((D,)), *stack, last])
    if not hidden:
        last.set_weights([W[:, None], np.array([-np.median(X @ W)], np.float32)])
    loss, adam = keras.losses.BinaryCrossentropy(from_logits=kind == "logits"), keras.optimizers.Adam(0.05)
    if wrapper == "keras":
        net.compile(optimizer=adam, loss=loss)
        return KerasClassifier(net, clip_values=(0, 1), use_logits=kind == "logits")
    return TensorFlowV2Classifier(net, 2, (D,), loss_object=loss, optimizer=adam, clip_values=(0, 1))


def made(nets, kind, variant=0, hidden=False, loss=None):
    """A linear classifier of log-odds Z, or a small net to be trained; in either of the ways of a framework."""
    if nets.__name__.endswith("torch_nets"):
        return _torch(kind, ("(n, 1)", "(n,)")[variant], loss, hidden)
    return _keras(kind, ("tensorflow", "keras")[variant], hidden)


VARIANTS = [("logits", 0), ("logits", 1), ("sigmoid", 0), ("sigmoid", 1)]


def variants(others):
    """All on the first framework; on the other, where each takes seconds, these."""
    chosen = [(f, *v) for f in FRAMEWORKS for v in (VARIANTS if f == FRAMEWORKS[0] else others)]
    return pytest.mark.parametrize(("nets", "kind", "variant"), chosen, indirect=["nets"])


@variants([("logits", 0), ("sigmoid", 1)])
def test_a_linear_classifier_falls_where_it_must(nets, kind, variant):
    """Of log-odds w·x the nearest input of the other class lies |z| / ‖w‖ away, unless the box is in between."""
    classifier = made(nets, kind, variant)
    found = evaluate(classifier, X, Y, **OPTIONS)
    far = np.abs(Z) / np.linalg.norm(W)
    assert found.accuracy["clean"] == 1
    assert found.settings["nb_classes"] == 2
    assert found.settings["outputs"] == kind
    assert any("one output" in line for line in found.notes())
    assert not found.outcomes[0].error
    assert found.survivors[far > EPS * 1.001].all()
    middle = np.abs(X - 0.5).max(1) < 0.5 - EPS
    assert not found.survivors[middle & (far < 0.9 * EPS)].any()
    assert 0.5 < found.robust_accuracy < 0.95
    assert (found.certified <= found.survivors).all()
    radii = certified_radius(classifier, X, Y)
    assert (certified_radius(classifier, X, 1 - Y) == 0).all()
    if kind == "logits":
        np.testing.assert_allclose(radii, far, rtol=1e-3, atol=1e-5)
    else:  # the steepest place of a sigmoid is at 0
        assert (radii <= far).all()
        assert radii.max() > 0.2 * far.max()
    assert preflight(classifier, X, Y).accuracy == 1
    steep = np.linalg.norm(W) * (1 if kind == "logits" else 0.25)
    assert all(bound.value == pytest.approx(steep, rel=1e-2) for bound in found.lipschitz.values())


@pytest.mark.parametrize("kind", ["logits", "sigmoid"])
def test_the_bare_model_and_every_form_of_labels(nets, kind):
    bare = made(nets, kind).model
    options = {**OPTIONS, "lipschitz": False, "masking": False}
    found = [
        evaluate(bare, X, labels, **options)
        for labels in (Y, Y[:, None], Y.astype(float), Y.astype(bool), np.eye(2)[Y], Y.astype(np.uint8)[:, None])
    ]
    assert all((one.survivors == found[0].survivors).all() for one in found)
    assert found[0].accuracy["clean"] == 1
    assert 0.5 < found[0].robust_accuracy < 0.95
    for labels, message in ((Y + 1, "label 2"), (2 * Y - 1, "label -1"), (0.9 * Y, "fractional")):
        with pytest.raises(ValueError, match=message):
            evaluate(bare, X, labels, **options)


@variants([("logits", 1), ("sigmoid", 0)])
def test_it_is_trained_and_comes_back(nets, kind, variant, tmp_path):
    classifier = made(nets, kind, variant, hidden=True)
    trainer = CLIPTrainer(classifier, lamda=1e-3, seed=0)
    trainer.fit(X, Y, nb_epochs=30, batch_size=30)
    clean = evaluate(classifier, X, Y, **{**OPTIONS, "attacks": ["noise"]}, lipschitz=False, masking=False)
    assert trainer.history[-1]["accuracy"] > 0.9
    assert clean.accuracy["clean"] > 0.9
    attack = "pgd-margin:max_iter=5,nb_restarts=1"
    curve = robustness_curve(classifier, X, Y, eps=[0.05, 0.2], attack=attack, seed=0, verbose=False)
    (shares,) = curve.accuracy.values()
    assert shares[0] == clean.accuracy["clean"] > shares[-1]
    save(classifier, tmp_path)
    loaded = load_model(tmp_path)
    again = evaluate(loaded, X, Y, **{**OPTIONS, "attacks": ["noise"]}, lipschitz=False, masking=False)
    assert again.accuracy == clean.accuracy
    assert preflight(loaded, X, Y).outputs == kind


@pytest.mark.parametrize("kind", ["logits", "sigmoid"])
def test_a_target_of_accuracy(kind):
    classifier = made(default, kind, hidden=True)
    trainer = CLIPTrainer(classifier, target_accuracy=0.85, seed=0)
    trainer.fit(np.tile(X, (4, 1)), np.tile(Y, 4), nb_epochs=40, batch_size=40)
    found = evaluate(classifier, X, Y, **{**OPTIONS, "attacks": ["noise"]}, lipschitz=False, masking=False)
    assert 0.75 < found.accuracy["clean"] < 0.95


def test_losses_that_tell_the_threshold():
    """A loss of labels 0 and 1 puts the threshold at 1/2, whatever the range of the outputs."""
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    from tests.nets import torch_nets

    options = {**OPTIONS, "lipschitz": False, "masking": False}
    squares = evaluate(made(torch_nets, "logits", loss=torch.nn.MSELoss), X, (Z > 0.5).astype(int), **options)
    assert squares.accuracy["clean"] == 1
    by_function = functools.partial(functools.partial, functional.binary_cross_entropy_with_logits)
    assert evaluate(made(torch_nets, "logits", loss=by_function), X, Y, **options).accuracy["clean"] == 1
    unknown = made(torch_nets, "logits", loss=lambda: lambda outputs, y: outputs.mean())
    with pytest.raises(ValueError, match="nothing tells whether these are probabilities"):
        certified_radius(unknown, X[(Z > 0) & (Z < 1)], lipschitz=1.0)


def test_a_sigmoid_before_a_loss_of_log_odds_is_said_and_counted_by_one_half(nets):
    if nets.__name__.endswith("torch_nets"):
        import torch

        classifier = made(nets, "sigmoid", hidden=True, loss=torch.nn.BCEWithLogitsLoss)
    else:
        import keras

        classifier = made(nets, "sigmoid", hidden=True)
        classifier._loss_object = keras.losses.BinaryCrossentropy(from_logits=True)
    trainer = CLIPTrainer(classifier, lamda=0.0, seed=0)
    with pytest.warns(RuntimeWarning, match="ends in a sigmoid, and its loss takes log-odds .* above 0.5"):
        trainer.fit(X, Y, validation_data=(X, Y), batch_size=40, nb_epochs=30)
    right = float(((classifier.predict(X).ravel() > 0.5) == Y).mean())
    assert right > 0.8
    assert trainer.history[-1]["val_accuracy"] == pytest.approx(right)
    assert trainer.history[-1]["accuracy"] > 0.8
