"""Rounding of predict is no misreading; another function is."""

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph import equivalence

EPS = 2.0**-24


def normalised(entries):
    """A normalisation of large inputs over groups of so many entries."""
    index = np.arange(12).reshape(-1, entries)
    nodes = [
        G.Node("large", G.Scale(np.array([1e5])), (-1,), 12),
        G.Node("norm", G.Normalisation(index, np.ones(12), np.zeros(12), 1e-3), (0,), 12),
        G.Node("last", G.Dense(np.ones((2, 12)), shift=np.ones(2)), (1,), 2),
    ]
    return G.LayerGraph(nodes, 12)


def predict(entries):
    """The same by x·s - mean·s, as Keras computes it, with a product that is rounded."""

    def run(x):
        groups = 1e5 * x.reshape(len(x), -1, entries)
        s = 1 / np.sqrt(groups.var(-1, keepdims=True) + 1e-3)
        signs = np.random.default_rng(0).choice([-1, 1], groups.shape)
        found = groups * s * (1 + EPS * signs) - groups.mean(-1, keepdims=True) * s
        return found.reshape(len(x), -1).sum(1, keepdims=True) + np.ones(2)

    return run


@pytest.mark.parametrize("entries", [1, 2, 12])
def test_a_normalisation_may_lose_what_it_subtracts(entries):
    inputs = equivalence.inputs_to_try((12,), None, None)
    assert len(equivalence.check(normalised(entries), predict(entries), inputs, EPS)[0]) == 4


def test_another_function_is_found_all_the_same():
    inputs = equivalence.inputs_to_try((12,), None, None)
    with pytest.raises(equivalence.Disagreement, match="do not compute what predict computes"):
        equivalence.check(normalised(12), lambda x: predict(12)(x) + 0.01, inputs, EPS)
