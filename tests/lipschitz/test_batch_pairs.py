"""Pairs that start anew in each batch, on functions whose steepest pair is known."""

from itertools import pairwise

import numpy as np
import pytest

from artclip.frameworks import function_of
from artclip.lipschitz.batch_pairs import LEAST, REACH, FreshRule
from artclip.lipschitz.pair_rule import make_rule
from tests.lipschitz.test_pairs import operator_norm
from tests.nets.common import NB_CLASSES

MATRIX = np.random.default_rng(5).standard_normal((4, 7))
BATCH = np.random.default_rng(6).uniform(0.2, 0.8, (30, 7)).astype(np.float32)


def climbed(nets, steps, nb_pairs=12, x=BATCH, norm=2, domain="free", separation=0.5, classes=None):
    """The rule, u and v of shape (pairs, 7), and their quotients; of a function, or of logits of some classes."""
    f = function_of(nets.linear_classifier(MATRIX))
    f.nb_classes = classes
    rule = FreshRule(make_rule(f, BATCH, norm, 2, domain, separation)[0], nb_pairs)
    along = f.tensor(np.random.default_rng(0).standard_normal((nb_pairs, 7)).astype(np.float32))
    ends = rule.climb(f.tensor(x), along, steps)
    quotients = f.to_numpy([rule.quotients_of(ends, f.forward(ends))])
    u, v = np.split(f.host(ends), 2)
    return rule, u, v, quotients


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_anchored_pairs_stay_at_the_first_samples_and_reach_away_from_them(nets, steps):
    rule, u, v, _ = climbed(nets, steps)
    n = rule.nb_anchored
    assert (n, rule.nb_moving) == (8, 4)
    np.testing.assert_array_equal(u[:n], BATCH[:n])
    np.testing.assert_allclose(np.linalg.norm(v[:n] - u[:n], axis=1), REACH * 0.5, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(v[n:] - u[n:], axis=1), 0.5, rtol=1e-5)


@pytest.mark.parametrize("norm", [1, 2, np.inf])
def test_all_reach_the_operator_norm_of_a_linear_model(nets, norm):
    *_, quotients = climbed(nets, 100, norm=norm)
    expected = operator_norm(MATRIX, norm, 2)
    assert quotients.max() == pytest.approx(expected, rel=1e-4)
    if norm == 2:
        np.testing.assert_allclose(quotients, expected, rtol=1e-3)
    assert (quotients <= expected * (1 + 1e-5)).all()


def test_each_ascent_of_a_linear_model_is_uphill(nets):
    found = [climbed(nets, steps)[-1] for steps in range(0, 12, 2)]
    assert all((b >= a * (1 - 1e-5)).all() for a, b in pairwise(found))
    assert (found[-1] > 1.05 * found[0]).any()


def test_anchored_pairs_of_a_classifier_go_straight_to_the_class_that_is_closest(nets):
    """Where f is linear one ascent finds the way: the difference of two rows, one of them that of the prediction."""
    rule, u, start, _ = climbed(nets, 0, classes=4)
    _, _, v, _ = climbed(nets, 1, classes=4)
    n = rule.nb_anchored
    own, there = (points[:n] @ MATRIX.T for points in (u, start))
    predicted = own.argmax(1)
    there[np.arange(n), predicted] = -np.inf
    ways = MATRIX[there.argmax(1)] - MATRIX[predicted]
    expected = REACH * 0.5 * ways / np.linalg.norm(ways, axis=1, keepdims=True)
    np.testing.assert_allclose(v[:n] - u[:n], expected, atol=1e-5)
    margins = np.sort(own, 1)[:, -1] - np.sort(own, 1)[:, -2]
    assert (predicted != there.argmax(1)).all()
    assert len(np.unique(predicted)) > 1
    assert (margins > 0).all()


def test_of_two_classes_and_of_no_classes_the_difference_is_climbed(nets):
    ends = [climbed(nets, 2, classes=classes)[2] for classes in (None, 2, 4)]
    np.testing.assert_array_equal(ends[0], ends[1])
    assert not np.allclose(ends[0], ends[2])


def test_a_few_ascents_find_most_of_the_steepness_of_a_net_around_its_data(nets):
    """Beside the norm of the Jacobian at the samples, which short anchored pairs meet."""
    model = nets.classifier("sigmoid")
    f = function_of(model)
    f.nb_classes = None
    x = nets.data("sigmoid", n=60)[0]
    rule = FreshRule(make_rule(f, x, 2, 2, "free", 1e-2)[0], 60)
    ends = rule.climb(f.tensor(x), f.tensor(np.ones((60, 6), np.float32)), 4)
    quotients = f.to_numpy([rule.quotients_of(ends, f.forward(ends))])[: rule.nb_anchored]
    rows = []
    for unit in np.eye(NB_CLASSES, dtype=np.float32):
        outputs, pull = f.pullback(f.tensor(x[: rule.nb_anchored]))
        rows.append(f.host(pull(f.tensor(np.tile(unit, (len(outputs), 1))))))
    norms = np.linalg.norm(np.stack(rows, 1), 2, axis=(1, 2))
    assert (quotients <= norms * 1.02).all()
    assert quotients.mean() > 0.9 * norms.mean()


@pytest.mark.parametrize("corner", [0.0, 1.0])
def test_pairs_stay_in_the_box_and_none_divides_by_nothing(nets, corner):
    x = np.full((30, 7), corner, np.float32)
    rule, u, v, quotients = climbed(nets, 3, x=x, domain="clip_values")
    assert min(u.min(), v.min()) >= 0
    assert max(u.max(), v.max()) <= 1
    assert np.isfinite(quotients).all()
    lengths = np.linalg.norm(v - u, axis=1)
    differences = np.linalg.norm((v - u) @ MATRIX.T, axis=1)
    np.testing.assert_allclose(quotients, differences / np.maximum(lengths, LEAST * rule.rule.separation), rtol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("nb_pairs", [1, 2, 12])
def test_small_batches_and_few_pairs(nets, size, nb_pairs):
    rule, u, v, quotients = climbed(nets, 2, nb_pairs=nb_pairs, x=BATCH[:size])
    expected = min(rule.nb_anchored, size) + min(rule.nb_moving, size)
    assert u.shape == v.shape == (expected, 7)
    assert quotients.shape == (expected,)
    assert rule.nb_anchored >= 1


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("size", [3, 30])
def test_gradients_are_counted_as_they_are_taken(nets, steps, size):
    model = nets.linear_classifier(MATRIX)
    f = function_of(model)
    rule = FreshRule(make_rule(f, BATCH, 2, 2, "free", 0.5)[0], 12)
    seen, original = [], f.pullback
    f.pullback = lambda x: (seen.append(len(x)), original(x))[1]
    ends = rule.climb(f.tensor(BATCH[:size]), f.tensor(np.ones((12, 7), np.float32)), steps)
    assert len(seen) == steps
    assert seen == sorted(seen, reverse=True)  # anchored pairs take part in the first half
    assert sum(seen) + len(ends) == rule.gradients(size, steps)
