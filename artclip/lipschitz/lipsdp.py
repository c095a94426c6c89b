"""LipSDP for chains of dense layers, by gradient descent on a parametrisation of which every point is feasible.

LipSDP-Neuron (Fazlyab et al. 2019, arXiv 1906.04893) through a block recursion as in ECLipsE (Xu and Sivaranjani 2024,
arXiv 2404.04375), here for slopes in any interval [α, β]. With X₀ = I and M = W_k X_{k-1}⁻¹ W_kᵀ let

    X_k = Λ^½ (I + αβ G)⁻¹ (I - ((β - α)/2)² G) Λ^½,   G = Λ^½ M Λ^½,   Λ > 0 diagonal.

If all X_k are positive definite, differences of activations satisfy Δ_kᵀ X_k Δ_k <= ‖Δ_0‖², and √λmax(M_L) bounds the
Lipschitz constant. With S = diag(exp(d/2)) and Λ = S²·σ(t) / (((β - α)/2)² λmax(S M S)) that holds for every d and t,
so each iterate is a bound. The first, d = 0 and the best t for scalar Λ, is ECLipsE-Fast for α = 0, and never above the
product of the norms.

That a matrix is positive definite is shown by its Cholesky factor, so λmax need only be found about right. The gradient
at the output has rank one, and gains one rank a layer on the way back; so it costs little beside the factorisations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.sparse.linalg import ArpackError, eigsh
from threadpoolctl import threadpool_limits

_MARGIN = 1e-7  # relative, on top of the result: far above the rounding of the recursion in float64
_HEADSTART = 5  # steps by which time may seem to run ahead
_LEAST = 1e-30  # of an eigenvalue: a layer of zeros has none above
_MOST_SHARE = 1 - 1e-5  # of σ(t), so that X_k stays well conditioned
_SMALL = 160  # rows up to which all eigenvalues are as cheap as the largest
_ONE_THREAD = 1024  # units up to which threads wait for each other longer than they work


@dataclass(frozen=True)
class ChainBound:
    """What :func:`chain_bound` found.

    Attributes:
        value: the least bound of all iterates, rounded up.
        gram: M_L of that iterate, shape (k, k): ``|h·(f(u) - f(v))| <= √(hᵀ M h)·‖u - v‖`` for every h.
        history: the bound at each iterate.
    """

    value: float
    gram: np.ndarray
    history: list[float]


def chain_bound(
    weights: Sequence[np.ndarray],
    slopes: Sequence[tuple[float, float]],
    max_iter: int = 300,
    max_seconds: float = math.inf,
    learning_rate: float = 0.05,
    report: Callable[[float], None] = lambda bound: None,
) -> ChainBound:
    """An upper bound of the L2 Lipschitz constant of W_L φ(... φ(W_1 x)).

    Args:
        weights: L >= 1 matrices (outputs, inputs).
        slopes: for each of the L - 1 activations the interval [α, β] that its slopes lie in, α < β.
        max_iter: steps of Adam, >= 0; 0 gives ECLipsE-Fast.
        max_seconds: stop after this time, > 0; the schedule follows the time or the steps, whichever are used up first.
        learning_rate: of Adam, > 0, with a cosine schedule.
        report: called with the bound at each iterate.
    """
    widest = max((len(w) for w in weights[:-1]), default=0)
    with threadpool_limits(1 if widest <= _ONE_THREAD else None, "blas"):
        recursion = _Recursion([np.asarray(w, dtype=np.float64) for w in weights], slopes)
        return _descend(recursion, max_iter if slopes else 0, max_seconds, learning_rate, report)


def _descend(
    recursion: _Recursion, steps: int, max_seconds: float, learning_rate: float, report: Callable[[float], None]
) -> ChainBound:
    began = time.perf_counter()
    parameters = np.zeros(recursion.size)
    mean, square = np.zeros_like(parameters), np.zeros_like(parameters)
    history: list[float] = []
    best = np.zeros((0, 0))
    for i in range(steps + 1):
        log_bound, gradient, gram = recursion(parameters)
        history.append(math.exp(log_bound))
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
        parameters = parameters - learning_rate * (1 + math.cos(math.pi * progress)) / 2 * step
    return ChainBound(min(history) * (1 + _MARGIN), best * (1 + _MARGIN) ** 2, history)


class _Recursion:
    """The log of the bound as a function of (d_1, ..., d_{L-1}, t_1, ..., t_{L-1}), with its gradient."""

    def __init__(self, weights: list[np.ndarray], slopes: Sequence[tuple[float, float]]) -> None:
        self._first = weights[0] @ weights[0].T
        self._layers = [_Layer(w, low, high) for w, (low, high) in zip(weights[1:], slopes, strict=True)]
        self._cuts = np.cumsum([len(w) for w in weights[:-1]]).astype(int)
        self.size = (int(self._cuts[-1]) + len(slopes)) if slopes else 0

    def __call__(self, parameters: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The log of the bound, its gradient, and M_L."""
        *scalings, raw_shares = np.split(parameters, self._cuts) if self.size else [np.zeros(0)]
        starts = np.array([layer.start for layer in self._layers])
        shares = starts / (starts + (1 - starts) * np.exp(-raw_shares))
        middle = self._first
        for layer, d, share in zip(self._layers, scalings, shares, strict=True):
            middle = layer.forward(middle, d, min(float(share), _MOST_SHARE))
        values, vectors = np.linalg.eigh(middle)
        top = max(float(values[-1]), _LEAST)
        adjoint = vectors[:, -1:], np.array([1 / (2 * top)])  # of M: Σ sᵢ zᵢ zᵢᵀ, as (z, s)
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
        self._guess: np.ndarray | None = None

    def forward(self, middle: np.ndarray, d: np.ndarray, share: float) -> np.ndarray:
        self._scale, self._share = np.exp(d / 2), share
        self._g = self._scale[:, None] * middle * self._scale
        self._top, self._vector = _largest(self._g, self._guess)
        self._guess = self._vector
        self._factor = _cholesky(self._g, share / self._top)
        if self._factor is None or self._factor.diagonal().min() ** 2 < 0.99 * (1 - share):
            # The eigenvalue was found too small.
            self._top = float(np.linalg.eigvalsh(self._g)[-1]) * (1 + 1e-12)
            self._factor = np.linalg.cholesky(np.eye(len(d)) - share / self._top * self._g)
        self._b = self._weight.T / self._scale[:, None]
        half = solve_triangular(self._factor, self._b, lower=True, check_finite=False)
        self._c = self._e * self._top / share
        self._next = self._c * self._rho * (half.T @ half)
        if self._kappa:
            self._next += self._c * self._kappa * (self._b.T @ self._b)
        return self._next

    def backward(self, z: np.ndarray, s: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, float]:
        """From the adjoint of M_{k+1} to that of M_k, and the derivatives in d and σ."""
        c, rho, top, share = self._c, self._rho, self._top, self._share
        p = self._b @ z
        half = solve_triangular(self._factor, p, lower=True, check_finite=False)
        y = solve_triangular(self._factor, half, lower=True, trans=1, check_finite=False)  # R p
        g_y = self._g @ y
        in_c = float(np.sum(s * z * (self._next @ z))) / c
        in_a = c * rho * float(np.sum(s * y * g_y))
        in_top = in_c * self._e / share - in_a * share / top**2
        in_share = in_a / top - in_c * self._e * top / share**2
        weights = share / top * c * rho * s
        vector = self._vector[:, None]
        in_d = np.sum(weights * y * g_y, axis=1) + in_top * top * vector[:, 0] ** 2
        in_d -= c * np.sum(s * (self._kappa * p + rho * y) * p, axis=1)
        adjoint = self._scale[:, None] * np.concatenate([y, vector], axis=1), np.append(weights, in_top)
        return adjoint, in_d, in_share


def _largest(g: np.ndarray, start: np.ndarray | None) -> tuple[float, np.ndarray]:
    """The largest eigenvalue, about, and its vector."""
    if len(g) > _SMALL:
        try:
            values, vectors = eigsh(g, k=1, v0=start if start is not None else g.sum(1), which="LA", tol=1e-7)
            return max(float(values[0]), _LEAST), vectors[:, 0]
        except ArpackError:
            pass
    values, vectors = np.linalg.eigh(g)
    return max(float(values[-1]), _LEAST), vectors[:, -1]


def _cholesky(g: np.ndarray, a: float) -> np.ndarray | None:
    """The lower factor of I - a·G, or ``None`` where that is not positive definite."""
    matrix = -a * g
    matrix[np.diag_indices(len(g))] += 1
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
