"""LipSDP: its gradient, and where it must lie."""

import math
from itertools import pairwise

import numpy as np
import pytest

from artclip.lipschitz import lipsdp

SLOPES = [(0.0, 0.25), (0.0, 1.0), (0.0, 1.7), (0.2, 1.0), (-0.13, 1.13), (-1.0, 1.0)]


def random_chain(seed, depth=3, widest=8):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, widest + 1, depth + 1)
    weights = [rng.standard_normal((b, a)) for a, b in pairwise(sizes)]
    return weights, [SLOPES[i] for i in rng.integers(len(SLOPES), size=depth - 1)]


def jacobians(weights, slopes, seed, n):
    """Any diagonals of slopes give a Jacobian that the bound must hold for; the ends of the intervals are the worst."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        jacobian = weights[0]
        for weight, interval in zip(weights[1:], slopes, strict=True):
            jacobian = weight @ (rng.choice(interval, len(jacobian))[:, None] * jacobian)
        yield jacobian


def product(weights, slopes):
    return np.prod([np.linalg.norm(w, 2) for w in weights]) * np.prod([max(abs(a), abs(b)) for a, b in slopes])


@pytest.mark.parametrize("seed", range(6))
def test_gradient_equals_finite_differences(seed):
    weights, slopes = random_chain(seed, depth=4)
    recursion = lipsdp._Recursion(weights, slopes)
    at = 0.3 * np.random.default_rng(0).standard_normal(recursion.size)
    steps = 1e-6 * np.eye(len(at))
    numeric = [(recursion(at + e)[0] - recursion(at - e)[0]) / 2e-6 for e in steps]
    np.testing.assert_allclose(recursion(at)[1], numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_lies_between_sampled_jacobians_and_the_product(seed):
    weights, slopes = random_chain(seed, depth=2 + seed % 3)
    closed, best = (lipsdp.chain_bound(weights, slopes, n).value for n in (0, 200))
    assert best <= closed * (1 + 1e-12)
    assert closed <= product(weights, slopes) * (1 + 1e-3)
    assert all(np.linalg.norm(jacobian, 2) <= best for jacobian in jacobians(weights, slopes, seed, 300))


def test_large_layers_take_another_way_to_the_same_bound(monkeypatch):
    weights, slopes = random_chain(3, depth=3, widest=40)
    small = lipsdp.chain_bound(weights, slopes, 50)
    monkeypatch.setattr(lipsdp, "_SMALL", 2)
    large = lipsdp.chain_bound(weights, slopes, 50)
    np.testing.assert_allclose(large.history, small.history, rtol=1e-4)
    monkeypatch.setattr(lipsdp, "largest_of", lambda g, *_: (np.linalg.eigvalsh(g)[-1] / 2, np.ones(len(g))))
    found = lipsdp.chain_bound(weights, slopes, 0)  # an eigenvalue that was found too small is noticed
    assert found.value == pytest.approx(small.history[0], rel=1e-5)


def test_stops_in_time():
    import time

    weights = [np.random.default_rng(0).standard_normal((400, 400)) for _ in range(4)]
    began = time.perf_counter()
    found = lipsdp.chain_bound(weights, [(0.0, 1.0)] * 3, 100_000, max_seconds=2.0)
    assert time.perf_counter() - began < 6
    assert len(found.history) > 2
    assert found.value < found.history[0]


def test_gram_bounds_every_combination_of_outputs():
    weights, slopes = random_chain(7)
    found = lipsdp.chain_bound(weights, slopes, 100)
    rng = np.random.default_rng(0)
    assert found.value == pytest.approx(np.sqrt(np.linalg.eigvalsh(found.gram)[-1]), rel=1e-6)
    for _ in range(50):
        head = rng.standard_normal((1, len(weights[-1])))
        alone = lipsdp.chain_bound([*weights[:-1], head @ weights[-1]], slopes, 100).value
        shared = np.sqrt((head @ found.gram @ head.T).item())
        assert shared <= np.linalg.norm(head) * found.value * (1 + 1e-9)
        for jacobian in jacobians(weights, slopes, 0, 20):
            assert np.linalg.norm(head @ jacobian) <= min(alone, shared) * (1 + 1e-9)


def test_one_layer_and_dead_layers():
    weight = np.random.default_rng(0).standard_normal((3, 5))
    assert lipsdp.chain_bound([weight], []).value == pytest.approx(np.linalg.norm(weight, 2), rel=1e-6)
    assert lipsdp.chain_bound([weight * 0, np.ones((2, 3))], [(0.0, 1.0)]).value < 1e-6


def interior_point(weights, slopes):
    """LipSDP-Neuron as a semidefinite program: γ‖Δ₀‖² - ‖W_L Δ_{L-1}‖² - Σ Λ-weighted slope conditions >= 0."""
    cp = pytest.importorskip("cvxpy")
    sizes = [weights[0].shape[1], *(len(w) for w in weights[:-1])]
    picks = np.split(np.eye(sum(sizes)), np.cumsum(sizes)[:-1])
    gamma = cp.Variable(nonneg=True)
    last = weights[-1] @ picks[-1]
    matrix = gamma * (picks[0].T @ picks[0]) - last.T @ last
    for k, (low, high) in enumerate(slopes):
        multipliers, before, after = (
            cp.diag(cp.Variable(sizes[k + 1], nonneg=True)),
            weights[k] @ picks[k],
            picks[k + 1],
        )
        cross = before.T @ multipliers @ after
        matrix += low * high * before.T @ multipliers @ before + after.T @ multipliers @ after
        matrix -= (low + high) / 2 * (cross + cross.T)
    cp.Problem(cp.Minimize(gamma), [matrix >> 0]).solve(solver=cp.CLARABEL)
    return float(np.sqrt(gamma.value))


@pytest.mark.parametrize("seed", range(12))
def test_reaches_what_an_interior_point_solver_finds(seed):
    weights, slopes = random_chain(seed, depth=2 + seed % 3, widest=12)
    expected, found = interior_point(weights, slopes), lipsdp.chain_bound(weights, slopes, 1000).value
    assert expected * (1 - 1e-4) <= found <= expected * 1.01


@pytest.mark.parametrize("size", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("steps", [0, 10])
def test_of_hundreds_of_layers_no_number_overflows_or_vanishes(size, steps):
    nb = 300
    found = lipsdp.chain_bound([size * np.eye(4)] * nb, [(0.0, 1.0)] * (nb - 1), steps)
    assert size**nb <= found.value * (1 + 1e-9) <= size**nb * (1 + 1e-5)


def test_of_many_random_layers_it_is_far_below_the_product():
    rng = np.random.default_rng(0)
    weights = [rng.uniform(-0.25, 0.25, (16, 16)) for _ in range(100)]
    steep = np.eye(16)
    for w in weights:
        steep = w @ ((steep @ rng.standard_normal(16) > 0)[:, None] * steep)
    found = lipsdp.chain_bound(weights, [(0.0, 1.0)] * 99, 10).value
    assert np.linalg.norm(steep, 2) <= found < 1e-6 * math.prod(np.linalg.norm(w, 2) for w in weights)


@pytest.mark.parametrize("seed", range(6))
def test_rounding_never_lowers_a_step_of_the_recursion(seed):
    """W X⁻¹ Wᵀ with 80 digits lies below what floats make of it, also where rows and scalings are far apart in size."""
    mp = pytest.importorskip("mpmath")
    rng, slopes = np.random.default_rng(seed), SLOPES[seed]
    n, m = 6, 4
    first = rng.standard_normal((n, 5)) * 10.0 ** rng.integers(-5, 5, (n, 1))
    weight = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-5, 5, (1, n))
    layer = lipsdp._Layer(weight, *slopes)
    for size, share in ((0.0, 0.5), (8.0, 0.9), (20.0, 1 - 1e-5)):
        middle = first @ first.T
        found = layer.forward(middle, size * rng.standard_normal(n), share)
        found = np.ldexp(found, 2 * layer.half_exponent)
        with mp.workdps(80):
            low, high = map(mp.mpf, slopes)
            half = ((high - low) / 2) ** 2
            scale = mp.diag([mp.mpf(s) for s in layer._scale])
            root = scale * mp.sqrt(mp.mpf(share) / (half * mp.mpf(layer._top)))  # of Λ
            g, eye, w = root * mp.matrix(middle.tolist()) * root, mp.eye(n), mp.matrix(weight.tolist())
            inverse = (eye - half * g) ** -1 * (eye + low * high * g)
            root_inverse = root**-1
            exact = w * root_inverse * inverse * root_inverse * w.T
            assert min(mp.eigsy(eye - half * g, eigvals_only=True)) > 0
            above = mp.matrix(found.tolist()) - exact
            assert min(mp.eigsy((above + above.T) / 2, eigvals_only=True)) >= 0
            assert mp.norm(above) <= 1e-7 * mp.norm(exact)
