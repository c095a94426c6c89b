"""MaxMin as a larger and a smaller entry side by side is a sort; what only looks like it is not."""

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph.simplify import simplified

INPUTS = 8
PAIRS = np.arange(INPUTS).reshape(-1, 2)
HALVES = np.arange(INPUTS).reshape(2, -1).T
CONCAT = G.Concat()


def of_windows(first, second=None, signs=(1, -1)):
    """Two maxima of the input side by side."""
    second = first if second is None else second
    nodes = [
        G.Node(str(i), G.Maximum(w, 1, s), (-1,), len(w))
        for i, (w, s) in enumerate(zip((first, second), signs, strict=True))
    ]
    return G.LayerGraph([*nodes, G.Node("both", CONCAT, (0, 1), len(first) + len(second))], INPUTS)


def of_halves(swapped=False, missing=False):
    """Two slices of the input, and their maximum and minimum, each of a concatenation of its own."""
    a, b = np.arange(4), np.arange(4, 8)
    if missing:
        a = np.where(a == 1, -1, a)
    nodes = [G.Node("a", G.Gather(a), (-1,), 4), G.Node("b", G.Gather(b), (-1,), 4)]
    for name, sign, parents in (("max", 1, (0, 1)), ("min", -1, (1, 0) if swapped else (0, 1))):
        nodes += [G.Node(f"{name} (inputs)", CONCAT, parents, 8)]
        nodes += [G.Node(name, G.Maximum(HALVES, 1, sign), (len(nodes) - 1,), 4)]
    return G.LayerGraph([*nodes, G.Node("both", CONCAT, (3, 5), 8)], INPUTS)


def of_negatives(twice=False):
    """max(a, b) and -max(-a, -b) of two slices; or -min(-a, -b) for the first."""
    nodes = [G.Node("a", G.Gather(np.arange(4)), (-1,), 4), G.Node("b", G.Gather(np.arange(4, 8)), (-1,), 4)]
    minus = G.Scale(np.array([-1.0]))
    found = []
    for sign, negative in ((-1 if twice else 1, twice), (1, True)):
        parents = (0, 1)
        if negative:
            nodes += [G.Node("-a", minus, (0,), 4), G.Node("-b", minus, (1,), 4)]
            parents = (len(nodes) - 2, len(nodes) - 1)
        nodes += [G.Node("(inputs)", CONCAT, parents, 8)]
        nodes += [G.Node("max", G.Maximum(HALVES, 1, sign), (len(nodes) - 1,), 4)]
        if negative:
            nodes += [G.Node("-max", minus, (len(nodes) - 1,), 4)]
        found.append(len(nodes) - 1)
    return G.LayerGraph([*nodes, G.Node("both", CONCAT, tuple(found), 8)], INPUTS)


def constant(graph):
    """The bound of the layers' norms in L2."""
    factors = [float(node.operation.factor(2)) for node in graph.nodes]
    return G.through(graph.nodes, factors, 1.0, np.linalg.norm)[-1]


SORTS = {
    "pairs": of_windows(PAIRS),
    "smaller first": of_windows(PAIRS, signs=(-1, 1)),
    "rows turned round": of_windows(PAIRS, PAIRS[:, ::-1]),
    "halves": of_halves(),
    "halves, swapped": of_halves(swapped=True),
    "negatives": of_negatives(),
    "negatives twice": of_negatives(twice=True),
}
NO_SORTS = {
    "other pairs": of_windows(PAIRS, HALVES),
    "other order": of_windows(PAIRS, PAIRS[::-1]),
    "twice the larger": of_windows(PAIRS, signs=(1, 1)),
    "overlapping": of_windows(np.stack([np.arange(7), np.arange(1, 8)], 1)),
    "of four": of_windows(np.arange(INPUTS).reshape(-1, 4)),
    "with nothing": of_windows(np.where(PAIRS == 3, -1, PAIRS)),
    "with a zero": of_halves(missing=True),
}


@pytest.mark.parametrize("name", SORTS)
def test_a_larger_and_a_smaller_entry_side_by_side_are_a_sort(name):
    graph = simplified(SORTS[name])
    assert any(isinstance(node.operation, G.Sort) for node in graph.nodes)
    assert constant(graph) == 1.0
    assert constant(SORTS[name]) > 1.4


@pytest.mark.parametrize("name", [*SORTS, *NO_SORTS])
def test_outputs_are_the_same(name):
    graph = {**SORTS, **NO_SORTS}[name]
    x = np.random.default_rng(0).standard_normal((40, INPUTS))
    assert np.array_equal(simplified(graph).evaluate(x), graph.evaluate(x))


@pytest.mark.parametrize("name", NO_SORTS)
def test_what_only_looks_like_a_sort_is_none(name):
    graph = simplified(NO_SORTS[name])
    assert not any(isinstance(node.operation, G.Sort) for node in graph.nodes)
    assert constant(graph) <= constant(NO_SORTS[name]) + 1e-12


def test_entries_of_one_node_side_by_side_are_one_choice():
    parts = [G.Node("a", G.Gather(np.array([3, -1])), (-1,), 2), G.Node("b", G.Gather(np.array([3])), (-1,), 1)]
    graph = G.LayerGraph([*parts, G.Node("all", CONCAT, (0, 1, -1), 3 + INPUTS)], INPUTS)
    x = np.random.default_rng(0).standard_normal((5, INPUTS))
    assert len(simplified(graph).nodes) == 1
    assert np.array_equal(simplified(graph).evaluate(x), graph.evaluate(x))
    assert constant(simplified(graph)) == pytest.approx(np.sqrt(3))


def test_a_net_that_ends_with_two_signs_keeps_its_end():
    minus = G.Scale(np.array([-1.0]))
    nodes = [G.Node("a", G.ACTIVATIONS["tanh"], (-1,), 4), G.Node("b", minus, (0,), 4), G.Node("c", minus, (1,), 4)]
    x = np.random.default_rng(0).standard_normal((3, 4))
    for count in (1, 2, 3):
        graph = G.LayerGraph(nodes[:count], 4)
        np.testing.assert_allclose(simplified(graph).evaluate(x), graph.evaluate(x))
