"""Any ART estimator through class_gradient or predict: what is found is true, and as steep as it should be."""

import numpy as np
import pytest
from art.estimators.classification import BlackBoxClassifier
from art.estimators.classification.scikitlearn import (
    ScikitlearnLogisticRegression,
    ScikitlearnRandomForestClassifier,
    ScikitlearnSVC,
)
from art.estimators.regression.scikitlearn import ScikitlearnRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from artclip import CLIPTrainer, PairSet, evaluate, lipschitz_lower_bound
from artclip.frameworks import function_of

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(200, 8)).astype(np.float32)
Y = np.argmax(X @ RNG.standard_normal((8, 3)), axis=1)
BOX = {"clip_values": (0.0, 1.0)}


def logistic(preprocessing=(0.0, 1.0)):
    mean, std = preprocessing
    model = LogisticRegression(C=10.0).fit((X - mean) / std, Y)
    return ScikitlearnLogisticRegression(model, preprocessing=preprocessing, **BOX), model


def steepest_jacobian(model, points):
    """Largest Jacobian norm of softmax(W·x + b) over the points."""
    p = model.predict_proba(points)
    jacobians = np.einsum("nij,jd->nid", np.eye(3) * p[:, None] - p[:, :, None] * p[:, None], model.coef_)
    return max(np.linalg.norm(j, 2) for j in jacobians)


def test_logistic_regression_through_its_gradient():
    classifier, model = logistic()
    est = lipschitz_lower_bound(classifier, X, seed=0)
    assert "by class_gradient" in est.method
    assert est.value >= 0.99 * steepest_jacobian(model, RNG.uniform(size=(5000, 8)))
    assert est.value <= np.linalg.norm(model.coef_, 2) / 2  # softmax has a Lipschitz constant of 1/2
    both = classifier.predict(np.stack([est.u, est.v])).astype(np.float64)
    by_hand = np.linalg.norm(both[0] - both[1]) / np.linalg.norm(est.u.astype(np.float64) - est.v)
    assert 0.999 * by_hand < est.value <= by_hand  # less what predict may have rounded


def test_gradients_are_of_the_outputs_where_art_gives_those_of_their_logarithms():
    classifier, model = logistic()
    f, x = function_of(classifier), X[:5].astype(np.float64)
    cotangents = RNG.standard_normal((5, 3))
    found = f.pullback(x)[1](cotangents)
    for row, point, cotangent in zip(found, x, cotangents, strict=True):
        moved = [model.predict_proba(np.stack([point + s * e for e in np.eye(8)])) @ cotangent for s in (1e-5, -1e-5)]
        np.testing.assert_allclose(row, (moved[0] - moved[1]) / 2e-5, rtol=1e-3, atol=1e-4)


def test_a_logistic_regression_is_evaluated_and_a_forest_too():
    """Against the least perturbation of a linear model: the margin over the norm of the difference of its weights."""
    classifier, model = logistic()
    x, labels, eps = X[:60], model.predict(X[:60]), 0.1
    inside = (x > eps).all(1) & (x < 1 - eps).all(1)
    x, labels = x[inside], labels[inside]
    logits = model.decision_function(x)
    lead = np.take_along_axis(logits, labels[:, None], 1) - logits
    steep = np.linalg.norm(model.coef_[labels][:, None] - model.coef_, axis=2)
    with np.errstate(invalid="ignore"):
        radius = np.nanmin(lead / steep, axis=1)
    attacks = ["pgd:max_iter=40,nb_restarts=1", "pgd-margin:max_iter=40,nb_restarts=1"]
    found = evaluate(classifier, x, labels, eps=eps, attacks=attacks, verbose=False, seed=0)
    assert not any(o.error for o in found.outcomes)
    assert found.robust_accuracy == pytest.approx(np.mean(radius > eps), abs=0.02)
    assert found.accuracy[attacks[0]] <= found.robust_accuracy + 0.1
    forest = RandomForestClassifier(10, random_state=0).fit(X, Y)
    found = evaluate(
        ScikitlearnRandomForestClassifier(forest, **BOX),
        X,
        Y,
        eps=0.3,
        attacks=["square:max_iter=300", "hopskipjump:max_iter=2,max_eval=50"],
        verbose=False,
        seed=0,
    )
    assert found.robust_accuracy < found.accuracy["clean"]
    assert [w.name for w in found.warnings] == ["no gradients"]


