"""Bounds on a torus hold for all slopes, and are exact where no window reaches out and nothing bends."""

import math
from dataclasses import replace

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph.adjoint import adjoint
from artclip.graph.simplify import simplified
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.descent import Point, descend
from artclip.lipschitz.local.kinks import in_lines
from artclip.lipschitz.product import Norms, bounds_at
from artclip.lipschitz.slope_constants import SlopeConstants, all_slopes
from artclip.lipschitz.torus.bounds import TorusBounds, largest, top
from artclip.lipschitz.torus.head import Head
from artclip.lipschitz.torus.regions import cuts, region
from artclip.lipschitz.torus.search import Regions
from artclip.lipschitz.torus.steps import Steps
from tests.lipschitz.test_gram_bounds import jacobian
from tests.lipschitz.torus.convolutional import Made, random_graph
from tests.lipschitz.torus.steepest import steepest


def norms(graph):
    found = Norms(graph.nodes, Budget(math.inf))
    return bounds_at(graph.nodes, found.of(2), 2, found.blocks(2))


def inside(seed, axes):
    """Convolutions whose windows stay inside, with strides, in groups, and in two ways that are added."""
    made = Made(seed, axes, (15, 19) if axes == 2 else (20, 25))
    made.convolution(-1, made.images, 4, inside=True)
    images, start = made.images, made.last
    first = made.convolution(start, images, 3, inside=True)
    sides, kernel = made.images.sides, made.nodes[-1].operation
    other = replace(kernel, kernel=made.rng.standard_normal(kernel.kernel.shape))
    second = made.add(other, (start,), made.images)
    made.add(G.Add((1.0, -2.0)), (first, second), made.images)
    if min(sides) >= 2:
        made.mean_pool()
    made.scale()
    return made.graph(), made.images


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_of_linear_layers_whose_windows_stay_inside_it_is_the_gram_matrix(seed, axes):
    graph, images = inside(seed, axes)
    functions = np.random.default_rng(seed).standard_normal((3, images.size))
    bounds = TorusBounds(Steps(region(graph, -1, [len(graph.nodes) - 1])).build())
    gram, bent = Head(bounds, images, functions).forward({})
    whole = functions @ jacobian(graph, {})
    assert not bent
    np.testing.assert_allclose(gram, whole @ whole.T, rtol=1e-9, atol=1e-9 * np.trace(gram))


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("seed", range(9))
def test_no_slopes_are_steeper(seed, axes):
    graph = simplified(random_graph(seed, axes, (4, 8) if axes == 2 else (8, 24)))
    regions = Regions(graph, Budget(math.inf), 6)
    for found in regions.bounds([1e3 * bound for bound in norms(graph)]):
        if found.start < 0:
            lines = in_lines(replace(graph, nodes=graph.nodes[: found.end + 1]))
            steep = steepest(lines, np.random.default_rng(seed))
            assert 0 < steep <= found.value * (1 + 1e-9)
            if found.gram is not None:
                assert np.linalg.eigvalsh(found.gram)[-1] <= found.value**2


def cnn(side=10, stride=2, activation="relu"):
    made = Made(0, 2, (side, side + 1))
    operation = G.ACTIVATIONS[activation]
    for outputs, step in ((4, 1), (5, stride), (5, 1)):
        kernel = made.rng.standard_normal((outputs, made.images.channels, 3, 3)) / 5
        convolution = G.Convolution(kernel, made.images.sides, (step, step), ((1, 1), (1, 1)), (1, 1))
        made.add(convolution, (made.last,), type(made.images)(outputs, convolution.windows))
        made.add(operation, (made.last,), made.images)
    made.dense(6)
    made.add(operation, (made.last,), made.images)
    made.dense(3)
    return made.graph()


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_it_is_near_the_bound_of_all_units_and_far_below_the_product(activation):
    """Which has an L for each unit: only the edge of the image makes it better."""
    graph = cnn(activation=activation)
    (found,) = Regions(graph, Budget(math.inf), 20).bounds(norms(graph))
    assert (found.start, found.end) == (-1, len(graph.nodes) - 1)
    of_units, _ = SlopeConstants(graph).all(all_slopes(graph), 60)
    assert of_units <= found.value * 1.01
    assert found.value < 1.6 * of_units
    assert found.value < 0.6 * norms(graph)[-1]


