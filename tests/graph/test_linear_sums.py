"""A sum of linear functions of one tensor is a matrix; a sum with anything else in it stays."""

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph import linear_sums
from artclip.graph.simplify import simplified

RNG = np.random.default_rng(0)
W, V = RNG.standard_normal((2, 6, 6))
RELU = G.ACTIVATIONS["relu"]


def summed(operations, weights, itself=False):
    """A sum of operations of the input, and of the input itself."""
    nodes = [G.Node(str(i), operation, (-1,), 6) for i, operation in enumerate(operations)]
    parents = (*range(len(nodes)), *([-1] if itself else []))
    return G.LayerGraph([*nodes, G.Node("sum", G.Add(weights), parents, 6)], 6)


MEAN = G.Dense(np.full((6, 6), 1 / 6))
LINEAR = {
    "x - mean(x)": (summed([MEAN], (-1.0, 1.0), itself=True), np.eye(6) - 1 / 6),
    "two matrices": (summed([G.Dense(W), G.Dense(V, 1, np.ones(6))], (0.5, -2.0)), 0.5 * W - 2 * V),
    "entries": (summed([G.Gather(np.array([1, 2, 3, 4, 5, -1]))], (1.0, 1.0), itself=True), np.eye(6) + np.eye(6, k=1)),
    "scaled": (summed([G.Scale(np.arange(6.0)), G.Dense(W)], (1.0, 1.0)), np.diag(np.arange(6.0)) + W),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_sum_is_its_matrix(name):
    graph, matrix = LINEAR[name]
    (node,) = simplified(graph).nodes
    assert float(node.operation.factor(2)) == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-9)
    x = RNG.standard_normal((9, 6))
    assert np.allclose(simplified(graph).evaluate(x), graph.evaluate(x), rtol=0, atol=1e-12)


def test_layers_around_it_join_it():
    middle = [
        G.Node("first", G.Dense(W), (-1,), 6),
        G.Node("mean", MEAN, (0,), 6),
        G.Node("minus", G.Add((1.0, -1.0)), (0, 1), 6),
    ]
    graph = G.LayerGraph([*middle, G.Node("last", G.Dense(V), (2,), 6)], 6)
    (node,) = simplified(graph).nodes
    matrix = V @ (np.eye(6) - 1 / 6) @ W
    assert float(node.operation.factor(2)) == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-9)


def test_a_term_that_is_not_linear_stays():
    graph = summed([RELU, G.Dense(W)], (1.0, 1.0))
    assert any(isinstance(node.operation, G.Add) for node in simplified(graph).nodes)


def test_terms_of_two_tensors_stay():
    nodes = [G.Node("bent", RELU, (-1,), 6), G.Node("one", G.Dense(W), (0,), 6), G.Node("other", G.Dense(V), (-1,), 6)]
    graph = G.LayerGraph([*nodes, G.Node("sum", G.Add(), (1, 2), 6)], 6)
    assert any(isinstance(node.operation, G.Add) for node in simplified(graph).nodes)


def test_a_large_one_stays(monkeypatch):
    monkeypatch.setattr(linear_sums, "_MOST", 35)
    graph, _ = LINEAR["x - mean(x)"]
    assert any(isinstance(node.operation, G.Add) for node in simplified(graph).nodes)
