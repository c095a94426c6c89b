"""The nearest adversarial example: exact where the distance is known, never nearer than a certificate allows."""

import json

import numpy as np
import pytest

import artclip
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.features import FeatureRules
from artclip.evaluation.minimum_norm import nearest_examples
from artclip.evaluation.nearest import Nearest, known_distances, search_nearest
from artclip.norms import dual_norm

NORMS = (1, 2, np.inf)
MATRIX = np.random.default_rng(0).standard_normal((3, 6))
X = np.random.default_rng(1).uniform(0.2, 0.8, size=(30, 6)).astype(np.float32)
QUIET = {"verbose": False, "seed": 0}


def true_distances(x, norm):
    """Of linear logits without a range: the margin over the dual norm of the difference of rows, the least."""
    logits = x @ MATRIX.T
    labels = logits.argmax(1)
    found = np.full((len(x), 3), np.inf)
    for i, label in enumerate(labels):
        for j in set(range(3)) - {int(label)}:
            found[i, j] = (logits[i, label] - logits[i, j]) / np.linalg.norm(MATRIX[label] - MATRIX[j], dual_norm(norm))
    return labels, found.min(1)


@pytest.mark.parametrize("norm", NORMS)
def test_distances_of_a_linear_model_are_exact(nets, norm):
    labels, true = true_distances(X.astype(np.float64), norm)
    evaluated = EvaluatedModel(nets.linear_classifier(MATRIX, clip_values=None), X, labels)
    found = search_nearest(evaluated, norm, np.arange(len(X))).distance
    assert np.all(found >= true * (1 - 1e-4))
    assert np.median(found / true) < 1.01
    assert np.mean(found / true < 1.05) > 0.9


@pytest.mark.parametrize("norm", NORMS)
def test_units_do_not_matter(nets, norm):
    labels, _ = true_distances(X.astype(np.float64), norm)
    small = EvaluatedModel(nets.linear_classifier(MATRIX), X, labels)
    large = EvaluatedModel(nets.linear_classifier(MATRIX / 255, clip_values=(0, 255)), 255 * X, labels)
    index = np.arange(len(X))
    one, other = (search_nearest(of, norm, index).distance for of in (small, large))
    assert np.allclose(other, 255 * one, rtol=1e-2)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_examples_are_valid_and_wrong(nets, name, norm):
    x, _ = nets.data(name, n=20)
    estimator = nets.classifier(name)
    labels = np.asarray(estimator.predict(x)).argmax(1)
    evaluated = EvaluatedModel(estimator, x, labels)
    points = nearest_examples(evaluated.classifier, evaluated.x, labels, norm)
    there = np.isfinite(points.reshape(len(points), -1)).all(1)
    assert there.any()
    assert points[there].min() >= 0
    assert points[there].max() <= 1
    assert (evaluated.decide(points[there]) != labels[there]).mean() > 0.95


def test_an_evaluation_has_both_truths(nets):
    estimator, (x, _) = nets.classifier("mlp"), nets.data("mlp", n=40)
    y = np.asarray(estimator.predict(x)).argmax(1)
    y[0] = (y[0] + 1) % 3
    ev = artclip.evaluate(estimator, x, y, eps=0.1, attacks=["pgd"], nb_distances=30, **QUIET)
    assert ev.distance[0] == 0
    assert ev.looked_at.sum() == 30
    assert np.isnan(ev.distance[31:]).all()
    assert np.all(ev.radius[ev.looked_at] <= ev.distance[ev.looked_at] * (1 + 1e-3))
    assert np.median(ev.radius[ev.looked_at]) > 0
    assert set(np.flatnonzero(ev.right & (ev.distance <= 0.1))) <= set(np.flatnonzero(~ev.survivors))
    for i, example in ev.nearest.items():
        assert np.argmax(estimator.predict(example[None])) != y[i]
        assert np.linalg.norm(example - x[i]) >= ev.distance[i] * (1 - 1e-6)
    record = json.loads(ev.to_json())
    assert record["distance"][0] == 0
    assert record["distance"][-1] is None
    assert len(record["radius"]) == 40
    assert "nearest adversarial examples found, of 30 samples" in str(ev)


def test_nobody_need_look(nets):
    x, y = nets.data("mlp", n=20)
    ev = artclip.evaluate(nets.classifier("mlp"), x, y, eps=0.1, attacks=["pgd"], nb_distances=0, **QUIET)
    assert not ev.looked_at.any()
    with pytest.raises(ValueError, match="nb_distances"):
        artclip.evaluate(nets.classifier("mlp"), x, y, nb_distances=-1, **QUIET)


def test_smaller_budgets_count_what_was_found(nets):
    labels, true = true_distances(X.astype(np.float64), 2)
    eps = np.quantile(true, [0.3, 0.6]).tolist()
    estimator = nets.linear_classifier(MATRIX)
    ev = artclip.evaluate(estimator, X, labels, eps=eps, attacks=["fgsm"], **QUIET)
    for budget, accuracy in ev.by_eps[1:]:
        assert accuracy <= 1 - np.mean(ev.distance <= budget)


