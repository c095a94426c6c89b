"""LipSDP for chains of dense layers, by gradient descent on a parametrisation of which every point is feasible.

LipSDP-Neuron (Fazlyab et al. 2019, arXiv 1906.04893) through a block recursion as in ECLipsE (Xu and Sivaranjani 2024,
arXiv 2404.04375), here for slopes in any interval [α, β]. With X₀ = I and M = W_k X_{k-1}⁻¹ W_kᵀ let

    X_k = Λ^½ (I + αβ G)⁻¹ (I - ((β - α)/2)² G) Λ^½,   G = Λ^½ M Λ^½,   Λ > 0 diagonal.

If all X_k are positive definite, differences of activations satisfy Δ_kᵀ X_k Δ_k <= ‖Δ_0‖², and √λmax(M_L) bounds the
Lipschitz constant. With S = diag(exp(d/2)) and Λ = S²·σ(t) / (((β - α)/2)² λmax(S M S)) that holds for every d and t,
so each iterate is a bound. The first, d = 0 and the best t for scalar Λ, is ECLipsE-Fast for α = 0, and never above the
product of the norms.

That a matrix is positive definite is shown by its Cholesky factor, so λmax need only be found about right; what
rounding may do to a factorisation or a product of matrices is added to their diagonals. The gradient at the output has
rank one, and gains one rank a layer on the way back; so it costs little beside the factorisations.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.linalg import eigh, solve_triangular
from scipy.linalg.lapack import dpotrf
from threadpoolctl import threadpool_limits

from artclip.graph.matrix_norms import EPS, largest_eigenpair, largest_eigenvalue, proof_rounding

_HEADSTART = 5  # steps by which time may seem to run ahead
_LEAST = 1e-30  # of an eigenvalue: a layer of zeros has none above
_MOST_SHARE = 1 - 1e-5  # of σ(t), so that X_k stays well conditioned
_SMALL = 120  # rows up to which the largest eigenvalue by tridiagonal matrices is as cheap as by Lanczos
_ABOUT, _CLOSE = 1e-4, 1e-7  # tolerances of the largest eigenvalue, beyond: a scale, and the bound of an iterate
_RATE, _FASTEST = 0.05, 0.2  # learning rates: of as many steps as are usual, and of few
_USUAL = 300
_ONE_THREAD = 1024  # units up to which threads wait for each other longer than they work


@dataclass(frozen=True)
class ChainBound:
    """What :func:`chain_bound` found.

    Attributes:
        value: the least bound of all iterates, proven to hold but for a share of 10⁻⁹ or so.
        gram: M_L of that iterate, shape (k, k): ``|h·(f(u) - f(v))| <= √(hᵀ M h)·‖u - v‖`` for every h.
        history: the bound at each iterate, about.
    """

    value: float
    gram: np.ndarray
    history: list[float]


def chain_bound(
    weights: Sequence[np.ndarray],
    slopes: Sequence[tuple[float, float]],
    max_iter: int = 300,
    max_seconds: float = math.inf,
    report: Callable[[float], None] = lambda bound: None,
) -> ChainBound:
    """An upper bound of the L2 Lipschitz constant of W_L φ(... φ(W_1 x)).

    Args:
        weights: L >= 1 matrices (outputs, inputs).
        slopes: for each of the L - 1 activations the interval [α, β] that its slopes lie in, α < β.
        max_iter: steps of Adam, >= 0; 0 gives ECLipsE-Fast. The fewer, the larger they are.
        max_seconds: stop after this time, > 0; the schedule follows the time or the steps, whichever are used up first.
        report: called with the bound at each iterate.
    """
    widest = max((len(w) for w in weights[:-1]), default=0)
    with threadpool_limits(1 if widest <= _ONE_THREAD else None, "blas"):
        recursion = _Recursion([np.asarray(w, dtype=np.float64) for w in weights], slopes)
        return _descend(recursion, max_iter if slopes else 0, max_seconds, report)


def cost(sizes: Sequence[int]) -> float:
    """About how many floating-point operations a step takes, of a chain of layers of some sizes, the inputs' first."""
    return sum(n**3 / 2 + 100.0 * n**2 + 1.5 * n * n * m + n * m * m for n, m in pairwise(sizes[1:]))


def elements(sizes: Sequence[int]) -> int:
    """How many numbers it holds at a time, the weights included."""
    pairs = list(pairwise(sizes[1:]))
    held = sizes[0] * sizes[1] + sum(2 * n * n + n * m for n, m in pairs)
    return held + max((n * m + m * m for n, m in pairs), default=0)


