"""Cells on more processes, on a cluster, after a death: the same figures, and only what is lost is redone."""

import dataclasses
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import pytest

from artclip import compare, load_data
from artclip.comparison import defences, parallel
from artclip.comparison.defences import DEFENCES, Defence
from artclip.comparison.run_result import RunResult
from tests.nets import FRAMEWORKS

QUICK = {"nb_epochs": 2, "attacks": "quick", "attack_samples": 20, "eps": 0.5, "verbose": False}
QUICK |= {"curve_samples": 0, "masking": False, "lipschitz": False}
WHOLE = {**QUICK, "curve_samples": 10, "masking": True, "lipschitz": True}


def small():
    (x, y), (x_test, y_test) = load_data("digits", channels_first=FRAMEWORKS[0] == "torch")
    return (x[:200], y[:200]), (x_test[:100], y_test[:100])


def figures(comparison):
    """All that does not depend on the clock, nor on the process."""
    return [{k: v for k, v in c.figures.items() if "second" not in k and k != "peak_memory"} for c in comparison.cells]


def assert_same(one, other):
    assert figures(one) == figures(other)
    for a, b in zip(one.cells, other.cells, strict=True):
        assert (a.defence, a.seed, a.curve, a.signs, a.error) == (b.defence, b.seed, b.curve, b.signs, b.error)
        assert a.arrays.keys() == b.arrays.keys()
        for name, array in a.arrays.items():
            np.testing.assert_array_equal(array, b.arrays[name])


TWO = {"defences": "clip,adversarial", "nb_seeds": 1, **WHOLE}


@pytest.fixture(scope="module")
def here():
    """Two defences in this process."""
    return compare(small(), n_jobs=1, **TWO)


def test_jobs_side_by_side_give_the_same_figures(here):
    assert_same(here, compare(small(), n_jobs=2, **TWO))


def test_a_dask_cluster_gives_the_same_figures(here):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    )
    with cluster, distributed.Client(cluster) as client, joblib.parallel_config(backend="dask"):
        there = compare(small(), **TWO)
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 2
    assert_same(here, there)


def mortal(classifier, plan):
    """Ends its process at the second seed."""
    if plan.seed == 1:
        time.sleep(1)
        os._exit(1)
    return DEFENCES["standard"].make(classifier, plan)


def test_a_worker_that_dies_costs_its_cell_alone(monkeypatch):
    monkeypatch.setattr(defences, "DEFENCES", {**DEFENCES, "mortal": Defence(mortal)})
    found = compare(small(), defences="mortal", nb_seeds=3, n_jobs=2, **QUICK)
    assert [bool(c.error) for c in found.cells] == [False, True, False]
    assert "died twice" in found.cells[1].error
    assert found.rows[0]["error"].startswith("seed 1: ")
    assert found.rows[0]["test"]["values"] == [found.cells[0].figures["test"], found.cells[2].figures["test"]]


def counting(folder):
    def make(classifier, plan):
        (folder / f"trained {plan.seed} {time.time_ns()}").touch()
        if (folder / "stop").exists() and plan.seed == 2:
            raise KeyboardInterrupt
        return DEFENCES["standard"].make(classifier, plan)

    return make


def test_an_interrupted_comparison_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(defences, "DEFENCES", {**DEFENCES, "counting": Defence(counting(tmp_path))})
    options = {"defences": ["counting"], "nb_seeds": 4, "cache": tmp_path / "cache", **QUICK}
    (tmp_path / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        compare(small(), **options)
    (tmp_path / "stop").unlink()
    resumed = compare(small(), **options)
    assert len(list(tmp_path.glob("trained 0*"))) == len(list(tmp_path.glob("trained 1*"))) == 1
    assert len(list(tmp_path.glob("trained 2*"))) == 2
    assert_same(resumed, compare(small(), **{**options, "cache": None}))
    trained = len(list(tmp_path.glob("trained*")))
    assert_same(resumed, compare(small(), **options))
    assert len(list(tmp_path.glob("trained*"))) == trained
    x, y = small()[0]
    changed = [((x * 0.5, y), small()[1]), small(), small()]
    for data, more in zip(changed, ({}, {"eps": 0.25}, {"batch_size": 64}), strict=True):
        compare(data, **{**options, "nb_seeds": 1, **more})
        assert len(list(tmp_path.glob("trained*"))) == (trained := trained + 1)


def net_of(width, input_shape, nb_classes):
    import torch

    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.Linear(width, nb_classes))


