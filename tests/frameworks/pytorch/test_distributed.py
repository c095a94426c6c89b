"""Several processes under torchrun train the same model as one; a process that dies ends the job, which resumes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
import torch.distributed as dist
from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip import CLIPTrainer
from artclip.frameworks import trainable_of
from artclip.frameworks.pytorch.distributed import DistributedTorchEstimator, on_all_devices
from tests.frameworks.pytorch import distributed_script
from tests.frameworks.several import assert_same
from tests.nets import torch_nets as nets

SAME = ("default", "steepest", "target", "bracket", "weight", "few", "generator")
RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SCRIPT = ["-m", "tests.frameworks.pytorch.distributed_script"]


def run(path, names, *more):
    """Trainings on two processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *RANKS, *SCRIPT, ",".join(names), str(path), *map(str, more)],
        cwd=Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of each training on one process and on two, by name; one of them goes on after a death."""
    folder = tmp_path_factory.mktemp("ranks")
    died = run(folder / "died.json", ["resumed"], folder / "state", "die")
    assert died.returncode != 0
    assert not (folder / "died.json").exists()
    done = run(folder / "found.json", (*SAME, "batchnorm", "resumed"), folder / "state")
    assert done.returncode == 0, done.stderr
    return {name: distributed_script.train(name) for name in SAME}, json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("name", SAME)
def test_two_processes_train_the_same_model_as_one(results, name):
    assert_same(*(found[name] for found in results))


def test_batchnorm_trains_and_ends_with_the_same_averages_everywhere(results):
    """The script compares all weights and buffers of all processes."""
    history, _ = results[1]["batchnorm"]
    assert history[-1]["loss"] < history[0]["loss"]


def test_a_process_that_dies_ends_the_job_which_goes_on_from_its_checkpoint(results):
    history, weights = results[1]["resumed"]
    assert weights == results[1]["default"][1]  # bit by bit
    assert [r["epoch"] for r in history] == [1, 2, 3, 4]


@pytest.fixture
def group(tmp_path):
    """A process group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_group_of_one_is_no_group(group):
    f = trainable_of(nets.classifier())
    assert on_all_devices(f) is f


def test_data_of_another_kind_on_another_process_is_refused(group, monkeypatch):
    classifier = nets.classifier()
    monkeypatch.setattr("artclip.frameworks.pytorch.distributed.several", lambda: True)
    monkeypatch.setattr(
        DistributedTorchEstimator,
        "broadcast",
        lambda self, value: {**value, "data": "other"} if isinstance(value, dict) else value,
    )
    before = nets.weights(classifier)
    with pytest.raises(ValueError, match="this process and the first one were given different data; all processes"):
        CLIPTrainer(classifier, seed=0).fit(*nets.data(), nb_epochs=1)
    assert nets.same_weights(before, nets.weights(classifier))


def test_a_model_that_averages_its_gradients_itself_is_refused(group, monkeypatch):
    net = nn.Sequential(nn.parallel.DistributedDataParallel(nn.Linear(6, 3)))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), (6,), 3, optimizer=optimizer, device_type="cpu")
    monkeypatch.setattr("artclip.frameworks.pytorch.distributed.several", lambda: True)
    with pytest.raises(ValueError, match="wrapped in DistributedDataParallel; give ART the model itself"):
        CLIPTrainer(classifier, seed=0).fit(*nets.data("mlp"), nb_epochs=1)


def test_processes_that_were_not_joined_are_warned(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.warns(RuntimeWarning, match="torchrun started 2 processes, but they have no process group"):
        CLIPTrainer(nets.classifier(), seed=0).fit(*nets.data(), nb_epochs=1)
