"""Which PyTorch models take a batch and points beside it in one pass, and what a step leaves behind."""

import numpy as np
import pytest
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip import CLIPTrainer
from artclip.frameworks import trainable_of
from tests.nets import torch_nets


def of(*layers, shape=(6,), loss=None, **kwargs):
    net = nn.Sequential(*layers)
    options = {"optimizer": torch.optim.SGD(net.parameters(), 0.1), "clip_values": (0.0, 1.0), "device_type": "cpu"}
    return PyTorchClassifier(net, loss or nn.CrossEntropyLoss(), shape, 3, **options, **kwargs)


class Shifted(nn.Linear):
    """A layer that sees the whole batch."""

    def forward(self, x):
        return super().forward(x - x.mean(0))


def hooked():
    layer = nn.Linear(6, 3)
    layer.register_forward_hook(lambda module, inputs, outputs: outputs - outputs.mean(0))
    return layer


def hooked_behind():
    layer = nn.Linear(6, 3)
    layer.register_full_backward_hook(lambda module, inputs, outputs: tuple(g / g.norm() for g in inputs))
    return layer


def hooked_at_its_weights(register):
    def layer():
        linear = nn.Linear(6, 3)
        getattr(linear.weight, register)(lambda t: None)
        return [linear]

    return layer


class ModelWrapper(Shifted):
    """A layer of the user's own that is called as a class of ART is."""


def patched():
    layer = nn.Linear(6, 3)
    layer.forward = lambda x: nn.functional.linear(x - x.mean(0), layer.weight)
    return layer


@pytest.mark.parametrize(
    ("layers", "joins"),
    [
        (lambda: [nn.Linear(6, 3)], True),
        (lambda: [nn.Flatten(), nn.Linear(6, 3), nn.LogSoftmax(1)], True),
        (lambda: [nn.Linear(6, 3), nn.Softmax(0)], False),
        (lambda: [nn.Linear(6, 3), nn.LogSoftmax(-2)], False),
        (lambda: [nn.Unflatten(0, (-1, 1)), nn.Flatten(), nn.Linear(6, 3)], False),
        (lambda: [Shifted(6, 3)], False),
        (lambda: [hooked()], False),
        (lambda: [hooked_behind()], False),
        (hooked_at_its_weights("register_hook"), False),
        (hooked_at_its_weights("register_post_accumulate_grad_hook"), False),
        (lambda: [ModelWrapper(6, 3)], False),
        (lambda: [patched()], False),
        (lambda: [nn.Dropout(0.0), nn.Linear(6, 3)], False),
    ],
)
def test_a_model_that_may_see_more_than_one_sample_does_not(layers, joins):
    assert trainable_of(of(*layers())).joins_passes(1) is joins


@pytest.mark.parametrize("name", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_a_hook_on_all_modules_keeps_passes_apart(name):
    classifier = of(nn.Linear(6, 3))
    assert trainable_of(classifier).joins_passes(1)
    handle = getattr(nn.modules.module, f"register_module_{name}_hook")(lambda *_: None)
    try:
        assert not trainable_of(classifier).joins_passes(1)
    finally:
        handle.remove()
    assert trainable_of(classifier).joins_passes(1)


class Halved(PreprocessorPyTorch):
    """A defence."""

    def forward(self, x, y=None):
        return x / 2, y


def test_a_defence_at_predict_alone_keeps_passes_apart():
    for fit, predict in ((True, False), (False, True)):
        defence = Halved(device_type="cpu", apply_fit=fit, apply_predict=predict)
        assert trainable_of(of(nn.Linear(6, 3), preprocessing_defences=[defence])).joins_passes(1) is fit


def test_weights_that_several_layers_share_are_no_part_of_what_a_pass_keeps():
    layer = nn.Linear(6, 6, bias=False)
    f = trainable_of(of(layer, nn.Tanh(), layer, nn.Linear(6, 3, bias=False)))
    # 54 weights; the input, the tanh and the second hidden layer have 6 numbers each.
    assert f.joins_passes(3)
    assert not f.joins_passes(4)


def test_a_loss_may_write_into_the_outputs():
    def loss(outputs, y):
        outputs -= outputs.mean(1, keepdim=True)
        return nn.functional.cross_entropy(outputs, y)

    found = []
    for made in (loss, nn.CrossEntropyLoss()):  # the mean of the logits does not matter to it
        torch.manual_seed(0)
        classifier = of(nn.Linear(6, 3), loss=made)
        assert trainable_of(classifier).joins_passes(1)
        trainer = CLIPTrainer(classifier, lamda=0.3, pair_interval=1, nb_pairs=1, seed=0)
        trainer.fit(*torch_nets.data(n=32), batch_size=16, nb_epochs=2)
        found.append(trainer.history[-1]["lipschitz"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_no_gradient_is_held_while_pairs_climb_and_none_from_before_the_fit_counts(monkeypatch):
    from artclip.trainers.pair_penalty import PairPenalty

    weights = []
    for stale in (False, True):
        classifier = torch_nets.classifier("mlp")
        held, original = [], PairPenalty.advance

        def advance(self, state, x, count, net=classifier.model, held=held, original=original):
            held.append(any(p.grad is not None for p in net.parameters()))
            return original(self, state, x, count)

        monkeypatch.setattr(PairPenalty, "advance", advance)
        if stale:
            for p in classifier.model.parameters():
                p.grad = torch.ones_like(p)
        CLIPTrainer(classifier, pair_interval=1, seed=0).fit(*torch_nets.data(n=48), batch_size=16, nb_epochs=1)
        monkeypatch.undo()
        assert held == [False] * 3
        weights.append(torch_nets.weights(classifier))
    assert all(np.array_equal(weights[0][k], weights[1][k]) for k in weights[0])