def test_preprocessing_counts_as_part_of_f():
    plain, scaled = (lipschitz_lower_bound(logistic(p)[0], X, seed=0).value for p in ((0.0, 1.0), (0.5, 0.1)))
    model = logistic((0.5, 0.1))[1]
    assert scaled >= 0.98 * steepest_jacobian(model, (RNG.uniform(size=(5000, 8)) - 0.5) / 0.1) / 0.1
    assert scaled != pytest.approx(plain, rel=0.01)


def test_a_black_box_is_climbed_by_its_predictions_alone():
    classifier, model = logistic()
    box = BlackBoxClassifier(model.predict_proba, (8,), 3, **BOX)
    est = lipschitz_lower_bound(box, X, seed=0)
    assert "by predict alone" in est.method
    assert est.value >= 0.97 * lipschitz_lower_bound(classifier, X, seed=0).value
    assert est.value <= np.linalg.norm(model.coef_, 2) / 2


def test_a_black_box_with_many_inputs_is_climbed_along_some_directions():
    matrix = RNG.standard_normal((3, 300)) * (np.arange(300) < 5)  # steep in few directions
    box = BlackBoxClassifier(lambda x: x @ matrix.T, (300,), 3, **BOX)
    est = lipschitz_lower_bound(box, RNG.uniform(size=(20, 300)), nb_restarts=4, max_iter=30, seed=0)
    assert 0.8 * np.linalg.norm(matrix, 2) < est.value < 1.001 * np.linalg.norm(matrix, 2)


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_linear_models_reach_their_operator_norm(norm):
    regressor = ScikitlearnRegressor(LinearRegression().fit(X, X @ np.arange(8.0)), **BOX)
    dual = {1: np.inf, 2: 2, "inf": 1}[norm]
    est = lipschitz_lower_bound(regressor, X, norm=norm, seed=0)
    assert est.value == pytest.approx(np.linalg.norm(np.arange(8.0), dual), rel=2e-3)


@pytest.mark.parametrize(
    "classifier",
    [
        ScikitlearnSVC(LinearSVC().fit(X, Y), **BOX),
        ScikitlearnRandomForestClassifier(RandomForestClassifier(10, random_state=0).fit(X, Y), **BOX),
        ScikitlearnLogisticRegression(LogisticRegression().fit(X, Y > 0), **BOX),
    ],
    ids=["svc", "forest", "binary"],
)
def test_every_pair_returned_is_a_proof(classifier):
    est = lipschitz_lower_bound(classifier, X, nb_restarts=8, max_iter=10, seed=0)
    both = np.asarray(classifier.predict(np.stack([est.u, est.v])), dtype=np.float64).reshape(2, -1)
    by_hand = np.linalg.norm(both[0] - both[1]) / np.linalg.norm(est.u.astype(np.float64) - est.v)
    assert 0.999 * by_hand < est.value <= by_hand  # less what predict may have rounded
    assert 0 < est.value < np.inf
    assert min(est.u.min(), est.v.min()) >= 0
    assert max(est.u.max(), est.v.max()) <= 1


def test_the_largest_entry_of_each_row_is_marked():
    f = function_of(logistic()[0])
    marked = f.host(f.one_hot_argmax(f.tensor([[1, 3, 2], [5, 5, 0], [-3, -2, -1]])))
    np.testing.assert_array_equal(marked, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_pairs_climb_and_training_is_refused():
    classifier, _ = logistic()
    pairs = PairSet(function_of(classifier), X, 8, seed=0)
    before = pairs.quotients().mean()
    assert pairs.ascend(5).quotients().mean() > before
    with pytest.raises(TypeError, match=r"ScikitlearnLogisticRegression.*cannot train; expected an ART"):
        CLIPTrainer(classifier)
