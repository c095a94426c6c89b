"""Bounds of J·Jᵀ hold for all slopes, are exact where slopes are known, and as close as an interior-point solver's."""

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph.simplify import simplified
from artclip.lipschitz import lipsdp
from artclip.lipschitz.descent import descend
from artclip.lipschitz.gram_bounds import GramBounds
from artclip.lipschitz.local.kinks import in_lines
from artclip.lipschitz.slope_constants import SlopeConstants, all_slopes
from artclip.lipschitz.state_steps import Bend, Push, steps
from tests.lipschitz.graphs import GRAPHS, dense, row, same_weights  # noqa: F401

RNG = np.random.default_rng(1)


def in_steps(name):
    return in_lines(simplified(GRAPHS[name]()))


def trace(gram):
    return float(np.trace(gram)), np.eye(len(gram))


def norm(gram):
    values, vectors = np.linalg.eigh(gram)
    return float(values[-1]), vectors[:, -1:].T


def jacobian(graph, slopes):
    """(k, inputs) for slopes (size,) of each activation, through the operations as they are."""
    at = {-1: np.eye(graph.inputs)}
    for i, node in enumerate(graph.nodes):
        before = [at[p] for p in node.parents]
        if isinstance(node.operation, G.Activation):
            at[i] = slopes[i][:, None] * before[0]
        elif hasattr(node.operation, "after"):
            at[i] = node.operation.after(before[0], graph.size_of(node.parents[0]))
        elif isinstance(node.operation, G.Add):
            at[i] = sum(w * b for w, b in zip(node.operation.weights, before, strict=True))
        else:
            at[i] = np.concatenate(before)
    return at[len(graph.nodes) - 1]


def intervals(graph, fixed=0.4):
    """Of slopes within those of the activations; a share of them is known."""
    found = {}
    for i, node in enumerate(graph.nodes):
        if isinstance(node.operation, G.Activation):
            ends = RNG.uniform(node.operation.low, node.operation.high, (2, node.size))
            ends[1] = np.where(RNG.uniform(size=node.size) < fixed, ends[0], ends[1])
            found[i] = ends.min(0), ends.max(0)
    return found


@pytest.mark.parametrize("name", GRAPHS)
def test_steps_are_the_graph(name):
    graph = in_steps(name)
    x, size = RNG.standard_normal((5, graph.inputs)), graph.inputs
    state = x
    for step in steps(graph):
        assert state.shape[1] == size
        if isinstance(step, Push):
            back = RNG.standard_normal((4, step.after))
            np.testing.assert_allclose(step.forward(state) @ back.T, state @ step.backward(back).T, atol=1e-9)
            state, size = step.forward(state), step.after
    middle = {i: np.ones(node.size) for i, node in enumerate(graph.nodes) if isinstance(node.operation, G.Activation)}
    np.testing.assert_allclose(state, x @ jacobian(graph, middle).T, atol=1e-9)
    bends = [step.node for step in steps(graph) if isinstance(step, Bend)]
    assert bends == list(middle)


@pytest.mark.parametrize("aim", [trace, norm])
@pytest.mark.parametrize("name", GRAPHS)
def test_no_slopes_of_the_intervals_have_more(name, aim):
    graph = in_steps(name)
    slopes = intervals(graph)
    gram, _ = descend(GramBounds(graph).of(slopes, aim), 10)
    for share in (0.0, 0.5, 1.0, None, None, None, None):
        some = {
            i: low + (high - low) * (RNG.integers(0, 2, len(low)) if share is None else share)
            for i, (low, high) in slopes.items()
        }
        found = jacobian(graph, some)
        assert np.linalg.eigvalsh(gram - found @ found.T)[0] >= -1e-9 * np.trace(gram)


@pytest.mark.parametrize("name", GRAPHS)
def test_of_known_slopes_it_is_the_gram_matrix(name):
    graph = in_steps(name)
    slopes = intervals(graph, fixed=1.0)
    found = jacobian(graph, {i: low for i, (low, _) in slopes.items()})
    np.testing.assert_allclose(
        descend(GramBounds(graph).of(slopes, trace), 10)[0], found @ found.T, rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("activation", ["relu", "gelu", "sigmoid"])
def test_over_all_slopes_it_is_about_the_bound_of_lipsdp(activation):
    operation, over = G.ACTIVATIONS[activation], []
    for _ in range(5):
        graph = row(16, dense(16, 20), operation, dense(20, 14), operation, dense(14, 3))
        weights = [graph.nodes[i].operation.weight for i in (0, 2, 4)]
        best = lipsdp.chain_bound(weights, [(operation.low, operation.high)] * 2, 600).value
        over.append([SlopeConstants(graph).all(all_slopes(graph), n)[0] / best for n in (1, 10, 60)])
    over = np.array(over)
    assert (over >= 1 - 1e-4).all()
    assert (np.diff(over, axis=1) <= 1e-6).mean() > 0.8  # what is made small is not quite the norm
    assert np.median(over[:, 1]) < 1.06
    assert np.median(over[:, 2]) < 1.04


def test_dead_units_and_layers_of_zeros_are_no_trouble():
    weight = np.zeros((5, 16))
    weight[0, 0] = 2.0
    graph = row(16, G.Dense(weight), G.ACTIVATIONS["relu"], dense(5, 3))
    for low, high in ((0.0, 1.0), (0.0, 0.0)):
        slopes = {1: (np.full(5, low), np.full(5, high))}
        gram, _ = descend(GramBounds(graph).of(slopes, norm), 20)
        expected = high * 2.0 * np.linalg.norm(graph.nodes[2].operation.weight[:, 0])
        assert expected * (1 - 1e-9) <= np.sqrt(max(norm(gram)[0], 0)) <= expected * (1 + 1e-3) + 1e-12
