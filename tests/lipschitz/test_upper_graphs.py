"""Upper bounds of graphs of layers that are made by hand: scales, time, what is left out, the bar."""

import math
import time
from itertools import pairwise

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph.simplify import simplified
from artclip.lipschitz import graph_bounds, lipsdp, upper
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.graph_bounds import GraphBounds

RELU, TANH = G.ACTIVATIONS["relu"], G.ACTIVATIONS["tanh"]


class Bar:
    """What a progress bar was told."""

    def __init__(self):
        self.n, self.total, self.finished = 0, 0, []

    def reset(self, total):
        self.finished.append((self.n, self.total))
        self.n, self.total = 0, total

    def update(self, n=1):
        self.n += n

    def set_description(self, text):
        pass

    set_postfix_str = set_description


def bound(graph, method="auto", norm=2, output_norm=2, max_iter=40, budget=None, bar=None):
    bounds = GraphBounds(simplified(graph), budget or Budget(60), bar or Bar())
    return bounds.exact(norm, output_norm) if method == "exact" else bounds.least(norm, output_norm, method, max_iter)


def row(operations, inputs):
    return G.LayerGraph([G.Node(f"n{i}", op, (i - 1,), n) for i, (op, n) in enumerate(operations)], inputs)


def mlp(sizes, activations=(RELU,), seed=0, scales=()):
    rng, operations = np.random.default_rng(seed), []
    for i, (a, b) in enumerate(pairwise(sizes)):
        scale = scales[i] if scales else 1.0
        operations.append((G.Dense(rng.standard_normal((b, a)) / math.sqrt(a) * scale, 1, rng.standard_normal(b)), b))
        if i + 2 < len(sizes):
            operations += [(activation, b) for activation in activations]
    return row(operations, sizes[0])


@pytest.mark.parametrize("method", ["product", "eclipse", "lipsdp"])
@pytest.mark.parametrize("scales", [(1e-200, 1e-180, 1e260), (1e150, 1e200, 1e-250), (1e-300, 1.0, 1.0)])
def test_the_sizes_of_weights_do_not_matter(method, scales):
    plain, scaled = (bound(mlp([9, 8, 8, 3], scales=s), method) for s in ((), scales))
    expected = plain.value * 10 ** sum(round(math.log10(s)) for s in scales)
    assert scaled.value == pytest.approx(expected, rel=1e-6, abs=0)
    assert scaled.gram is None or np.isfinite(scaled.gram).all()
    assert bound(mlp([9, 8, 8, 3], scales=(1e-200,) * 3), method).value > 0  # below the smallest float


def test_activations_in_a_row_and_identities_keep_lipsdp():
    one, two = mlp([9, 20, 20, 3]), mlp([9, 20, 20, 3], (G.activations.leaky_relu(1), RELU, G.IDENTITY, TANH))
    assert len(bound(two).listing.layers) == 1
    assert bound(two, "lipsdp").value == pytest.approx(bound(one, "lipsdp").value, rel=1e-9)
    assert bound(two, "lipsdp").value < 0.9 * bound(two, "product").value


def test_global_average_pools_join_chains_and_batchnorm_is_part_of_its_layer():
    rng = np.random.default_rng(0)
    kernel, scale = rng.standard_normal((6, 2, 3, 3)) / 4, np.repeat(rng.uniform(0.1, 3, 6), 25)
    operations = [
        (G.Convolution(kernel, (5, 5), (1, 1), ((1, 1), (1, 1)), (1, 1)), 150),
        (G.Scale(scale, scale), 150),
        (RELU, 150),
        (G.Kronecker((6, 5, 5), (None, np.full((1, 5), 0.2), np.full((1, 5), 0.2))), 6),
        (G.Dense(rng.standard_normal((10, 6))), 10),
        (RELU, 10),
        (G.Dense(rng.standard_normal((3, 10))), 3),
    ]
    found = bound(row(operations, 50), "lipsdp", max_iter=100)
    assert [name for name, _ in found.listing.layers] == ["n0 to n6"]
    layers = math.prod(operation.factor(2) for operation, _ in operations)
    assert found.value < bound(row(operations, 50), "product").value < 0.999 * layers


