"""The accuracy that λ follows, and what a fit that follows it promises."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from art.estimators.classification import PyTorchClassifier
from torch import nn

import artclip
from artclip import CLIPTrainer, WeightRegularizationTrainer
from artclip.frameworks import trainable_of
from artclip.trainers.accuracy import DeployedAccuracy, faults, mean_accuracy
from artclip.trainers.controllers import Additive, Multiplicative


def digits():
    """Of scikit-learn, in [0, 1]."""
    return artclip.load_data("digits")[0]


def mlp(*middle, outputs=10, seed=0, loss=None, nb_classes=None):
    """A classifier of digits."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), *middle, nn.Linear(64, outputs))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    return PyTorchClassifier(
        net,
        loss or nn.CrossEntropyLoss(),
        (1, 8, 8),
        nb_classes or outputs,
        clip_values=(0, 1),
        device_type="cpu",
        optimizer=optimizer,
    )


def accuracy(classifier, x, y):
    return float((classifier.predict(x).argmax(1) == y).mean())


@pytest.mark.parametrize("middle", [(), (nn.Dropout(0.5),), (nn.BatchNorm1d(64), nn.Dropout(0.3))])
def test_the_target_is_held_by_the_model_as_deployed(middle):
    x, y = digits()
    classifier = mlp(*middle)
    trainer = CLIPTrainer(classifier, target_accuracy=0.9, seed=0)
    trainer.fit(x, y, nb_epochs=15)
    assert accuracy(classifier, x, y) == pytest.approx(0.9, abs=0.015)
    assert trainer.deployed_accuracy == pytest.approx(accuracy(classifier, x, y), abs=1e-9)
    assert not any("is not held" in note for note in trainer.notes)
    assert not trainer.missed_target


def test_the_target_is_that_of_the_validation_data_where_given():
    x, y = digits()
    noisy = np.where(np.random.default_rng(0).uniform(size=len(y)) < 0.3, (y + 1) % 10, y)  # 0.70 at most
    classifier = mlp()
    trainer = CLIPTrainer(classifier, target_accuracy=0.6, seed=0)
    trainer.fit(x, y, validation_data=(x, noisy), nb_epochs=15)
    assert accuracy(classifier, x, noisy) == pytest.approx(0.6, abs=0.015)
    assert accuracy(classifier, x, y) > 0.75


def test_balanced_accuracy_sees_the_rare_class():
    x, y = digits()
    rare = (y == 3).astype(int)
    classifier = mlp(outputs=2)
    trainer = CLIPTrainer(classifier, target_accuracy=0.8, target_metric="balanced_accuracy", seed=0)
    trainer.fit(x, rare, nb_epochs=30)
    right = classifier.predict(x).argmax(1) == rare
    assert np.mean([right[rare == c].mean() for c in (0, 1)]) == pytest.approx(0.8, abs=0.03)


def test_of_several_labels_it_is_the_share_that_is_right():
    x, y = digits()
    labels = np.stack([y % 2, y > 4, y == 3], 1).astype(np.float32)
    classifier = mlp(outputs=3, loss=nn.BCEWithLogitsLoss())
    trainer = CLIPTrainer(classifier, target_accuracy=0.85, seed=0)
    trainer.fit(x, labels, nb_epochs=15)
    assert float(((classifier.predict(x) > 0) == labels).mean()) == pytest.approx(0.85, abs=0.015)
    single = mlp(outputs=3)
    before = [p.clone() for p in single.model.parameters()]
    with pytest.raises(ValueError, match="several classes or none"):
        CLIPTrainer(single, target_accuracy=0.85).fit(x, labels, nb_epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(before, single.model.parameters(), strict=True))


def test_the_accuracy_of_a_generator_is_of_its_batches():
    x, y = digits()
    classifier = mlp(nn.Dropout(0.5))
    trainer = CLIPTrainer(classifier, target_accuracy=0.9, seed=0)
    trainer.fit_generator(NumpyDataGenerator(x, y, batch_size=128, shuffle=True), nb_epochs=15)
    assert accuracy(classifier, x, y) == pytest.approx(0.9, abs=0.06)  # of batches of 128: by one deviation 0.027


