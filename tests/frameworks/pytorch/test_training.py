"""What PyTorch's users bring to a training: optimizers of all kinds, averages of weights, modules in eval mode."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from artclip import CLIPTrainer, LipschitzPenalty, WeightRegularizationTrainer
from tests.nets import torch_nets as nets
from tests.nets.common import same_weights


def fit(classifier, **options):
    trainer = CLIPTrainer(classifier, seed=0, **options)
    trainer.fit(*nets.data(), batch_size=20, nb_epochs=2)
    return trainer


class SAM(torch.optim.SGD):
    """As Sharpness-Aware Minimisation is written: two steps a step, and a closure that has a default."""

    def first_step(self, zero_grad=False):
        pass

    def second_step(self, zero_grad=False):
        pass

    def step(self, closure=None):
        assert closure is not None


class ScheduleFree(torch.optim.SGD):
    """As the package schedulefree has them."""

    def train(self):
        pass

    def eval(self):
        pass


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (torch.optim.LBFGS, "LBFGS, whose step evaluates the loss several times"),
        (SAM, "SAM, whose step evaluates the loss several times"),
        (ScheduleFree, "other weights in train and in eval mode"),
        (torch.optim.SparseAdam, "SparseAdam takes sparse gradients alone"),
    ],
)
def test_optimizers_of_another_kind_are_named(optimizer, message):
    with pytest.raises(ValueError, match=message):
        CLIPTrainer(nets.classifier(optimizer=optimizer))


def test_each_way_to_compute_a_step_trains_the_same():
    found = []
    for options in ({}, {"foreach": True}, {"fused": True}, {"differentiable": False}):
        classifier = nets.classifier(optimizer=lambda p, lr, options=options: torch.optim.Adam(p, lr, **options))
        fit(classifier)
        found.append(nets.weights(classifier))
    for weights in found[1:]:
        assert same_weights(weights, found[0], atol=1e-5)


def test_a_rate_in_a_tensor_survives_a_checkpoint(tmp_path):
    def made(seed=0):
        return nets.classifier(seed=seed, optimizer=lambda p, lr: torch.optim.Adam(p, torch.tensor(lr)))

    plain, half, resumed = made(), made(), made(5)
    for classifier, nb_epochs, options in ((plain, 2, {}), (half, 1, {}), (resumed, 2, {"resume": True})):
        trainer = CLIPTrainer(classifier, np.float32(0.1), seed=0, checkpoint=None if classifier is plain else tmp_path)
        trainer.fit(*nets.data(), batch_size=20, nb_epochs=nb_epochs, **options)
    assert same_weights(nets.weights(resumed), nets.weights(plain))
    assert isinstance(resumed.optimizer.param_groups[0]["lr"], torch.Tensor)


def test_averages_of_weights_are_kept_by_a_callback():
    """After each epoch; the net that they are of is trained as without them."""
    plain, classifier = nets.classifier("batchnorm"), nets.classifier("batchnorm")
    average = AveragedModel(classifier.model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    x, y = nets.data("batchnorm")
    states = []

    def update(trainer, record):
        average.update_parameters(trainer.classifier.model)
        states.append(copy.deepcopy(trainer.classifier.model.state_dict()))

    for made, callbacks in ((plain, ()), (classifier, [update])):
        CLIPTrainer(made, seed=0, callbacks=callbacks).fit(x, y, batch_size=20, nb_epochs=2)
    assert same_weights(nets.weights(plain), nets.weights(classifier))
    for name, parameter in average.module.named_parameters():
        torch.testing.assert_close(parameter.data, (states[0][name] + states[1][name]) / 2)
    parts = torch.optim.SGD(average.parameters(), lr=0.1)
    made = nets.PyTorchClassifier(average, nn.CrossEntropyLoss(), (2, 6, 6), 3, optimizer=parts, device_type="cpu")
    with pytest.raises(ValueError, match="AveragedModel, whose weights are averages and not trained"):
        CLIPTrainer(made)


class FrozenNorm(nn.Module):
    """BatchNorm that stays in eval mode, as a ``train`` of the model's own says."""

    def __init__(self, keeps):
        super().__init__()
        self.norm, self.last, self.keeps = nn.BatchNorm1d(6), nn.Linear(6, 3), keeps

    def train(self, mode=True):
        super().train(mode)
        if self.keeps:
            self.norm.eval()
        return self

    def forward(self, x):
        return self.last(self.norm(x))


@pytest.mark.parametrize("keeps", [True, False])
def test_modules_are_in_the_mode_that_the_models_train_sets(keeps):
    """A module that was put into eval mode by hand is trained all the same, and is in that mode again afterwards."""
    model = FrozenNorm(keeps)
    model.train()
    model.norm.eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fit(nets.PyTorchClassifier(model, nn.CrossEntropyLoss(), (6,), 3, optimizer=optimizer, device_type="cpu"))
    assert np.allclose(model.norm.running_mean, 0) == keeps
    assert not model.norm.training
    assert model.last.training


class Tokens(nn.Module):
    def __init__(self, makes_integers=True):
        super().__init__()
        self.embedding, self.last = nn.Embedding(10, 8, sparse=True), nn.Linear(32, 3)
        self.makes_integers = makes_integers

    def forward(self, x):
        return self.last(self.embedding(x.long() if self.makes_integers else x).flatten(1))


def of_tokens(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return nets.PyTorchClassifier(net, nn.CrossEntropyLoss(), (4,), 3, optimizer=optimizer, device_type="cpu")


def test_sparse_gradients_of_an_embedding_are_limited_too():
    net = Tokens()
    before = [p.detach().clone() for p in net.parameters()]
    trainer = WeightRegularizationTrainer(of_tokens(net), lamda=0.0, seed=0)
    trainer.fit(*nets.tokens(), batch_size=48, nb_epochs=1, max_grad_norm=0.01)
    moved = sum((p - q).square().sum() for p, q in zip(net.parameters(), before, strict=True)).sqrt()
    assert moved.item() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_a_model_that_wants_integers_is_told_how_to_get_them():
    x, y = nets.tokens()
    with pytest.raises(ValueError, match=r"x\.long\(\)"):
        WeightRegularizationTrainer(of_tokens(Tokens(False))).fit(x, y, nb_epochs=1)
    with pytest.raises(ValueError, match=r"x\.long\(\)"):
        LipschitzPenalty(Tokens(False), x)


@pytest.mark.parametrize("make", [nets.classifier, nets.regressor])
def test_a_loss_that_is_not_summed_up_is_refused_untouched(make):
    estimator = make()
    kind = nn.CrossEntropyLoss if make is nets.classifier else nn.MSELoss
    estimator._loss = kind(reduction="none")
    x, y = nets.data() if make is nets.classifier else (np.linspace(0, 1, 20, dtype=np.float32)[:, None],) * 2
    before = nets.weights(estimator)
    trainer = CLIPTrainer(estimator)
    with pytest.raises(ValueError, match=r"^the loss gives numbers of shape .* give it reduction='mean'$"):
        trainer.fit(x, y)
    assert nets.same_weights(before, nets.weights(estimator))
    assert trainer.history == []
