"""Several devices under a tf.distribute strategy train the same model as one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
from artclip import CLIPTrainer
from tests.frameworks.several import assert_same
from tests.nets import tensorflow_nets as nets

SAME = ("default", "bracket", "keras")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of each training on one device and on two, by name."""
    path = tmp_path_factory.mktemp("replicas") / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.frameworks.keras.distributed_script", str(path)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", SAME)
def test_two_replicas_train_the_same_model_as_one(results, name):
    assert_same(*results[name])


def test_resuming_on_two_replicas_gives_the_same_bits(results):
    (_, resumed), (history, straight) = results["resumed"]
    assert resumed == straight
    assert len(history) == 4


def test_two_workers_train_and_resume_the_same_model(tmp_path, results):
    """Processes of a MultiWorkerMirroredStrategy; nothing is written in the second one's folder."""
    ports = []
    for _ in range(2):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            ports.append(found.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    started = []
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
        command = [
            sys.executable,
            "-m",
            "tests.frameworks.keras.distributed_script",
            tmp_path / f"{i}.json",
            tmp_path / str(i),
        ]
        environment = {**os.environ, "TF_CONFIG": config, "TF_CPP_MIN_LOG_LEVEL": "3"}
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors[-3000:]
    _, one = results["default"][0]
    for i in range(2):
        history, weights = json.loads((tmp_path / f"{i}.json").read_text())
        np.testing.assert_allclose(weights, one, atol=1e-5)
        assert len(history) == 4
    assert any((tmp_path / "0").iterdir())
    assert not any((tmp_path / "1").iterdir())


def test_batchnorm_trains(results):
    history, _ = results["batchnorm"][1]
    assert history[-1]["loss"] < history[0]["loss"]


def made_under(strategy, monkeypatch, **options):
    """A classifier as if its model had been made under a strategy of two replicas."""
    classifier = nets.classifier(**options)
    classifier.model._distribute_strategy = strategy
    monkeypatch.setattr(type(strategy), "num_replicas_in_sync", 2)
    return classifier


def test_an_optimizer_from_outside_of_the_strategy_is_refused(monkeypatch):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    classifier = made_under(strategy, monkeypatch)
    with pytest.raises(ValueError, match=r"make both inside `with strategy.scope\(\):`"):
        CLIPTrainer(classifier, seed=0).fit(*nets.data(), nb_epochs=1)


def test_a_train_step_of_the_users_own_is_refused(monkeypatch):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    classifier = made_under(strategy, monkeypatch, train_step=lambda model, images, labels: None)
    with pytest.raises(ValueError, match="a train_step of your own is not run on several replicas"):
        CLIPTrainer(classifier, seed=0).fit(*nets.data(), nb_epochs=1)
