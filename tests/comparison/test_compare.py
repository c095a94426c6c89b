"""The table of defences: its figures are those one would measure by hand."""

import csv
import dataclasses
import functools
import io
import json
import math
import warnings

import numpy as np
import pytest
from scipy.stats import binom

from artclip import compare, load_data
from artclip.comparison import defences
from artclip.comparison.defences import DEFENCES, Defence
from artclip.comparison.experiment import Experiment
from artclip.comparison.paired import holm, interval, mcnemar, over_seeds, sign_flip
from artclip.comparison.report import comparison_page
from artclip.comparison.result import Comparison
from artclip.comparison.run_result import RunResult
from artclip.comparison.table import columns
from artclip.reporting.intervals import wilson
from tests.nets import FRAMEWORKS

ALWAYS = ("train", "test", "noise", "pgd", "pgd-margin", "worst", "certified", "lipschitz_lower", "lipschitz_upper")
QUICK = {"nb_epochs": 2, "attacks": "quick", "attack_samples": 20, "curve_samples": 0, "verbose": False}
QUICK |= {"masking": False}


@pytest.fixture(scope="module")
def comparison():
    defences = ["standard", "weight:lamda=0.01", "clip"]
    few = {"attack_samples": 100, "curve_samples": 20, "masking": False}
    return compare("digits", defences=defences, nb_seeds=2, nb_epochs=12, eps=0.5, noise=0.3, verbose=False, **few)


def test_rows_hold_mean_and_values_of_every_seed(comparison):
    assert [row["defence"] for row in comparison.rows] == ["standard", "weight:lamda=0.01", "clip"]
    for row in comparison.rows:
        cost = ("seconds_per_epoch", "cpu_seconds", "cpu_seconds_per_epoch", "cpu_cost", "peak_memory", "gradients")
        for metric in (*ALWAYS, "lamda", *cost):
            values = row[metric]["values"]
            assert len(values) == 2
            assert row[metric]["mean"] == pytest.approx(np.mean(values))
            assert row[metric]["std"] == pytest.approx(np.std(values, ddof=1))
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
    # 27 pairs climb once with one end and 13 twice with two, then both ends of all are penalised: at every fifth
    # of the 144 steps, so that it is about 30 times.
    nb_samples = len(load_data("digits")[0][0])
    penalised = math.ceil(12 * math.ceil(nb_samples / 128) / 5)
    pairs = 27 + 2 * 2 * 13 + 2 * (27 + 13)
    assert clip["gradients"]["mean"] == pytest.approx(1 + penalised * pairs / (12 * nb_samples))


def test_costs_are_cpu_seconds_over_those_of_standard_with_the_same_seed_on_the_same_machine(comparison):
    standard, *others = comparison.rows
    assert standard["cpu_cost"]["values"] == [1.0, 1.0]
    for row in others:
        ratios = np.array(row["cpu_seconds_per_epoch"]["values"]) / standard["cpu_seconds_per_epoch"]["values"]
        assert row["cpu_cost"]["values"] == pytest.approx(list(ratios))
    for cell in comparison.cells:  # the sum of its epochs, and what comes before them
        epochs = [record["cpu_seconds"] for record in cell.history]
        assert 0 < 12 * min(epochs) <= sum(epochs) <= cell.figures["cpu_seconds"]
        assert cell.figures["cpu_seconds_per_epoch"] == pytest.approx(np.median(epochs))
        assert 50 < cell.figures["peak_memory"] < 1e5  # MiB, with a framework in it
    moved = [dataclasses.replace(c, machine="another") if c.defence == "clip" else c for c in comparison.cells]
    row = Comparison(comparison.settings, comparison.experiment, moved).rows[2]
    assert row["cpu_cost"]["mean"] is None


def test_each_accuracy_has_its_interval(comparison):
    row, nb_test = comparison.rows[2], len(load_data("digits")[1][0])
    for metric, nb in (("test", nb_test), ("noise", nb_test), ("worst", 100), ("certified", 100)):
        low, high = row[metric]["interval"]
        assert (low, high) == wilson(row[metric]["mean"], nb)
        assert low < row[metric]["mean"] < high
        assert f"[{100 * low:.1f} {100 * high:.1f}]".replace(" ", ", ") in comparison.to_markdown(intervals=True)
        assert f"[{100 * low:.1f}, " not in comparison.to_markdown()
    assert "interval" not in row["lipschitz_lower"]
    cell = json.loads(comparison.to_json())["cells"][0]
    assert cell["intervals"]["worst"] == list(wilson(cell["figures"]["worst"], 100))


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
    for title in (*titles, "Lip L2 ≥", "Lip L2 ≤", "s/epoch", "CPU ×", "gradients ×", "MiB ≤", "signs of masking"):
        assert title in lines[0]
    mean = comparison.rows[0]["test"]["mean"]
    assert f"{100 * mean:.1f} ±" in lines[2]
    assert any("upper bound of the robust accuracy" in note for note in comparison.notes())


