"""The exact constant of tiny ReLU nets: oracles, and what lies around it."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from artclip.graph import activations
from artclip.graph.activations import RELU
from artclip.lipschitz import exact, lipsdp, rational
from artclip.lipschitz.chain import Chain


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


@pytest.mark.parametrize("activation", [RELU, activations.leaky_relu(0.2), activations.ABS])
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
    """relu(x) - relu(x) is flat, and relu(x) - relu(x - 1e-12) is as steep as 1 on a very short way."""
    weights = [np.array([[1.0], [1.0]]), np.array([[1.0, -1.0]])]
    for later, constant in ((0.0, 0.0), (1e-12, 1.0), (1e-300, 1.0)):
        chain = Chain(1, ["net"], weights, [np.array([0.0, -later]), np.zeros(1)], [RELU])
        assert exact.exact_constant(chain, 2, 2).value == pytest.approx(constant, rel=1e-12)


def test_coefficients_a_billion_apart():
    """relu(x) - relu(2e-9·y - x - 5): both are on at (10, 1e10), and there the slope along x is 2."""
    weights = [np.array([[1.0, 0.0], [-1.0, 2e-9]]), np.array([[1.0, -1.0]])]
    chain = Chain(2, ["net"], weights, [np.array([0.0, -5.0]), np.zeros(1)], [RELU])
    for p, q in ((2, 2), (1, 1), (2, math.inf)):
        assert exact.exact_constant(chain, p, q).value == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize("spread", [30, 300])
def test_the_units_of_measurement_do_not_matter(spread):
    for seed in range(3):
        chain, rng = random_chain(seed, 2, 5, 4, 2), np.random.default_rng(seed)
        scaled = Chain(2, ["net"], [w.copy() for w in chain.weights], [b.copy() for b in chain.shifts], [RELU, RELU])
        for layer in range(2):  # a unit times 2^k, and what follows by 2^k less of it
            by = rng.integers(-spread, spread + 1, len(scaled.weights[layer]))
            scaled.weights[layer] = np.ldexp(scaled.weights[layer], by[:, None])
            scaled.shifts[layer] = np.ldexp(scaled.shifts[layer], by)
            scaled.weights[layer + 1] = np.ldexp(scaled.weights[layer + 1], -by)
        values = [exact.exact_constant(c, 2, 2).value for c in (chain, scaled)]
        assert values[1] == pytest.approx(values[0], rel=1e-12)
        far = Chain(2, ["net"], [np.ldexp(chain.weights[0], -spread), *chain.weights[1:]], chain.shifts, [RELU, RELU])
        assert exact.exact_constant(far, 1, 1).value * 2.0**spread == pytest.approx(
            exact.exact_constant(chain, 1, 1).value, rel=1e-12
        )


def test_a_slope_that_remains_when_large_ones_cancel():
    """1e9·relu(x) - 1e9·relu((1 + 2^-50)·x), and the same a layer deeper."""
    first, last = np.array([[1.0], [1 + 2.0**-50]]), np.array([[1e9, -1e9]])
    for weights in ([first, last], [first, np.eye(2), last]):
        shifts, activations_of = [np.zeros(len(w)) for w in weights], [RELU] * (len(weights) - 1)
        found = exact.exact_constant(Chain(1, ["net"], weights, shifts, activations_of), 2, 2)
        assert found.value == pytest.approx(1e9 * 2.0**-50, rel=1e-12)
        assert found.x[0] > 0


@pytest.mark.parametrize("activation", [RELU, activations.leaky_relu(0.25), activations.ABS])
def test_nets_without_shifts_have_a_constant(activation):
    """All hyperplanes go through the origin. Random inputs find the steepest of the 128 cones, if it is not narrow."""
    reached = 0
    for seed in range(20):
        chain = random_chain(seed, 4, 8, 3, activation=activation)
        chain.shifts = [np.zeros(8), np.zeros(3)]
        sampled = max(_norm(j, 2, 2) for j in jacobians(chain, np.random.default_rng(seed).standard_normal((4000, 4))))
        found = exact.exact_constant(chain, 2, 2)
        assert sampled <= found.value * (1 + 1e-9)
        assert _norm(next(jacobians(chain, found.x[None])), 2, 2) == pytest.approx(found.value, rel=1e-9)
        reached += sampled >= found.value * (1 - 1e-9)
    assert reached >= 15


def slopes_on_the_line(chain):
    """Slopes of all pieces of a net with one input and one output, in fractions."""
    pieces = [(None, None, [(Fraction(1), Fraction(0))])]  # from, to, and slope and shift of each unit there
    for layer, (weight, shift) in enumerate(zip(chain.weights, chain.shifts, strict=True)):
        before, pieces = pieces, []
        for start, end, units in before:
            sums = [
                (sum(Fraction(w) * a for w, (a, _) in zip(row, units, strict=True)),
                 sum(Fraction(w) * c for w, (_, c) in zip(row, units, strict=True)) + Fraction(b))
                for row, b in zip(weight.tolist(), shift.tolist(), strict=True)
            ]  # fmt: skip
            if layer == len(chain.activations):
                yield float(sums[0][0])
                continue
            kinks = sorted({-c / a for a, c in sums if a})
            kinks = [k for k in kinks if (start is None or k > start) and (end is None or k < end)]
            for left, right in pairwise([start, *kinks, end]):
                inside = 0 if left is right is None else right - 1 if left is None else left + 1
                inside = (left + right) / 2 if None not in (left, right) else inside
                on = [a * inside + c > 0 for a, c in sums]
                pieces.append((left, right, [(a * o, c * o) for (a, c), o in zip(sums, on, strict=True)]))


@pytest.mark.parametrize("sizes", [(1, 5, 1), (1, 4, 3, 1), (1, 3, 3, 2, 1)])
def test_nets_of_small_integers_with_all_their_coincidences(sizes):
    """Dead units, equal units, zero rows, kinks on kinks: a rational walk along the line knows all pieces."""
    flat = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        weights = [rng.integers(-2, 3, (b, a)).astype(float) for a, b in pairwise(sizes)]
        shifts = [rng.integers(-1, 2, n).astype(float) for n in sizes[1:]]
        chain = Chain(1, ["net"], weights, shifts, [RELU] * (len(sizes) - 2))
        constant = max(abs(s) for s in slopes_on_the_line(chain))
        assert exact.exact_constant(chain, 2, 2).value == pytest.approx(constant, rel=1e-12)
        flat += constant == 0
    assert flat < 20


@pytest.mark.parametrize("kind", ["any", "integers", "cones"])
def test_an_inner_point_or_a_contradiction(kind):
    rng, inner = np.random.default_rng(0), 0
    for _ in range(60):
        rows = rng.standard_normal((rng.integers(1, 13), rng.integers(1, 6)))
        rows = np.rint(1.5 * rows) if kind == "integers" else rows * 10.0 ** rng.integers(-9, 9, (len(rows), 1))
        rows[:, -1] *= kind != "cones"
        whole, exponent = rational.integers(rows)
        fractions = whole * Fraction(2) ** exponent
        assert (fractions.astype(float) == rows).all()
        x, contrary = rational.interior(whole, lambda: None)
        if x is not None:
            inner += 1
            assert all(row[:-1] @ np.array(x, object) + row[-1] > 0 for row in fractions)
            continue
        assert min(contrary) >= 0 < max(contrary)
        total = np.array(contrary, object) @ fractions
        assert not any(total[:-1])
        assert total[-1] <= 0
    assert 10 < inner < 50


@pytest.mark.parametrize(
    ("chain", "p", "q", "message"),
    [
        (random_chain(0, 2, 17, 1), 2, 2, "17 units"),
        (random_chain(0, 2, 4, 1, activation=activations.softplus()), 2, 2, "not a ReLU"),
        (random_chain(0, 2, 4, 2), math.inf, 2, "norm of a matrix"),
    ],
)
def test_what_cannot_be_had(chain, p, q, message):
    with pytest.raises(exact.Undecided, match=message):
        exact.exact_constant(chain, p, q)
    with pytest.raises(exact.Undecided, match="too long"):
        exact.exact_constant(random_chain(0, 2, 8, 8, 1), 2, 2, max_seconds=1e-6)