def test_all_bounds_hold_for_jacobians_of_a_net_with_branches():
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((6, 6)) / 2 for _ in range(5)]
    nodes = [
        G.Node("a", G.Dense(weights[0]), (-1,), 6),
        G.Node("r", RELU, (0,), 6),
        G.Node("b", G.Dense(weights[1]), (1,), 6),
        G.Node("t", RELU, (2,), 6),
        G.Node("c", G.Dense(weights[2]), (3,), 6),
        G.Node("add", G.Add((1.0, -0.5)), (1, 4), 6),
        G.Node("d", G.Dense(weights[3]), (5,), 6),
        G.Node("u", RELU, (6,), 6),
        G.Node("e", G.Dense(weights[4]), (7,), 6),
        G.Node("cat", G.Concat(), (8, 5), 12),
    ]
    graph, steepest = G.LayerGraph(nodes, 6), 0.0
    for _ in range(300):
        r, t, u = (np.diag(rng.integers(0, 2, 6)) for _ in range(3))
        first = r @ weights[0]
        joined = first - 0.5 * weights[2] @ t @ weights[1] @ first
        whole = np.concatenate([weights[4] @ u @ weights[3] @ joined, joined])
        steepest = max(steepest, np.linalg.norm(whole, 2))
    values = [bound(graph, method).value for method in ("lipsdp", "eclipse", "product")]
    assert steepest <= values[0] <= values[1] <= values[2]
    assert values[0] < 0.95 * values[2]
    assert [name for name, _ in bound(graph, "eclipse").listing.layers] == ["a", "r", "b to c", "add", "d to e", "cat"]
    assert [name for name, _ in bound(graph, "lipsdp").listing.layers] == ["a to cat"]


def test_all_layers_together_know_what_blocks_are_added_to_and_that_sorting_keeps_sums():
    weight = np.diag([1.0, 0.5, 0.2, 0.1])
    nodes = [
        G.Node("a", G.Dense(weight), (-1,), 4),
        G.Node("r", G.activations.leaky_relu(-0.1), (0,), 4),
        G.Node("b", G.Dense(-weight), (1,), 4),
        G.Node("add", G.Add(), (-1, 2), 4),
    ]
    block = G.LayerGraph(nodes, 4)
    assert bound(block, "product").value == pytest.approx(2)
    found = bound(block)
    assert found.value == pytest.approx(1.1, rel=0.01)  # 1 - w·s·w with slopes s in [-0.1, 1]
    assert found.method == "LipSDP of all layers together"
    sums = G.Dense(np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]))
    pairs = row([(G.Dense(weight), 4), (G.Sort(np.arange(4).reshape(2, 2)), 4), (sums, 2)], 4)
    assert bound(pairs, "product").value == pytest.approx(math.sqrt(2))
    assert bound(pairs).value == pytest.approx(math.hypot(1, 0.5), rel=0.01)


@pytest.mark.parametrize("size", [1e-120, 1e120])
def test_numbers_whose_squares_are_lost_are_left_to_the_norms(size):
    weight = size * np.eye(4)
    nodes = [
        G.Node("a", G.Dense(weight), (-1,), 4),
        G.Node("r", RELU, (0,), 4),
        G.Node("b", G.Dense(weight), (1,), 4),
        G.Node("add", G.Add(), (0, 2), 4),
    ]
    found = bound(G.LayerGraph(nodes, 4))
    assert found.value >= max(size, size * size) * (1 - 1e-9)
    assert found.method != "LipSDP of all layers together"


def test_the_same_weights_give_the_same_bound():
    graph = mlp([30, 200, 40, 3])
    first, second = bound(graph), bound(graph, budget=Budget(1000))
    assert first.value == second.value
    np.testing.assert_array_equal(first.gram, second.gram)
    assert first.notes == []


def test_what_time_does_not_allow_is_bounded_and_said(monkeypatch):
    graph = mlp([100, 100, 100, 3])
    ample, none = bound(graph), bound(graph, budget=Budget(1e-9))
    assert ample.value < none.value < 50 * ample.value
    assert none.method == "product of layer norms"
    assert none.notes == ["cheap norms of n0, n2: no time", "n0 to n4 by their norms alone: no time"]
    budget = Budget(60)
    monkeypatch.setattr(budget, "affords", lambda cost: cost < 1e8)
    monkeypatch.setattr(lipsdp, "cost", lambda sizes: 1e9)
    some = bound(graph, budget=budget)
    assert some.notes == ["n0 to n4 by their norms alone: no time"]
    assert some.value == pytest.approx(bound(graph, "product").value, rel=1e-9)


