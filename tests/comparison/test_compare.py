"""The table of defences: its figures are those one would measure by hand."""

import csv
import io
import json
import math

import numpy as np
import pytest

from artclip import compare, load_data
from artclip.comparison.experiment import Cell, Experiment
from artclip.comparison.paired import mcnemar
from artclip.comparison.result import Comparison
from artclip.comparison.table import columns
from tests.nets import FRAMEWORKS

ALWAYS = ("train", "test", "noise", "pgd", "pgd-margin", "worst", "certified", "lipschitz_lower", "lipschitz_upper")
QUICK = {"nb_epochs": 2, "attacks": "quick", "attack_samples": 20, "curve_samples": 0, "verbose": False}
QUICK |= {"masking": False}


@pytest.fixture(scope="module")
def comparison():
    defences = ["standard", "weight:lamda=0.01", "clip"]
    few = {"attack_samples": 100, "curve_samples": 50}
    return compare("digits", defences=defences, nb_seeds=2, nb_epochs=12, eps=0.5, noise=0.3, verbose=False, **few)


def test_rows_hold_mean_and_values_of_every_seed(comparison):
    assert [row["defence"] for row in comparison.rows] == ["standard", "weight:lamda=0.01", "clip"]
    for row in comparison.rows:
        for metric in (*ALWAYS, "lamda", "seconds_per_epoch", "gradients", "cost"):
            values = row[metric]["values"]
            assert len(values) == 2
            assert row[metric]["mean"] == pytest.approx(np.mean(values))
            assert row[metric]["std"] == pytest.approx(np.std(values))
            assert all(math.isfinite(v) for v in values)
        assert 0.5 < row["test"]["mean"] <= 1
        assert row["pgd"]["mean"] < row["test"]["mean"]


def test_bounds_stand_in_their_order(comparison):
    for cell in comparison.cells:
        f = cell.figures
        assert f["certified"] <= f["worst"] <= f["pgd"]
        assert f["lipschitz_lower"] <= f["lipschitz_upper"] * (1 + 1e-4)
        eps, accuracy = zip(*cell.curve, strict=True)
        assert list(eps) == sorted(eps)
        assert list(accuracy) == sorted(accuracy, reverse=True)


def test_clip_is_flatter_and_more_robust_than_standard(comparison):
    standard, _, clip = comparison.rows
    assert clip["lipschitz_lower"]["mean"] < standard["lipschitz_lower"]["mean"] / 2
    assert clip["worst"]["mean"] > standard["worst"]["mean"]


def test_gradients_are_those_of_the_samples_and_of_the_pairs(comparison):
    standard, weight, clip = comparison.rows
    assert standard["gradients"]["values"] == weight["gradients"]["values"] == [1.0, 1.0]
    # 27 pairs climb once with one end and 13 twice with two, then both ends of all are penalised: at every second
    # of the 144 steps, so that it is 60 times at least.
    nb_samples = len(load_data("digits")[0][0])
    penalised = 12 * math.ceil(nb_samples / 128) / 2
    pairs = 27 + 2 * 2 * 13 + 2 * (27 + 13)
    assert clip["gradients"]["mean"] == pytest.approx(1 + penalised * pairs / (12 * nb_samples))


def test_costs_are_those_of_the_same_seed(comparison):
    standard, *others = comparison.rows
    assert standard["cost"]["values"] == [1.0, 1.0]
    for row in others:
        ratios = np.array(row["seconds_per_epoch"]["values"]) / standard["seconds_per_epoch"]["values"]
        assert row["cost"]["values"] == pytest.approx(list(ratios))


def test_outcomes_of_samples_are_kept(comparison):
    for cell in comparison.cells:
        assert cell.arrays["kept worst"].mean() == cell.figures["worst"]
        assert cell.arrays["kept pgd"].mean() == cell.figures["pgd"]
        assert cell.arrays["kept noise"].shape == (len(load_data("digits")[1][0]),)


def test_paired_counts_what_one_alone_survives(comparison):
    first, second = comparison.of("clip"), comparison.of("standard")
    for found, a, b in zip(comparison.paired("clip", "standard"), first, second, strict=True):
        assert found.only_first - found.only_second == round(100 * (a.figures["worst"] - b.figures["worst"]))
        assert 0 < found.p_value <= 1
        assert f"seed {a.seed}" in str(found)
    with pytest.raises(ValueError, match="attack='square' was not run; known are"):
        comparison.paired("clip", "standard", attack="square")
    with pytest.raises(ValueError, match="no row of defence 'clop'"):
        comparison.paired("clop", "standard")


def test_mcnemar_is_a_binomial_test_of_the_samples_that_differ():
    a = np.array([True] * 9 + [False] + [True] * 50)
    b = np.array([False] * 9 + [True] + [True] * 50)
    first, second, p = mcnemar(a, b)
    assert (first, second) == (9, 1)
    assert p == pytest.approx(2 * (1 + 10) / 2**10)  # at most one of ten, in either direction
    assert mcnemar(a, a) == (0, 0, 1.0)


def test_markdown_names_attack_and_kind_of_bound(comparison):
    lines = comparison.to_markdown().splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1
    titles = ("train", "test", "noise 0.3", "PGD-100 ×5 L2 0.5", "worst case L2 0.5", "certified L2 0.5", "λ")
    for title in (*titles, "Lip L2 ≥", "Lip L2 ≤", "s/epoch", "time ×", "gradients ×", "signs of masking"):
        assert title in lines[0]
    mean = comparison.rows[0]["test"]["mean"]
    assert f"{100 * mean:.1f} ±" in lines[2]
    assert any("upper bound of the robust accuracy" in note for note in comparison.notes())


