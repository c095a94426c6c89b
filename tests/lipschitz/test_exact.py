"""The exact constant of tiny ReLU nets: oracles, and what lies around it."""

import math
from itertools import pairwise

import numpy as np
import pytest

from artclip.lipschitz import exact, lipsdp
from artclip.lipschitz.chain import Chain
from artclip.lipschitz.layers import Activation

RELU = Activation(0.0, 1.0, kinked=True)


def random_chain(seed, *sizes, activation=RELU):
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((b, a)) / math.sqrt(a) for a, b in pairwise(sizes)]
    shifts = [0.5 * rng.standard_normal(n) for n in sizes[1:]]
    return Chain(sizes[0], ["net"], weights, shifts, [activation] * (len(sizes) - 2))


def jacobians(chain, x):
    """Of all patterns that the points x (n, d) have."""
    slopes = []
    for weight, shift, activation in zip(chain.weights, chain.shifts, [*chain.activations, None], strict=True):
        x = x @ weight.T + shift
        if activation is not None:
            slopes.append(np.where(x > 0, activation.high, activation.low))
            x = slopes[-1] * x
    for row in np.unique(np.concatenate(slopes, axis=1), axis=0):
        jacobian, parts = chain.weights[0], np.split(row, np.cumsum([len(w) for w in chain.weights[:-1]])[:-1])
        for weight, part in zip(chain.weights[1:], parts, strict=True):
            jacobian = weight @ (part[:, None] * jacobian)
        yield jacobian


@pytest.mark.parametrize("activation", [RELU, Activation(0.2, 1.0, kinked=True), Activation(-1.0, 1.0, kinked=True)])
@pytest.mark.parametrize("sizes", [(1, 5, 1), (2, 7, 3), (2, 5, 4, 1), (2, 3, 4, 3, 2), (3, 6, 2)])
def test_is_attained_and_not_exceeded(sizes, activation):
    for seed in range(2):
        chain = random_chain(seed, *sizes, activation=activation)
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((20_000, sizes[0])) * rng.choice([0.3, 1.0, 3.0, 10.0, 100.0], (20_000, 1))
        sampled = list(jacobians(chain, x))
        for p, q in ((2, 2), (1, 1), (2, math.inf)):
            found = exact.exact_constant(chain, p, q)
            assert max(_norm(j, p, q) for j in sampled) <= found.value * (1 + 1e-9)
            assert _norm(next(jacobians(chain, found.x[None])), p, q) == pytest.approx(found.value, rel=1e-9)


def _norm(matrix, p, q):
    if p == q:
        return np.linalg.norm(matrix, p)
    return np.linalg.norm(matrix, axis=0).max() if p == 1 else np.linalg.norm(matrix, axis=1).max()


def test_with_as_many_inputs_as_units_all_patterns_count():
    chain = random_chain(0, 12, 8, 3)
    a, b = chain.weights
    norms = [np.linalg.norm(b @ np.diag(d) @ a, 2) for d in np.ndindex(*[2] * 8)]
    found = exact.exact_constant(chain, 2, 2)
    assert found.patterns == 256
    assert found.value == pytest.approx(max(norms), rel=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_lies_below_lipsdp(seed):
    chain = random_chain(seed, 2 + seed % 4, 6, 1 + seed % 3)
    value = exact.exact_constant(chain, 2, 2).value
    assert value <= lipsdp.chain_bound(chain.weights, [(0.0, 1.0)]).value


def test_a_linear_net():
    chain = random_chain(0, 5, 3)
    assert exact.exact_constant(chain, 2, 2).value == pytest.approx(np.linalg.norm(chain.weights[0], 2), rel=1e-12)


def test_a_unit_that_is_never_on_does_not_count():
    """relu(x) + 100·relu(relu(x) - relu(x) - 1): the second unit of the second layer is off everywhere."""
    weights = [np.array([[1.0], [1.0]]), np.array([[1.0, 0.0], [1.0, -1.0]]), np.array([[1.0, 100.0]])]
    chain = Chain(1, ["net"], weights, [np.array([0.0, 1e-3]), np.array([0.0, -1.0]), np.zeros(1)], [RELU, RELU])
    assert exact.exact_constant(chain, 2, 2).value == pytest.approx(1.0)


def test_two_equal_units_are_on_together():
    """relu(x) - relu(x) is flat; whether one can be on alone is for rounding to say, so there is no figure."""
    weights = [np.array([[1.0], [1.0]]), np.array([[1.0, -1.0]])]
    chain = Chain(1, ["net"], weights, [np.zeros(2), np.zeros(1)], [RELU])
    with pytest.raises(exact.Undecided, match="too thin"):
        exact.exact_constant(chain, 2, 2)


@pytest.mark.parametrize(
    ("chain", "p", "q", "message"),
    [
        (random_chain(0, 2, 17, 1), 2, 2, "17 units"),
        (random_chain(0, 2, 4, 1, activation=Activation(0.0, 1.0)), 2, 2, "not a ReLU"),
        (random_chain(0, 2, 4, 2), math.inf, 2, "norm of a matrix"),
    ],
)
def test_what_cannot_be_had(chain, p, q, message):
    with pytest.raises(exact.Undecided, match=message):
        exact.exact_constant(chain, p, q)
    with pytest.raises(exact.Undecided, match="too long"):
        exact.exact_constant(random_chain(0, 2, 8, 8, 1), 2, 2, max_seconds=1e-6)
