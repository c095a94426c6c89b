"""What every trainer promises, for every net of the registry."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from artclip import CLIPTrainer, WeightRegularizationTrainer
from artclip.frameworks import trainable_of
from tests import nets

TRAINERS = {
    "clip": lambda c, **kw: CLIPTrainer(c, **{"lamda": 0.05, "pair_interval": 2, "nb_pairs": 4, **kw}),
    "clip-near": lambda c, **kw: CLIPTrainer(c, **{"lamda": 0.01, "pair_init": "near", "nb_pairs": 4, **kw}),
    "clip-data": lambda c, **kw: CLIPTrainer(c, **{"lamda": 0.01, "pair_init": "data", "nb_pairs": 4, **kw}),
    "clip-noise": lambda c, **kw: CLIPTrainer(c, **{"lamda": 0.01, "pair_init": "noise", "nb_pairs": 4, **kw}),
    "weight": lambda c, **kw: WeightRegularizationTrainer(c, **{"lamda": 0.01, **kw}),
    "spectral": lambda c, **kw: WeightRegularizationTrainer(c, **{"kind": "spectral", "lamda": 0.01, **kw}),
}
every_trainer = pytest.mark.parametrize("make", TRAINERS.values(), ids=TRAINERS.keys())
every_net = pytest.mark.parametrize("net", nets.NETS)
DEVICES = [
    "cpu",
    pytest.param(
        "gpu",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
        ],
    ),
]
every_device = pytest.mark.parametrize("device", DEVICES)


@every_device
@every_net
@every_trainer
def test_fit_changes_trainable_weights_only_and_records(net, make, device):
    classifier = nets.classifier(net, device=device)
    before = nets.weights(classifier)
    frozen = [k for k, p in classifier.model.named_parameters() if not p.requires_grad]
    trainer = make(classifier, seed=0)
    x, y = nets.data(net, n=37)
    assert trainer.fit(x, y, validation_data=(x, y), batch_size=8, nb_epochs=3) is None
    after = nets.weights(classifier)
    assert not nets.same_weights(before, after)
    assert all((before[k] == after[k]).all() for k in frozen)
    assert [r["epoch"] for r in trainer.history] == [1, 2, 3]
    for record in trainer.history:
        assert set(record) >= {"epoch", "loss", "accuracy", "val_accuracy", "lipschitz", "lamda", "seconds"}
        assert 0 <= record["accuracy"] <= 1
        assert np.isfinite(record["loss"])
    assert trainer.get_classifier() is trainer.classifier is classifier
    assert trainer.predict(x).shape == (37, nets.NB_CLASSES)


@every_device
@every_net
@every_trainer
def test_mode_and_global_rng_are_left_as_found(net, make, device):
    classifier = nets.classifier(net, device=device)
    trainer, (x, y) = make(classifier, seed=0), nets.data(net)
    for mode in (True, False):
        classifier.model.train(mode)
        first = next(iter(classifier.model.modules()))
        for module in classifier.model.modules():  # a part in another mode, as of a user who freezes BatchNorm
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train(not mode)
        modes = [m.training for m in classifier.model.modules()]
        states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        cuda = torch.cuda.get_rng_state() if device == "gpu" else None
        trainer.fit(x, y, validation_data=(x, y), nb_epochs=1)
        assert [m.training for m in classifier.model.modules()] == modes
        assert first.training is mode
        assert torch.equal(torch.get_rng_state(), states[0])
        assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
        assert cuda is None or torch.equal(torch.cuda.get_rng_state(), cuda)


@every_device
@every_trainer
def test_same_seed_same_weights_whatever_the_global_rng(make, device):
    results = []
    for global_seed, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(global_seed)
        classifier = nets.classifier("batchnorm", device=device)
        make(classifier, seed=seed).fit(*nets.data("batchnorm"), batch_size=16, nb_epochs=2)
        results.append(nets.weights(classifier))
    assert nets.same_weights(results[0], results[1], atol=0 if device == "cpu" else 1e-5)
    assert not nets.same_weights(results[0], results[2], atol=1e-3)


@every_trainer
def test_label_formats_give_the_same_weights(make):
    x, y = nets.data()
    one_hot = np.eye(nets.NB_CLASSES)[y]
    results = []
    for labels in (y, y.astype(np.int32), y.astype(float), y[:, None], one_hot, one_hot.astype(np.float32)):
        classifier = nets.classifier()
        make(classifier, seed=0).fit(x, labels, nb_epochs=2, batch_size=16)
        results.append(nets.weights(classifier))
    assert all(nets.same_weights(results[0], other) for other in results[1:])


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


@every_trainer
def test_model_dtype_is_kept(make):
    classifier = nets.classifier("mlp")
    classifier.model.double()
    x, y = nets.data()
    trainer = make(classifier, seed=0)
    trainer.fit(x.astype(np.float64), y, validation_data=(x, y), nb_epochs=1)
    assert all(w.dtype == np.float64 for w in nets.weights(classifier).values())
    assert np.isfinite(trainer.history[0]["loss"])


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
    classifier = nets.classifier(net)
    trainer, f = make(classifier, seed=0), trainable_of(classifier)
    x, y = nets.data(net, n=16)
    with f.fitting(0):
        regularizer = trainer._regularizer(f, (x, y), 0)
        from artclip.trainers.epochs import Epochs

        epoch = Epochs(f, None, regularizer, None)
        epoch._step(*f.batch(x, y), 0.01)
        with _Syncs() as syncs:
            for _ in range(60):  # past a refresh of persistent pairs
                epoch._step(*f.batch(x, y), 0.01)
        assert syncs.seen == []
        with _Syncs() as syncs:  # the counter does count
            float(torch.ones(1).sum())
        assert syncs.seen == ["_local_scalar_dense"]


@every_net
def test_pairs_see_the_model_in_eval_mode_and_leave_its_statistics_alone(net):
    classifier = nets.classifier(net)
    f = trainable_of(classifier)
    x, _ = nets.data(net)
    expected = classifier.predict(x)
    classifier.model.train()
    before, modes = nets.weights(classifier), [m.training for m in classifier.model.modules()]
    for _ in range(2):
        np.testing.assert_allclose(f.forward(f.tensor(x)).detach().numpy(), expected, atol=1e-6)
    f.pullback(f.tensor(x))
    assert nets.same_weights(before, nets.weights(classifier))
    assert [m.training for m in classifier.model.modules()] == modes


@every_trainer
def test_batches_of_any_size(make):
    for n, batch_size in ((1, 128), (5, 1), (9, 4), (7, 3), (17, 16)):
        classifier = nets.classifier()
        trainer = make(classifier, seed=0)
        trainer.fit(*nets.data(n=n), batch_size=batch_size, nb_epochs=2)
        assert np.isfinite(trainer.history[-1]["loss"]), (n, batch_size)
        assert trainer.history[-1]["skipped_steps"] == 0


def test_batchnorm_survives_a_single_sample_left_over():
    trainer = CLIPTrainer(nets.classifier("batchnorm"), seed=0)
    trainer.fit(*nets.data("batchnorm", n=17), batch_size=8, nb_epochs=1)
    assert np.isfinite(trainer.history[0]["loss"])


@every_net
def test_points_beside_a_batch_change_nothing(net):
    """f at the points is f, and the batch's loss and running statistics are those without points."""
    x, y = nets.data(net, n=12)
    results = []
    for with_points in (False, True):
        classifier = nets.classifier(net)
        f = trainable_of(classifier)
        expected = classifier.predict(x[:5])
        with f.fitting(0):
            xt, yt = f.batch(x, f.labels(y))
            loss, correct, outputs = f.loss(xt, yt, f.tensor(x[:5]) if with_points else None)
        results.append((float(loss.detach()), int(correct), nets.weights(classifier)))
        if with_points:
            np.testing.assert_allclose(outputs.detach().numpy(), expected, atol=1e-6)
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    assert results[0][1] == results[1][1]
    assert nets.same_weights(results[0][2], results[1][2])