def test_each_iteration_makes_it_smaller_and_a_far_first_one_ends_it():
    graph = cnn()
    values = [Regions(graph, Budget(math.inf), n).bounds(norms(graph))[0].value for n in (1, 3, 12)]
    assert values[0] > values[1] > values[2]
    assert not Regions(graph, Budget(math.inf), 12).bounds([bound * 0.1**i for i, bound in enumerate(norms(graph))])


def test_no_time_no_regions():
    graph = cnn()
    assert not Regions(graph, Budget(1e-9), 5).bounds(norms(graph))


def test_a_region_by_itself_is_bounded_by_the_largest_eigenvalue():
    graph = cnn()
    row = replace(graph, nodes=graph.nodes[:6])
    (found,) = Regions(row, Budget(math.inf), 10).bounds(norms(row))
    assert found.end == 5
    assert steepest(row, np.random.default_rng(0)) <= found.value < norms(row)[-1]


def test_between_regions_stand_layers_that_no_lines_are_known_for():
    """A softmax over all pixels ends a region; what is behind it is not looked at."""
    graph = cnn()
    size = graph.nodes[5].size
    nodes = [*graph.nodes[:6], G.Node("softmax", G.Softmax(np.arange(size)[None]), (5,), size)]
    (found,) = Regions(replace(graph, nodes=nodes), Budget(math.inf), 5).bounds([1e6] * 7)
    assert found.end == 5


@pytest.mark.parametrize("make", [cnn, lambda: random_graph(3), lambda: random_graph(8, 1, (8, 12))])
def test_the_way_back_is_the_derivative(make):
    """Of a smooth aim in all parameters, by differences."""
    graph = in_lines(simplified(make()))
    end = next(i for i in reversed(cuts(graph)) if region(graph, -1, [i]) is not None)
    bounds, start = TorusBounds(Steps(region(graph, -1, [end])).build()), {}
    middle, _ = bounds.forward(start)
    assert top(middle) >= math.sqrt(np.linalg.eigvalsh(middle).max())

    def value(parameters):
        found, bent = bounds.forward(parameters)
        number, z = largest(found, bounds.last.weights, 3.0)
        return number, bounds.derivatives(bent, z, np.ones(z.shape[:2]))

    rng = np.random.default_rng(0)
    start = {key: part + rng.uniform(-0.2, 0.2, len(part)) for key, part in start.items()}
    for key, expected in value(start)[1].items():
        for i in range(len(expected)):
            one = 1e-5 * np.eye(len(expected))[i]
            ahead, behind = (value({**start, key: start[key] + sign * one})[0] for sign in (1, -1))
            assert (ahead - behind) / 2e-5 == pytest.approx(expected[i], rel=1e-3, abs=1e-5 * value(start)[0])


def test_a_convolution_behind_one_that_pads_has_to_wait_for_an_activation():
    """What the first makes around the image is not 0, as the second takes it to be."""
    made = Made(3)
    made.convolution(-1, made.images, 2, same=True)
    made.convolution(made.last, made.images, 2, same=True)
    graph = made.graph()
    padded = [any(map(sum, node.operation.padding)) for node in graph.nodes]
    assert padded[1]
    assert region(graph, -1, [1]) is None
    assert region(graph, -1, [0]).end == 0


def test_cuts_are_nodes_that_all_ways_go_through():
    made = Made(0)
    made.convolution(-1, made.images, 2)
    made.activation(made.last)
    made.block()
    made.dense(2)
    assert cuts(made.graph()) == [-1, 0, 1, 5, 6, 7]


