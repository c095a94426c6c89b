"""The examples that draw: they run, and the figures obey the mathematics that they show."""

import importlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs an example with little training, and returns what its main function found."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def run(name):
        found = importlib.import_module(name).main(["--quick", "-o", str(tmp_path)])
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        return found

    return run


def test_pairs_climb_and_stay_below_the_steepest_slope(run, tmp_path):
    found = run("pairs_1d")
    assert (tmp_path / "pairs_1d.gif").stat().st_size > 10_000
    for path in found["paths"].values():
        quotients = np.array([q for _, _, q in path])
        assert quotients.max() <= found["slope"] * (1 + 1e-6)
        assert quotients[-1].max() > quotients[0].max()
    u, v, quotients = zip(*found["paths"]["algorithm 1"], strict=True)
    assert (np.diff(quotients, axis=0) >= 0).all()  # a step is kept only where Q rises
    u, v, _ = found["paths"]["artclip"][-1]
    np.testing.assert_allclose(np.abs(u - v), found["separation"], rtol=1e-6)


def test_a_larger_lamda_makes_a_flatter_fit(run):
    fits = run("regression_1d")
    for fit in fits.values():
        assert 0.95 * fit["slope"] <= fit["lower"] <= fit["slope"] * (1 + 1e-3)
    assert fits[1]["slope"] < fits[0]["slope"]


def test_the_search_finds_at_least_what_pairs_of_images_do(run):
    found = run("pairs_fashion")
    quotients = found["quotients"]
    assert quotients[-1].mean() > quotients[0].mean()
    assert quotients.max() <= found["lower"].value * 1.02  # both are lower bounds; the search looks harder
    best = quotients[-1].argmax()
    u, v = found["u"][-1][best], found["v"][-1][best]
    outputs = found["classifier"].predict(np.stack([u, v]))
    by_hand = np.linalg.norm(outputs[0] - outputs[1]) / np.linalg.norm(u - v)
    assert by_hand == pytest.approx(quotients[-1, best], rel=1e-3)


def test_the_constant_lies_between_the_bounds(run):
    runs = run("bounds")
    for rows in runs.values():
        for row in rows:
            assert row["pairs"] > 0
            assert row["lower"] <= row["upper"] <= row["product"] * (1 + 1e-6)
    assert runs["CLIP"][-1]["upper"] < runs["plain"][-1]["upper"]


def test_examples_of_attacks_are_wrong_answers_to_right_ones(run):
    for found in run("patch_and_spatial").values():
        assert {"patch", "spatial"} & {example.attack for example in found.examples}
        for example in found.examples:
            assert example.before.argmax() == example.label != example.after.argmax()
            assert example.adversarial.min() >= 0
            assert example.adversarial.max() <= 1
        assert all(share <= found.accuracy["clean"] for share in found.accuracy.values())
