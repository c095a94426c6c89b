"""A training is taken up again where all that decides it is as it was, and what is not is named."""

import numpy as np
import pytest
from art.data_generators import NumpyDataGenerator

from artclip import CLIPTrainer
from artclip.trainers.checkpoint import GENERATIONS
from tests.nets.common import NB_CLASSES, same_weights

N = 40


def of_torch(function, factor, twin):
    """A classifier with a module and a loss of the user's own."""
    import torch
    from art.estimators.classification import PyTorchClassifier
    from torch import nn

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, NB_CLASSES)

        def forward(self, x):
            return self.last(getattr(torch, function)(self.first(x)))

    class Renamed(Own):
        pass

    entropy = nn.CrossEntropyLoss()
    torch.manual_seed(0)
    net = Renamed() if twin else Own()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    loss = (lambda z, y: entropy(z, y) * factor) if twin else (lambda a, b: factor * entropy(a, b))
    return PyTorchClassifier(net, loss, (6,), NB_CLASSES, optimizer=optimizer, clip_values=(0, 1), device_type="cpu")


def of_tensorflow(function, factor, twin):
    """The same with Keras."""
    import keras

    from tests.nets import tensorflow_nets

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.last = keras.layers.Dense(8), keras.layers.Dense(NB_CLASSES)

        def call(self, x):
            return self.last(getattr(keras.ops, function)(self.first(x)))

    class Renamed(Own):
        pass

    entropy = keras.losses.CategoricalCrossentropy(from_logits=True)
    net = Renamed() if twin else Own()
    keras.utils.set_random_seed(0)
    net(np.zeros((1, 6), np.float32))
    loss = (lambda y, z: entropy(y, z) * factor) if twin else (lambda a, b: factor * entropy(a, b))
    return tensorflow_nets.wrap(net, (6,), loss=loss)


def own(nets, function="tanh", factor=1.0, twin=False):
    maker = of_torch if nets.__name__.endswith("torch_nets") else of_tensorflow
    return maker(function, factor, twin)


def fit(nets, folder, classifier=None, labels=None, validation=0, scheduler=None, n=N, nb_epochs=1, resume=False, **kw):
    x, y = nets.data(n=n)
    classifier = nets.classifier() if classifier is None else classifier
    trainer = CLIPTrainer(classifier, lamda=0.01, nb_pairs=2, pair_interval=1, seed=0, checkpoint=folder, **kw)
    trainer.fit(
        x,
        y if labels is None else labels(y),
        validation_data=(x[validation : validation + 9], y[validation : validation + 9]),
        scheduler=scheduler and scheduler(classifier),
        batch_size=n,
        nb_epochs=nb_epochs,
        resume=resume,
    )
    return trainer


def not_sampled(n, seed=0):
    """An index that is not among the 1,024 samples that tell the data."""
    of_fit = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])
    return np.setdiff1d(np.arange(n), np.random.default_rng(of_fit).choice(n, 1024, replace=False))[0]


def changed(y):
    y = y.copy()
    y[not_sampled(len(y))] = (y[not_sampled(len(y))] + 1) % NB_CLASSES
    return y


# What the message says -> what the first training has, and what is other in the second.
CHANGES = {
    r"optimizer_settings\.(lr|learning_rate)=0\.1\d*, and now it is 0\.05": (
        {},
        lambda n: {"classifier": n.classifier(lr=0.05)},
    ),
    "for another model: layers": ({}, lambda n: {"classifier": n.classifier("sigmoid")}),
    "clip_values": ({}, lambda n: {"classifier": n.classifier(clip_values=(0.0, 2.0))}),
    "preprocessing": ({}, lambda n: {"classifier": n.classifier(preprocessing=(0.5, 2.0))}),
    "with other labels": ({"n": 1030}, lambda n: {"labels": changed}),
    "with other validation data": ({"restore_best": True}, lambda n: {"validation": 9}),
    "scheduler=None, and now it is": ({}, lambda n: {"scheduler": n.halving_scheduler}),
}


@pytest.mark.parametrize("message", CHANGES)
def test_what_changes_the_training_is_named_and_an_equal_one_goes_on(nets, message, tmp_path):
    options, other = CHANGES[message]
    fit(nets, tmp_path, **options)
    different = {**options, **other(nets)}
    before = "classifier" in different and nets.weights(different["classifier"])
    with pytest.raises(ValueError, match=message):
        fit(nets, tmp_path, nb_epochs=2, resume=True, **different)
    assert not before or same_weights(before, nets.weights(different["classifier"]))
    assert len(fit(nets, tmp_path, nb_epochs=2, resume=True, **options).history) == 2


