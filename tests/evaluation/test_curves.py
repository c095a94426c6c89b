"""Curves: exact for a linear model, never rising, the clean accuracy at 0."""

import json

import numpy as np
import pytest

from artclip.evaluation.curves import noise_curve, query_curve, robustness_curve
from artclip.evaluation.runner import AttackRunner, Outcome
from tests.nets import default as nets

MATRIX = np.array([[1.0, -2.0, 0.5, 0.1], [0.3, 0.4, -0.5, 0.0]])
EPS = (0.1, 0.2, 0.4, 0.8)


@pytest.fixture(scope="module")
def linear():
    """Two classes in a box that no attack reaches; every tenth label is wrong."""
    classifier = nets.linear_classifier(MATRIX, clip_values=(-10.0, 10.0))
    x = np.random.default_rng(0).uniform(-1, 1, (200, 4)).astype(np.float32)
    y = classifier.predict(x).argmax(1)
    y[::10] = 1 - y[::10]
    return classifier, x, y


@pytest.mark.parametrize(("norm", "dual"), [(1, np.inf), (2, 2), (np.inf, 1)])
def test_the_curve_of_a_linear_model_is_exact(linear, norm, dual):
    classifier, x, y = linear
    normal = MATRIX[0] - MATRIX[1]
    right = classifier.predict(x).argmax(1) == y
    distances = np.where(right, abs(x @ normal) / np.linalg.norm(normal, dual), 0)
    curve = robustness_curve(classifier, x, y, norm, EPS, seed=0, verbose=False)
    (accuracy,) = curve.accuracy.values()
    assert curve.values == [0.0, *EPS]
    assert accuracy[0] == right.mean() == 0.9
    exact = [(distances > eps).mean() for eps in EPS]
    assert np.abs(np.subtract(accuracy[1:], exact)).max() <= 1.01 / len(x)
    assert (np.diff(accuracy) <= 0).all()


def test_a_sample_that_fell_stays_fallen(linear, monkeypatch):
    """An attack that breaks other samples at a larger eps, and only those, tries nothing twice."""
    classifier, x, y = linear
    tried = []

    def attack(self, chosen, remaining):
        tried.append(int(remaining.sum()))
        broken = remaining & (np.arange(len(x)) // 50 == round(self.threat.eps) - 1)
        return Outcome(chosen, remaining.copy(), broken)

    monkeypatch.setattr(AttackRunner, "attack", attack)
    curve = robustness_curve({"a": classifier}, x, y, eps=(1.0, 3.0, 2.0), seed=0, verbose=False)
    assert curve.accuracy["a"] == pytest.approx([0.9, 0.675, 0.45, 0.225])
    assert tried == [180, 135, 90]


def test_accuracy_over_calls_falls_to_what_is_exact(linear):
    classifier, x, y = linear
    right = classifier.predict(x).argmax(1) == y
    normal = MATRIX[0] - MATRIX[1]
    exact = (right & (abs(x @ normal) / np.linalg.norm(normal) > 0.4)).mean()
    options = {"eps": 0.4, "seed": 0, "verbose": False}
    search = query_curve({"a": classifier}, x, y, attack="square", max_iter=(300, 2, 20), **options)
    assert search.values == [0, 2, 20, 300]
    shares, calls = search.accuracy["a"], search.calls["a"]
    assert shares[0] == right.mean()
    assert (np.diff(shares) <= 0).all()
    assert shares[1] > shares[-1] >= exact - 1e-9
    assert calls[0] == 0
    assert calls[2] - calls[1] == 18
    assert calls[3] - calls[2] == 280
    climb = query_curve({"a": classifier}, x, y, attack="apgd-ce", max_iter=(1, 50), **options)
    assert climb.accuracy["a"][-1] == pytest.approx(exact, abs=1.01 / len(x))
    assert climb.calls["a"][2] - climb.calls["a"][1] == 2 * 49  # a pass and a gradient a step
    (axes,) = climb.plot().axes
    assert axes.lines[0].get_xdata().tolist() == climb.calls["a"]


def test_calls_of_a_sample_that_falls_are_told_where_all_do(linear):
    classifier, x, y = linear
    found = query_curve(classifier, x, y, eps=9.0, attack="apgd-ce", max_iter=(5, 50), seed=0, verbose=False)
    (shares,), (calls,) = found.accuracy.values(), found.calls.values()
    assert shares[1:] == [0, 0]
    assert 0 < calls[1] <= calls[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"attack": "fgsm"}, "no setting max_iter"), ({"max_iter": (0, 5)}, "max_iter=0"), ({"eps": 0}, "eps=0")],
)
def test_calls_are_of_attacks_that_go_on(linear, changes, message):
    with pytest.raises(ValueError, match=message):
        query_curve(*linear, verbose=False, **changes)


