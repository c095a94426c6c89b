"""A simplified graph computes the same, and its bounds by layers are never looser."""

import math

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph import composition
from artclip.graph.composition import Composition
from artclip.graph.simplify import simplified

RELU, LEAKY = G.ACTIVATIONS["relu"], G.activations.leaky_relu(0.2)


def product(graph, p):
    """The bound of the layers' norms."""
    factors = [float(node.operation.factor(p)) for node in graph.nodes]
    return G.through(graph.nodes, factors, 1.0, lambda before: float(np.linalg.norm(before, p)))[-1]


def row(operations, inputs):
    """A graph of operations (operation, outputs) one after the other."""
    return G.LayerGraph([G.Node(str(i), op, (i - 1,), n) for i, (op, n) in enumerate(operations)], inputs)


class Random:
    """Random operations on a tensor of some shape, channels first."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def shift(self, size):
        return self.rng.standard_normal(size) if self.rng.uniform() < 0.5 else 0.0

    def operation(self, shape):
        """An operation and the shape of its outputs."""
        rng, size = self.rng, math.prod(shape)
        kind = rng.integers(9)
        if kind == 0 and len(shape) == 3:
            return self.convolution(shape)
        if kind == 1 and len(shape) == 3:
            axes = [None, *(rng.standard_normal((int(rng.integers(1, 6)), n)) for n in shape[1:])]
            out = tuple(n if m is None else len(m) for n, m in zip(shape, axes, strict=True))
            return G.Kronecker(shape, tuple(axes), self.shift(math.prod(out))), out
        if kind == 2:
            out = (int(rng.integers(2, 30)),)
            return G.Dense(rng.standard_normal((out[0], size)), 1, self.shift(out[0])), out
        if kind == 3 and len(shape) == 3:
            return G.Scale(np.repeat(rng.standard_normal(shape[0]), size // shape[0]), self.shift(size)), shape
        if kind == 4:
            return G.Scale(np.float64(rng.standard_normal()) if rng.integers(2) else rng.standard_normal(size)), shape
        if kind == 5:
            index = rng.integers(-1, size, int(rng.integers(2, 20)))
            return G.Gather(index), index.shape
        if kind == 6:
            return G.IDENTITY if rng.integers(2) else G.Gather(None, self.shift(size)), shape
        if kind == 7:
            copies = int(rng.choice([n for n in range(1, size + 1) if size % n == 0]))
            return G.Dense(rng.standard_normal((3, size // copies)), copies, self.shift(3 * copies)), (3 * copies,)
        return [RELU, LEAKY, G.ACTIVATIONS["gelu"]][rng.integers(3)], shape

    def convolution(self, shape):
        rng = self.rng
        groups = 2 if shape[0] % 2 == 0 else 1
        transposed = bool(rng.integers(2))
        outputs = groups * int(rng.integers(1, 3))
        sides = shape[1:]
        k, s, p = (
            (1, 1, 0) if min(sides) < 3 else (int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(2)))
        )
        geometry = (s,) * 2, ((p, 0),) * 2, (1,) * 2, groups
        if transposed:
            out = tuple((n - 1) * s + k - p for n in sides)
            kernel = rng.standard_normal((shape[0], outputs // groups, k, k))
            op = G.Convolution(kernel, out, *geometry, transposed=True)
        else:
            op = G.Convolution(rng.standard_normal((outputs, shape[0] // groups, k, k)), sides, *geometry)
            out = op.windows
        size = outputs * math.prod(out)
        return G.Convolution(*list(vars(op).values())[:6], transposed, self.shift(size)), (outputs, *out)

    def graph(self):
        """A few rows, added or side by side at times."""
        shape, nodes = (2, 4, 5), []
        shapes = {-1: shape}
        for i in range(int(self.rng.integers(3, 12))):
            last = i - 1
            if i > 2 and self.rng.uniform() < 0.2:
                other = int(self.rng.integers(-1, last))
                if shapes[other] == shapes[last] and self.rng.integers(2):
                    nodes.append(G.Node(str(i), G.Add((0.5, -2.0)), (last, other), math.prod(shapes[last])))
                    shapes[i] = shapes[last]
                else:
                    size = math.prod(shapes[last]) + math.prod(shapes[other])
                    nodes.append(G.Node(str(i), G.Concat(), (last, other), size))
                    shapes[i] = (size,)
                continue
            operation, shapes[i] = self.operation(shapes[last])
            nodes.append(G.Node(str(i), operation, (last,), math.prod(shapes[i])))
        return G.LayerGraph(nodes, math.prod(shape))


@pytest.mark.parametrize("seed", range(60))
def test_computes_the_same_and_never_loosens(seed):
    graph = Random(seed).graph()
    simple = simplified(graph)
    x = np.random.default_rng(seed).standard_normal((5, 40))
    expected = graph.evaluate(x)
    np.testing.assert_allclose(simple.evaluate(x), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    assert len(simple.nodes) <= len(graph.nodes)
    for p in (1, 2, math.inf):
        assert product(simple, p) <= product(graph, p) * (1 + 1e-9)
    for a, b in zip(simple.nodes, simple.nodes[1:], strict=False):  # nothing that could be one is left
        if b.parents == (simple.nodes.index(a),) and sum(simple.nodes.index(a) in n.parents for n in simple.nodes) == 1:
            assert not (hasattr(a.operation, "after") and hasattr(b.operation, "after"))


@pytest.mark.parametrize("seed", range(10))
def test_a_row_of_linear_operations_has_its_own_norm(seed):
    draw, shape, operations = Random(seed), (2, 4, 5), []
    while len(operations) < 6:
        operation, out = draw.operation(shape)
        if hasattr(operation, "after"):
            operations.append((operation, math.prod(out)))
            shape = out
    (node,) = simplified(row(operations, 40)).nodes
    matrix = node.operation.apply(np.eye(40)).T - node.operation.apply(np.zeros((1, 40))).T
    np.testing.assert_allclose(node.operation.after(None, 40), matrix, atol=1e-9 * max(1, np.abs(matrix).max()))
    for p in (1, 2, math.inf):
        true, bound = np.linalg.norm(matrix, p), node.operation.factor(p)
        assert true * (1 - 1e-9) <= bound
        if isinstance(node.operation, Composition):
            assert bound <= true * (1 + 1e-7) + 1e-9 * np.prod([op.factor(p) for op, _ in operations])


def test_batchnorm_goes_into_the_convolution_beside_it():
    rng = np.random.default_rng(0)
    kernel, scale = rng.standard_normal((4, 3, 3, 3)), np.array([1.0, -2.0, 0.1, 0.5])
    convolution = G.Convolution(kernel, (32, 32), (1, 1), ((1, 1), (1, 1)), (1, 1), shift=np.ones(4 * 1024))
    norm = G.Scale(np.repeat(scale, 1024), np.repeat(scale, 1024))
    (node,) = simplified(row([(convolution, 4096), (norm, 4096)], 3072)).nodes
    assert isinstance(node.operation, G.Convolution)
    assert node.name == "0 to 1"
    np.testing.assert_allclose(node.operation.kernel, kernel * scale[:, None, None, None])
    np.testing.assert_allclose(node.operation.shift, np.repeat(2 * scale, 1024))


def test_activations_in_a_row_are_one_and_identities_vanish():
    dense = G.Dense(np.eye(3))
    operations = [dense, G.IDENTITY, RELU, G.IDENTITY, LEAKY, G.activations.leaky_relu(1), dense]
    nodes = simplified(row([(op, 3) for op in operations], 3)).nodes
    assert [type(n.operation) for n in nodes] == [G.Dense, G.Activation, G.Dense]
    assert (nodes[1].operation.low, nodes[1].operation.high, nodes[1].operation.kinked) == (0.0, 1.0, True)
    (only,) = simplified(row([(G.IDENTITY, 3), (G.IDENTITY, 3)], 3)).nodes
    assert only.operation.factor(2) == 1
    np.testing.assert_array_equal(row([(only.operation, 3)], 3).evaluate(np.ones((1, 3))), [[1, 1, 1]])


def test_what_has_two_children_stays():
    """x → W → (relu, tanh): the matrix counts once, and its outputs are those of one node."""
    weight = np.random.default_rng(0).standard_normal((3, 3))
    nodes = [
        G.Node("w", G.Dense(weight), (-1,), 3),
        G.Node("same", G.IDENTITY, (0,), 3),
        G.Node("half", LEAKY, (1,), 3),
        G.Node("sum", G.Add(), (1, 2), 3),
        G.Node("unused", G.Dense(weight), (3,), 3),
        G.Node("out", RELU, (3,), 3),
    ]
    graph = G.LayerGraph(nodes, 3)
    simple = simplified(graph)
    assert [n.name for n in simple.nodes] == ["w", "half", "sum", "out"]
    x = np.random.default_rng(1).standard_normal((4, 3))
    np.testing.assert_allclose(simple.evaluate(x), graph.evaluate(x))


def test_nothing_is_folded_that_would_vanish_or_overflow():
    tiny = G.Dense(np.full((2, 2), 1e-200))
    operations = [(G.Scale(np.full(2, 1e-200)), 2), (tiny, 2), (G.Scale(np.full(2, 1e250)), 2)]
    (node,) = simplified(row(operations, 2)).nodes
    assert len(node.operation.parts) == 3


def test_matrices_along_the_same_axes_multiply():
    pad, pool = np.eye(6, 4, -1), np.kron(np.eye(3), np.full((1, 2), 0.5))
    operations = [
        (G.Kronecker((2, 4, 4), (None, pad, None)), 48),
        (G.Kronecker((2, 6, 4), (None, pool, pool[:2, :4])), 12),
    ]
    (node,) = simplified(row(operations, 32)).nodes
    assert isinstance(node.operation, G.Kronecker)
    x = np.random.default_rng(0).standard_normal((3, 32))
    np.testing.assert_allclose(node.operation.apply(x), row(operations, 32).evaluate(x))
    assert node.operation.factor(2) == pytest.approx(0.5, rel=1e-8)


@pytest.mark.parametrize(
    ("stride", "dilation", "groups"), [((1, 1), (1, 1), 1), ((2, 1), (1, 2), 2), ((3, 2), (1, 1), 1)]
)
def test_circular_padding_has_the_norm_of_images_without_an_edge(monkeypatch, stride, dilation, groups):
    monkeypatch.setattr(composition, "_EXACT", 0)  # by frequencies, not from the matrix
    rng = np.random.default_rng(0)
    sides, kernel = (6, 8), rng.standard_normal((4, 4 // groups, 3, 3))
    totals = [d * 2 + 1 - s for d, s in zip(dilation, stride, strict=True)]
    pads = [((total + 1) // 2, total // 2) for total in totals]
    shape = tuple(n + sum(pad) for n, pad in zip(sides, pads, strict=True))
    index = np.stack([np.pad(c * 48 + np.arange(48).reshape(sides), pads, mode="wrap") for c in range(4)]).ravel()
    convolution = G.Convolution(kernel, shape, stride, ((0, 0), (0, 0)), dilation, groups)
    size = 4 * math.prod(convolution.windows)
    (node,) = simplified(row([(G.Gather(index), len(index)), (convolution, size)], 192)).nodes
    matrix = node.operation.after(None, 192)
    assert node.operation.factor(2) == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-7)
    for p in (1, math.inf):
        assert node.operation.factor(p) == pytest.approx(np.linalg.norm(matrix, p))
    for wrong in (np.roll(index, 1), np.where(index == index[5], -1, index)):  # some other gather
        assert not composition.is_circular(G.Gather(wrong), convolution)


def test_scaling_goes_through_copies_into_the_convolution_behind():
    rng, index = np.random.default_rng(0), np.pad(np.arange(16).reshape(4, 4), 1, mode="reflect").ravel()
    scale = G.Scale(np.repeat([2.0, 0.1], 16), np.repeat([1.0, -1.0], 16))
    pad = G.Gather(np.concatenate([index, index + 16]), rng.standard_normal(72))
    convolution = G.Convolution(rng.standard_normal((3, 2, 3, 3)), (6, 6), (1, 1), ((0, 0), (0, 0)), (1, 1))
    graph = row([(scale, 32), (pad, 72), (convolution, 48)], 32)
    (node,) = simplified(graph).nodes
    assert [type(part) for part in node.operation.parts] == [G.Gather, G.Convolution]
    x = rng.standard_normal((4, 32))
    np.testing.assert_allclose(node.operation.apply(x), graph.evaluate(x))