@pytest.mark.parametrize("seconds", [0.05, 0.4])
def test_time_is_kept(seconds):
    """Norms alone take more, and so do three hundred steps."""
    rng = np.random.default_rng(0)
    operations = [(G.Dense(rng.standard_normal((900, 900)) / 30), 900), (RELU, 900)] * 4
    graph = row([*operations, (G.Dense(rng.standard_normal((3, 900))), 3)], 900)
    began = time.perf_counter()
    found = bound(graph, "lipsdp", max_iter=300, budget=Budget(seconds))
    assert time.perf_counter() - began < 10 * seconds + 1  # other work may slow the machine down
    assert found.notes or len(found.history) < 300
    x, step = rng.standard_normal((20, 900)), 1e-3 * rng.standard_normal((20, 900))
    change = graph.evaluate(x + step) - graph.evaluate(x)
    assert found.value >= (np.linalg.norm(change, axis=1) / np.linalg.norm(step, axis=1)).max() > 0


def test_chains_too_large_for_memory_are_cut_and_said(monkeypatch):
    graph = mlp([30, 40, 40, 40, 3])
    whole = bound(graph)
    assert [name for name, _ in whole.listing.layers] == ["n0 to n6"]
    monkeypatch.setattr(graph_bounds, "_NUMBERS", lipsdp.elements([30, 40, 40]))
    cut = bound(graph)
    assert [name for name, _ in cut.listing.layers] == ["n0 to n2", "n3", "n4 to n6"]
    assert cut.notes == ["dense layers end at n4: too large to be bounded together"]
    assert whole.value < cut.value < bound(graph, "product").value


def test_few_steps_for_wide_layers_unless_asked_for(monkeypatch):
    monkeypatch.setattr(graph_bounds, "_WORK", 60 * lipsdp.cost([30, 40, 3]))
    graph = mlp([30, 40, 3])
    assert len(bound(graph, "lipsdp", max_iter=100).history) > 100
    assert 50 < len(bound(graph, max_iter=100).history) < 75
    assert bound(graph, max_iter=100).value == pytest.approx(bound(graph, "lipsdp", max_iter=100).value, rel=1e-2)


@pytest.mark.parametrize("method", ["auto", "product", "lipsdp"])
def test_the_bar_runs_through_all(method):
    bar = Bar()
    bound(mlp([30, 40, 40, 3]), method, max_iter=20, bar=bar)
    counted = [*bar.finished[1:], (bar.n, bar.total)]
    assert counted
    assert all(total * 0.9 <= n <= total for n, total in counted)
    assert counted[0][1] == 5


def test_exact_constants_of_what_begins_and_ends_with_an_activation():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((2, 2))
    graph = row([(RELU, 3), (G.Dense(a), 2), (RELU, 2), (G.Dense(b), 2), (RELU, 2)], 3)
    found = bound(graph, "exact", max_iter=1)
    steepest = max(
        np.linalg.norm(np.diag(last) @ b @ np.diag(on) @ a @ np.diag(first), 2)
        for first in np.ndindex(2, 2, 2)
        for on in np.ndindex(2, 2)
        for last in np.ndindex(2, 2)
    )
    assert found.kind == "exact"
    assert found.value <= steepest * (1 + 1e-9)
    x, step = rng.standard_normal((2000, 3)), 1e-6 * rng.standard_normal((2000, 3))
    change = graph.evaluate(x + step) - graph.evaluate(x)
    assert (np.linalg.norm(change, axis=1) / np.linalg.norm(step, axis=1)).max() <= found.value * (1 + 1e-6)


def test_gram_matrices_bound_rows_that_are_equal():
    """Two outputs with the same weights part never; rounding of their norms may say anything around 0."""
    weight = np.random.default_rng(0).standard_normal((3, 50))
    weight[1] = weight[0]
    gram = upper._rounded_up(bound(row([(G.Dense(weight), 3)], 50), "product").gram)
    difference = np.array([1.0, -1.0, 0.0])
    assert 0 < difference @ gram @ difference < 1e-5 * gram[0, 0]
    other = np.array([1.0, 0.0, -1.0])
    assert other @ gram @ other >= np.linalg.norm(weight[0] - weight[2]) ** 2