def test_functions_of_the_end_may_be_any():
    graph = cnn(stride=1)
    images = region(graph, -1, [5]).pieces[-1].images
    bounds = TorusBounds(Steps(region(graph, -1, [5])).build())
    matrix = np.random.default_rng(0).standard_normal((4, images.size))
    head = Head(bounds, images, matrix)

    def trace(parameters):
        found, bent = head.forward(parameters)
        return Point(float(np.trace(found)), head.derivatives(bent, np.eye(4), np.ones(4)), {}, found)

    gram, _ = descend(trace, 10)
    row = replace(graph, nodes=[*graph.nodes[:6], G.Node("functions", G.Dense(matrix), (5,), 4)])
    rng = np.random.default_rng(1)
    for _ in range(5):
        slopes = {i: rng.integers(0, 2, row.nodes[i].size) * 1.0 for i in (1, 3, 5)}
        found = jacobian(row, slopes)
        assert np.linalg.eigvalsh(gram - found @ found.T)[0] >= -1e-9 * np.trace(gram)
    assert adjoint(row.nodes[6].operation, np.eye(4), images.size).shape == matrix.shape


def cropped(activation=True):
    """y[i + 1] of an image y without its last two pixels, less 0.9·y[i + 1] of the whole: there, one pixel is alone."""
    n, zeros = 40, ((0, 0),)
    nodes = [
        G.Node("first", G.Convolution(np.array([[[0, 1.0, 0]]]), (n,), (1,), ((1, 1),), (1,)), (-1,), n),
        G.Node("relu", G.ACTIVATIONS["relu"], (0,), n),
        G.Node("crop", G.Gather(np.arange(n - 2)), (1,), n - 2),
        G.Node("padded", G.Convolution(np.array([[[0, 0, 1.0]]]), (n - 2,), (1,), ((1, 1),), (1,)), (2,), n - 2),
        G.Node("inside", G.Convolution(np.array([[[0, -0.9, 0]]]), (n,), (1,), zeros, (1,)), (1,), n - 2),
        G.Node("sum", G.Add(), (3, 4), n - 2),
    ]
    if activation:
        nodes += [
            G.Node("last", G.ACTIVATIONS["relu"], (5,), n - 2),
            G.Node("dense", G.Dense(np.eye(2, 38, 36)), (6,), 2),
        ]
    return G.LayerGraph(nodes, n)


@pytest.mark.parametrize("activation", [False, True])
def test_what_was_cut_off_an_image_is_not_0_around_it(activation):
    graph = cropped(activation)
    assert steepest(graph, np.random.default_rng(0)) > 0.89
    for found in Regions(graph, Budget(math.inf), 10).bounds([1e3 * bound for bound in norms(graph)]):
        part = replace(graph, nodes=graph.nodes[: found.end + 1])
        assert found.start >= 0 or found.value >= steepest(part, np.random.default_rng(0)) * (1 - 1e-9)


@pytest.mark.parametrize(
    "sizes",
    [(1e-60, 1e-60, 1e-60), (1e90, 1e-90, 1.0), (1e-90, 1e90, 1e90), (0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)],
)
def test_weights_of_any_size_are_bounded_or_left(sizes):
    graph, nodes = cnn(), []
    waiting = list(sizes)
    for node in graph.nodes:
        if isinstance(node.operation, G.Convolution):
            node = replace(node, operation=replace(node.operation, kernel=node.operation.kernel * waiting.pop(0)))
        nodes.append(node)
    graph = replace(graph, nodes=nodes)
    for found in Regions(graph, Budget(math.inf), 5).bounds([1e9 * bound + 1 for bound in norms(graph)]):
        if found.start < 0:
            part = replace(graph, nodes=nodes[: found.end + 1])
            assert found.value >= steepest(part, np.random.default_rng(0)) * (1 - 1e-9)