def test_points_ride_along_only_where_the_modes_agree():
    passes = {}
    for net in nets.NETS:
        f = trainable_of(nets.classifier(net))
        x, y = nets.data(net, n=4)
        calls = []
        f.module.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        f.loss(*f.batch(x, f.labels(y)), f.tensor(x))
        passes[net] = len(calls)
    assert passes == {**dict.fromkeys(nets.NETS, 1), "batchnorm": 2, "hidden-dropout": 2}


@every_trainer
def test_arrays_of_any_layout_and_dtype_give_the_same_weights(make):
    x, y = nets.data(n=30)
    x = np.round(x * 4) / 4  # exact in float16 too
    readonly = x.copy()
    readonly.flags.writeable = False
    layouts = {
        "plain": x,
        "list": x.tolist(),
        "float64": x.astype(np.float64),
        "float16": x.astype(np.float16),
        "read-only": readonly,
        "fortran": np.asfortranarray(x),
        "reversed": x[::-1].copy()[::-1],
        "big-endian": x.astype(">f4"),
    }
    results = {}
    for name, variant in layouts.items():
        classifier = nets.classifier()
        make(classifier, seed=0).fit(variant, y, validation_data=(variant, y), nb_epochs=2, batch_size=8)
        results[name] = nets.weights(classifier)
    for name, result in results.items():
        assert nets.same_weights(results["plain"], result, atol=1e-6), name


def test_integer_images_are_taken_as_they_are():
    classifier = nets.classifier("cnn", clip_values=(0, 255), preprocessing=(0.0, 255.0))
    x, y = nets.data("cnn")
    trainer = CLIPTrainer(classifier, lamda=10.0, seed=0)
    trainer.fit((x * 255).astype(np.uint8), y, nb_epochs=2)
    assert trainer.history[-1]["lipschitz"] < 0.1  # per unit of 0..255


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
    from art.estimators.classification import PyTorchClassifier

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