def made(outcomes, **more):
    """A comparison of cells that kept these samples: defence -> one list of outcomes a seed."""
    cells = [
        RunResult(
            name, "mlp", seed, {"test": 1.0, "worst": float(np.mean(kept))}, arrays={"kept worst": np.array(kept)}
        )
        for name, seeds in outcomes.items()
        for seed, kept in enumerate(seeds)
    ]
    settings = {"seeds": list(range(len(next(iter(outcomes.values()))))), "norm": "2", "data": "d", "nb_attacked": 9}
    settings |= {"models": ["mlp"], "defences": list(outcomes), "nb_threads": 1}
    cells = [dataclasses.replace(c, **more) for c in cells]
    return Comparison({**settings, "n_jobs": 1}, Experiment(attacks="pgd", masking=False), cells)


def test_notes_name_the_net_where_there_are_several():
    one = made({"clip": [[True, False]]}, notes=["a target missed"], doubtful=True)
    assert "clip: a target missed." in one.notes()
    other = dataclasses.replace(one.cells[0], net="cnn", notes=[], doubtful=False)
    notes = Comparison(one.settings, one.experiment, [*one.cells, other]).notes()
    assert "clip (mlp): a target missed." in notes
    assert any(note.startswith("! The worst case of clip (mlp) may be too high") for note in notes)


def bold(comparison):
    return [line.split("|")[1].strip() for line in comparison.to_markdown().splitlines() if "**" in line]


def test_bold_is_what_the_samples_tell_from_every_other_row():
    rng = np.random.default_rng(0)
    hard = rng.permutation(200)
    good, fair, weak = (hard < n for n in (120, 112, 60))
    assert bold(made({"a": [good], "b": [weak]})) == ["a"]
    assert bold(made({"a": [good], "b": [good.copy()], "c": [weak]})) == []  # level
    assert bold(made({"a": [good], "b": [hard < 117], "c": [weak]})) == []  # 3 of 3 samples: p = 1/4
    assert bold(made({"b": [fair], "a": [good]})) == ["a"]  # 8 of 8: p = 1/128
    assert bold(made({"a": [good], **{f"b{i}": [fair] for i in range(9)}})) == []  # 9 rivals: 9/128 > 0.05
    # Three seeds make no more samples: those 3 of 3, thrice, are 3 samples still.
    assert bold(made({"a": [good] * 3, "b": [hard < 117] * 3})) == []
    # Far ahead in sum, but not in each seed: luck of a training.
    assert bold(made({"a": [good, fair], "b": [weak, good]})) == []
    assert bold(made({"a": [good]})) == []
    found = made({"a": [good], "b": [fair], "c": [weak]}).best("worst")
    assert found.row["defence"] == "a"
    assert [r.p_value for r in found.rivals] == pytest.approx([1 / 128, 2 * 2 * 0.5**60], rel=1e-3)


def test_the_paired_test_is_the_count_of_all_signs():
    rng = np.random.default_rng(1)
    for seeds in (1, 2, 3):
        d = rng.integers(-seeds, seeds + 1, 11)
        signs = 1 - 2 * ((np.arange(2**11)[:, None] >> np.arange(11)) & 1)
        expected = np.mean(np.abs(signs @ np.abs(d)) >= abs(d.sum()))
        assert sign_flip(d) == pytest.approx(expected, abs=1e-12)
    a, b = rng.random(500) < 0.6, rng.random(500) < 0.5
    assert sign_flip(a.astype(int) - b) == pytest.approx(mcnemar(a, b)[2])  # one seed: McNemar
    assert sign_flip(np.zeros(5, int)) == 1
    big = rng.integers(-5, 6, 20000)  # by fast convolution: near the normal distribution
    z = abs(big.sum()) / np.sqrt((big**2).sum())
    assert sign_flip(big) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.01)


