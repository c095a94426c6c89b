"""Which nodes are bounded together."""

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph.simplify import simplified
from artclip.lipschitz import chain as chains

RELU, SIGMOID = G.ACTIVATIONS["relu"], G.ACTIVATIONS["sigmoid"]
RNG = np.random.default_rng(0)


def graph(operations, inputs):
    """A row of operations (name, operation, outputs)."""
    nodes = [G.Node(name, op, (i - 1,), n) for i, (name, op, n) in enumerate(operations)]
    return G.LayerGraph(nodes, inputs)


def dense(name, rows, columns):
    return name, G.Dense(RNG.standard_normal((rows, columns)), 1, RNG.standard_normal(rows)), rows


def names(of, fits=lambda sizes: True):
    notes = []
    found = chains.stretches(of, fits, notes)
    return [" ".join(of.nodes[i].name for i in stretch) for stretch in found], notes


def test_dense_layers_and_activations_in_turn():
    pool = ("pool", G.Maximum(np.arange(8).reshape(4, 2)), 4)
    one = graph(
        [
            *[("r0", RELU, 6), dense("a", 8, 6), ("r1", RELU, 8), dense("b", 8, 8), ("r2", RELU, 8), pool],
            *[dense("c", 3, 4), ("r3", RELU, 3), dense("d", 2, 3), ("r4", SIGMOID, 2)],
        ],
        6,
    )
    assert names(one) == (["a r1 b", "c r3 d"], [])


def test_branches_end_them():
    nodes = [
        G.Node("a", G.Dense(np.eye(3)), (-1,), 3),
        G.Node("r", RELU, (0,), 3),
        G.Node("b", G.Dense(np.eye(3)), (1,), 3),
        G.Node("sum", G.Add(), (1, 2), 3),
        G.Node("s", RELU, (3,), 3),
        G.Node("c", G.Dense(np.eye(3)), (4,), 3),
        G.Node("t", RELU, (5,), 3),
        G.Node("d", G.Dense(np.eye(3)), (6,), 3),
    ]
    assert names(G.LayerGraph(nodes, 3)) == (["c t d"], [])


def test_what_is_too_large_ends_them_and_is_named(monkeypatch):
    row = [dense("a", 8, 6), ("r", RELU, 8), dense("b", 5, 8), ("s", RELU, 5), dense("c", 5, 5), ("t", RELU, 5)]
    one = graph([*row, dense("d", 2, 5)], 6)
    assert names(one, lambda sizes: len(sizes) < 5) == (
        ["a r b s c"],
        ["dense layers end at d: too large to be bounded together"],
    )
    monkeypatch.setattr(chains, "_WIDEST", 7)
    assert names(one) == (["b s c t d"], ["dense layers end at r: too large to be bounded together"])
    monkeypatch.setattr(chains, "_MOST", 39)
    assert names(one) == (["c t d"], [])  # a matrix of 40 numbers is not even written out


def test_matrices_are_those_of_the_nodes():
    pool = G.Kronecker((2, 4), (None, np.full((2, 4), 0.25)))
    one = simplified(graph([dense("a", 8, 6), ("r", RELU, 8), ("pool", pool, 4), dense("b", 3, 4)], 6))
    ((a, r, b),) = chains.stretches(one, lambda sizes: True, [])
    weights, slopes = chains.matrices([one.nodes[i] for i in (a, r, b)], 6)
    assert slopes == [(0.0, 1.0)]
    np.testing.assert_allclose(
        weights[1], one.nodes[b].operation.parts[-1].weight @ np.kron(np.eye(2), pool.matrices[1])
    )


def test_matrices_that_cancel_are_left_out():
    """1 and -1 - 1e-12 of two entries that are equal but for 1e-12: all digits of the product are rounding."""
    first = ("first", G.Dense(np.array([[1.0, 1.0], [1.0, 1.0 + 1e-12]]) * 1e6), 2)
    second = ("second", G.Dense(np.array([[1.0, -1.0]])), 1)
    one = simplified(graph([first, second, ("r", RELU, 1), ("last", G.Dense(np.ones((1, 1))), 1)], 2))
    assert chains.matrices(one.nodes, 2) is None
    assert one.nodes[0].operation.factor(2) >= 1e-6  # it is 1e-6 and no less, whatever the product says


def test_the_whole_as_a_chain():
    row = [("r", RELU, 4), dense("a", 5, 4), ("s", G.activations.leaky_relu(0.2), 5), dense("b", 3, 5), ("t", RELU, 3)]
    one = graph(row, 4)
    chain = chains.whole(one, 12)
    assert chain.name == "r to t"
    assert [w.shape for w in chain.weights] == [(4, 4), (5, 4), (3, 5), (3, 3)]
    x = RNG.standard_normal((20, 4))
    h = x @ chain.weights[0].T + chain.shifts[0]
    for weight, shift, activation in zip(chain.weights[1:], chain.shifts[1:], chain.activations, strict=True):
        h = activation.apply(h) @ weight.T + shift
    np.testing.assert_allclose(h, one.evaluate(x))
    assert chains.whole(one, 11) is None
    assert chains.whole(graph([dense("a", 5, 4), ("sort", G.Sort(np.arange(4).reshape(2, 2)), 5)], 4), 12) is None


@pytest.mark.parametrize(
    ("first", "last", "name"), [("a", "a", "a"), ("a to b", "c to d", "a to d"), ("a", "b to c", "a to c")]
)
def test_names(first, last, name):
    assert chains.name_of(first, last) == name
