"""Checkpoints against kill -9 at any moment, and against files that are not what was written."""

import importlib
import json
import multiprocessing
import os
import signal
import time
import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from artclip import CLIPTrainer
from artclip.trainers import checkpoint
from artclip.trainers.checkpoint import GENERATIONS
from tests.nets import FRAMEWORKS
from tests.nets import default as nets
from tests.nets.common import same_weights

NB_EPOCHS, KILLS = 12, 7
LAZY = {"lamda": 0.01, "nb_pairs": 4, "pair_interval": 12}
# Its children start in milliseconds, and share nothing with each other.
FORK = multiprocessing.get_context("forkserver")
_ART = ("art.estimators.classification.pytorch", "art.estimators.regression.pytorch")
_OURS = ("artclip.trainers.clip", "artclip.frameworks.pytorch.estimator")
FORK.set_forkserver_preload(["pytest", "torch._dynamo", *_ART, *_OURS])
needs_fork = pytest.mark.skipif(FRAMEWORKS[0] != "torch", reason="TensorFlow cannot be forked")


def trained(folder, resume=True, nb_epochs=NB_EPOCHS, seed=3):
    trainer = CLIPTrainer(nets.classifier("batchnorm"), checkpoint=folder, seed=seed, **LAZY)
    x, y = nets.data("batchnorm", n=120)
    trainer.fit(x, y, batch_size=4, nb_epochs=nb_epochs, resume=resume)
    return trainer


def outcome(trainer):
    history = [{k: v for k, v in record.items() if "seconds" not in k} for record in trainer.history]
    return nets.weights(trainer.classifier), history


def _child(folder, kill_at, nb_epochs):
    """Trains; dies at the given event of the writing of checkpoints, before or after a call that reaches the disk."""
    module = importlib.import_module("tests.trainers.test_checkpoint")
    left = [kill_at]

    def count():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def fatal(function):
        def call(*args, **kwargs):
            count()
            result = function(*args, **kwargs)
            count()
            return result

        return call

    checkpoint.os = type("Os", (), {**vars(os), "replace": fatal(os.replace), "fsync": fatal(os.fsync)})
    checkpoint.save_file = fatal(checkpoint.save_file)
    weights, history = module.outcome(module.trained(folder, nb_epochs=nb_epochs))
    np.savez(folder / "done.npz", history=json.dumps(history), **weights)


def run(folder, kill_at=0, after=None, nb_epochs=NB_EPOCHS):
    """Whether a process trained to the end."""
    process = FORK.Process(target=_child, args=(folder, kill_at, nb_epochs))
    process.start()
    if after is not None:
        process.join(after)
        process.kill()
    process.join()
    return process.exitcode == 0


def assert_done(folder, expected):
    with np.load(folder / "done.npz") as done:
        assert json.loads(str(done["history"])) == expected[1]
        assert same_weights({k: done[k] for k in expected[0]}, expected[0], atol=0)


def timed(folder, nb_epochs):
    """Seconds of a whole run."""
    began = time.perf_counter()
    assert run(folder, nb_epochs=nb_epochs)
    return time.perf_counter() - began


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What comes of a training that nothing interrupts."""
    return outcome(trained(tmp_path_factory.mktemp("whole"), resume=False))


@needs_fork
def test_killed_at_random_moments_it_still_ends_as_if_nothing_had_happened(tmp_path, whole):
    idle, longest = (
        min(timed(tmp_path / f"{nb_epochs} {i}", nb_epochs) for i in range(2)) for nb_epochs in (1, NB_EPOCHS)
    )
    rng, kills, seen = np.random.default_rng(0), 0, set()
    for round_ in range(100):
        folder, left = tmp_path / str(round_), 1.0  # of the training
        while kills < 3 * KILLS:
            began, after = time.perf_counter(), rng.uniform(idle, idle + left * (longest - idle))
            if run(folder, after=after):
                if left == 1.0:  # the machine is faster than it was
                    longest = min(longest, time.perf_counter() - began)
                break
            kills += 1
            found = checkpoint.read(folder) if folder.exists() else None
            epoch = -1 if found is None else found[1]["outer"]["epoch"]
            seen.add(epoch)
            left = 1.0 - max(epoch, 0) / NB_EPOCHS
        assert_done(folder, whole)
        if kills >= KILLS:
            break
    assert kills >= KILLS
    assert len(seen) > 3


@needs_fork
def test_killed_at_each_stage_of_writing_it_still_ends_as_if_nothing_had_happened(tmp_path):
    expected = outcome(trained(tmp_path / "whole", resume=False, nb_epochs=4))
    for kill_at in range(1, 26):  # the first three generations
        folder = tmp_path / str(kill_at)
        assert not run(folder, kill_at, nb_epochs=4)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what a crash leaves is nothing to warn about
            checkpoint.read(folder)
        assert run(folder, nb_epochs=4)
        assert_done(folder, expected)


DAMAGES = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "cut off by one": lambda data: data[:-1],
    "no header": lambda data: data[:4],
    "a bit flipped in the header": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "a bit flipped in the arrays": lambda data: data[:-500] + bytes([data[-500] ^ 64]) + data[-499:],
    "other bytes": lambda data: bytes(reversed(data)),
    "longer": lambda data: data + b"\0" * 8,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_falls_back_to_the_one_before_and_says_so(tmp_path, damage, whole):
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "run", 7)
    path = tmp_path / "run" / GENERATIONS[0]
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.warns(RuntimeWarning, match=r"checkpoint\.safetensors is damaged .*continuing from the one before it"):
        trainer = trained(tmp_path / "run")
    assert outcome(trainer)[1] == whole[1]
    assert same_weights(outcome(trainer)[0], whole[0], atol=0)


def interrupted(folder, epoch):
    def stop(trainer, record):
        if record["epoch"] == epoch:
            raise KeyboardInterrupt

    trainer = CLIPTrainer(nets.classifier("batchnorm"), checkpoint=folder, seed=3, callbacks=[stop], **LAZY)
    x, y = nets.data("batchnorm", n=120)
    trainer.fit(x, y, batch_size=4, nb_epochs=NB_EPOCHS)


def test_two_damaged_files_are_an_error_and_change_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, 3)
    for name in GENERATIONS:
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="remove the folder to start again"):
        trained(tmp_path)


def test_nothing_but_arrays_and_text_is_in_the_file(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, 2)
    arrays, record = checkpoint.read(tmp_path)
    assert all(a.dtype.kind in "fiub" for a in arrays.values())
    assert [r["epoch"] for r in record["history"]] == [1, 2]
    assert record["seed"] == 3
    assert json.loads(json.dumps(record)) == record


def test_a_format_of_another_version_is_named(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, 1)
    path = tmp_path / GENERATIONS[0]
    arrays, record = load_file(path), checkpoint.read(tmp_path)[1]
    text = json.dumps({**record, "format": 99})
    save_file(arrays, path, metadata={"record": text, "sha256": checkpoint._digest(text, arrays)})
    with pytest.raises(ValueError, match="format 99"):
        trained(tmp_path)
