"""Estimators that were fitted on labels other than 0 to n − 1."""

import numpy as np
import pytest
from art.estimators.classification import SklearnClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from artclip import evaluate
from artclip.evaluation.preflight import preflight
from artclip.frameworks.class_labels import as_columns

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(40, 4)).astype(np.float32)
COLUMN = (X @ RNG.standard_normal((4, 3))).argmax(1)
OPTIONS = {"eps": 0.1, "attacks": ["noise"], "seed": 0, "verbose": False, "lipschitz": False, "masking": False}
BOX = {"clip_values": (0, 1)}


@pytest.mark.parametrize("labels", [[0, 2, 7], [1, 2, 3], [-1, 0, 1], [2.0, 4.0, 8.0], ["ape", "bee", "cat"]])
@pytest.mark.parametrize("kind", [RandomForestClassifier, LogisticRegression])
def test_labels_are_those_that_the_model_was_fitted_on(labels, kind):
    y = np.array(labels)[COLUMN]
    model = kind().fit(X, y)
    classifier = SklearnClassifier(model, **BOX)
    right = model.predict(X) == y
    for given in (y, y[:, None], y.tolist(), np.eye(3)[COLUMN]):
        found = evaluate(classifier, X, given, **OPTIONS)
        assert (found.per_sample["clean"] == right).all()
        assert any("taken for the classes_" in line for line in found.notes()) is (np.shape(given) != (40, 3))
    looked = preflight(classifier, X, y)
    assert looked.accuracy == right.mean()
    assert any("taken for the classes_" in line for line in looked.remarks)


def test_a_label_that_the_model_was_not_fitted_on_is_refused():
    y = np.array([0, 2, 7])[COLUMN]
    classifier = SklearnClassifier(RandomForestClassifier().fit(X, y), **BOX)
    with pytest.raises(ValueError, match=r"y has the label 1, .* are 0, 2, 7;"):
        evaluate(classifier, X, COLUMN, **OPTIONS)


def test_indices_are_taken_as_they_are_where_labels_are_indices_or_words():
    classifier = SklearnClassifier(RandomForestClassifier(random_state=0).fit(X, COLUMN), **BOX)
    found = evaluate(classifier, X, COLUMN, **OPTIONS)
    assert found.per_sample["clean"].mean() > 0.9
    assert not any("classes_" in line for line in found.notes())
    taken, said = as_columns(COLUMN, np.array(["a", "b", "c"]))
    assert taken is COLUMN
    assert said == ["Labels are numbers, and the model's classes_ words: they were taken for places in 'a', 'b', 'c'"]


def test_one_hot_outputs_by_value_are_refused():
    """ART writes the label 7 into column 7."""
    model = LinearSVC().fit(X, np.array([0, 2, 7])[COLUMN])
    with pytest.raises(ValueError, match=r"classes_ of this LinearSVC are 0, 2, 7, and it has no predict_proba"):
        evaluate(SklearnClassifier(model, **BOX), X, COLUMN, **OPTIONS)
