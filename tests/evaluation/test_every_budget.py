"""What an evaluation makes of distances: every budget, the cache, calls, and what nobody looked at."""

import json

import numpy as np
import pytest

import artclip
from tests.evaluation.test_nearest import MATRIX, QUIET, X, true_distances
from tests.nets import default as nets


def test_nobody_need_look():
    x, y = nets.data("mlp", n=20)
    ev = artclip.evaluate(nets.classifier("mlp"), x, y, eps=0.1, attacks=["pgd"], nb_distances=0, **QUIET)
    assert not ev.looked_at.any()
    with pytest.raises(ValueError, match="nb_distances"):
        artclip.evaluate(nets.classifier("mlp"), x, y, nb_distances=-1, **QUIET)


def test_smaller_budgets_count_what_was_found():
    labels, true = true_distances(X.astype(np.float64), 2)
    eps = np.quantile(true, [0.3, 0.6]).tolist()
    estimator = nets.linear_classifier(MATRIX)
    ev = artclip.evaluate(estimator, X, labels, eps=eps, attacks=["fgsm"], **QUIET)
    for budget, accuracy in ev.by_eps[1:]:
        assert accuracy <= 1 - np.mean(ev.distance <= budget)


def test_a_constant_model_has_a_picture():
    x, _ = nets.data("mlp", n=10)
    estimator = nets.classifier("mlp")
    nets.scale_weights(estimator, 0.0)
    y = np.asarray(estimator.predict(x)).argmax(1)
    ev = artclip.evaluate(estimator, x, y, eps=0.1, attacks=["fgsm"], masking=False, **QUIET)
    pytest.importorskip("matplotlib")
    ev.plot()
    assert "<html" in ev.to_html()


def test_one_search_tells_of_every_budget():
    """With the attack in the list, distances are of all samples, whatever nb_distances, and are those of each eps."""
    labels, true = true_distances(X.astype(np.float64), 2)
    eps = np.quantile(true, [0.3, 0.6]).tolist()
    attacks = ["minimum-norm", "apgd-ce:max_iter=10"]
    ev = artclip.evaluate(nets.linear_classifier(MATRIX), X, labels, eps=eps, attacks=attacks, nb_distances=5, **QUIET)
    assert ev.all_looked_at
    assert len(ev.nearest) == 5
    assert ev.bounded.sum() == 5
    assert ev.outcomes[0].tried.sum() == len(X)
    assert ev.robust_accuracy_at(0) == 1
    for budget, accuracy in ev.by_eps:
        assert ev.robust_accuracy_at(budget) == accuracy
        assert abs(accuracy - np.mean(true > budget)) <= 1 / len(X) + 1e-9
    curve = ev.robustness_curve([3 * eps[1], eps[0]])
    assert curve.values == [0.0, eps[0], 3 * eps[1]]
    assert curve.accuracy[ev.settings["name"]][1] == ev.by_eps[1][1]


def test_a_budget_that_nobody_looked_at_is_refused():
    labels, _ = true_distances(X.astype(np.float64), 2)
    ev = artclip.evaluate(nets.linear_classifier(MATRIX), X, labels, eps=0.1, attacks=["fgsm"], nb_distances=5, **QUIET)
    with pytest.raises(ValueError, match="name 'minimum-norm' among the attacks"):
        ev.robust_accuracy_at(0.05)


def test_a_search_that_was_interrupted_is_taken_from_the_cache(tmp_path):
    labels, _ = true_distances(X.astype(np.float64), 2)
    about = {"eps": 0.1, "attacks": ["minimum-norm"], "masking": False, "lipschitz": False, "cache": tmp_path, **QUIET}
    classifier = nets.linear_classifier(MATRIX)
    first, again = (artclip.evaluate(classifier, X, labels, **about) for _ in range(2))
    np.testing.assert_array_equal(first.distance, again.distance)
    assert again.outcomes[0].seconds == first.outcomes[0].seconds


def test_calls_are_counted_attack_by_attack():
    """Of three classes three climbs, and halvings of the way; then steps of APGD on what stands."""
    labels, true = true_distances(X.astype(np.float64), 2)
    eps = float(np.median(true))
    attacks = ["minimum-norm:max_iter=5", "apgd-ce:max_iter=10"]
    about = {"masking": False, "lipschitz": False, **QUIET}
    ev = artclip.evaluate(nets.linear_classifier(MATRIX), X, labels, eps=eps, attacks=attacks, **about)
    first, second = ev.by_calls
    assert first["gradients"] >= 15
    assert first["gradients"] < first["forward_passes"] < 15 + 30
    assert second["gradients"] - first["gradients"] == pytest.approx(11 * first["accuracy"], abs=0.4)
    assert second["accuracy"] == ev.robust_accuracy <= first["accuracy"]
    assert json.loads(ev.to_json())["by_calls"] == ev.by_calls


def test_what_another_attack_found_within_a_smaller_budget_counts_there():
    """A weak search, and an attack behind it that breaks more within each budget."""
    labels, true = true_distances(X.astype(np.float64), 1)
    eps = np.quantile(true, [0.2, 0.5, 0.8]).tolist()
    attacks = ["minimum-norm:max_iter=1", "apgd-ce"]
    ev = artclip.evaluate(nets.linear_classifier(MATRIX), X, labels, norm=1, eps=eps, attacks=attacks, **QUIET)
    assert ev.by_calls[0]["accuracy"] > ev.by_calls[1]["accuracy"] - 1e-9
    for budget, accuracy in ev.by_eps:
        assert ev.robust_accuracy_at(budget) == accuracy
    for i, example in ev.nearest.items():
        assert np.abs(example - X[i]).sum() == pytest.approx(ev.distance[i], rel=1e-5)


def test_of_two_searches_the_longer_one_tells():
    labels, _ = true_distances(X.astype(np.float64), 2)
    both = ["minimum-norm:max_iter=1", "minimum-norm:max_iter=20"]
    about = {"eps": 0.1, "masking": False, "lipschitz": False, **QUIET}
    found = [artclip.evaluate(nets.linear_classifier(MATRIX), X, labels, attacks=a, **about) for a in (both, both[1:])]
    np.testing.assert_array_equal(found[0].distance, found[1].distance)


def test_where_all_labels_are_wrong_nothing_stands():
    labels, _ = true_distances(X.astype(np.float64), 2)
    about = {"eps": 0.1, "attacks": "quick", "masking": False, "lipschitz": False, **QUIET}
    ev = artclip.evaluate(nets.linear_classifier(MATRIX), X, (labels + 1) % 3, **about)
    assert ev.robust_accuracy_at(0.05) == 0
    constant = artclip.evaluate(nets.linear_classifier(0 * MATRIX), X, np.zeros(len(X), int), **about)
    with pytest.raises(ValueError, match="gradients lead nowhere"):
        constant.robust_accuracy_at(0.05)
