"""Square: what is kept in its ball and range, and what it takes in its stride."""

import math

import numpy as np
import pytest

from artclip.evaluation.attack_classifier import AttackClassifier
from artclip.evaluation.runner import distances
from artclip.evaluation.square import WindowSearch, _overlap, square
from artclip.evaluation.threat_model import ThreatModel
from tests.evaluation.test_black_box import linear
from tests.nets import default as nets


def threat_of(box, x, norm, eps, nb_classes=3, **more):
    return ThreatModel(AttackClassifier(box, x, nb_classes, 64, **more), norm, eps)


def test_it_takes_what_changes_nothing_in_its_stride():
    """Outputs in steps: the margin is flat nearly everywhere, and no single window crosses a step."""
    box, x, y, radius = linear((6,), outputs=lambda z: np.round(2 * z))
    near = radius < 0.4
    np.random.seed(0)  # noqa: NPY002
    (search,) = square(threat_of(box, x, 2, 1.0), max_iter=200)
    found = search(x, y)
    assert near.sum() > 2
    assert (box.predict(found).argmax(1) != y)[near].mean() > 0.8
    assert distances(found, x, 2).max() <= 1 + 1e-5


@pytest.mark.parametrize("norm", [2, math.inf])
@pytest.mark.parametrize("shape", [(3, 8, 6), (64,), (7,)])
def test_lengths_are_known_after_any_number_of_steps(shape, norm):
    box, x, _, _ = linear(shape)
    search, eps = WindowSearch(threat_of(box, x, norm, 0.7), x), 0.7
    rng = np.random.default_rng(0)
    np.random.seed(0)  # noqa: NPY002
    for step in range(40):
        tried = search.moved(0.3) if step else search.stripes()
        assert distances(tried, x, norm).max() <= eps * (1 + 1e-5)
        assert tried.min() >= 0
        assert tried.max() <= 1
        search.keep(rng.uniform(size=len(search.best)) < 0.5)
        if norm == 2:
            np.testing.assert_allclose(search._squared, distances(search.best, x, 2) ** 2, atol=1e-6)
        if step == 20:
            search.leave(np.arange(len(x)) < 4)
            x = x[4:]


def test_windows_may_overlap_or_not():
    one, beside = np.s_[:, :, 0:4, 1:3], np.s_[:, :, 4:6, 0:2]
    assert _overlap(one, np.s_[:, :, 2:6, 2:7])[2:] == (slice(2, 4), slice(2, 3))
    assert np.zeros((1, 1, 9, 9))[_overlap(one, beside)].size == 0


def test_queries_follow_where_some_broke_something():
    """A net that the first queries do not break at all is not asked again."""
    classifier = nets.linear_classifier(np.random.default_rng(0).standard_normal((3, 144)), clip_values=(0.0, 1.0))
    x = np.random.default_rng(1).uniform(0.3, 0.7, (24, 144)).astype(np.float32)
    y = classifier.predict(x).argmax(1)
    asked = []
    np.random.seed(0)  # noqa: NPY002
    for eps in (1e-4, 2.0):
        threat = threat_of(classifier, x, 2, eps)
        first, second = square(threat, max_iter=20, further=30)
        first(x, y)
        before = threat.classifier.passes
        second(x, y)
        asked.append(threat.classifier.passes - before)
    assert asked[0] == 0
    assert asked[1] > 24
