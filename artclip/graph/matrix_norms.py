"""Spectral norms of matrices, as upper bounds that hold in spite of rounding.

An eigenvalue of the smaller Gram matrix G is proven, not only found: if a Cholesky factorisation of t·I - G runs to its
end in floating point, then λmax(G) <= t + γ·trace(t·I - G) with γ about n units of rounding (Rump 2006, Verification of
positive definiteness, BIT 46). So the value t may come from a Lanczos iteration, which is quick and proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from scipy.linalg.lapack import dpotrf, zpotrf
from scipy.sparse.linalg import ArpackError, eigsh

Bounds = Iterator[tuple[float, float]]
"""Upper bounds of one norm, each at least as good as those before it; and about how many floating-point operations the
next one takes, 0 after the last. Whoever is short of time stops where that is too many."""

EPS = float(np.finfo(np.float64).eps)
_TINY = float(np.finfo(np.float64).tiny)
_MODERATE = 2.0**100  # sizes of numbers whose fourth powers neither overflow nor vanish: squares of Gram matrices
_ALL_EIGENVALUES = 512  # rows up to which they are as quick as the largest alone
_SLACK = 1e-9  # of an eigenvalue found, before it is proven
_LANCZOS = 100  # products with the matrix that the iteration takes, about


def last(bounds: Bounds) -> float:
    """The best of them."""
    value = math.inf
    for value, _ in bounds:  # noqa: B007
        pass
    return value


def product_of(bounds: Iterable[float]) -> float:
    """Their product, in whatever order; the smallest normal float where it would vanish."""
    mantissa, exponent = 1.0, 0
    for bound in bounds:
        part, shift = math.frexp(bound)
        mantissa, more = math.frexp(mantissa * part)
        exponent += shift + more
    return mantissa if mantissa == 0 or not math.isfinite(mantissa) else max(_ldexp(mantissa, exponent), _TINY)


def exponent_of(array: np.ndarray) -> int:
    """Of the power of two that brings real entries to moderate sizes: 0, where they are."""
    most = max(float(array.max()), -float(array.min())) if array.size else 0.0
    return 0 if most == 0 or 1 / _MODERATE < most < _MODERATE else math.frexp(most)[1]


def cheap_norm(matrix: np.ndarray) -> float:
    """An upper bound of the spectral norm in one pass: √(‖A‖₁·‖A‖inf) or the Frobenius norm, whichever is less."""
    if matrix.size == 0:
        return 0.0
    exponent = exponent_of(matrix)
    sizes = np.abs(np.ldexp(matrix, -exponent) if exponent else matrix)
    mixed = math.sqrt(float(sizes.sum(0).max()) * float(sizes.sum(1).max()))
    frobenius = float(np.linalg.norm(sizes))
    return _ldexp(min(mixed, frobenius) * (1 + 2 * sum(matrix.shape) * EPS), exponent)


def _ldexp(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.inf


def spectral_bounds(matrix: np.ndarray) -> Bounds:
    """Of the spectral norm of a real matrix: a cheap one, one from the Gram matrix, the norm itself rounded up."""
    best = cheap_norm(matrix)
    small, large = sorted(matrix.shape)
    if best == 0 or small == 1:
        yield best, 0.0
        return
    yield best, float(small * small * large)
    exponent = exponent_of(matrix)
    if exponent:
        matrix = np.ldexp(matrix, -exponent)
    gram = gram_of(matrix)
    off = 2 * (large + 2) * EPS * float(gram.trace())  # of the Gram matrix, in the spectral norm
    best = min(best, _ldexp(math.sqrt(float(np.linalg.norm(gram)) * (1 + small * EPS) + off), exponent))
    yield best, _cost(small)
    yield min(best, _ldexp(math.sqrt(largest_eigenvalue(gram) + off) * (1 + 4 * EPS), exponent)), 0.0


def gram_of(matrix: np.ndarray) -> np.ndarray:
    """The smaller Gram matrix."""
    if np.iscomplexobj(matrix):
        adjoint = matrix.conj().T
        return matrix @ adjoint if matrix.shape[0] <= matrix.shape[1] else adjoint @ matrix
    return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix  # a symmetric product to BLAS


def _cost(n: int) -> float:
    """Operations of :func:`largest_eigenvalue`, those of slow kinds counted several times."""
    return 8.0 * n**3 if n <= _ALL_EIGENVALUES else n**3 / 2 + 8.0 * _LANCZOS * n**2


def largest_eigenvalue(gram: np.ndarray) -> float:
    """An upper bound of the largest eigenvalue of a positive semidefinite Hermitian matrix, proven, >= 0."""
    n = len(gram)
    if n > _ALL_EIGENVALUES:
        estimate, slack = largest_eigenpair(gram)[0], _SLACK
        while estimate > 0 and slack < 0.1:
            bound = estimate * (1 + slack)
            if is_below(gram, bound):
                return bound * (1 + proof_rounding(n))
            slack *= 10
    return max(0.0, float(np.linalg.eigvalsh(gram)[-1]) + eigenvalue_rounding(n) * float(gram.trace().real))


def largest_eigenpair(gram: np.ndarray, start: np.ndarray | None = None, tol: float = 1e-6) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of a Hermitian matrix, about, and its vector: no bound."""
    if len(gram) > 2:
        first = np.random.default_rng(0).standard_normal(len(gram)) if start is None else start
        try:
            values, vectors = eigsh(gram, k=1, v0=first.astype(gram.dtype), which="LA", tol=tol)
            return float(values[0]), vectors[:, 0]
        except ArpackError:
            pass
    values, vectors = np.linalg.eigh(gram)
    return float(values[-1]), vectors[:, -1]


def is_below(gram: np.ndarray, bound: float) -> bool:
    """Whether a Cholesky factorisation proves that all eigenvalues lie below bound·(1 + proof_rounding(n))."""
    matrix = -gram.T  # the transpose is laid out as LAPACK likes it
    matrix[np.diag_indices(len(matrix))] += bound
    run = zpotrf if np.iscomplexobj(matrix) else dpotrf
    return bool(run(matrix, lower=1, overwrite_a=1, clean=0)[1] == 0)


def proof_rounding(n: int) -> float:
    """How much a bound proven by :func:`is_below` may be off, relative."""
    return 4 * n * (n + 4) * EPS  # γ·trace, of which 4 more than for real numbers


def eigenvalue_rounding(n: int) -> float:
    """How much an eigenvalue of LAPACK may be off, in units of the trace."""
    return 4 * (n + 4) * EPS


def largest_singular_values(matrices: np.ndarray) -> np.ndarray:
    """Of matrices (..., m, n), from the smaller of the two Gram matrices: correct to rounding, not rounded up."""
    exponent = 0 if np.iscomplexobj(matrices) else exponent_of(matrices)
    if exponent:
        matrices = np.ldexp(matrices, -exponent)
    adjoint = np.conj(np.swapaxes(matrices, -1, -2))
    gram = matrices @ adjoint if matrices.shape[-2] <= matrices.shape[-1] else adjoint @ matrices
    values = np.sqrt(np.linalg.eigvalsh(gram)[..., -1].clip(0))
    return np.ldexp(values, exponent) if exponent else values
