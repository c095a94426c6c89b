"""Bounds in balls hold at all that was tried in them, and are exact where nothing bends."""

import math

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph.simplify import simplified
from artclip.lipschitz.local import linear_bounds
from artclip.lipschitz.local.ball import Balls
from artclip.lipschitz.local.kinks import NotPiecewise, in_lines
from artclip.lipschitz.local.linear_bounds import LinearBounds
from tests.lipschitz.graphs import GRAPHS, dense, row, same_weights  # noqa: F401

RNG = np.random.default_rng(0)
BOXES = {"free": (-math.inf, math.inf), "box": (0.0, 1.0)}


def tried(graph, balls, functions, nb=300):
    """The least of the functions at inputs of the balls, by chance and by descent along the axes."""
    n, d = balls.x.shape
    best = np.einsum("nmk,nk->nm", functions, graph.evaluate(balls.x))
    for _ in range(nb):
        step = RNG.standard_normal((n, d)) * (RNG.uniform(size=(n, d)) < RNG.uniform(0.1, 1))
        step = np.sign(step) if balls.norm == math.inf else step / np.linalg.norm(step + 1e-12, axis=1, keepdims=True)
        x = np.clip(balls.x + balls.radius[:, None] * step, balls.low, balls.high)
        best = np.minimum(best, np.einsum("nmk,nk->nm", functions, graph.evaluate(x)))
    return best


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("norm", [2, math.inf])
@pytest.mark.parametrize("box", BOXES)
def test_nothing_in_the_ball_is_below_the_bound(name, norm, box):
    graph = GRAPHS[name]()
    x = np.round(RNG.uniform(0, 1, (8, 16)), 1)  # some at the sides of the box
    low, high = (np.full(16, b) for b in BOXES[box])
    balls = Balls(x, RNG.choice([0, 0.01, 0.3, 2], 8) * (1 if norm == 2 else 0.3), norm, low, high)
    functions = RNG.standard_normal((8, 5, 3))
    bounds = LinearBounds(in_lines(simplified(graph)), balls).least(functions)
    at = np.einsum("nmk,nk->nm", functions, graph.evaluate(x))
    assert (bounds <= tried(graph, balls, functions) + 1e-9).all()
    still = balls.radius == 0
    np.testing.assert_allclose(bounds[still], at[still], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["relu", "convolutions", "pairs"])  # of curves, rounding chooses between equal lines
def test_followed_piece_by_piece_bounds_are_the_same(name, monkeypatch):
    graph, x = in_lines(GRAPHS[name]()), RNG.uniform(0, 1, (3, 16))
    balls = Balls(x, np.full(3, 0.2), 2, np.zeros(16), np.ones(16))
    functions, found = RNG.standard_normal((3, 5, 3)), []
    for numbers in (1 << 24, 400, 1):
        monkeypatch.setattr(linear_bounds, "_NUMBERS", numbers)
        found.append(LinearBounds(graph, balls).least(functions))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", [2, math.inf])
def test_of_a_linear_net_it_is_what_is_reached(norm):
    layer = dense(16, 3)
    graph, functions = row(16, layer), RNG.standard_normal((1, 4, 3))
    x, r = RNG.uniform(size=(5, 16)), RNG.uniform(size=5)
    free = np.full(16, math.inf)
    bounds = LinearBounds(graph, Balls(x, r, norm, -free, free)).least(functions)
    a = functions[0] @ layer.weight
    reached = (
        x @ a.T + functions[0] @ layer.shift - r[:, None] * np.linalg.norm(a, 1 if norm == math.inf else 2, axis=1)
    )
    np.testing.assert_allclose(bounds, reached, rtol=1e-9)


def test_in_a_box_a_linear_function_is_bounded_closely():
    """In L2 by weak duality: the least of a·d by a solver is hardly more."""
    from scipy.optimize import minimize

    x, a = np.array([[0.0, 0.0, 0.1, 0.9, 1.0]]), np.array([[[1.0, -2.0, 3.0, -1.0, -0.5]]])
    for radius in (0.05, 0.5, 1.5, 5.0):
        balls = Balls(x, np.array([radius]), 2, np.zeros(5), np.ones(5))
        inside = {"type": "ineq", "fun": lambda z, r=radius: r**2 - ((z - x[0]) ** 2).sum()}
        start = np.clip(x[0] - 0.01 * a[0, 0], 0, 1)
        found = minimize(lambda z: a[0, 0] @ z, start, bounds=[(0, 1)] * 5, constraints=[inside]).fun
        bound = float(balls.least(a)[0, 0])
        assert bound <= found + 1e-6
        assert bound > found - 0.15 * radius


def test_a_box_makes_bounds_closer():
    graph, x = GRAPHS["relu"](), np.round(RNG.uniform(0, 1, (8, 16)))
    functions, bounds = RNG.standard_normal((1, 5, 3)), []
    for low, high in BOXES.values():
        balls = Balls(x, np.full(8, 0.3), 2, np.full(16, low), np.full(16, high))
        bounds.append(LinearBounds(in_lines(graph), balls).least(functions))
    assert (bounds[1] > bounds[0]).all()


@pytest.mark.parametrize("name", ["pairs", "pools", "overlapping pools", "residual"])
def test_in_lines_it_is_the_same_function(name):
    graph = GRAPHS[name]()
    x = RNG.standard_normal((20, 16))
    np.testing.assert_allclose(in_lines(graph).evaluate(x), graph.evaluate(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (G.Sort(np.arange(16).reshape(4, 4)), "layer Sort 0 sorts groups of 4, and straight lines are known for pairs"),
        (G.Softmax(np.arange(16).reshape(2, 8)), "layer Softmax 0 is a Softmax, for which no straight lines are known"),
    ],
)
def test_what_no_lines_are_known_for_is_refused_by_name(operation, message):
    with pytest.raises(NotPiecewise, match=message):
        in_lines(row(16, operation, dense(16, 3)))