def _descend(recursion: _Recursion, steps: int, max_seconds: float, report: Callable[[float], None]) -> ChainBound:
    began = time.perf_counter()
    rate = min(_FASTEST, _RATE * max(1.0, _USUAL / max(steps, 1)) ** 0.6)
    parameters = np.zeros(recursion.size)
    mean, square = np.zeros_like(parameters), np.zeros_like(parameters)
    history: list[float] = []
    best = np.zeros((0, 0))
    for i in range(steps + 1):
        log_bound, gradient, gram = recursion(parameters)
        history.append(recursion.scaled(math.exp(log_bound)))
        report(history[-1])
        if history[-1] == min(history):
            best = gram
        used = (time.perf_counter() - began) / max_seconds
        # The clock has a say only where time is short: otherwise the same weights give the same bound.
        progress = used if used > (i + _HEADSTART) / max(steps, 1) else i / max(steps, 1)
        if i == steps or progress >= 1:
            break
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        step = mean / (1 - 0.9 ** (i + 1)) / (np.sqrt(square / (1 - 0.999 ** (i + 1))) + 1e-12)
        parameters = parameters - rate * (1 + math.cos(math.pi * progress)) / 2 * step
    proven = math.sqrt(max(largest_eigenvalue(best), _LEAST))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        gram = best * recursion.scaled(1.0) * recursion.scaled(1.0)
    return ChainBound(recursion.scaled(proven), gram, history)


