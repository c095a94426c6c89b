"""Spectral norms are never below the true ones, however matrices are scaled."""

import math
from itertools import pairwise

import numpy as np
import pytest

from artclip.graph import Dense, Kronecker, matrix_norms


def orthogonal(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (3, 4), (40, 25), (530, 900), (700, 520)])
@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e-200, 1e-82, 1e-60, 1e80, 1e200, 5e-324 * 2**60])
def test_each_bound_holds_and_the_last_is_close(shape, scale):
    matrix = np.random.default_rng(0).standard_normal(shape) * scale
    exponent = math.frexp(scale)[1]
    true = np.ldexp(np.linalg.norm(np.ldexp(matrix, -exponent), 2), exponent)
    bounds = [bound for bound, _ in matrix_norms.spectral_bounds(matrix)]
    assert all(a >= b for a, b in pairwise(bounds))
    assert true <= bounds[-1] <= true * (1 + 1e-8)
    assert true <= Dense(matrix).factor(2) <= true * (1 + 1e-8)


@pytest.mark.parametrize("n", [20, 600])
def test_known_norms(n):
    """Orthogonal matrices, whose eigenvalues are all the largest, rank one, and columns that are far apart in size."""
    sizes = 10.0 ** np.linspace(-12, 0, n)
    for matrix, true in (
        (orthogonal(n), 1.0),
        (np.ones((n, n)), float(n)),
        (np.eye(n), 1.0),
        (orthogonal(n) * sizes, 1.0),
        (orthogonal(n)[:, :5] @ orthogonal(5, 1) * 3.0, 3.0),
    ):
        assert true * (1 - 1e-14) <= matrix_norms.last(matrix_norms.spectral_bounds(matrix)) <= true * (1 + 1e-8)


def test_norms_against_many_digits():
    """Against 50 digits: of sizes far apart, nearly of rank one, and integers whose products are not exact."""
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((4, 5)) * 10.0 ** rng.integers(-8, 8, (4, 1))
    flat = np.outer(rng.standard_normal(4), rng.standard_normal(4)) + 1e-9 * rng.standard_normal((4, 4))
    with mpmath.workdps(50):
        for matrix in (wide, flat, rng.integers(-(2**40), 2**40, (3, 6)).astype(float)):
            exact = mpmath.matrix(matrix.tolist())
            true = mpmath.sqrt(max(mpmath.eigsy(exact * exact.T, eigvals_only=True)))
            for bound, _ in matrix_norms.spectral_bounds(matrix):
                assert bound >= true
            assert bound <= true * (1 + 1e-12)


def test_a_wrong_guess_of_the_eigenvalue_is_noticed(monkeypatch):
    gram = np.diag(np.linspace(0, 1, 600))
    monkeypatch.setattr(matrix_norms, "largest_eigenpair", lambda gram, *_: (0.5, gram[0]))
    assert 1 <= matrix_norms.largest_eigenvalue(gram) <= 1 + 1e-8
    monkeypatch.setattr(matrix_norms, "largest_eigenpair", lambda gram, *_: (0.9999999, gram[0]))
    assert 1 <= matrix_norms.largest_eigenvalue(gram) <= 1 + 1e-5


def test_proofs():
    gram = np.diag([1.0, 2.0, 3.0])
    assert matrix_norms.is_below(gram, 3.0001)
    assert not matrix_norms.is_below(gram, 2.9999)
    assert not matrix_norms.is_below(gram + 0j, 2.9999)


def test_no_numbers_at_all_and_zeros():
    for matrix in (np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((2, 3))):
        assert list(matrix_norms.spectral_bounds(matrix)) == [(0.0, 0.0)]
    assert Kronecker((2, 3), (None, np.zeros((1, 3)))).factor(2) == 0
    assert Kronecker((2, 3), (None, None)).factor(2) == 1
