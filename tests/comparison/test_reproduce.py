"""Published tables: their figures are whole, and ours stand beside them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from artclip.comparison import published
from artclip.comparison.defences import parse
from artclip.comparison.experiment import Experiment
from artclip.comparison.published import TABLES
from artclip.comparison.reproduce import reproduce, write

ALL = [table for tables in TABLES.values() for table in tables]


@pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
def test_tables_are_whole(table):
    assert table.rows.keys() == table.published.keys()
    for defence in table.rows.values():
        parse(defence)
    for figures in table.published.values():
        assert figures.keys() == table.columns.keys()
    settings = {k: v for k, v in table.options.items() if k != "model"}
    e = Experiment(**settings)
    e.net(table.options["model"])
    measured = {"train", "test", "worst", "lamda", *(c.name for c in e.chosen)}
    assert set(table.columns.values()) <= measured
    assert table.setting.endswith(".")


@pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
def test_claims_can_be_told_true_from_false(table):
    metrics, rng = ("train", "test", "worst", "noise", "pgd", "pgd-sign", "lamda"), np.random.default_rng(0)
    tables = [{n: dict(zip(metrics, rng.random(7) * 100, strict=True)) for n in table.rows} for _ in range(2000)]
    for text, holds in table.claims.items():
        assert {bool(holds(figures)) for figures in tables} == {True, False}, text


@pytest.fixture(scope="module")
def again():
    """A table of digits in the place of that of the README."""
    options = {**published.README.options, "model": "mlp", "nb_epochs": 6, "attack_samples": 50, "eps": 0.5}
    options |= {"attacks": ("noise", "pgd-sign", "pgd"), "activation": "relu", "noise": 0.3, "masking": False}
    table = replace(published.README, data="digits", options={**options, "lipschitz": False, "curve_samples": 0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("artclip.comparison.reproduce.TABLES", {"readme": (table,)})
        return reproduce("readme", nb_seeds=1, verbose=False)


def test_ours_are_the_figures_of_the_comparison(again):
    (one,) = again
    for name, defence in one.table.rows.items():
        row = next(row for row in one.comparison.rows if row["defence"] == defence)
        assert one.ours[name]["test"] == pytest.approx(100 * row["test"]["mean"])
        assert one.ours[name]["lamda"] == row["lamda"]["mean"]
        assert one.ours[name]["worst"] <= one.ours[name]["pgd"]
    for text, holds in one.claims.items():
        assert holds == bool(one.table.claims[text](one.ours))


def test_published_figures_stand_beside_ours(again):
    (one,) = again
    lines = one.to_markdown().splitlines()
    assert f"| None | 97.1 / {one.ours['None']['test']:.1f} |" in lines[2]
    assert lines[0].endswith("worst case, ours |")
    assert sum("hold" in line for line in lines) == len(one.table.claims)


def test_json_has_everything_but_the_samples(again, tmp_path):
    record = json.loads(write(again, tmp_path / "r.json"))
    assert record == json.loads((tmp_path / "r.json").read_text())
    (table,) = record["tables"]
    assert table["published"]["CLIP97"]["clean"] == 97.0
    assert len(table["comparison"]["cells"]) == 3
    assert "per_sample" not in table["comparison"]["cells"][0]


def test_unknown_tables_are_refused():
    with pytest.raises(ValueError, match="name='paper' is not known; use one of 'readme', 'talk'"):
        reproduce("paper")