class _Recursion:
    """The log of the bound as a function of (d_1, ..., d_{L-1}, t_1, ..., t_{L-1}), with its gradient.

    Weights and the matrices M_k are divided by powers of two, the latter by those of the first parameters, so that
    numbers of many layers neither overflow nor vanish; :meth:`scaled` undoes it.
    """

    def __init__(self, weights: list[np.ndarray], slopes: Sequence[tuple[float, float]]) -> None:
        exponents = [math.frexp(float(np.abs(w).max()) if w.size else 0.0)[1] for w in weights]
        self._exponent = sum(exponents)
        weights = [np.ldexp(w, -e) if e else w for w, e in zip(weights, exponents, strict=True)]
        self._first = _rounded_up(weights[0] @ weights[0].T, weights[0].shape[1])
        self._layers = [_Layer(w, low, high) for w, (low, high) in zip(weights[1:], slopes, strict=True)]
        self._cuts = np.cumsum([len(w) for w in weights[:-1]]).astype(int)
        self.size = (int(self._cuts[-1]) + len(slopes)) if slopes else 0
        self._guess: np.ndarray | None = None

    def scaled(self, bound: float) -> float:
        """A bound as it is for the weights as they were; infinite where it is beyond floats."""
        exponent = self._exponent + sum(layer.half_exponent or 0 for layer in self._layers)
        try:
            return max(math.ldexp(bound, exponent), sys.float_info.min if bound else 0.0)
        except OverflowError:
            return math.inf

    def __call__(self, parameters: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The log of the bound, its gradient, and M_L."""
        *scalings, raw_shares = np.split(parameters, self._cuts) if self.size else [np.zeros(0)]
        starts = np.array([layer.start for layer in self._layers])
        shares = starts / (starts + (1 - starts) * np.exp(-raw_shares))
        middle = self._first
        for layer, d, share in zip(self._layers, scalings, shares, strict=True):
            middle = layer.forward(middle, d, min(float(share), _MOST_SHARE))
        top, self._guess = largest_of(middle, self._guess, _CLOSE)
        adjoint = self._guess[:, None], np.array([1 / (2 * top)])  # of M: Σ sᵢ zᵢ zᵢᵀ, as (z, s)
        in_d, in_share = [], []
        for layer in reversed(self._layers):
            adjoint, d, share = layer.backward(*adjoint)
            in_d.append(d)
            in_share.append(share)
        gradient = np.concatenate([*reversed(in_d), np.array(in_share[::-1]) * shares * (1 - shares)])
        return math.log(top) / 2, gradient, middle


class _Layer:
    """From M_k to M_{k+1} = W X_k⁻¹ Wᵀ, X_k⁻¹ = c·S⁻¹ (κ I + ρ R) S⁻¹ with R = (I - a S M S)⁻¹, and back."""

    def __init__(self, weight: np.ndarray, low: float, high: float) -> None:
        self._weight, self._e = weight, ((high - low) / 2) ** 2
        self._kappa, self._rho = -low * high / self._e, ((high + low) / 2) ** 2 / self._e
        self.start = min(1 / (1 + math.sqrt(self._rho)), 1 - 1e-4)  # of σ: the best for scalar Λ
        self._vector: np.ndarray | None = None
        self.half_exponent: int | None = None  # of the power of four that M_{k+1} is divided by, from the first on

    def forward(self, middle: np.ndarray, d: np.ndarray, share: float) -> np.ndarray:
        self._scale, self._share, self._middle = np.exp(d / 2), share, middle
        g = self._scale[:, None] * middle * self._scale
        self._top, self._vector = largest_of(g, self._vector, _ABOUT)
        factor = _cholesky(g, share / self._top)
        if factor is None or factor.diagonal().min() ** 2 < 0.99 * (1 - share):
            # The eigenvalue was found too small.
            g = self._scale[:, None] * middle * self._scale
            self._top = float(np.linalg.eigvalsh(g)[-1]) * (1 + 1e-12)
            factor = _cholesky(g, share / self._top)
            if factor is None:
                raise ValueError("LipSDP: a matrix that should be positive definite is not; its weights are not finite")
        self._factor = factor
        self._c = self._e * self._top / share
        b = self._weight.T / self._scale[:, None]
        half = solve_triangular(self._factor, b, lower=True, overwrite_b=True, check_finite=False)
        self._next = half.T @ half
        self._next *= self._c * self._rho
        # A triangle's condition is that of the matrix, (1 - share)^-½ at most.
        self._next = _rounded_up(self._next, 4 * len(d) / math.sqrt(1 - share))
        if self._kappa:
            b = self._weight.T / self._scale[:, None]  # what was there has become the other half
            rest = b.T @ b
            rest *= self._c * abs(self._kappa)
            self._next += math.copysign(1.0, self._kappa) * rest
            self._next[np.diag_indices(len(rest))] += lost(rest, len(d))
        if self.half_exponent is None:
            self.half_exponent = math.frexp(float(self._next.diagonal().max()))[1] // 2
        self._next = np.ldexp(self._next, -2 * self.half_exponent)
        self._c = math.ldexp(self._c, -2 * self.half_exponent)
        return self._next

    def backward(self, z: np.ndarray, s: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, float]:
        """From the adjoint of M_{k+1} to that of M_k, and the derivatives in d and σ."""
        c, rho, top, share = self._c, self._rho, self._top, self._share
        scale, vector = self._scale[:, None], self._vector[:, None]  # type: ignore[index]
        p = (self._weight.T @ z) / scale
        half = solve_triangular(self._factor, p, lower=True, check_finite=False)
        y = solve_triangular(self._factor, half, lower=True, trans=1, check_finite=False)  # R p
        g_y = scale * (self._middle @ (scale * y))
        in_c = float(np.sum(s * z * (self._next @ z))) / c
        in_a = c * rho * float(np.sum(s * y * g_y))
        in_top = (in_c * c - in_a * share / top) / top
        in_share = in_a / top - in_c * c / share
        weights = share / top * c * rho * s
        in_d = np.sum(weights * y * g_y, axis=1) + in_top * top * vector[:, 0] ** 2
        in_d -= c * np.sum(s * (self._kappa * p + rho * y) * p, axis=1)
        adjoint = scale * np.concatenate([y, vector], axis=1), np.append(weights, in_top)
        return adjoint, in_d, in_share


def _rounded_up(gram: np.ndarray, terms: float) -> np.ndarray:
    """A positive semidefinite matrix, with what rounding may have taken from it added to its diagonal, in place."""
    gram[np.diag_indices(len(gram))] += lost(gram, terms)
    return gram


def lost(gram: np.ndarray, terms: float) -> float:
    """How far a sum of so many terms, a positive semidefinite matrix, may be off in the spectral norm."""
    return 4 * (terms + 8) * EPS * float(gram.trace())


def largest_of(g: np.ndarray, start: np.ndarray | None, tol: float) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of a symmetric matrix, about, and its vector; from a guess of that, or ``None``."""
    if len(g) > _SMALL:
        value, vector = largest_eigenpair(g, start, tol)
    else:
        last = len(g) - 1
        values, vectors = eigh(g, subset_by_index=[last, last], check_finite=False)
        if not len(values):  # LAPACK finds none of some matrices of very many equal eigenvalues
            values, vectors = np.linalg.eigh(g)
            values, vectors = values[-1:], vectors[:, -1:]
        value, vector = float(values[0]), vectors[:, 0]
    return max(value, _LEAST), vector


def _cholesky(g: np.ndarray, a: float) -> np.ndarray | None:
    """The lower factor of I - a·G, less what rounding may hide, in place of G; ``None`` where that is not positive."""
    matrix = g.T  # laid out as LAPACK likes it
    matrix *= -a
    matrix[np.diag_indices(len(g))] += 1 - proof_rounding(len(g))
    factor, failed = dpotrf(matrix, lower=1, overwrite_a=1, clean=0)
    return None if failed else factor
