"""What is PyTorch's own: modes, devices, syncs, schedulers, losses, what ART's PyTorch estimators lack."""

import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from art.estimators.classification import PyTorchClassifier
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from artclip import (
    AdversarialLossTrainer,
    CLIPTrainer,
    GradientPenaltyTrainer,
    LipschitzPenalty,
    PairSet,
    WeightRegularizationTrainer,
)
from artclip.frameworks import function_of, trainable_of
from artclip.lipschitz.pair_rule import PairRule
from artclip.trainers.loop import Epochs
from tests.contract.test_training import every_net, every_trainer
from tests.lipschitz.test_pairs import operator_norm
from tests.nets import torch_nets as nets

NORMS = (1, 2, math.inf)


def fit(trainer, n=60, **kwargs):
    trainer.fit(*nets.data(n=n), **{"batch_size": 16, "nb_epochs": 3, **kwargs})
    return trainer


@every_net
@every_trainer
def test_mode_and_global_rng_are_left_as_found(net, make):
    classifier = nets.classifier(net)
    trainer, (x, y) = make(classifier, seed=0), nets.data(net)
    for mode in (True, False):
        classifier.model.train(mode)
        first = next(iter(classifier.model.modules()))
        for module in classifier.model.modules():  # a part in another mode, as of a user who freezes BatchNorm
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train(not mode)
        modes = [m.training for m in classifier.model.modules()]
        states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        trainer.fit(x, y, validation_data=(x, y), nb_epochs=1)
        assert [m.training for m in classifier.model.modules()] == modes
        assert first.training is mode
        assert torch.equal(torch.get_rng_state(), states[0])
        assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


@every_trainer
def test_no_tensor_on_a_default_device(make):
    x, y = nets.data("batchnorm")
    reference, classifier = nets.classifier("batchnorm"), nets.classifier("batchnorm")
    make(reference, seed=0).fit(x, y, validation_data=(x, y), nb_epochs=2, batch_size=16)
    torch.set_default_device("meta")
    try:
        make(classifier, seed=0).fit(x, y, validation_data=(x, y), nb_epochs=2, batch_size=16)
    finally:
        torch.set_default_device(None)
    assert nets.same_weights(nets.weights(reference), nets.weights(classifier))


class _Syncs(TorchDispatchMode):
    """Counts operators that make the host wait for the device: reading a value, or a shape that depends on values."""

    WAITING = ("_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "is_nonzero", "unique")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        if name in self.WAITING or (name == "_to_copy" and str((kwargs or {}).get("device")) == "cpu"):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@every_net
@every_trainer
def test_no_host_device_sync_inside_a_step(net, make):
    _check_syncs(make(nets.classifier(net), seed=0), net)


@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_no_host_device_sync_inside_a_step_with_a_certificate(net):
    _check_syncs(CLIPTrainer(nets.classifier(net), upper_penalty=0.01, certify_eps=0.1, seed=0), net)


@pytest.mark.parametrize(
    "make",
    [
        lambda c: CLIPTrainer(c, adversarial_eps=0.1, seed=0),
        lambda c: AdversarialLossTrainer(c, 0.1, max_iter=2, beta=1.0, seed=0),
        lambda c: GradientPenaltyTrainer(c, kind="jacobian", seed=0),
    ],
)
def test_no_host_device_sync_inside_a_robust_step(make):
    trainer = make(nets.classifier("cnn"))
    _check_syncs(trainer, "cnn", lamda=0.01 if isinstance(trainer, CLIPTrainer) else 0.0)


def _check_syncs(trainer, net, lamda=0.01):
    f = trainable_of(trainer.classifier)
    x, y = nets.data(net, n=16)
    with f.fitting(0):
        regularizer = trainer._regularizer(f, (x, y), 0, 1)
        epoch = Epochs(f, None, trainer._loss(f, (x, y)), regularizer, None)
        epoch._step(*f.batch(x, y), lamda)
        with _Syncs() as syncs:
            for _ in range(60):  # past a refresh of persistent pairs
                epoch._step(*f.batch(x, y), lamda)
        assert syncs.seen == []
        with _Syncs() as syncs:  # the counter does count
            float(torch.ones(1).sum())
        assert syncs.seen == ["_local_scalar_dense"]


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.1),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.1, patience=0, threshold=10.0),
    ],
)
def test_scheduler_steps_once_an_epoch(make):
    classifier = nets.classifier(lr=1.0)
    trainer = CLIPTrainer(classifier, seed=0)
    fit(trainer, scheduler=make(classifier.optimizer), nb_epochs=4)
    assert classifier.optimizer.param_groups[0]["lr"] in (pytest.approx(1e-4), pytest.approx(1e-3))