def test_the_best_figure_of_a_column_is_bold(comparison):
    titles, _, *lines = ([t.strip() for t in line.split("|")] for line in comparison.to_markdown().splitlines())
    for title, metric, best in (("Lip L2 ≥", "lipschitz_lower", min), ("worst case L2 0.5", "worst", max)):
        shown = [line[titles.index(title)] for line in lines]
        place = best(range(3), key=lambda i, m=metric: comparison.rows[i][m]["mean"])
        assert shown[place].startswith("**")
    assert not any(line[titles.index("λ")].startswith("**") for line in lines)


def test_latex_escapes_and_closes(comparison):
    text = comparison.to_latex()
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({line.count("&") for line in body}) == 1
    assert r"$\pm$" in text
    assert "±" not in text
    assert "%" not in text.splitlines()[-1]


def test_csv_and_frame_hold_the_rows(comparison, tmp_path):
    text = comparison.to_csv(tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text() == text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["defence"] for row in rows] == [row["defence"] for row in comparison.rows]
    assert float(rows[2]["worst"]) == comparison.rows[2]["worst"]["mean"]
    pytest.importorskip("pandas")
    frame = comparison.to_frame().set_index("defence")
    assert frame.loc["clip", "lipschitz_lower"] == comparison.rows[2]["lipschitz_lower"]["mean"]


def test_json_holds_what_is_needed_to_run_it_again(comparison, tmp_path):
    text = comparison.to_json(tmp_path / "c.json")
    record = json.loads((tmp_path / "c.json").read_text())
    assert record == json.loads(text)
    assert record["settings"]["seeds"] == [0, 1]
    assert record["settings"]["eps"] == 0.5
    assert {FRAMEWORKS[0], "adversarial-robustness-toolbox"} <= set(record["settings"]["versions"])
    assert len(record["cells"]) == 6
    assert np.mean(record["cells"][0]["per_sample"]["worst"]) == record["cells"][0]["figures"]["worst"]


def test_same_seeds_same_figures():
    tables = [compare("digits", defences=["clip"], nb_seeds=1, **QUICK).rows[0] for _ in range(2)]
    for metric in ("train", "test", "noise", "pgd", "lipschitz_lower"):
        assert tables[0][metric]["values"] == tables[1][metric]["values"]


def test_a_training_that_fails_is_a_row_that_says_why_and_the_others_finish():
    found = compare("digits", defences=["madry:max_iter=0", "standard"], nb_seeds=2, **QUICK)
    failed, fine = found.rows
    assert failed["error"] == "ZeroDivisionError: float division by zero"
    assert not fine["error"]
    assert fine["test"]["mean"] > 0
    assert "failed: " in found.to_markdown()
    assert "failed" in found.to_latex()
    assert found.to_csv().count("\n") == 3


def test_arrays_that_are_no_data_are_refused():
    (x, y), test = load_data("digits")
    with pytest.raises(ValueError, match="must be a name, or"):
        compare((x, y, test), **QUICK)
    with pytest.raises(ValueError, match="1437 samples, but y has 5 labels"):
        compare(((x, y[:5]), test), **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "vgg"}, "model='vgg' is not known; use one of mlp"),
        ({"model": []}, "model is empty"),
        ({"activation": "step"}, "activation='step'"),
        ({"defences": []}, "defences is empty"),
        ({"nb_seeds": 0}, "nb_seeds=0"),
        ({"eps": 0.0}, "eps=0.0"),
        ({"norm": 5}, "norm=5"),
        ({"nb_epochs": 0}, "nb_epochs=0"),
        ({"data": "imagenet"}, "data 'imagenet' is not known"),
        ({"noise": -1}, "noise=-1"),
        ({"attacks": "pgdd"}, "attack 'pgdd' is not known"),
        ({"n_jobs": 0}, "n_jobs=0 must be an integer"),
        ({"nb_threads": 0}, "nb_threads=0"),
    ],
)
def test_bad_settings_fail_before_any_training(options, message):
    with pytest.raises(ValueError, match=message):
        compare(**{"data": "digits", "verbose": False, **options})


@pytest.mark.parametrize("model", ["mlp-200-80", "mlp-200-80-bounded", "cnn", "resnet"])
def test_every_net_by_name_takes_the_data(model):
    small = tuple((x[:64], y[:64]) for x, y in load_data("digits"))
    row = compare(small, model, ["clip"], nb_seeds=1, **{**QUICK, "nb_epochs": 1}, lipschitz=False).rows[0]
    assert not row["error"]
    assert row["test"]["mean"] >= 0


def test_nets_may_be_functions_and_several(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")

    def tiny(input_shape, nb_classes):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(input_shape), nb_classes))

    found = compare("digits", [tiny, "mlp"], "standard", nb_seeds=1, framework="torch", **QUICK)
    assert [row["net"] for row in found.rows] == ["tiny", "mlp"]
    assert found.to_markdown().startswith("| net ")
    with pytest.raises(ValueError, match="choose one of tiny, mlp"):
        found.of("standard")
    (tmp_path / "mine.py").write_text("def wrong(input_shape, nb_classes):\n    return 1\n")
    monkeypatch.chdir(tmp_path)
    row = compare("digits", "mine:wrong", "standard", nb_seeds=1, framework="torch", **QUICK).rows[0]
    assert "made a int; expected an nn.Module" in row["error"]


def test_columns_without_a_figure_are_left_out():
    cells = [Cell("a", "mlp", 0, {"train": 1.0, "test": 0.5, "pgd": 0.25, "worst": 0.25, "certified": None})]
    made = Comparison({"seeds": [0], "norm": "2"}, Experiment(attacks="quick", masking=False), cells)
    assert {c.metric for c in columns(made)} == {"train", "test", "pgd", "worst"}
