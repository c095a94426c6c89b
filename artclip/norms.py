"""Lengths of arrays, sample by sample, and the norms that belong together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def dual_norm(p: float) -> float:
    """The norm that gradients are measured in where inputs are in the p-norm."""
    return {1: math.inf, 2: 2, math.inf: 1}[p]


def lengths(t: np.ndarray, p: float) -> np.ndarray:
    """p-norms (n,) of arrays (n, *shape)."""
    return np.linalg.norm(t.reshape(len(t), -1), ord=p, axis=1)


def unit(w: np.ndarray, p: float) -> np.ndarray:
    """Directions (n, *shape) with a p-norm of 1."""
    return w / column(lengths(w, p), w)


def column(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Values (n,) with as many axes as ``like``."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def farthest(x: np.ndarray, low: Any, high: Any, p: float) -> np.ndarray:
    """How far from each of x (n, *shape) the farthest point between low and high is, in the p-norm, shape (n,)."""
    return lengths(np.maximum(x - low, high - x), p)


def change(size: int, p: float, r: float) -> float:
    """max ‖x‖_r over ‖x‖_p = 1 in ``size`` dimensions."""
    return float(size ** max(0.0, 1 / r - 1 / p))
