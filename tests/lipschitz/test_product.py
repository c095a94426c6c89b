"""Products of norms: each as good as time allows, and as small or large as it is."""

import math
import time
from decimal import Decimal

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph.composition import Composition
from artclip.graph.linear import product_bounds
from artclip.lipschitz import product
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.product import Norms, bounds_at

RNG = np.random.default_rng(0)


def row(*weights):
    return [G.Node(f"dense{i}", G.Dense(w), (i - 1,), len(w)) for i, w in enumerate(weights)]


def test_norms_without_time_are_cheap_and_named():
    nodes = row(*(RNG.standard_normal((200, 200)) for _ in range(5)))
    ample, none = Norms(nodes, Budget(60)), Norms(nodes, Budget(1e-9))
    for p in (1, 2, math.inf):
        for node, good, cheap in zip(nodes, ample.of(p), none.of(p), strict=True):
            true = np.linalg.norm(node.operation.weight, p)
            assert true <= good <= true * (1 + 1e-7)
            assert good <= cheap <= 10 * true
    assert ample.notes() == []
    assert none.notes() == ["cheap norms of dense0, dense1, dense2 and 2 more: no time"]


def test_cheap_norms_come_first_and_each_once(monkeypatch):
    """Of a small layer behind large ones the norm is there though time ends at the large ones."""
    nodes = row(RNG.standard_normal((900, 900)), RNG.standard_normal((30, 900)))
    calls = []
    monkeypatch.setattr(product, "_LEAST", 0)
    budget = Budget(60)
    monkeypatch.setattr(budget, "affords", lambda cost: calls.append(cost) or cost < 1e8)
    norms = Norms(nodes, budget)
    large, small = norms.of(2)
    assert small == pytest.approx(np.linalg.norm(nodes[1].operation.weight, 2))
    assert large > 1.5 * np.linalg.norm(nodes[0].operation.weight, 2)
    asked = len(calls)
    assert norms.of(2) == [large, small]
    assert len(calls) == asked
    assert max(calls) == calls[-1]


def test_each_convolution_has_a_bound_by_its_taps_before_any_has_a_finer_one(monkeypatch):
    kernels = [RNG.standard_normal((32, 32, 3, 3)) for _ in range(4)]
    sides, pads = (28, 28), ((1, 1), (1, 1))
    nodes = [
        G.Node(f"conv{i}", G.Convolution(k, sides, (1, 1), pads, (1, 1)), (i - 1,), 32 * 28 * 28)
        for i, k in enumerate(kernels)
    ]
    monkeypatch.setattr(product, "_LEAST", 0)
    budget, asked = Budget(60), []
    monkeypatch.setattr(budget, "affords", lambda cost: asked.append(cost) or len(asked) <= len(nodes))
    rough, fine = Norms(nodes, budget).of(2), Norms(nodes, Budget(60)).of(2)
    cheap = Norms(nodes, Budget(1e-9)).of(2)
    for best, by_taps, first in zip(fine, rough, cheap, strict=True):
        assert best <= by_taps < 3 * best
        assert by_taps < first / 2


def convolution(name, parent, padded_before=False):
    """A convolution whose norm the sizes of its weights say little of; as Keras has it, it is padded before."""
    kernel, sides = RNG.standard_normal((64, 64, 3, 3)), (16, 16)
    if not padded_before:
        return G.Node(name, G.Convolution(kernel, sides, (1, 1), ((1, 1), (1, 1)), (1, 1)), (parent,), 64 * 16 * 16)
    pad = np.eye(18, 16, -1)
    parts = (
        G.Kronecker((64, *sides), (None, pad, pad)),
        G.Convolution(kernel, (18, 18), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    )
    return G.Node(name, Composition(parts, (64 * 16 * 16, 64 * 18 * 18, 64 * 16 * 16)), (parent,), 64 * 16 * 16)


@pytest.mark.parametrize("padded_before", [False, True])
def test_the_product_is_of_second_bounds_though_no_time_is_left(padded_before, monkeypatch):
    """Of the first ones each is several times too large, so that the product over a deep net would say nothing."""
    nodes = [convolution(f"conv{i}", i - 1, padded_before) for i in range(3)]
    fine, late = (Norms(nodes, budget).of(2) for budget in (Budget(60), Budget(1e-9)))
    monkeypatch.setattr(product, "_LEAST", 0)
    first = Norms(nodes, Budget(1e-9)).of(2)
    for best, second, cheap in zip(fine, late, first, strict=True):
        assert best < second < 2.5 * best
        assert cheap > 5 * best


def test_of_a_product_the_cheapest_norm_is_made_finer_next():
    taken = []

    def bounds(name, *steps):
        for bound, cost in steps:
            taken.append(name)
            yield bound, cost

    parts = [bounds("a", (8.0, 50.0), (2.0, 0.0)), bounds("b", (8.0, 3.0), (4.0, 70.0), (1.0, 0.0))]
    assert list(product_bounds(parts)) == [(64.0, 3.0), (32.0, 50.0), (8.0, 70.0), (2.0, 0.0)]
    assert taken == ["a", "b", "b", "a", "b"]


def test_all_norms_are_counted():
    done = []
    Norms(row(*(RNG.standard_normal((20, 20)) for _ in range(3))), Budget(60), done.append).of(2)
    assert sum(done) == 3
    done.clear()
    Norms(row(*(RNG.standard_normal((20, 20)) for _ in range(3))), Budget(1e-9), done.append).of(2)
    assert sum(done) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    weight = np.full((3, 3), 1e308) if value == 1e308 else np.where(np.eye(3), value, 1.0)
    with pytest.raises(ValueError, match="layer dense1 has no finite norm"):
        Norms(row(np.eye(3), weight), Budget(60)).of(2)


def test_products_neither_vanish_nor_overflow_on_the_way():
    nodes = row(*([np.eye(2)] * 6))
    assert bounds_at(nodes, [1e-200, 1e-200, 1e-200, 1e200, 1e200, 1e201], 2, {})[-1] == pytest.approx(10)
    assert bounds_at(nodes, [1e200, 1e200, 1e200, 1e-200, 1e-200, 1e-201], 2, {})[-1] == pytest.approx(0.1)
    assert 0 < bounds_at(nodes, [1e-200] * 6, 2, {})[-1] < 1e-300
    assert bounds_at(nodes, [1e200] * 6, 2, {})[-1] == math.inf
    assert bounds_at(nodes, [1e-200, 0.0, 1, 1, 1, 1], 2, {})[-1] == 0


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_branches(p):
    nodes = [
        G.Node("a", G.Dense(np.eye(2)), (-1,), 2),
        G.Node("b", G.Dense(np.eye(2)), (0,), 2),
        G.Node("sum", G.Add((2.0, -0.5)), (0, 1), 2),
        G.Node("both", G.Concat(), (2, 1, -1), 6),
    ]
    found = bounds_at(nodes, [3.0, 5.0, 1.0, 1.0], p, {})
    assert found == pytest.approx([3, 15, 13.5, np.linalg.norm([13.5, 15, 1], p)])
    same = G.through(nodes, [3.0, 5.0, 1.0, 1.0], 1.0, lambda before: float(np.linalg.norm(before, p)))
    assert found == pytest.approx(same)
    assert not any(isinstance(bound, Decimal) for bound in found)


def test_a_budget_is_spent():
    budget = Budget(0.05)
    assert budget.affords(1e3)
    assert not budget.affords(1e15)
    time.sleep(0.06)
    assert not budget.affords(0)
    assert budget.left() < 0 < budget.used()
    assert Budget(5, began=time.perf_counter() - 10).left() < 0