@pytest.mark.parametrize("make", [CLIPTrainer, WeightRegularizationTrainer])
def test_fit_generator_learns_from_numpy_and_torch_generators(make):
    x, y = nets.data(n=64)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=16, shuffle=False
    )
    generators = (NumpyDataGenerator(x, y, batch_size=16), PyTorchDataGenerator(loader, size=64, batch_size=16))
    for generator in generators:
        trainer = make(nets.classifier(lr=0.5), lamda=1e-3, seed=0)
        trainer.fit_generator(generator, validation_data=(x, y), nb_epochs=30)
        assert trainer.history[-1]["val_accuracy"] > 0.8
        assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]


def test_batchnorm_on_batches_of_one_is_refused_and_the_model_untouched():
    classifier = nets.classifier("batchnorm")
    before = nets.weights(classifier)
    with pytest.raises(ValueError, match="BatchNorm cannot train on a batch of one"):
        CLIPTrainer(classifier).fit(*nets.data("batchnorm"), batch_size=1)
    assert nets.same_weights(before, nets.weights(classifier))


def test_classifiers_that_cannot_be_trained():
    net = nn.Linear(6, 3)
    options = {"input_shape": (6,), "nb_classes": 3, "device_type": "cpu"}
    with pytest.raises(ValueError, match="no optimizer"):
        CLIPTrainer(PyTorchClassifier(net, nn.CrossEntropyLoss(), **options))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="no loss"):
        CLIPTrainer(PyTorchClassifier(net, None, optimizer=optimizer, **options))
    other = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="optimizer holds none of the model's parameters"):
        CLIPTrainer(PyTorchClassifier(net, nn.CrossEntropyLoss(), optimizer=other, **options))
    for p in net.parameters():
        p.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        CLIPTrainer(PyTorchClassifier(net, nn.CrossEntropyLoss(), optimizer=optimizer, **options))


def test_a_bare_module_is_told_to_be_wrapped():
    with pytest.raises(TypeError, match=r"wrap the model first.*PyTorchClassifier"):
        CLIPTrainer(nn.Linear(2, 2))


@pytest.mark.parametrize("kind", ["l2", "spectral"])
def test_weight_penalty_has_a_gradient_in_the_weights_but_not_in_biases(kind):
    classifier = nets.classifier("batchnorm")
    f = trainable_of(classifier)
    regularizer = WeightRegularizationTrainer(classifier, kind=kind)._regularizer(f, (None, None), 0, 1)
    regularizer.penalty(regularizer.state, None, None)[0].backward()
    for module in classifier.model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            assert module.weight.grad.abs().sum() > 0
            assert module.bias.grad is None
        elif isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            assert module.weight.grad is None


def test_transposed_convolution_counts_outputs_first():
    classifier = nets.classifier()
    classifier.model.add_module("up", torch.nn.ConvTranspose2d(3, 5, 2))
    assert [tuple(w.shape) for w in trainable_of(classifier).weights()][-1] == (5, 3 * 2 * 2)


