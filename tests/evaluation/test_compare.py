"""The table of defences: its figures are those one would measure by hand."""

import json
import math

import numpy as np
import pytest

from artclip import compare, load_data
from artclip.evaluation.defences import parse
from artclip.evaluation.experiment import METRICS
from tests.nets import FRAMEWORKS


@pytest.fixture(scope="module")
def comparison():
    defences = ["standard", "weight:lamda=0.01", "clip"]
    return compare("digits", defences=defences, nb_seeds=2, nb_epochs=12, eps=0.5, noise=0.3, verbose=False)


def test_rows_hold_mean_and_values_of_every_seed(comparison):
    assert [row["defence"] for row in comparison.rows] == ["standard", "weight:lamda=0.01", "clip"]
    for row in comparison.rows:
        for metric in METRICS:
            values = row[metric]["values"]
            assert len(values) == 2
            assert row[metric]["mean"] == pytest.approx(np.mean(values))
            assert all(math.isfinite(v) for v in values)
        assert 0.5 < row["test"]["mean"] <= 1
        assert row["pgd"]["mean"] < row["test"]["mean"]


def test_clip_is_flatter_and_more_robust_than_standard(comparison):
    standard, _, clip = comparison.rows
    assert clip["lipschitz_lower"]["mean"] < standard["lipschitz_lower"]["mean"] / 3
    assert clip["pgd"]["mean"] > standard["pgd"]["mean"]


def test_markdown_names_attack_and_kind_of_bound(comparison):
    lines = comparison.to_markdown().splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1
    for title in ("train", "test", "noise 0.3", "PGD-40 L2 0.5", "λ", "Lip L2 ≥", "s/epoch"):
        assert title in lines[0]
    mean = comparison.rows[0]["test"]["mean"]
    assert f"{100 * mean:.1f} ±" in lines[2]


def test_json_holds_what_is_needed_to_run_it_again(comparison, tmp_path):
    text = comparison.to_json(tmp_path / "c.json")
    record = json.loads((tmp_path / "c.json").read_text())
    assert record == json.loads(text)
    assert record["settings"]["seeds"] == [0, 1]
    assert record["settings"]["eps"] == 0.5
    assert {FRAMEWORKS[0], "adversarial-robustness-toolbox"} <= set(record["settings"]["versions"])


def test_same_seeds_same_accuracies():
    tables = [compare("digits", defences=["clip"], nb_seeds=1, nb_epochs=2, verbose=False).rows[0] for _ in range(2)]
    for metric in ("train", "test", "noise", "pgd", "lipschitz_lower"):
        assert tables[0][metric]["values"] == tables[1][metric]["values"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("standard", {}),
        ("clip", {}),
        ("clip@0.9", {"target_accuracy": 0.9}),
        ("weight:lamda=1e-3", {"lamda": 1e-3}),
        ("clip:lamda=0.1@0.9", {"lamda": 0.1, "target_accuracy": 0.9}),
    ],
)
def test_defence_names(name, options):
    assert parse(name)[1] == options


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clop", "defence 'clop' is not known; use one of standard, weight, spectral, clip"),
        ("clip@95", "must lie in"),
        ("clip@much", "'much' is not a number"),
        ("clip:lamda=-1", "lamda of clip:lamda=-1=-1.0"),
        ("clip:eps=1", "known is lamda"),
        ("standard@0.9", "takes no setting"),
    ],
)
def test_bad_defence_names(name, message):
    with pytest.raises(ValueError, match=message):
        parse(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "vgg"}, "model='vgg' is not known; use one of 'mlp'"),
        ({"activation": "step"}, "activation='step'"),
        ({"defences": []}, "defences is empty"),
        ({"nb_seeds": 0}, "nb_seeds=0"),
        ({"eps": 0.0}, "eps=0.0"),
        ({"norm": 5}, "norm=5"),
        ({"nb_epochs": 0}, "nb_epochs=0"),
        ({"data": "imagenet"}, "data 'imagenet' is not known"),
        ({"noise": -1}, "noise=-1"),
    ],
)
def test_bad_settings_fail_before_any_training(options, message):
    with pytest.raises(ValueError, match=message):
        compare(**{"data": "digits", "verbose": False, **options})


@pytest.mark.parametrize("model", ["mlp", "mlp-200-80", "cnn"])
def test_every_net_by_name_takes_the_data(model):
    data = load_data("digits")
    small = tuple((x[:64], y[:64]) for x, y in data)
    assert compare(small, model, ["clip"], nb_seeds=1, nb_epochs=1, verbose=False).rows[0]["test"]["mean"] >= 0
