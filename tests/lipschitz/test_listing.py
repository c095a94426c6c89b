"""Factors of layers multiply to the bound, through additions and concatenations too."""

import math

import numpy as np
import pytest

from artclip import graph as G
from artclip.lipschitz.listing import listing
from artclip.lipschitz.product import bounds_at


class Factor:
    """An operation with nothing but a factor."""


def graph(*joins):
    """A node for each: its parents, and what joins them, if there are several."""
    kinds = {"add": lambda n: G.Add((1.0, *[-0.5] * (n - 1))), "cat": lambda n: G.Concat(), "": lambda n: Factor()}
    return [G.Node(f"n{i}", kinds[kind](len(parents)), parents, 1) for i, (kind, parents) in enumerate(joins)]


ROW = graph(("", (-1,)), ("", (0,)), ("", (1,)))
SKIP = graph(("", (-1,)), ("", (0,)), ("", (1,)), ("add", (0, 2)), ("", (3,)))
FROM_INPUT = graph(("", (-1,)), ("cat", (-1, 0)), ("", (1,)))
TWICE = graph(("", (-1,)), ("add", (0, 0)))
NESTED = graph(("", (-1,)), ("", (0,)), ("", (1,)), ("add", (1, 2)), ("", (3,)), ("add", (0, 4)), ("", (5,)))
DENSE = graph(("", (-1,)), ("cat", (-1, 0)), ("", (1,)), ("cat", (-1, 0, 2)), ("", (3,)), ("add", (3, 4)))
GRAPHS = {"row": ROW, "skip": SKIP, "from the input": FROM_INPUT, "twice": TWICE, "nested": NESTED, "dense": DENSE}


@pytest.mark.parametrize("p", [1, 2, math.inf])
@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS)
def test_factors_in_no_branch_multiply_to_the_bound(nodes, p):
    rng = np.random.default_rng(0)
    factors = [1.0 if len(node.parents) > 1 else float(rng.uniform(0.1, 9)) for node in nodes]
    found = listing(nodes, factors, {i: node.name for i, node in enumerate(nodes)}, p, {})
    outside = [factor for i, (_, factor) in enumerate(found.layers) if i not in found.inside]
    assert math.prod(outside) == pytest.approx(bounds_at(nodes, factors, p, {})[-1], rel=1e-12)
    assert sorted(found.branches) == [i for i, node in enumerate(nodes) if len(node.parents) > 1]


def test_an_addition_has_the_factor_of_each_branch():
    found = listing(SKIP, [2.0, 3.0, 5.0, 1.0, 7.0], {0: "a", 2: "b to c", 3: "add", 4: "d"}, 2, {})
    alone = listing(SKIP, [2.0, 1.0, 15.0, 1.0, 7.0], {0: "a", 2: "b to c", 3: "add", 4: "d"}, 2, {})
    assert found.branches == alone.branches == {2: [1.0, 7.5]}
    assert alone.layers == [("a", 2.0), ("b to c", 15.0), ("add", 8.5), ("d", 7.0)]
    assert alone.inside == [1]


def test_what_is_in_a_branch_of_a_branch_is_inside():
    factors = [2.0, 3.0, 5.0, 1.0, 7.0, 1.0, 11.0]
    found = listing(NESTED, factors, {i: node.name for i, node in enumerate(NESTED)}, 2, {})
    assert found.inside == [1, 2, 3, 4]
    assert found.branches == {3: [1.0, 2.5], 5: [1.0, 0.5 * 3 * 3.5 * 7]}


def test_a_block_with_a_bound_of_its_own_counts_by_that():
    factors, names = [2.0, 3.0, 5.0, 1.0, 7.0, 1.0, 11.0], {i: node.name for i, node in enumerate(NESTED)}
    for bound in (1.25, 1000.0):  # below and above what the branches sum up to
        blocks = {3: (1, bound)}
        found, inner = listing(NESTED, factors, names, 2, blocks), min(3.5, bound)
        assert found.layers[3] == ("n3", inner)
        assert found.branches[5] == [1.0, 0.5 * 3 * inner * 7]
        outside = [factor for i, (_, factor) in enumerate(found.layers) if i not in found.inside]
        assert math.prod(outside) == pytest.approx(bounds_at(NESTED, factors, 2, blocks)[-1], rel=1e-12)
