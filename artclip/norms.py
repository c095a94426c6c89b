"""Lengths of arrays, sample by sample."""

from __future__ import annotations

import numpy as np


def lengths(t: np.ndarray, p: float) -> np.ndarray:
    """p-norms (n,) of arrays (n, *shape)."""
    return np.linalg.norm(t.reshape(len(t), -1), ord=p, axis=1)


def unit(w: np.ndarray, p: float) -> np.ndarray:
    """Directions (n, *shape) with a p-norm of 1."""
    return w / column(lengths(w, p), w)


def column(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Values (n,) with as many axes as ``like``."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
