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


def test_layers_of_a_bare_model_are_read(nets):
    x, _ = nets.data("mlp", n=20)
    estimator = nets.classifier("mlp")
    y, bare = np.asarray(estimator.predict(x)).argmax(1), estimator.model
    ev = artclip.evaluate(bare, x, y, eps=0.01, attacks=["fgsm"], masking=False, clip_values=(0, 1), **QUIET)
    assert ev.lipschitz["upper"] is not None
    assert np.median(ev.radius[ev.looked_at]) > 0
