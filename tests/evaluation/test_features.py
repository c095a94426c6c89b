"""Features that stay, and such as take whole numbers alone: against linear models and all points there are."""

import itertools
import math

import numpy as np
import pytest

from artclip import evaluate
from artclip.evaluation.features import FeatureRules
from artclip.evaluation.whole_numbers import whole_steps
from artclip.norms import dual_norm, lengths
from tests.nets import default

RNG = np.random.default_rng(0)
QUIET = {"verbose": False, "seed": 0, "lipschitz": False, "masking": False}
SIZE, HIGHEST = 4, 5.0
FIXED = [0, 2]


def plane(nets, n=40):
    """A linear model of two classes on whole numbers from 0 to 5, samples and the labels that it gives them."""
    w = RNG.normal(size=(2, SIZE)).astype(np.float32)
    w -= w.mean(1, keepdims=True)
    x = RNG.integers(0, int(HIGHEST) + 1, (n, SIZE)).astype(np.float32)
    logits = x @ w.T
    clear = np.abs(logits[:, 0] - logits[:, 1]) > 0.05
    return nets.linear_classifier(w, clip_values=(0.0, HIGHEST)), x[clear], logits[clear].argmax(1), w[1] - w[0]


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_distances_are_those_along_what_may_change(nets, norm):
    classifier, x, y, w = plane(nets)
    x = x / HIGHEST * 0.02 + 2.5  # far from the ends of the range, and near to the plane
    margins = x @ w * np.where(y, 1, -1)
    y = np.where(margins > 0, y, 1 - y)
    free = np.setdiff1d(np.arange(SIZE), FIXED)
    exact = np.abs(x @ w) / lengths(w[None, free], dual_norm(norm))
    found = evaluate(classifier, x, y, norm, 1.0, "quick", fixed=FIXED, **QUIET)
    looked_at = found.right & (exact < 1)
    assert looked_at.sum() > 10
    np.testing.assert_allclose(found.distance[looked_at], exact[looked_at], rtol=0.03, atol=1e-4)
    for i, point in found.nearest.items():
        np.testing.assert_array_equal(point[FIXED], x[i].astype(np.float32)[FIXED])


@pytest.mark.parametrize(
    ("norm", "eps", "fixed"), [(math.inf, 1.0, None), (math.inf, 1.0, FIXED), (1, 2.5, None), (2, 1.5, FIXED)]
)
def test_of_whole_numbers_the_worst_case_is_that_of_all_points(norm, eps, fixed):
    classifier, x, y, w = plane(default)
    steps = np.array(list(itertools.product(range(-2, 3), repeat=SIZE)))
    steps = steps[lengths(steps.astype(float), norm) <= eps]
    steps = steps[~steps[:, fixed].any(1)] if fixed else steps
    points = x[:, None] + steps
    valid = ((points >= 0) & (points <= HIGHEST)).all(2)
    margins = (points @ w) * np.where(y, 1, -1)[:, None]
    least = np.where(valid, margins, np.inf).min(1)
    found = evaluate(classifier, x, y, norm, eps, "standard", fixed=fixed, integers=range(SIZE), **QUIET)
    assert np.all(found.survivors[least > 1e-4])  # no more than all points break
    assert not found.survivors[least < -1e-4].any()
    assert "worst case is exact" in str(found).replace("\n  ", " ")
    assert (least > 1e-4).any()
    assert (least < -1e-4).any()


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_of_whole_numbers_distances_are_those_of_all_points(norm):
    ends = np.full(6, -4, np.float32), np.array([4, 4, 4, 4, 2, 4], np.float32)
    classifier = default.classifier(clip_values=ends)
    x = RNG.integers(ends[0].astype(int), ends[1].astype(int) + 1, (60, 6)).astype(np.float32)
    y, moves = classifier.predict(x).argmax(1), [0, 3, 4]
    steps = np.zeros((17**3, 6))
    steps[:, moves] = np.array(list(itertools.product(range(-8, 9), repeat=3)))
    steps = steps[np.argsort(lengths(steps, norm), kind="stable")]
    wrong = of_all_points(classifier, x, y, steps, ends)
    exact = np.where(wrong.any(1), lengths(steps, norm)[wrong.argmax(1)], math.inf)
    found = evaluate(classifier, x, y, norm, 9.0, "quick", fixed=[1, 2, 5], integers=range(6), **QUIET).distance
    near, there = exact < 3.5, np.isfinite(exact)
    assert near.sum() > 5
    np.testing.assert_allclose(found[near], exact[near], rtol=1e-6)  # so few steps are all tried
    assert np.all(found[there] >= exact[there] - 1e-5)
    assert np.mean(found[there] > 1.01 * exact[there]) < 0.2