def test_noise_of_width_zero_changes_nothing(linear):
    classifier, x, y = linear
    curve = noise_curve({"a": classifier, "b": classifier}, x, y, (2.0, 0.0, 0.5), seed=0, verbose=False)
    assert curve.values == [0.0, 0.5, 2.0]
    assert curve.accuracy["a"][0] == 0.9
    assert curve.spread["a"][0] == 0
    assert curve.accuracy["a"] == curve.accuracy["b"]  # the same noise
    assert 0.9 > curve.accuracy["a"][1] > curve.accuracy["a"][2] > 0.4
    assert 0 < max(curve.spread["a"]) < 0.1
    assert noise_curve(classifier, x, y, 0.5, nb_draws=1, seed=0, verbose=False).spread.popitem()[1] == [0, 0]


def test_a_seed_gives_the_same_curve(linear):
    classifier, x, y = linear
    draws = [noise_curve(classifier, x, y, 0.5, seed=seed, verbose=False).accuracy for seed in (3, 3, 400)]
    assert draws[0] == draws[1] != draws[2]


def test_a_curve_is_kept_as_json_and_drawn(linear, tmp_path):
    pytest.importorskip("matplotlib")
    classifier, x, y = linear
    models = {"a": classifier, "b": nets.linear_classifier(2 * MATRIX, clip_values=(-10.0, 10.0))}
    curve = robustness_curve(models, x, y, eps=EPS, seed=0, verbose=False)
    curve.to_json(tmp_path / "curve.json")
    kept = json.loads((tmp_path / "curve.json").read_text(encoding="utf-8"))
    assert kept["accuracy"] == curve.accuracy
    assert kept["nb_samples"] == 200
    assert kept["settings"]["seed"] == 0
    assert kept["settings"]["parameters"] == {"max_iter": 50, "nb_restarts": 1}
    assert kept["settings"]["versions"]["numpy"] == np.__version__
    (axes,) = curve.plot().axes
    assert len(axes.lines) == len(models)
    assert axes.get_xlabel() == "eps, L2"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"eps": ()}, ValueError, "eps is empty"),
        ({"eps": (0.5, -1.0)}, ValueError, "eps=-1.0"),
        ({"norm": 3}, ValueError, "norm=3"),
        ({"attack": "noise"}, ValueError, "keeps to no eps"),
        ({"attack": "pgdd"}, ValueError, "not known"),
        ({"attack": ["pgd"]}, TypeError, "attack is a list"),
        ({"attack": "apgd-dlr"}, ValueError, "APGD-DLR could not be run on .*: the DLR loss"),
        ({"estimators": {}}, ValueError, "estimators is empty"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"y": np.full(200, 2)}, ValueError, "label 2"),
    ],
)
def test_bad_input(linear, changes, error, message):
    classifier, x, y = linear
    arguments = {"estimators": classifier, "x": x, "y": y, "verbose": False, **changes}
    with pytest.raises(error, match=message):
        robustness_curve(**arguments)
