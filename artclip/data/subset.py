"""Some samples in place of all: the first ones, unless the data are sorted by class."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

_SIGNIFICANCE = 1e-6
_EXPECTED = 5  # of each group of classes at least, as the chi-squared test wants it


def rows_of(y: np.ndarray, n: int) -> tuple[np.ndarray, str]:
    """Which n samples stand for all.

    The first n, as in published tables. Where these are not of the classes that all are of, by a chi-squared test, the
    data are sorted, and n rows spread evenly over them are taken instead.

    Args:
        y: labels of all, class indices (N,) or one-hot (N, k). Labels of another kind are not looked at.
        n: how many samples, >= 1; all of them if there are no more.

    Returns:
        Indices (min(n, N),), rising, and what must be said of them: "" for the first n.
    """
    total = len(y)
    if n >= total:
        return np.arange(total), ""
    classes = _classes(np.asarray(y))
    if classes is None or not _unlike(classes, n):
        return np.arange(n), ""
    among, of = len(np.unique(classes[:n])), len(np.unique(classes))
    seen = f"{among} of {of} classes are among them" if among < of else "some classes are too many of them"
    return np.arange(n) * total // n, (
        f"the first {n} of {total} samples do not stand for all ({seen}): {n} spread evenly over the data were taken"
    )


def _classes(y: np.ndarray) -> np.ndarray | None:
    """Class indices (N,), or None where each sample may have several labels."""
    if y.ndim == 2 and y.shape[1] > 1:
        one_hot = (y.sum(1) == 1).all() and (y.max(1) == 1).all()
        return y.argmax(1) if one_hot else None
    if y.size != len(y) or not len(y):
        return None
    return np.unique(y.reshape(-1), return_inverse=True)[1]


def _unlike(classes: np.ndarray, n: int) -> bool:
    """Whether the first n would hardly be so, were the order random."""
    share = n / len(classes)
    whole, first = np.bincount(classes), np.bincount(classes[:n], minlength=classes.max() + 1)
    group = np.cumsum(whole * share) // _EXPECTED  # neighbours together, since sorted data have them together
    _, group = np.unique(group, return_inverse=True)
    expected, seen = np.bincount(group, whole * share), np.bincount(group, first)
    if len(expected) < 2:
        return False
    statistic = ((seen - expected) ** 2 / (expected * (1 - share))).sum()
    return bool(chi2.sf(statistic, len(expected) - 1) < _SIGNIFICANCE)