def of_all_points(classifier, x, y, steps, ends):
    """Which steps (k, d) from samples (n, d) lead to valid inputs with a wrong label, shape (n, k)."""
    points = (x[:, None] + steps).astype(np.float32)
    valid = ((points >= ends[0]) & (points <= ends[1])).all(2)
    labels = classifier.predict(points.reshape(-1, x.shape[1])).argmax(1).reshape(valid.shape)
    return valid & (labels != y[:, None])


@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_steps_of_whole_numbers_are_all_there_are(norm, together):
    all_of_them = np.array(list(itertools.product(range(-3, 4), repeat=3)))
    inside = (lengths(all_of_them.astype(float), norm) <= 2.5) & ((all_of_them != 0).sum(1) <= together)
    expected = {tuple(row) for row in all_of_them[inside & all_of_them.any(1)]}
    found = whole_steps(3, norm, 2.5, 500, together)
    assert {tuple(row) for row in found} == expected
    assert len(found) == len(expected)
    assert np.all(np.diff(lengths(found.astype(float), norm)) >= 0)
    assert whole_steps(3, norm, 2.5, len(expected) - 1, together) is None


def test_trees_are_searched_in_ranges_of_each_feature():
    from art.estimators.classification import SklearnClassifier
    from sklearn.ensemble import RandomForestClassifier

    ends = np.array([0, 0, -5, 0], np.float32), np.array([1, 9, 5, 20], np.float32)
    x = np.column_stack([RNG.uniform(size=60), *RNG.integers([0, -5, 0], [10, 6, 21], (60, 3)).T]).astype(np.float32)
    y = (x[:, 1] + 1.5 * x[:, 2] + 0.3 * x[:, 3] - 4 * x[:, 0] > 5).astype(int)
    classifier = SklearnClassifier(RandomForestClassifier(10, random_state=0).fit(x, y), clip_values=ends)
    found = evaluate(classifier, x, y, 2, 2.0, fixed=[0], integers=[1, 2, -1], **QUIET)
    assert not [o.error for o in found.outcomes if o.error]
    steps = np.array([(0, *s) for s in itertools.product(range(-2, 3), repeat=3) if np.linalg.norm(s) <= 2])
    fell = of_all_points(classifier, x, y, steps, ends).any(1) & found.right
    assert fell.any()
    np.testing.assert_array_equal(found.right & ~found.survivors, fell)


@pytest.mark.parametrize(
    "attack",
    [
        "noise:sigma=1",
        "fgsm",
        "pgd",
        "pgd-margin",
        "apgd-ce",
        "minimum-norm",
        "square",
        "hopskipjump:max_iter=3",
        "exhaustive",
    ],
)
def test_no_attack_breaks_the_rules(attack):
    classifier, x, y, _ = plane(default)
    found = evaluate(classifier, x[:12], y[:12], 2, 3.0, [attack], fixed=[1], integers=[0, 2], full=True, **QUIET)
    assert not [o.error for o in found.outcomes if o.error]
    for e in found.examples:
        assert e.adversarial[1] == e.x[1]
        np.testing.assert_array_equal(e.adversarial[[0, 2]], np.round(e.adversarial[[0, 2]]))
    assert "1 feature stays unchanged" in str(found).replace("\n  ", " ")
    assert found.settings["fixed"] == [1]
    assert found.settings["integers"] == [0, 2]


def test_fixed_features_raise_no_alarm():
    classifier, x, y, _ = plane(default, n=120)
    found = evaluate(classifier, x, y, 2, 2.0, "quick", fixed=[0, 1], lipschitz=False, verbose=False, seed=0)
    assert found.warnings == []
    whole = evaluate(classifier, x, y, 2, 2.0, "quick", integers=[0], lipschitz=False, verbose=False, seed=0)
    assert "leave integers out" in str(whole).replace("\n  ", " ")


