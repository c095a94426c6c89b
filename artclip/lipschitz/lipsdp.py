"""LipSDP for chains of dense layers, by gradient descent on a parametrisation of which every point is feasible.

LipSDP-Neuron (Fazlyab et al. 2019, arXiv 1906.04893) through the block recursion of ECLipsE (Xu and Sivaranjani 2024,
arXiv 2404.04375): for activations with slopes in [0, 2m], X₀ = I, M_k = W_k X_{k-1}⁻¹ W_kᵀ and
X_k = Λ_k - m² Λ_k M_k Λ_k with diagonal Λ_k > 0; if all X_k are positive definite, √λmax(M_L) bounds the Lipschitz
constant. With S = diag(exp(d/2)) and Λ = S²·σ(t) / (m² λmax(S M S)) that holds for every d and t, so each iterate is a
bound. At d = t = 0 it is ECLipsE-Fast.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MARGIN = 1e-8  # relative, on top of the result: far above the rounding of the recursion in float64
_LEAST = 1e-30  # of an eigenvalue: a layer of zeros has none above
_MOST_SHARE = 1 - 1e-6  # of σ(t), so that X_k stays well conditioned


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


@dataclass
class _Step:
    """What the way back through one layer needs."""

    scale: np.ndarray
    eigenvalues: np.ndarray
    vectors: np.ndarray
    top: float
    share: float
    middle: np.ndarray
    inverse: np.ndarray


def chain_bound(
    weights: Sequence[np.ndarray],
    slopes: Sequence[float],
    max_iter: int = 300,
    max_seconds: float = math.inf,
    learning_rate: float = 0.05,
) -> ChainBound:
    """An upper bound of the L2 Lipschitz constant of W_L φ(... φ(W_1 x)).

    Args:
        weights: L >= 1 matrices (outputs, inputs).
        slopes: for each of the L - 1 activations its largest slope β > 0; its slopes lie in [0, β].
        max_iter: steps of Adam, >= 0; 0 gives ECLipsE-Fast.
        max_seconds: stop after this time.
        learning_rate: of Adam, > 0, with a cosine schedule.

    """
    began = time.perf_counter()
    weights = [np.asarray(w, dtype=np.float64) for w in weights]
    first = weights[0] @ weights[0].T
    sizes = [len(w) for w in weights[:-1]]
    parameters = np.zeros(sum(sizes) + len(sizes))
    mean, square = np.zeros_like(parameters), np.zeros_like(parameters)
    history: list[float] = []
    best = np.zeros((0, 0))
    for i in range(max_iter + 1):
        log_bound, gradient, gram = _log_bound(first, weights, slopes, sizes, parameters)
        history.append(math.exp(log_bound))
        if history[-1] == min(history):
            best = gram
        if i == max_iter or not sizes or time.perf_counter() - began > max_seconds:
            break
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        step = mean / (1 - 0.9 ** (i + 1)) / (np.sqrt(square / (1 - 0.999 ** (i + 1))) + 1e-12)
        parameters = parameters - learning_rate * (1 + math.cos(math.pi * i / max_iter)) / 2 * step
    return ChainBound(min(history) * (1 + _MARGIN), best * (1 + _MARGIN) ** 2, history)


def _log_bound(
    first: np.ndarray, weights: list[np.ndarray], slopes: Sequence[float], sizes: list[int], parameters: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The log of the bound, its gradient in (d_1, ..., d_{L-1}, t_1, ..., t_{L-1}), and M_L."""
    scalings = np.split(parameters[: sum(sizes)], np.cumsum(sizes)[:-1]) if sizes else []
    shares = 1 / (1 + np.exp(-parameters[sum(sizes) :]))
    middle, steps = first, []
    for weight, slope, d, share in zip(weights[1:], slopes, scalings, shares, strict=True):
        step = _forward(middle, slope, d, min(float(share), _MOST_SHARE))
        middle = weight @ step.inverse @ weight.T
        steps.append(step)
    values, vectors = np.linalg.eigh(middle)
    top = max(float(values[-1]), _LEAST)
    adjoint = np.outer(vectors[:, -1], vectors[:, -1]) / (2 * top)
    gradient_d, gradient_t = [], []
    for k in reversed(range(len(steps))):
        adjoint, in_d, in_share = _backward(steps[k], slopes[k], weights[k + 1].T @ adjoint @ weights[k + 1])
        gradient_d.append(in_d)
        gradient_t.append(in_share * shares[k] * (1 - shares[k]))
    joined = np.concatenate([*reversed(gradient_d), gradient_t[::-1]]) if steps else np.zeros(0)
    return math.log(top) / 2, joined, middle


def _forward(middle: np.ndarray, slope: float, d: np.ndarray, share: float) -> _Step:
    """X⁻¹ = c·S⁻¹ (I - (σ/λ) G)⁻¹ S⁻¹ with G = S M S, λ = λmax(G), c = m² λ / σ."""
    scale = np.exp(d / 2)
    values, vectors = np.linalg.eigh(scale[:, None] * middle * scale)
    top = max(float(values[-1]), _LEAST)
    values = np.clip(values, 0, top)
    stretched = vectors / (1 - share / top * values)
    inverse = (slope / 2) ** 2 * top / share * (stretched @ vectors.T) / scale[:, None] / scale
    return _Step(scale, values, vectors, top, share, middle, inverse)


def _backward(step: _Step, slope: float, adjoint: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """From the adjoint of X⁻¹ to those of M, d and σ."""
    scale, values, vectors, share = step.scale, step.eigenvalues, step.vectors, step.share
    top, m2 = step.top, (slope / 2) ** 2
    c, a = m2 * top / share, share / top
    in_c = float(np.sum(adjoint * step.inverse)) / c
    inner = c * (vectors.T @ (adjoint / scale[:, None] / scale) @ vectors)  # adjoint of R, in the eigenbasis of G
    r = 1 / (1 - a * values)
    turned = r[:, None] * inner * r  # R R̄ R
    in_a = float(np.sum(np.diag(turned) * values))
    in_top = in_c * m2 / share - in_a * share / top**2
    in_share = in_a / top - in_c * m2 * top / share**2
    in_g = a * turned
    in_g[-1, -1] += in_top
    in_g = vectors @ in_g @ vectors.T
    g = scale[:, None] * step.middle * scale
    in_d = np.sum(in_g * g, axis=1) - np.sum(adjoint * step.inverse, axis=1)
    return scale[:, None] * in_g * scale, in_d, in_share