def test_trainings_that_differ_by_luck_are_not_told_apart():
    rng, nb_seeds, nb, exact, both = np.random.default_rng(2), 3, 150, [], []
    for _ in range(300):
        hard, luck = rng.normal(size=nb), rng.normal(size=(2, nb_seeds, 1)) * 0.3
        kept = luck + hard + rng.normal(size=(2, nb_seeds, nb)) * 0.5 > 0  # one defence under two names
        differences = kept[0].astype(int) - kept[1]
        exact.append(sign_flip(differences.sum(0)))
        both.append(over_seeds(differences))
    assert np.mean(np.array(exact) < 0.05) > 0.3  # these trainings do differ
    assert np.mean(np.array(both) < 0.05) < 0.12  # three seeds are few: its degrees of freedom are an estimate
    ahead = np.tile(np.arange(nb) < 30, (nb_seeds, 1)).astype(int)
    assert over_seeds(ahead) < 1e-6
    assert over_seeds(0 * ahead) == 1
    assert interval(0 * ahead) == (0, 0)


@pytest.mark.parametrize("seed", range(6))
def test_the_interval_ends_at_the_differences_that_the_test_just_refutes(seed):
    differences = np.random.default_rng(seed).integers(-1, 2, (3, 40)).astype(float)
    low, high = interval(differences)
    assert (low + high) / 2 == pytest.approx(differences.mean())
    for end in (low, high):
        assert over_seeds(differences - end) == pytest.approx(0.05, rel=1e-6)


def test_holm_multiplies_from_the_smallest_on():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_wilson_covers_95_percent():
    n = 60
    for p in (0.02, 0.3, 0.5, 0.97):
        counts = np.arange(n + 1)
        inside = [low <= p <= high for low, high in (wilson(k / n, n) for k in counts)]
        assert binom.pmf(counts, n, p)[inside].sum() == pytest.approx(0.95, abs=0.05)
    assert wilson(0, n)[0] == 0 < wilson(0, n)[1] < 0.1
    assert wilson(1, n)[1] == 1 > wilson(1, n)[0] > 0.9
    low, high = wilson(0.5, 100)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)  # a known value


def test_without_a_worst_case_the_table_says_so():
    found = made({"a": [[True]], "b": [[True]]}, figures={"test": 0.5, "worst": None, "gradients": 1.0}, arrays={})
    lines = found.to_markdown().splitlines()
    titles, place = lines[0].split("|"), [t.strip()[:10] for t in lines[0].split("|")].index("worst case")
    assert len(titles) == len(lines[2].split("|"))
    assert lines[2].split("|")[place].strip() == "–"
    assert any("no worst case" in note for note in found.notes())
    assert "–" in comparison_page(found)
    assert json.loads(found.to_json())["rows"][0]["worst"]["mean"] is None
    assert "--" in found.to_latex()
    assert found.to_csv().splitlines()[1].startswith("mlp,a,1,0.5,")


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
    for metric in ("train", "test", "noise", "minimum-norm", "lipschitz_lower"):
        assert tables[0][metric]["values"] == tables[1][metric]["values"]


