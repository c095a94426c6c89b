"""Auto-PGD: exact on linear models, as strong as ART's, and careful with samples that fall."""

import math

import numpy as np
import pytest

from artclip.evaluation.attacks import choose
from artclip.evaluation.auto_pgd import _looks, climb
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.runner import distances
from artclip.norms import dual_norm

NORMS = (1, 2, math.inf)
MATRIX = np.random.default_rng(0).standard_normal((3, 20))
X = np.random.default_rng(1).uniform(0.3, 0.7, size=(40, 20)).astype(np.float32)


def radii(norm):
    """How far the nearest other label of the linear model is, without a range."""
    z = X.astype(np.float64) @ MATRIX.T
    y = z.argmax(1)
    steep = np.linalg.norm(MATRIX[y][:, None] - MATRIX, dual_norm(norm), axis=2)
    lead = z[np.arange(len(z)), y][:, None] - z
    lead[np.arange(len(z)), y] = np.inf
    return y, (lead / np.maximum(steep, 1e-9)).min(1)


@pytest.mark.parametrize("loss", ["apgd-ce", "apgd-dlr", "apgd-t"])
@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_model_falls_exactly_where_it_must(nets, norm, loss):
    y, radius = radii(norm)
    eps = float(np.median(radius))
    evaluated = EvaluatedModel(nets.linear_classifier(MATRIX, clip_values=None), X, y)
    outcome = evaluated.runner(norm, eps, 0).attack(choose([loss], norm)[0], evaluated.right)
    assert not outcome.error
    assert not outcome.violations
    assert not outcome.broken[radius > eps * (1 + 1e-3)].any()
    assert outcome.broken[radius < 0.97 * eps].all()


@pytest.mark.parametrize("norm", NORMS)
def test_candidates_are_valid_and_of_a_larger_loss(nets, norm):
    x, _ = nets.data("mlp", n=30)
    estimator = nets.classifier("mlp")
    y = np.asarray(estimator.predict(x)).argmax(1)
    evaluated = EvaluatedModel(estimator, x, y)
    classifier, eps = evaluated.classifier.with_loss("cross-entropy"), {1: 0.5, 2: 0.1, math.inf: 0.02}[norm]
    labels = np.eye(3)[y]
    np.random.seed(0)  # noqa: NPY002
    found, reached = climb(classifier, evaluated.x, labels, norm, eps, 20)
    assert found.dtype == np.float32
    assert np.all(distances(found, evaluated.x, norm) <= eps * (1 + 1e-4))
    assert found.min() >= 0
    assert found.max() <= 1
    before, after = (classifier.compute_loss(points, labels) for points in (evaluated.x, found))
    assert np.all(after > before)
    stands = np.isfinite(reached)
    np.testing.assert_allclose(after[stands], reached[stands], rtol=1e-3, atol=1e-4)
    assert np.all(np.asarray(estimator.predict(found)).argmax(1)[~stands] != y[~stands])


def test_those_that_fell_cost_nothing_more(nets):
    y, radius = radii(2)
    evaluated = EvaluatedModel(nets.linear_classifier(MATRIX, clip_values=None), X, y)
    passes = []
    np.random.seed(0)  # noqa: NPY002
    for eps in (2 * radius.max(), 0.1 * radius.min()):
        before = evaluated.classifier.passes
        climb(evaluated.classifier.with_loss("margin"), evaluated.x, np.eye(3)[y], 2, float(eps), 50)
        passes.append(evaluated.classifier.passes - before)
    assert passes[0] < 0.2 * passes[1]
    assert passes[1] == 51 * len(X)


def test_steps_are_looked_at_as_published():
    """Checkpoints of Croce and Hein (2020, section 3.1) of 100 steps."""
    assert _looks(100, 2) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert _looks(1, 2) == [1]
    assert _looks(50, 1)[:3] == [2, 4, 6]
