"""LipSDP: its gradient, and where it must lie."""

from itertools import pairwise

import numpy as np
import pytest

from artclip.lipschitz import lipsdp


def random_chain(seed, depth=3):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, depth + 1)
    weights = [rng.standard_normal((b, a)) for a, b in pairwise(sizes)]
    return weights, rng.choice([0.25, 1.0, 1.7], depth - 1).tolist()


def test_gradient_equals_finite_differences():
    weights, slopes = random_chain(1)
    sizes = [len(w) for w in weights[:-1]]
    rng = np.random.default_rng(0)
    at = 0.3 * rng.standard_normal(sum(sizes) + len(sizes))

    def value(parameters):
        return lipsdp._log_bound(weights[0] @ weights[0].T, weights, slopes, sizes, parameters)

    steps = 1e-6 * np.eye(len(at))
    numeric = [(value(at + e)[0] - value(at - e)[0]) / 2e-6 for e in steps]
    np.testing.assert_allclose(value(at)[1], numeric, atol=1e-7)


@pytest.mark.parametrize("seed", range(30))
def test_lies_between_sampled_jacobians_and_the_product(seed):
    weights, slopes = random_chain(seed, depth=2 + seed % 3)
    eclipse, best = (lipsdp.chain_bound(weights, slopes, n).value for n in (0, 200))
    product = np.prod([np.linalg.norm(w, 2) for w in weights]) * np.prod(slopes)
    assert best <= eclipse * (1 + 1e-12)
    assert eclipse <= product * (1 + 1e-7)
    rng = np.random.default_rng(seed)
    for _ in range(300):  # any diagonal of slopes is a Jacobian that the bound must hold for
        jacobian = weights[0]
        for weight, slope in zip(weights[1:], slopes, strict=True):
            jacobian = weight @ (slope * rng.integers(0, 2, len(jacobian))[:, None] * jacobian)
        assert np.linalg.norm(jacobian, 2) <= best


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
        for _ in range(20):
            jacobian = weights[0]
            for weight, slope in zip(weights[1:], slopes, strict=True):
                jacobian = weight @ (slope * rng.integers(0, 2, len(jacobian))[:, None] * jacobian)
            assert np.linalg.norm(head @ jacobian) <= min(alone, shared) * (1 + 1e-9)


def test_one_layer_and_dead_layers():
    weight = np.random.default_rng(0).standard_normal((3, 5))
    assert lipsdp.chain_bound([weight], []).value == pytest.approx(np.linalg.norm(weight, 2), rel=1e-6)
    assert lipsdp.chain_bound([weight * 0, np.ones((2, 3))], [1.0]).value < 1e-6
