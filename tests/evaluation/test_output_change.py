"""How far outputs move: against operator norms, where these are known, and always below what is proved."""

import itertools
import json
import math

import numpy as np
import pytest

from artclip import output_change
from artclip.norms import lengths
from tests.nets import FRAMEWORKS, default

RNG = np.random.default_rng(0)
W = RNG.normal(size=(2, 5)).astype(np.float32)
X = RNG.uniform(0.4, 0.6, (6, 5)).astype(np.float32)
NORMS = (1, 2, math.inf)


def operator_norm(w, p, q):
    """max ‖wv‖_q over ‖v‖_p = 1, by the corners of the ball or of the dual ball; from L2 to L2 the largest singular."""
    if p == 2 and q == 2:
        return np.linalg.norm(w, 2)
    if p == 1:
        return lengths(w.T, q).max()
    if q == math.inf:
        return lengths(w, {2: 2, math.inf: 1}[p]).max()
    if p == math.inf:
        return max(np.linalg.norm(w @ signs, q) for signs in itertools.product((-1, 1), repeat=w.shape[1]))
    return max(np.linalg.norm(np.array(signs) @ w) for signs in itertools.product((-1, 1), repeat=len(w)))


@pytest.mark.parametrize(
    ("p", "q"), [(1, 1), (1, 2), (2, 1), (2, 2), (2, math.inf), (math.inf, 2), (math.inf, math.inf)]
)
def test_a_linear_model_moves_by_its_norm_times_the_radius(nets, p, q):
    found = output_change(nets.linear_classifier(W), X, p, 0.2, q, 20, 1, nb_queries=20, max_seconds=5, seed=0)
    exact = 0.2 * operator_norm(W.astype(float), p, q)
    np.testing.assert_allclose(found.found, exact, rtol=5e-3)
    assert np.all(found.found <= found.proved)
    if (p, q) in ((2, 2), (math.inf, math.inf), (2, math.inf)):
        np.testing.assert_allclose(found.proved, exact, rtol=1e-3)
    np.testing.assert_allclose(found.outputs, X @ W.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(lengths(found.changed - found.outputs, q), found.found, rtol=1e-6)
    assert np.all(lengths(found.examples - X, p) <= 0.2 * (1 + 1e-5))


@pytest.mark.parametrize(
    ("nets", "p", "outputs"),
    [(FRAMEWORKS[0], 1, 1), (FRAMEWORKS[0], math.inf, 3), *((f, 2, 3) for f in FRAMEWORKS)],
    indirect=["nets"],
)
def test_what_is_found_is_never_more_than_what_is_proved(nets, p, outputs):
    regressor, x = nets.regressor(outputs=outputs), RNG.uniform(0, 1, (20, 1)).astype(np.float32)
    found = output_change(regressor, x, p, 0.3, max_iter=20, nb_queries=50, seed=0)
    assert np.all((found.found > 0) & (found.found <= found.proved))
    assert np.all(np.isfinite(found.proved))
    if p != 1:
        assert np.median(found.proved / found.found) < 2
    again = output_change(regressor, x, p, 0.3, max_iter=20, nb_queries=50, seed=0)
    np.testing.assert_array_equal(found.found, again.found)
    assert repr(found) == f"<OutputChange: {found.message()}>"
    assert "at most" in found.message()
    assert json.loads(found.to_json())["proved"] == pytest.approx(found.proved.tolist())


@pytest.mark.parametrize("p", NORMS)
def test_examples_stay_among_valid_inputs(nets, p):
    x = np.zeros((3, 5), np.float32)
    found = output_change(nets.linear_classifier(W), x, p, 3.0, nb_queries=50, seed=0)
    assert found.examples.min() >= 0
    assert found.examples.max() <= 1
    assert np.all(found.found <= found.proved)


def test_gradients_that_lead_nowhere_show():
    import torch

    class InSteps(torch.nn.Module):
        """A linear model of inputs that are rounded to tenths."""

        def forward(self, x):
            return torch.round(x, decimals=1) @ torch.from_numpy(w).T

    w, x = RNG.normal(size=(2, 60)).astype(np.float32), RNG.uniform(0.4, 0.6, (6, 60)).astype(np.float32)
    found = output_change(InSteps(), x, 2, 0.8, nb_queries=300, seed=0)
    assert found.by_search.mean() > 0.5
    assert "gradients may be masked" in str(found).replace("\n  ", " ")
    assert np.all(np.isinf(found.proved))
    assert "nothing is proved." in found.message() + "."


def test_models_without_gradients_are_searched():
    from art.estimators.regression.scikitlearn import ScikitlearnRegressor
    from sklearn.tree import DecisionTreeRegressor

    tree = DecisionTreeRegressor(max_depth=1).fit(X, (X[:, 0] > 0.5).astype(float))
    found = output_change(ScikitlearnRegressor(tree, clip_values=(0, 1)), X, "inf", 0.3, nb_queries=100, seed=0)
    np.testing.assert_allclose(found.found, 1.0)  # each sample is within 0.3 of the one split
    assert "outputs alone" in str(found)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"eps": 0}, "eps=0"),
        ({"norm": 3}, "norm=3"),
        ({"output_norm": 3}, "output_norm=3"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"nb_queries": -1}, "nb_queries=-1"),
        ({"max_seconds": 0}, "max_seconds=0"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        output_change(default.regressor(), X[:, :1], **options)


def test_outputs_that_are_random_or_no_numbers_are_refused():
    import torch

    class Noisy(torch.nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    class Lost(torch.nn.Module):
        def forward(self, x):
            return torch.log(x - 0.5)

    with pytest.raises(ValueError, match="outputs are random"):
        output_change(Noisy(), X)
    with pytest.raises(ValueError, match="not finite at 6 samples, first at sample 0"):
        output_change(Lost(), X)


def test_outputs_that_are_not_finite_show():
    import torch

    class Roots(torch.nn.Module):
        """Logarithms of what may be 0."""

        def forward(self, x):
            return torch.log(torch.relu(x[:, :1] - 0.5))

    x = np.array([[0.9, 0.5], [0.55, 0.5]], np.float32)
    found = output_change(Roots(), x, math.inf, 0.1, nb_queries=100, max_seconds=5, seed=0, clip_values=(0, 1))
    assert found.found[0] == pytest.approx(math.log(0.4 / 0.3), rel=1e-3)
    assert np.isinf(found.proved[1])
    assert "not finite somewhere in the balls of 1 sample:" in str(found).replace("\n  ", " ")
    x[1, 0] = 0.4
    with pytest.raises(ValueError, match=r"not finite at 1 sample, first at sample 1: \[-inf\]"):
        output_change(Roots(), x, clip_values=(0, 1))


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("radius", [1e-4, 1e-3])
def test_small_balls_are_searched_to_their_end(p, radius):
    """Of numbers of some size float32 has so few that points on the ball are rounded out of it."""
    x = RNG.uniform(50, 200, (6, 5)).astype(np.float32)
    model = default.linear_classifier(W, clip_values=(0.0, 255.0))
    found = output_change(model, x, p, 255 * radius, nb_queries=10, max_iter=20, max_seconds=5, seed=0)
    exact = 255 * radius * operator_norm(W.astype(float), p, 2)
    np.testing.assert_allclose(found.found, exact, rtol=0.03)
    assert np.all(found.found <= found.proved)
    assert np.all(lengths(found.examples.astype(float) - x, p) <= 255 * radius * (1 + 1e-5))


@pytest.mark.parametrize("p", NORMS)
def test_a_tree_of_one_split_is_crossed_wherever_it_can_be(p):
    from art.estimators.regression.scikitlearn import ScikitlearnDecisionTreeRegressor
    from sklearn.tree import DecisionTreeRegressor

    x = RNG.uniform(0, 1, (100, 6)).astype(np.float32)
    tree = DecisionTreeRegressor(max_depth=1, random_state=0).fit(x, x[:, 3] > 0.4)
    away = np.abs(x[:, 3] - tree.tree_.threshold[0])
    model = ScikitlearnDecisionTreeRegressor(tree, clip_values=(0, 1))
    found = output_change(model, x, p, 0.2, nb_queries=200, max_seconds=1, seed=0).found
    low, high = np.unique(tree.predict(x))
    clear = np.abs(away - 0.2) > 1e-4
    np.testing.assert_allclose(found[clear], np.where(away < 0.2, high - low, 0)[clear], rtol=1e-5)
