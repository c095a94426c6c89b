"""Losses that attacks climb, on logits: their values, and the cotangents that a model pulls back to its inputs.

Each takes logits, shape (n, k), and labels, shape (n, k), whose largest entry in a row marks the true class; it returns
values (n,) and cotangents (n, k). None saturates: an attack that sees a gradient of zero where the model has none such
finds a robustness that is not there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Loss = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

_TINY = 1e-12  # keeps a ratio of logits finite where they are all alike


def cross_entropy(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy l as log(exp(l) − 1): it grows with l and has a gradient of the same direction.

    That is log Σ exp(z_j) over the wrong classes j, minus the right logit. Cross-entropy itself rounds to zero, with
    its gradient, where the right logit leads by more than 17 in float32.
    """
    rows, true = np.arange(len(z)), y.argmax(1)
    wrong = z.copy()
    wrong[rows, true] = -np.inf
    top = wrong.max(1, keepdims=True)
    cotangents = np.exp(wrong - top)
    total = cotangents.sum(1, keepdims=True)
    cotangents /= total
    cotangents[rows, true] = -1
    return np.log(total[:, 0]) + top[:, 0] - z[rows, true], cotangents


def margin(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest wrong logit minus the right one: > 0 exactly where the label is wrong (Carlini, Wagner 2017)."""
    true = y.argmax(1)
    return _difference(z, _largest_wrong(z, true), true)


def difference_of_logits_ratio(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DLR: the margin over z₍₁₎ − z₍₃₎, so that scaling the logits changes nothing (Croce, Hein 2020, eq. 6)."""
    order = np.argsort(-z, axis=1)
    top, third = _one_hot(z, order[:, 0]), _one_hot(z, order[:, 2])
    return _ratio(z, *margin(z, y), top - third)


def targeted_difference_of_logits_ratio(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targeted DLR (Croce, Hein 2020, eq. 7); the second largest entry of y marks the target."""
    order, marks = np.argsort(-z, axis=1), np.argsort(-y, axis=1)
    top = _one_hot(z, order[:, 0])
    rest = (_one_hot(z, order[:, 2]) + _one_hot(z, order[:, 3])) / 2
    return _ratio(z, *_difference(z, marks[:, 1], marks[:, 0]), top - rest)


def targeted_margin(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logit of the target, which the second largest entry of y marks, minus the right one."""
    marks = np.argsort(-y, axis=1)
    return _difference(z, marks[:, 1], marks[:, 0])


def _largest_wrong(z: np.ndarray, true: np.ndarray) -> np.ndarray:
    others = z.copy()
    others[np.arange(len(z)), true] = -np.inf
    return others.argmax(1)


def _one_hot(z: np.ndarray, index: np.ndarray) -> np.ndarray:
    marked = np.zeros_like(z)
    marked[np.arange(len(z)), index] = 1
    return marked


def _difference(z: np.ndarray, plus: np.ndarray, minus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cotangents = _one_hot(z, plus) - _one_hot(z, minus)
    return np.einsum("nk,nk->n", z, cotangents), cotangents


def _ratio(z: np.ndarray, numerator: np.ndarray, up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """numerator / (z·down), its cotangents by the quotient rule."""
    denominator = np.einsum("nk,nk->n", z, down) + _TINY
    value = numerator / denominator
    return value, (up - value[:, None] * down) / denominator[:, None]


LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "margin": margin,
    "DLR": difference_of_logits_ratio,
    "targeted DLR": targeted_difference_of_logits_ratio,
    "targeted margin": targeted_margin,
}
