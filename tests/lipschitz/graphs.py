"""Graphs of layers that are made by hand, of 16 inputs and 3 outputs."""

import math

import numpy as np
import pytest

from artclip import graph as G

RNG = np.random.default_rng(0)
_START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_weights():
    """Graphs of a test do not depend on the tests before it: for modules that import it."""
    RNG.bit_generator.state = _START


def dense(inputs, outputs):
    return G.Dense(RNG.standard_normal((outputs, inputs)) / math.sqrt(inputs), shift=RNG.standard_normal(outputs) / 3)


def row(inputs, *operations):
    """A graph of operations in a row."""
    nodes, x = [], np.zeros((1, inputs))
    for i, operation in enumerate(operations):
        x = operation.apply(x)
        nodes.append(G.Node(f"{type(operation).__name__} {i}", operation, (i - 1,), x.shape[1]))
    return G.LayerGraph(nodes, inputs)


def residual():
    """A sum of two ways and of the input, then two ways side by side."""
    first, second, last = dense(16, 16), dense(16, 16), dense(28, 3)
    nodes = [
        G.Node("first", first, (-1,), 16),
        G.Node("act", G.ACTIVATIONS["relu"], (0,), 16),
        G.Node("second", second, (1,), 16),
        G.Node("sum", G.Add((1.0, -0.5, 2.0)), (2, 0, -1), 16),
        G.Node("gelu", G.ACTIVATIONS["gelu"], (3,), 16),
        G.Node("part", G.Gather(np.arange(12)), (1,), 12),
        G.Node("beside", G.Concat(), (4, 5), 28),
        G.Node("last", last, (6,), 3),
    ]
    return G.LayerGraph(nodes, 16)


def convolution(inputs=1, outputs=4, shape=(4, 4), **more):
    options = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), **more}
    return G.Convolution(RNG.standard_normal((outputs, inputs, 3, 3)) / 3, shape, **options)


POOL = G.windows((4, 4), [np.array([[0, 1], [2, 3]]), np.array([[0, 1], [2, 3]])])
OVERLAPPING = G.windows((4, 4), [np.array([[-1, 0, 1], [1, 2, 3]]), np.array([[-1, 0, 1], [1, 2, 3]])])
RELU, PAIRS = G.ACTIVATIONS["relu"], np.arange(16).reshape(8, 2)
GRAPHS = {
    "relu": lambda: row(16, dense(16, 12), RELU, dense(12, 10), RELU, dense(10, 3)),
    "leaky, abs": lambda: row(
        16, dense(16, 12), G.activations.leaky_relu(0.2), dense(12, 8), G.ACTIVATIONS["abs"], dense(8, 3)
    ),
    "gelu": lambda: row(16, dense(16, 12), G.ACTIVATIONS["gelu"], dense(12, 10), G.ACTIVATIONS["gelu"], dense(10, 3)),
    "sigmoid first": lambda: row(16, G.ACTIVATIONS["sigmoid"], dense(16, 3)),
    "elu last": lambda: row(16, dense(16, 12), G.ACTIVATIONS["elu"], dense(12, 3), G.ACTIVATIONS["elu"]),
    "pairs": lambda: row(
        16, dense(16, 16), G.Sort(PAIRS), dense(16, 16), G.Sort(PAIRS[::-1], descending=True), dense(16, 3)
    ),
    "convolutions": lambda: row(16, convolution(), RELU, convolution(4, 4), RELU, dense(64, 3)),
    "pools": lambda: row(16, convolution(), G.Maximum(POOL, 4), RELU, dense(16, 3)),
    "overlapping pools": lambda: row(16, convolution(), G.Maximum(OVERLAPPING, 4, sign=-1), dense(16, 3)),
    "residual": residual,
}
