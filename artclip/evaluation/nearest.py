"""How far the nearest adversarial example of each sample is, as far as one was found."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.evaluation.attacks import AttackConfig
from artclip.evaluation.cache import Cache
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.minimum_norm import MAX_ITER, are_found, nearest_examples
from artclip.evaluation.random_outputs import randomness
from artclip.evaluation.runner import BLOCK, Outcome, distances
from artclip.hashing.digests import digest
from artclip.norms import column


@dataclass(frozen=True)
class Nearest:
    """The nearest adversarial examples that were found of some samples.

    Attributes:
        index: of the samples, shape (m,).
        distance: how far each one's is, shape (m,); inf for none.
        points: the examples, shape (m, *shape); the sample itself where there is none.
        seconds: how long the search took.
        passes: samples that went through the model.
        gradients: samples that gradients were taken of.
    """

    index: np.ndarray
    distance: np.ndarray
    points: np.ndarray
    seconds: float
    passes: int
    gradients: int

    def examples(self, nb: int, known: np.ndarray) -> dict[int, np.ndarray]:
        """Those of the first ``nb`` samples, by sample, that are as near as is known (n,), by any attack."""
        there = np.isfinite(self.distance) & (self.distance <= known[self.index])
        return {int(self.index[i]): self.points[i] for i in np.flatnonzero(there[:nb])}

    def within(self, chosen: AttackConfig, eps: float, n: int, nb_examples: int) -> Outcome:
        """The outcome of the attack within a budget, on n samples."""
        tried, broken = np.zeros((2, n), bool)
        tried[self.index], broken[self.index] = True, self.distance <= eps
        inside = np.flatnonzero(self.distance <= eps)[:nb_examples]
        examples = {int(self.index[i]): self.points[i] for i in inside}
        return Outcome(chosen, tried, broken, examples, {}, self.seconds, self.passes, self.gradients)


def search_nearest(
    evaluated: EvaluatedModel,
    norm: float,
    index: np.ndarray,
    max_iter: int = MAX_ITER,
    seed: int = 0,
    cache: Cache | None = None,
    key: str = "",
) -> Nearest | None:
    """Look for the nearest example of some samples.

    An example counts where the model as deployed gives another label for it, rounded to float32.

    Args:
        evaluated: the model and samples.
        norm: that distances are in: 1, 2 or inf.
        index: of samples that the model gets right, shape (m,).
        max_iter: as for :func:`~artclip.evaluation.minimum_norm.nearest_examples`.
        seed: of a random model's draws.
        cache: of what was found.
        key: hash of model and data, for the cache; "" where there is none.

    Returns:
        ``None`` where the model has no gradients, or such as lead nowhere, and where there are no samples.
    """
    classifier = evaluated.classifier
    if not classifier.has_gradients or classifier.flat or classifier.stepped or not len(index):
        return None
    cache, parts = cache or Cache(None), []
    for start in range(0, len(index), BLOCK):
        some = index[start : start + BLOCK]
        what = digest(key, "nearest", str(norm), max_iter, seed, some) if key else ""
        arrays = cache.get(what) if what else None
        if arrays is None:
            arrays = _found(evaluated, norm, some, max_iter, (seed, start) if start else (seed,))
            if what:
                cache.put(what, **arrays)
        parts.append(arrays)
    distance, points = (np.concatenate([p[name] for p in parts]) for name in ("distance", "points"))
    seconds, passes, gradients = (sum(float(p[name]) for p in parts) for name in ("seconds", "passes", "gradients"))
    return Nearest(index, distance, points, seconds, int(passes), int(gradients))


def _found(
    evaluated: EvaluatedModel, norm: float, index: np.ndarray, max_iter: int, seed: tuple[int, ...]
) -> dict[str, Any]:
    x, y = evaluated.x[index], evaluated.y[index]
    began, classifier = time.perf_counter(), evaluated.classifier
    passes, gradients = classifier.passes, classifier.gradients
    with randomness(evaluated.f, seed):
        points = nearest_examples(classifier, x, y, norm, max_iter)
    there = are_found(points)
    points = np.where(column(there, x), points, x)
    there &= evaluated.decide(points) != y
    return {
        "distance": np.where(there, distances(points, x, norm), math.inf),
        "points": points,
        "seconds": time.perf_counter() - began,
        "passes": classifier.passes - passes,
        "gradients": classifier.gradients - gradients,
    }


def known_distances(found: Nearest | None, right: np.ndarray, fell_at: np.ndarray) -> np.ndarray:
    """Distances of all samples, shape (n,): 0 where the label is wrong already, NaN where nobody looked.

    Args:
        found: of some samples, or ``None``.
        right: which samples the model gets right, shape (n,).
        fell_at: the smallest budget within which any attack found an example of each, shape (n,); inf for none.
    """
    known = np.where(right, math.nan, 0.0)
    if found is not None:
        known[found.index] = np.minimum(found.distance, fell_at[found.index])
    return known