def test_two_factories_of_one_name_are_two_rows_and_two_keys(tmp_path):
    pytest.importorskip("torch")
    options = {"defences": "standard", "nb_seeds": 1, "framework": "torch", "cache": tmp_path, **QUICK}
    narrow, wide = (functools.partial(net_of, width) for width in (1, 64))
    closed = [lambda shape, k, width=width: net_of(width, shape, k) for width in (1, 64)]
    both = compare("digits", [narrow, wide], **options)
    assert [row["net"] for row in both.rows] == ["net_of(1)", "net_of(64)"]
    assert both.rows[0]["test"]["mean"] < both.rows[1]["test"]["mean"]
    assert len(list(tmp_path.glob("*.npz"))) == 2
    for model, row in (
        (wide, both.rows[1]),
        (narrow, both.rows[0]),
        (closed[0], both.rows[0]),
        (closed[1], both.rows[1]),
    ):
        found = compare("digits", model, **options).rows[0]  # one after the other, under one name
        assert found["test"]["mean"] == row["test"]["mean"]
    assert len(list(tmp_path.glob("*.npz"))) == 4
    assert [row["net"] for row in compare("digits", [*closed, closed[0]], **options).rows] == [
        "<lambda>",
        "<lambda> (2)",
    ]


def test_what_has_no_hash_is_trained_again_and_said(tmp_path, monkeypatch):
    lock = threading.Lock()

    def guarded(classifier, plan):
        with lock:
            return DEFENCES["standard"].make(classifier, plan)

    monkeypatch.setattr(defences, "DEFENCES", {**DEFENCES, "guarded": Defence(guarded)})
    found = compare(small(), defences="guarded", nb_seeds=1, cache=tmp_path, **QUICK)
    assert not list(tmp_path.glob("*.npz"))
    assert any("mlp, guarded: lock: nothing shows" in note for note in found.notes())


def test_a_run_that_is_killed_loses_what_was_unfinished_only(tmp_path):
    options = {"defences": "standard,clip", "nb_seeds": 3, "nb_epochs": 3, "attacks": "quick", "attack_samples": 30}
    options |= {"curve_samples": 0, "lipschitz": False, "masking": False, "verbose": False, "cache": str(tmp_path)}
    call = f"    print(compare('digits', **{options!r}).to_csv())"
    code = f"from artclip import compare\nif __name__ == '__main__':\n{call}\n"
    script = tmp_path / "run.py"
    script.write_text(code)
    run = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    deadline = time.time() + 60
    while len(list(tmp_path.glob("*.npz"))) < 2 and time.time() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.npz")}
    assert 2 <= len(kept) < 6
    out = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert out.stdout.count("\n") == 4, out.stderr
    assert len(list(tmp_path.glob("*.npz"))) == 6
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in kept.items())


def test_a_cell_comes_back_from_the_cache_as_it_was():
    arrays = {"kept worst": np.array([True, False]), "u": np.ones((1, 2, 2), np.float32)}
    cell = RunResult(
        "clip", "mlp", 3, {"test": 0.5, "certified": None}, ["weak attack"], True, [{"epoch": 1}], [(0.0, 1.0)]
    )
    cell = dataclasses.replace(cell, arrays=arrays, notes=["a"], seconds=1.5)
    back = parallel._unpacked(parallel._packed(cell))
    assert dataclasses.replace(back, arrays={}) == dataclasses.replace(cell, arrays={})
    for name, array in arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)


def test_outputs_that_are_no_numbers_are_not_class_0():
    from art.estimators.classification import BlackBoxClassifier

    from artclip.comparison.experiment import _right

    outputs = np.array([[np.nan, np.nan], [1, 0], [0, 1]])
    box = BlackBoxClassifier(lambda x: outputs[: len(x)], (2,), 2, clip_values=(0, 1))
    assert _right(box, np.zeros((3, 2), np.float32), np.array([0, 0, 1])).tolist() == [False, True, True]
