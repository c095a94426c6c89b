"""How far the nearest adversarial example of each sample is, as far as one was found."""

from __future__ import annotations

import math

import numpy as np

from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.minimum_norm import MAX_ITER, are_found, nearest_examples
from artclip.evaluation.random_outputs import randomness
from artclip.evaluation.runner import distances
from artclip.norms import column


def distances_to_examples(
    evaluated: EvaluatedModel, norm: float, index: np.ndarray, max_iter: int = MAX_ITER
) -> tuple[np.ndarray | None, dict[int, np.ndarray]]:
    """How far the nearest adversarial example is that was found for each of some samples, shape (m,); inf for none.

    An example counts where the model as deployed gives another label for it, rounded to float32.

    Args:
        evaluated: the model and samples.
        norm: that distances are in: 1, 2 or inf.
        index: of samples that the model gets right, shape (m,).
        max_iter: as for :func:`~artclip.evaluation.minimum_norm.nearest_examples`.

    Returns:
        The distances, ``None`` where the model has no gradients, or such as lead nowhere; and by sample the examples.
    """
    classifier = evaluated.classifier
    if not classifier.has_gradients or classifier.flat or classifier.stepped or not len(index):
        return None, {}
    x, y = evaluated.x[index], evaluated.y[index]
    with randomness(evaluated.f, (0,)):
        points = nearest_examples(evaluated.classifier, x, y, norm, max_iter)
    there = are_found(points)
    shown = np.where(column(there, x), points, x)
    there &= evaluated.decide(shown) != y
    nearest = {int(index[i]): shown[i] for i in np.flatnonzero(there)}
    return np.where(there, distances(shown, x, norm), math.inf), nearest


def known_distances(
    found: np.ndarray | None, index: np.ndarray, right: np.ndarray, fallen: np.ndarray, eps: float
) -> np.ndarray:
    """Distances of all samples, shape (n,): 0 where the label is wrong already, NaN where nobody looked.

    Args:
        found: of some samples, shape (m,), or ``None``.
        index: of these, shape (m,).
        right: which samples the model gets right, shape (n,).
        fallen: which have an adversarial example within eps, by any attack, shape (n,).
        eps: that budget.
    """
    known = np.where(right, math.nan, 0.0)
    if found is not None:
        known[index] = np.where(fallen[index], np.minimum(found, eps), found)
    return known
