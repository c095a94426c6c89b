"""Residual blocks as steps down a convex potential: the bound holds, and is 1 where theory says so."""

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph.convex_potential import blocks
from artclip.graph.matrix_norms import last
from artclip.graph.nodes import Node

RELU, TANH, GELU = (G.ACTIVATIONS[name] for name in ("relu", "tanh", "gelu"))


def graph_of(a, b, activation=RELU, weights=(1.0, 1.0), swapped=False, shift=0.3):
    """x + B·σ(A·x + b), for matrices or convolutions."""
    size, units = (a.weight.shape[::-1]) if isinstance(a, G.Dense) else (a._inputs(), a._outputs())
    parents = (2, -1) if swapped else (-1, 2)
    return [
        Node("A", a, (-1,), units),
        Node("σ", activation, (0,), units),
        Node("B", b, (1,), size),
        Node("sum", G.Add(weights[::-1] if swapped else weights), parents, size),
    ], size


def dense(a, b, **options):
    return graph_of(G.Dense(a, shift=np.full(len(a), 0.3)), G.Dense(b), **options)


def steepest(nodes, size, seed=0):
    """The largest quotient of close pairs along the leading directions of differences."""
    graph = G.LayerGraph(nodes, size)
    rng, best = np.random.default_rng(seed), 0.0
    for scale in (0.1, 1.0, 10.0):
        for _ in range(10):
            x, h = scale * rng.standard_normal((1, size)), 1e-6
            jacobian = (graph.evaluate(x + h * np.eye(size)) - graph.evaluate(x)) / h
            best = max(best, np.linalg.norm(jacobian, 2))
    return best


def convolutions(kernel, shape, scale, stride=(1, 1), groups=1):
    geometry = {"shape": shape, "stride": stride, "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": groups}
    return G.Convolution(kernel, **geometry), G.Convolution(scale * kernel, transposed=True, **geometry)


def sum_of_branches(nodes):
    a, activation, b, add = (node.operation for node in nodes)
    skip, branch = (abs(w) for w in add.weights)
    return skip + branch * last(a.bounds(2)) * activation.high * last(b.bounds(2))


@pytest.mark.parametrize("activation", [RELU, TANH], ids=["relu", "tanh"])
@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (9, 4)], ids=str)
def test_a_gradient_step_of_a_convex_potential_is_1_lipschitz(shape, activation):
    a = np.random.default_rng(0).standard_normal(shape)
    for share in (1.0, 0.3):
        nodes, size = dense(a, -share * 2 / np.linalg.norm(a, 2) ** 2 * a.T, activation=activation)
        bound = blocks(nodes)[3].factor()
        assert bound == pytest.approx(1.0, abs=1e-9)
        assert steepest(nodes, size) <= bound * (1 + 1e-6)


def test_a_scale_for_each_unit_counts():
    """The layer of Araujo et al. 2023, whose scales come from sums over A·Aᵀ."""
    rng = np.random.default_rng(1)
    a, q = rng.standard_normal((6, 9)), rng.uniform(0.2, 3, 6)
    scales = 2 / (np.abs(a @ a.T) * q / q[:, None]).sum(1)
    nodes, size = dense(a, -a.T * scales)
    assert blocks(nodes)[3].factor() == pytest.approx(1.0, abs=1e-9)
    assert sum_of_branches(nodes) > 1.5
    assert steepest(nodes, size) <= 1 + 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_no_pair_breaks_the_bound_of_any_block(seed):
    rng = np.random.default_rng(seed)
    shape, activation = tuple(rng.integers(1, 9, 2)), (RELU, TANH)[seed % 2]
    a = rng.standard_normal(shape) * rng.uniform(0.2, 3)
    b = -a.T * rng.uniform(0, 3, len(a)) / np.linalg.norm(a, 2) ** 2 + rng.choice([0, 0.1, 1]) * rng.standard_normal(
        shape[::-1]
    )
    weights = tuple(rng.choice([-1.0, 0.5, 1.0, 2.0], 2))
    nodes, size = dense(a, b, activation=activation, weights=weights, swapped=bool(rng.integers(2)))
    assert steepest(nodes, size, seed) <= blocks(nodes)[3].factor() * (1 + 1e-6)


def test_a_step_that_is_too_long_or_goes_up_is_not_1_lipschitz():
    a = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))[0]
    for scale, expected in ((-2.2, 1.2), (1.0, 2.0), (0.0, 1.0)):
        nodes, size = dense(a, scale * a.T)
        assert blocks(nodes)[3].factor() == pytest.approx(expected, abs=1e-9)
        assert steepest(nodes, size) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("stride", "groups"), [((1, 1), 1), ((2, 2), 1), ((1, 1), 2)])
def test_convolutions_and_their_adjoints(stride, groups):
    kernel = np.random.default_rng(3).standard_normal((4, 2 // groups, 3, 3))
    pair = convolutions(kernel, (5, 5), 1.0, stride, groups)
    norm = last(pair[0].bounds(2))
    nodes, size = graph_of(*convolutions(kernel, (5, 5), -1.9 / norm**2, stride, groups))
    assert blocks(nodes)[3].factor() == pytest.approx(1.0, abs=1e-9)
    assert sum_of_branches(nodes) > 2.5
    assert steepest(nodes, size) <= 1 + 1e-6


def test_what_is_no_such_block_has_no_bound_of_its_own():
    rng = np.random.default_rng(4)
    a = rng.standard_normal((6, 6))
    assert blocks(dense(a, -a.T, activation=GELU)[0]) == {}  # slopes below 0
    nodes, _ = dense(a, -a.T)
    two = [nodes[0], Node("σ", RELU, (0,), 6), Node("B", nodes[2].operation, (0,), 6), nodes[3]]
    assert blocks(two) == {}  # no activation between them
    further = [Node("C", G.Dense(a), (-1,), 6), *(Node(n.name, n.operation, (i,), 6) for i, n in enumerate(nodes[:3]))]
    further.append(Node("sum", G.Add(), (-1, 3), 6))
    assert blocks(further) == {}  # the sum starts a layer earlier
    conv, adjoint = convolutions(rng.standard_normal((2, 2, 3, 3)), (4, 4), -0.1)
    assert blocks(graph_of(conv, conv)[0]) == {}
    assert blocks(graph_of(adjoint, conv)[0]) == {}