def test_what_is_known_of_all_samples():
    right, fell_at = np.array([True, True, False, True]), np.array([1.0, np.inf, np.inf, np.inf])
    found = Nearest(np.array([0, 1]), np.array([2.0, np.inf]), np.zeros((2, 1)), 0.0, 0, 0)
    known = known_distances(found, right, fell_at)
    assert known[:3].tolist() == [1.0, np.inf, 0.0]
    assert np.isnan(known[3])


def test_places_without_slopes_are_left():
    """Behind a saturated sigmoid nothing is found from the sample itself."""

    class Flat:
        """Logits (0, z), of which z rises in the second half of the range alone."""

        nb_classes, clip_values, loss, stepped, rules = 2, (0.0, 1.0), "margin", False, FeatureRules()

        def limits(self, x):
            return self.rules.limits(x, *self.clip_values)

        def with_loss(self, loss):
            return self

        def predict(self, x):
            return np.stack([np.zeros(len(x)), np.maximum(x[:, 0] - 0.5, 0) - 0.2], 1)

        def margins(self, x, y):
            z = self.predict(x)[:, 1]
            slopes = np.zeros_like(x)
            slopes[:, 0] = x[:, 0] > 0.5
            return z, z, slopes

    x = np.full((5, 2), 0.3)
    points = nearest_examples(Flat(), x, np.zeros(5, int), 2)
    assert np.allclose(points, [0.7, 0.3], atol=0.2)


def test_a_constant_model_has_a_picture(nets):
    x, _ = nets.data("mlp", n=10)
    estimator = nets.classifier("mlp")
    nets.scale_weights(estimator, 0.0)
    y = np.asarray(estimator.predict(x)).argmax(1)
    ev = artclip.evaluate(estimator, x, y, eps=0.1, attacks=["fgsm"], masking=False, **QUIET)
    pytest.importorskip("matplotlib")
    ev.plot()
    assert "<html" in ev.to_html()


def test_layers_of_a_bare_model_are_read(nets):
    x, _ = nets.data("mlp", n=20)
    estimator = nets.classifier("mlp")
    y, bare = np.asarray(estimator.predict(x)).argmax(1), estimator.model
    ev = artclip.evaluate(bare, x, y, eps=0.01, attacks=["fgsm"], masking=False, clip_values=(0, 1), **QUIET)
    assert ev.lipschitz["upper"] is not None
    assert np.median(ev.radius[ev.looked_at]) > 0


def test_one_search_tells_of_every_budget(nets):
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


def test_a_budget_that_nobody_looked_at_is_refused(nets):
    labels, _ = true_distances(X.astype(np.float64), 2)
    ev = artclip.evaluate(nets.linear_classifier(MATRIX), X, labels, eps=0.1, attacks=["fgsm"], nb_distances=5, **QUIET)
    with pytest.raises(ValueError, match="name 'minimum-norm' among the attacks"):
        ev.robust_accuracy_at(0.05)


def test_a_search_that_was_interrupted_is_taken_from_the_cache(nets, tmp_path):
    labels, _ = true_distances(X.astype(np.float64), 2)
    about = {"eps": 0.1, "attacks": ["minimum-norm"], "masking": False, "lipschitz": False, "cache": tmp_path, **QUIET}
    classifier = nets.linear_classifier(MATRIX)
    first, again = (artclip.evaluate(classifier, X, labels, **about) for _ in range(2))
    np.testing.assert_array_equal(first.distance, again.distance)
    assert again.outcomes[0].seconds == first.outcomes[0].seconds


def test_calls_are_counted_attack_by_attack(nets):
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


def test_what_another_attack_found_within_a_smaller_budget_counts_there(nets):
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


def test_of_two_searches_the_longer_one_tells(nets):
    labels, _ = true_distances(X.astype(np.float64), 2)
    both = ["minimum-norm:max_iter=1", "minimum-norm:max_iter=20"]
    about = {"eps": 0.1, "masking": False, "lipschitz": False, **QUIET}
    found = [artclip.evaluate(nets.linear_classifier(MATRIX), X, labels, attacks=a, **about) for a in (both, both[1:])]
    np.testing.assert_array_equal(found[0].distance, found[1].distance)


def test_where_all_labels_are_wrong_nothing_stands(nets):
    labels, _ = true_distances(X.astype(np.float64), 2)
    about = {"eps": 0.1, "attacks": "quick", "masking": False, "lipschitz": False, **QUIET}
    ev = artclip.evaluate(nets.linear_classifier(MATRIX), X, (labels + 1) % 3, **about)
    assert ev.robust_accuracy_at(0.05) == 0
    constant = artclip.evaluate(nets.linear_classifier(0 * MATRIX), X, np.zeros(len(X), int), **about)
    with pytest.raises(ValueError, match="gradients lead nowhere"):
        constant.robust_accuracy_at(0.05)