@pytest.mark.parametrize("make", [CLIPTrainer, WeightRegularizationTrainer])
def test_a_target_out_of_reach_is_said(make):
    x, y = digits()
    trainer = make(mlp(), target_accuracy=0.999, seed=0)
    with pytest.warns(RuntimeWarning, match=r"target of 0.999 is not held: .* accuracy of 0\.[0-9]+"):
        trainer.fit(x, y, nb_epochs=1)
    assert "0.999" in trainer.notes[0]
    assert trainer.missed_target


@pytest.mark.parametrize(("accuracy", "nb"), [(0.9, 0), (0.8, 2)])
def test_a_moving_lamda_is_no_warning_where_the_target_is_held(accuracy, nb, recwarn):
    trainer = CLIPTrainer(mlp(), target_accuracy=0.9, lamda=0.1, seed=0)
    measured = SimpleNamespace(now=lambda: accuracy)
    trainer._say_how_it_ended(measured, [{"lamda": 0.001 * 2**i} for i in range(8)], True)
    assert "still moving" in trainer.notes[-1]
    assert len(recwarn) == nb


def test_what_keeps_a_target_from_being_held_is_named():
    control = Multiplicative(0.1, 0.9)
    steady = [{"lamda": 0.1}] * 8
    assert faults(control, 0.905, steady) == []
    assert "has an accuracy of 0.800" in faults(control, 0.8, steady)[0]
    assert faults(control, 0.9, [{"lamda": v} for v in (0.1, 0.8, 0.1, 0.8, 0.1, 0.8, 0.1, 0.8)]) == []
    moving = [{"lamda": 0.001 * 2**i} for i in range(8)]
    control.value = 0.256
    (note,) = faults(control, 0.9, moving)
    assert "still moving" in note
    assert "4 times what it was" in note
    control.value = 1e-8
    assert "bound, 1e-08, and the accuracy is still below" in faults(control, 0.5, steady)[1]
    assert "bound, 0, " in faults(Additive(0.0, 0.9, 0.1), 0.5, steady)[1]


def test_figures_do_not_depend_on_what_is_measured_in_between():
    """Measuring draws from no generator of the training, and changes no buffer."""
    x, y = digits()
    classifier = mlp(nn.BatchNorm1d(64), nn.Dropout(0.5))
    f = trainable_of(classifier)
    y = f.labels(y)
    state, buffers = torch.get_rng_state(), [b.clone() for b in classifier.model.buffers()]
    measure = DeployedAccuracy(f, "accuracy", 0.9, 0, lambda: (x, y), 100, 32)
    classifier.model.train()
    assert measure.at(20, 5000) == measure.at(20, 5000)
    assert measure.now() == pytest.approx(f.evaluate(x, y, 512)[1])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(buffers, classifier.model.buffers(), strict=True))
    assert classifier.model.training


def test_a_model_far_from_the_target_is_dropped_after_few_samples():
    seen = []

    class Counted:
        def compile(self, step, nb_resizable=2):
            return step

        def broadcast(self, value):
            return value

        def tensor(self, a):
            return a

        def value_alone(self, x):
            seen.append(len(x))
            return x

        def to_numpy(self, tensors):
            return tensors[0]

        def right(self, outputs, y):
            return outputs[:, 0] == y

    x = np.ones((2000, 1))
    measure = DeployedAccuracy(Counted(), "accuracy", 0.9, 0, lambda: (x, np.zeros(2000, int)), 100, 32)
    assert measure.now(0.01) == 0
    assert sum(seen) == 256
    assert measure.now() == 0
    assert sum(seen) == 256 + 2000


def test_mean_accuracy():
    right, y = np.array([1.0, 1, 1, 0]), np.array([0, 0, 0, 1])
    assert mean_accuracy(right, y, "accuracy") == 0.75
    assert mean_accuracy(right, y, "balanced_accuracy") == 0.5
    assert mean_accuracy(right, np.eye(3)[y], "balanced_accuracy") == 0.5


def test_metric_is_checked():
    with pytest.raises(ValueError, match="target_metric='f1'"):
        CLIPTrainer(mlp(), target_accuracy=0.9, target_metric="f1")
    assert math.isfinite(CLIPTrainer(mlp(), target_accuracy=0.9).lamda)
