"""Memory that stays flat, data that is never loaded whole, memory that ends, and low precision."""

import gc

import numpy as np
import pytest

from artclip import CLIPTrainer, certified_radius, lipschitz_lower_bound
from tests.nets import FRAMEWORKS
from tests.nets import default as default_nets
from tests.nets.common import same_weights

MIB = 1 << 20


@pytest.fixture(autouse=True, scope="module")
def only_new_objects():
    """Spare the collector what earlier tests have left, which may be millions of objects."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def resident():
    """MiB of this process in memory."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / MIB


def test_memory_is_flat_over_120_epochs(nets):
    x, y = nets.data("batchnorm", n=60)
    seen = []
    trainer = CLIPTrainer(
        nets.classifier("batchnorm"),
        target_accuracy=0.9,
        lamda=0.01,
        nb_pairs=4,
        restore_best=True,
        seed=0,
        callbacks=[lambda t, r: seen.append(resident()) if r["epoch"] % 40 == 30 else None],
    )
    trainer.fit(x, y, validation_data=(x, y), batch_size=20, nb_epochs=120)
    assert len(seen) == 3
    # A leak of one small snapshot an epoch would hide in this: the next test counts objects.
    assert seen[-1] - seen[0] < 20


def test_nothing_that_an_epoch_makes_outlives_it(nets):
    """The number of objects grows by the records of the history alone."""
    x, y = nets.data("batchnorm", n=60)
    counts = []

    def count(trainer, record):
        if record["epoch"] in (20, 40):
            gc.collect()
            counts.append(len(gc.get_objects()))

    trainer = CLIPTrainer(nets.classifier("batchnorm"), lamda=0.01, nb_pairs=4, seed=0, callbacks=[count])
    trainer.fit(x, y, batch_size=20, nb_epochs=40)
    assert counts[1] - counts[0] < 10 * 20


class Endless:
    """A generator of labelled noise, of any size, that holds one batch."""

    def __init__(self, size, batch_size):
        self.size, self.batch_size = size, batch_size
        self._rng = np.random.default_rng(0)

    def get_batch(self):
        x = self._rng.random((self.batch_size, 6), np.float32)
        return x, (x[:, 0] * 2.99).astype(np.int64)


def test_ten_million_samples_of_a_generator(nets):
    before = resident()
    trainer = CLIPTrainer(nets.classifier(), nb_pairs=8, seed=0)
    trainer.fit_generator(Endless(10_000_000, 1 << 15), nb_epochs=1)
    assert trainer.history[0]["gradients"] > 10_000_000
    assert resident() - before < 150


def test_ten_million_samples_on_the_disk(nets, tmp_path):
    n = 10_000_000
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (n, 6))[::2, 0] = 1
    x, y = np.load(tmp_path / "x.npy", mmap_mode="r"), np.zeros(n, np.uint8)
    y[::2] = 1
    before = resident()
    trainer = CLIPTrainer(nets.classifier(), nb_pairs=8, seed=0)
    trainer.fit(x, y, batch_size=1 << 15, nb_epochs=1)
    assert trainer.history[0]["accuracy"] > 0.9
    # Pages of the file that were read count as resident: 60 MB. Order and labels take 8 bytes a sample each.
    assert resident() - before < 60 + 16 * n / MIB + 150


def test_memory_that_ends_is_an_error_that_says_what_to_do(nets, monkeypatch):
    from artclip.trainers.loop import Epochs

    def step(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB\nmore")

    classifier = nets.classifier()
    before = nets.weights(classifier)
    monkeypatch.setattr(Epochs, "_step", step)
    with pytest.raises(MemoryError, match=r"Tried to allocate 20.00 GiB\).*smaller batch_size, or fewer nb_pairs"):
        CLIPTrainer(classifier, seed=0).fit(*nets.data(), nb_epochs=1)
    assert same_weights(before, nets.weights(classifier), atol=0)


@pytest.mark.skipif(FRAMEWORKS[0] != "torch", reason="TensorFlow has policies instead, tested with it")
def test_autocast_trains_a_flatter_net_and_shows_quotients_of_float32():
    import torch

    x, y = default_nets.data(n=200)
    constants = []
    for lamda in (0.0, 0.3):
        classifier = default_nets.classifier("sigmoid", lr=0.5)
        trainer = CLIPTrainer(classifier, lamda=lamda, pair_interval=1, nb_pairs=32, seed=0)
        with torch.autocast("cpu", torch.bfloat16):
            trainer.fit(x, y, batch_size=20, nb_epochs=20)
        constants.append(lipschitz_lower_bound(classifier, x, nb_restarts=16, seed=0).value)
        assert all(w.dtype == np.float32 for w in default_nets.weights(classifier).values())
    assert constants[1] < 0.6 * constants[0]
    weights = default_nets.weights(classifier)
    shown = []
    for enabled in (True, False):  # the last weights, one step further without a change
        default_nets.learning_rate(classifier, 0.0)
        trainer = CLIPTrainer(classifier, lamda=0.3, pair_interval=1, nb_pairs=32, seed=1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            trainer.fit(x, y, batch_size=50, nb_epochs=1)
        shown.append(trainer.history[0]["lipschitz"])
    assert same_weights(weights, default_nets.weights(classifier), atol=0)
    assert shown[0] == pytest.approx(shown[1], rel=0.03)


@pytest.mark.skipif(FRAMEWORKS[0] != "torch", reason="TensorFlow has policies instead, tested with it")
def test_autocast_certifies_as_full_precision_does():
    import torch

    x, y = default_nets.data(n=200)
    shares = []
    for enabled in (True, False):
        classifier = default_nets.classifier("mlp", lr=0.3)
        trainer = CLIPTrainer(classifier, lamda=0.0, certify_eps=0.1, upper_penalty=0.01, seed=0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            trainer.fit(x, y, batch_size=20, nb_epochs=10)
        assert all(record["skipped_steps"] == 0 for record in trainer.history)
        shares.append((certified_radius(classifier, x, y) >= 0.1).mean())
    assert shares[0] == pytest.approx(shares[1], abs=0.1)
    assert shares[1] > 0.3