def test_forward_passes_and_losses_of_ones_own_are_told_by_what_they_compute(nets, tmp_path):
    fit(nets, tmp_path, own(nets))
    for message, options in (
        (
            r"for another model: with the weights in it, the outputs .* are not what they were; give",
            {"function": "sin"},
        ),
        ("with another loss: with the weights in it", {"factor": 2.0}),
    ):
        classifier = own(nets, **options)
        with pytest.raises(ValueError, match=message):
            fit(nets, tmp_path, classifier, nb_epochs=2, resume=True)
        assert same_weights(nets.weights(classifier), nets.weights(own(nets, **options)))
    assert len(fit(nets, tmp_path, own(nets, twin=True), nb_epochs=2, resume=True).history) == 2


def test_validation_data_that_decide_nothing_may_change(nets, tmp_path):
    fit(nets, tmp_path)
    assert len(fit(nets, tmp_path, validation=9, nb_epochs=2, resume=True).history) == 2


def test_schedulers_may_have_moved_the_rate_and_their_settings_count(tmp_path):
    torch = pytest.importorskip("torch")
    from tests.nets import torch_nets as nets

    def step(gamma):
        return lambda c: torch.optim.lr_scheduler.StepLR(c.optimizer, 1, gamma)

    def cycle(c):
        return torch.optim.lr_scheduler.OneCycleLR(c.optimizer, 0.1, total_steps=4)

    for name, scheduler in (("step", step(0.5)), ("cycle", cycle)):
        fit(nets, tmp_path / name, scheduler=scheduler, nb_epochs=2)
        assert len(fit(nets, tmp_path / name, scheduler=scheduler, nb_epochs=3, resume=True).history) == 3
    with pytest.raises(ValueError, match=r"scheduler\.gamma=0\.5, and now it is 0\.1"):
        fit(nets, tmp_path / "step", scheduler=step(0.1), nb_epochs=4, resume=True)
    with pytest.raises(ValueError, match=r"scheduler\.class='StepLR', and now it is 'OneCycleLR'"):
        fit(nets, tmp_path / "step", scheduler=cycle, nb_epochs=4, resume=True)


def test_settings_of_losses_and_optimizers_of_pytorch_count(tmp_path):
    torch = pytest.importorskip("torch")
    from tests.nets import torch_nets as nets

    def made(smoothing=0.0, frozen=False, momentum=0.9):
        classifier = nets.classifier(optimizer=lambda p, lr: torch.optim.SGD(p, lr, momentum=momentum, foreach=frozen))
        classifier._loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
        classifier.model[0].bias.requires_grad_(not frozen)
        return classifier

    fit(nets, tmp_path, made())
    for message, options in (
        (r"loss\.label_smoothing=0\.0, and now it is 0\.1", {"smoothing": 0.1}),
        (r"optimizer_settings\.momentum=0\.9, and now it is 0\.5", {"momentum": 0.5}),
        (r"with no parameter frozen, and now '.*bias' is; give", {"frozen": True}),
    ):
        with pytest.raises(ValueError, match=message):
            fit(nets, tmp_path, made(**options), nb_epochs=2, resume=True)
    assert len(fit(nets, tmp_path, made(), nb_epochs=2, resume=True).history) == 2


def test_a_checkpoint_is_not_overwritten_unasked(nets, tmp_path):
    trainer = fit(nets, tmp_path, nb_epochs=3)
    held = [(tmp_path / name).read_bytes() for name in GENERATIONS]
    classifier = nets.classifier(seed=4)
    before = nets.weights(classifier)
    with pytest.raises(
        ValueError, match=r"would overwrite; write fit\(\.\.\., resume=True\) .* another folder, or remove"
    ):
        fit(nets, tmp_path, classifier)
    assert same_weights(before, nets.weights(classifier))
    assert held == [(tmp_path / name).read_bytes() for name in GENERATIONS]
    trainer.fit(*nets.data(n=N), nb_epochs=1)  # it goes on with its own training
    assert len(trainer.history) == 4
    assert held != [(tmp_path / name).read_bytes() for name in GENERATIONS]
    for name in GENERATIONS:
        (tmp_path / name).write_bytes(b"cut off")
    with pytest.raises(ValueError, match="would overwrite"):
        fit(nets, tmp_path)


def test_a_generator_may_begin_elsewhere(nets, tmp_path):
    x, y = nets.data(n=N)

    def train(first, **options):
        trainer = CLIPTrainer(nets.classifier(), lamda=0.01, nb_pairs=2, checkpoint=tmp_path, seed=0)
        order = np.roll(np.arange(N), first)
        trainer.fit_generator(NumpyDataGenerator(x[order], y[order], batch_size=10), **options)
        return trainer

    train(0, nb_epochs=1)
    assert len(train(15, nb_epochs=2, resume=True).history) == 2