def test_per_channel_preprocessing_and_channels():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 6, 3))
    std = np.array([0.5, 0.1], np.float32)
    classifier = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), (2, 6, 6), 3, preprocessing=(np.zeros(2, np.float32), std), device_type="cpu"
    )
    matrix = net[1].weight.detach().numpy().reshape(3, 2, 36) / std[None, :, None]
    x, _ = nets.data("cnn")
    pairs = PairSet(function_of(classifier), x, 8, domain="free", seed=0).ascend(200)
    assert pairs.quotients().max() == pytest.approx(np.linalg.norm(matrix.reshape(3, -1), 2), rel=1e-3)


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("q", NORMS)
def test_quotient_gradient_in_the_parameters_equals_finite_differences(p, q):
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    rule = PairRule(function_of(net), p, q, 0.5)
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 3))
    w /= np.linalg.norm(w, p, axis=1, keepdims=True)
    state = torch.from_numpy(rng.standard_normal((4, 3))), torch.from_numpy(w)
    (rule.quotients(state) ** 2).mean().backward()
    weight = net[0].weight
    for i, j in itertools.product(range(5), range(3)):
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[i, j] += step
                values.append(float((rule.quotients(state) ** 2).mean()))
                weight[i, j] -= step
        assert float(weight.grad[i, j]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("p", NORMS)
def test_default_separation_serves_large_images(p):
    """150,528 inputs, as of an ImageNet classifier: the default is above rounding in every norm."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2, bias=False))
    x = np.random.default_rng(0).uniform(size=(2, 3, 224, 224)).astype(np.float32)
    pairs = PairSet(function_of(net), x, 2, norm=p, domain="free", seed=0).ascend(5)
    expected = operator_norm(net[1].weight.detach().numpy(), p, 2) if p != math.inf else None
    if expected:
        assert pairs.quotients().max() <= expected * 1.02
        assert pairs.quotients().max() >= expected * 0.5


class _OneHotMSE(torch.nn.Module):
    def forward(self, outputs, y):
        return ((outputs - y) ** 2).mean()


@pytest.mark.parametrize(
    ("loss", "last", "nb_classes"),
    [
        (torch.nn.CrossEntropyLoss(), torch.nn.Identity(), 3),
        (torch.nn.CrossEntropyLoss(), torch.nn.Identity(), 2),
        (torch.nn.NLLLoss(), torch.nn.LogSoftmax(1), 3),
        (torch.nn.MultiMarginLoss(), torch.nn.Identity(), 3),
        (_OneHotMSE(), torch.nn.Softmax(1), 3),
        (torch.nn.BCEWithLogitsLoss(), torch.nn.Identity(), 1),
        (torch.nn.BCELoss(), torch.nn.Sigmoid(), 1),
    ],
)
def test_losses_that_art_knows_learn(loss, last, nb_classes):
    x, y = nets.data(n=200)
    y = y if nb_classes == 3 else (y > 1).astype(int)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, nb_classes), last)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    shown = max(2, nb_classes)  # one output stands for two classes
    classifier = PyTorchClassifier(net, loss, (6,), shown, optimizer=optimizer, clip_values=(0, 1), device_type="cpu")
    trainer = CLIPTrainer(classifier, lamda=1e-4, seed=0)
    for labels in (y, np.eye(shown)[y]):
        trainer.fit(x, labels, validation_data=(x, labels), batch_size=20, nb_epochs=30)
    assert trainer.history[-1]["val_accuracy"] > 0.9


def test_penalty_sends_no_gradient_to_the_batch_and_leaves_modes_alone():
    classifier, (x, _) = nets.classifier("batchnorm"), nets.data("batchnorm")
    classifier.model.train()
    xt = torch.from_numpy(x).requires_grad_(True)
    LipschitzPenalty(classifier, x, seed=0)(xt).backward()
    assert xt.grad is None
    assert classifier.model[0].weight.grad.abs().sum() > 0
    assert all(m.training for m in classifier.model.modules())


def test_penalty_takes_tensors_to_start_from():
    x, _ = nets.data()
    values = [float(LipschitzPenalty(nets.classifier(), v, seed=0)().detach()) for v in (x, torch.from_numpy(x))]
    assert values[0] == values[1]


@pytest.mark.parametrize("processor", [None, lambda t: torch.nn.functional.interpolate(t, size=8)])
def test_hugging_face_classifier(processor):
    transformers = pytest.importorskip("transformers")
    from art.estimators.classification.hugging_face import HuggingFaceClassifierPyTorch

    side = 8 if processor is None else 4
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(image_size=8, patch_size=4, num_channels=1, num_labels=3, **sizes)
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(config)
    classifier = HuggingFaceClassifierPyTorch(
        model,
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, side, side),
        nb_classes=3,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
        clip_values=(0.0, 1.0),
        processor=processor,
        device_type="cpu",
    )
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(90, 1, side, side)).astype(np.float32), np.arange(90) % 3
    x[np.arange(90), 0, :, y] += 0.5  # a bright column tells the class
    x = np.clip(x, 0, 1)
    f = trainable_of(classifier)
    np.testing.assert_allclose(f.host(f.forward(f.tensor(x))), classifier.predict(x), atol=1e-5)
    trainer = CLIPTrainer(classifier, lamda=1e-3, pair_interval=6, seed=0)
    trainer.fit(x, y, batch_size=15, nb_epochs=40)
    assert np.mean([record["accuracy"] for record in trainer.history[-10:]]) > 0.8  # one epoch goes up and down by 0.1
    assert trainer.history[-1]["lipschitz"] > 0


def test_seeds_may_be_nested_and_each_goes_on_where_it_was():
    f = function_of(nn.Linear(2, 2))
    before = torch.get_rng_state()
    with f.seeded(3):
        whole = torch.rand(4)
    with f.seeded(3):
        first = torch.rand(2)
        with f.seeded(4):
            torch.rand(5)
        second = torch.rand(2)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(torch.get_rng_state(), before)
