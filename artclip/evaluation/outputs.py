"""What outputs of a classifier look like, and which label they say."""

from __future__ import annotations

import numpy as np

_FEW = 256  # values that outputs of eight bits have


def output_kind(outputs: np.ndarray) -> str:
    """What outputs (n, k) look like.

    ``"probabilities"`` where each row sums to one, ``"sigmoid"`` where all lie in [0, 1], ``"rectified"`` where none is
    negative and some are exactly zero, else ``"logits"``.
    """
    if outputs.min() < 0 or outputs.max() > 1:
        return "rectified" if outputs.min() == 0 else "logits"
    sums = outputs.sum(1)
    return "probabilities" if np.abs(sums - 1).max() < 1e-3 else "sigmoid"


def few_values(outputs: np.ndarray) -> bool:
    """Whether outputs (n, k) have so few values that they may be constant in steps, as labels or rounded numbers."""
    return len(np.unique(outputs)) <= max(2, min(_FEW, outputs.size // 2))


def labels_of(outputs: np.ndarray) -> np.ndarray:
    """Class indices (n,) of outputs (n, k); -1, which is no class, where one is NaN."""
    return np.where(np.isnan(outputs).any(1), -1, outputs.argmax(1))


def keeps_labels(logits: np.ndarray, outputs: np.ndarray) -> bool:
    """Whether the largest logit of each row is at the largest output, or one of several."""
    with np.errstate(invalid="ignore"):
        return bool((outputs[np.arange(len(logits)), logits.argmax(1)] >= np.nanmax(outputs, 1)).all())


def bounded(z: np.ndarray) -> np.ndarray:
    """Logits (n, k), infinite ones replaced by some that are well beyond the others of their row; NaN by the least."""
    finite = np.isfinite(z)
    if finite.all():
        return z
    held = np.where(finite, z, 0)
    room = 10 * (1 + np.ptp(held, axis=1, keepdims=True))
    low, high = held.min(1, keepdims=True) - room, held.max(1, keepdims=True) + room
    return np.where(finite, z, np.where(z == np.inf, high, low))