def test_a_cache_tells_rules_apart(tmp_path):
    classifier, x, y, _ = plane(default)
    free, fixed, again = (
        evaluate(classifier, x, y, 2, 2.0, "quick", cache=tmp_path, fixed=mask, **QUIET)
        for mask in (None, FIXED, FIXED)
    )
    assert free.robust_accuracy < fixed.robust_accuracy
    assert fixed.robust_accuracy == again.robust_accuracy


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fixed": [1, 0, 0, 1]}, r"fixed names feature 1 twice; for a mask of 0 and 1, give np.array\(fixed, bool\)"),
        ({"integers": [3, -1]}, r"integers names feature 3 twice"),
        ({"fixed": [9]}, r"fixed names feature 9, but inputs have 4, from 0 to 3"),
        ({"fixed": range(SIZE)}, r"nothing is left"),
        ({"fixed": np.ones((2, 2), bool)}, r"mask of shape \(2, 2\)"),
        ({"fixed": "age"}, r"neither a list of indices, as \[0, 3\], nor a bool array"),
        ({"fixed": 2}, r"fixed=2 is neither a list of indices, as \[2\], nor"),
        ({"integers": [0.5]}, r"neither a list of indices"),
        ({"integers": [3]}, r"integers names feature 3, which is 0.25 in a sample"),
    ],
)
def test_what_does_not_fit_is_refused(given, said):
    classifier, x, y, _ = plane(default)
    x[5, 3] = 0.25
    with pytest.raises((ValueError, TypeError), match=said):
        evaluate(classifier, x, y, attacks="quick", **given, **QUIET)


def test_no_indices_are_no_rules():
    for none in (None, [], (), set(), np.flatnonzero([0, 0]), np.array([]), np.zeros(3, bool)):
        assert not FeatureRules.of((3,), none, none, np.zeros((1, 3)))
    assert FeatureRules.of((3,), {2, 0}, None, np.zeros((1, 3))).settings()["fixed"] == [0, 2]


def test_whole_numbers_that_float32_does_not_hold_are_refused():
    with pytest.raises(ValueError, match=r"up to 2e\+07, and float32.*16,777,216 alone"):
        FeatureRules.of((2,), None, [1], np.array([[0.0, 2e7]]))


def test_labels_that_count_are_those_of_the_model_as_deployed():
    """Rounded to one digit, probabilities of two classes are often equal, and the first class is the label."""
    from art.defences.postprocessor import Rounded

    w = np.array([[0.3, -0.2, 0.1], [-0.1, 0.3, 0.2]], np.float32)
    classifier = default.linear_classifier(w / 4, clip_values=(0.0, 5.0), postprocessing_defences=Rounded(decimals=1))
    x = np.random.default_rng(1).integers(0, 6, (60, 3)).astype(np.float32)
    y = classifier.predict(x).argmax(1)
    steps = np.array([s for s in itertools.product(range(-2, 3), repeat=3) if np.linalg.norm(s) <= 2])
    fell = of_all_points(classifier, x, y, steps, (0.0, 5.0)).any(1)
    found = evaluate(classifier, x, y, 2, 2.0, "quick", integers=range(3), **QUIET)
    np.testing.assert_array_equal(~found.survivors, fell)
    assert "worst case is exact" in str(found).replace("\n  ", " ")
    assert fell.any()
    assert not fell.all()


def test_within_less_than_a_whole_number_nothing_moves():
    classifier, x, y, _ = plane(default)
    found = evaluate(classifier, x, y, 2, [0.5, 2.0], ["exhaustive"], integers=range(SIZE), **QUIET)
    assert found.by_eps[:2] == [(0.0, 1.0), (0.5, 1.0)]
    assert found.robust_accuracy < 1
    assert not [o.error for o in found.outcomes if o.error]


def test_masks_are_for_inputs_of_any_shape():
    mask = np.zeros((2, 3), bool)
    mask[0, 1] = True
    rules = FeatureRules.of((2, 3), mask, None, np.zeros((1, 2, 3)))
    assert rules.settings() == {"fixed": [[0, 1]], "integers": None}
    moved = rules.allowed(np.zeros((4, 2, 3)), np.ones((4, 2, 3)))
    np.testing.assert_array_equal(moved == 0, np.broadcast_to(mask, moved.shape))
    with pytest.raises(ValueError, match="give a bool array of that shape"):
        FeatureRules.of((2, 3), [0], None, np.zeros((1, 2, 3)))