def test_of_sorted_data_all_classes_are_attacked():
    (x, y), (x_test, y_test) = load_data("digits", channels_first=FRAMEWORKS[0] == "torch")
    order = np.argsort(y_test, kind="stable")
    options = {**QUICK, "attack_samples": 50, "attacks": "fgsm", "eps": 1e-6}  # what is right before stays so
    found = compare(((x, y), (x_test[order], y_test[order])), defences=["standard"], nb_seeds=1, **options)
    assert any(
        line.startswith("The first 50 of 360 samples do not stand for all (2 of 10 classes") for line in found.notes()
    )
    kept = found.cells[0].kept
    np.testing.assert_array_equal(kept["fgsm"], kept["clean"][np.arange(50) * 360 // 50])


def divided(classifier, plan):
    return 1 / 0


def test_a_training_that_fails_is_a_row_that_says_why_and_the_others_finish(monkeypatch):
    monkeypatch.setitem(DEFENCES, "divided", Defence(divided))
    found = compare("digits", defences=["divided", "standard"], nb_seeds=2, **QUICK)
    failed, fine = found.rows
    assert failed["error"] == "ZeroDivisionError: division by zero"
    assert not fine["error"]
    assert fine["test"]["mean"] > 0
    assert "failed: " in found.to_markdown()
    assert "failed" in found.to_latex()
    assert "2 of 4 trainings failed." in found.notes()
    assert found.to_csv().count("\n") == 3


def test_arrays_that_are_no_data_are_refused():
    (x, y), (x_test, y_test) = load_data("digits", channels_first=FRAMEWORKS[0] == "torch")
    test, words = (x_test, y_test), np.array(["cat", "dog"] * len(y))[: len(y)]
    turned = np.moveaxis(x, 1, -1) if FRAMEWORKS[0] == "torch" else np.moveaxis(x, -1, 1)
    bytes_ = (255 * x).astype(np.uint8)
    for data, model, message in (
        (((x, y, test)), "mlp", "must be a name, or"),
        (((x, y[:5]), test), "mlp", "training data: x has 1437 samples, but y has 5 labels"),
        (
            ((x, words), test),
            "mlp",
            "training data: y has dtype <U3; .* holds words, as 'cat'; write names, y = np.unique",
        ),
        (((x, list(words)), test), "mlp", "training data: .* holds words"),
        (((x, words.astype(object)), test), "mlp", "training data: .* holds words"),
        (((bytes_, y), test), "mlp", r"training data lies in \[0, 255\], outside .* 0 to 1; write x / 255"),
        (((x, y), (x_test - 1, y_test)), "mlp", r"test data lies in \[-1, 0\]"),
        (((x, y), (turned[:9], y[:9])), "mlp", "training data have inputs of shape"),
        (((turned, y), (turned, y)), "cnn", "channels come at the other end.*np.moveaxis"),
        (((x.reshape(len(x), -1), y), (x.reshape(len(x), -1), y)), "cnn", r"'cnn' cannot be made .* shape \(64,\)"),
        (((x, 0 * y), test), "mlp", "one class alone"),
        (((x, np.minimum(y, 8)), test), "mlp", "test data have the label 9, but .* classes 0 to 8"),
        (((x, y - 1), test), "mlp", "training data: y has the label -1"),
        (((x * np.nan, y), test), "mlp", "training data: x has NaN"),
    ):
        with pytest.raises((ValueError, TypeError), match=message) as error:
            compare(data, model, **QUICK)
        assert "\n" not in str(error.value)


def test_a_net_is_made_anew_for_each_training():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="model is a Linear, but each training starts from a net of its own"):
        compare("digits", torch.nn.Linear(64, 10), framework="torch", **QUICK)
    with pytest.raises(ValueError, match="3 outputs a sample"):
        compare("digits", functools.partial(flat, nb_outputs=3), framework="torch", **QUICK)


def flat(input_shape, nb_classes, nb_outputs=10):
    import torch

    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, nb_outputs))


def test_what_a_training_warns_of_is_noted_and_shown_again(monkeypatch):
    def worried(classifier, plan):
        warnings.warn("λ is at\nits bound", RuntimeWarning, stacklevel=2)
        warnings.warn("only of use to programmers", DeprecationWarning, stacklevel=2)
        if plan.seed:
            warnings.warn("the target is not held", RuntimeWarning, stacklevel=2)
        return DEFENCES["standard"].make(classifier, plan)

    monkeypatch.setattr(defences, "DEFENCES", {**DEFENCES, "worried": Defence(worried)})
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        found = compare("digits", defences="worried", nb_seeds=2, **QUICK, lipschitz=False)
    assert found.rows[0]["notes"] == ["λ is at its bound", "the target is not held (seed 1)"]
    assert sum("is at" in str(w.message) for w in shown) == 2
    assert "worried: λ is at its bound." in found.notes()
    assert "worried: the target is not held (seed 1)." in comparison_page(found)


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


@pytest.mark.parametrize("model", ["mlp-200-80", "mlp-200-80-bounded", "cnn", "convnet", "resnet"])
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
    with pytest.raises(ValueError, match=r"made a int; expected an nn\.Module"):
        compare("digits", "mine:wrong", "standard", nb_seeds=1, framework="torch", **QUICK)


def test_columns_without_a_figure_are_left_out():
    cells = [RunResult("a", "mlp", 0, {"train": 1.0, "test": 0.5, "pgd": 0.25, "worst": 0.25, "certified": None})]
    found = Comparison({"seeds": [0], "norm": "2"}, Experiment(attacks="pgd", masking=False), cells)
    assert {c.metric for c in columns(found)} == {"train", "test", "pgd", "worst"}
