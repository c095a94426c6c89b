"""CLEVER: an extreme-value estimate of the distance to the decision boundary (Weng et al. 2018, arXiv 1801.10578)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import Function, function_of
from artclip.frameworks.check import refuse_defences
from artclip.norms import dual_norm

_ROWS = 1 << 13  # rows whose gradients are taken together, times their size
_ELEMENTS = 1 << 23


@dataclass(frozen=True)
class CleverScore:
    """An estimate of how far an input is from the nearest other class. It is a guess, not a bound.

    Attributes:
        value: the score, in input units of ``norm``, at most ``radius``.
        target: the class that is nearest by this estimate.
        per_target: score of each class asked for.
        norm: norm on inputs: 1, 2 or inf.
        radius: of the ball around the input that was sampled.
        kind: always ``"estimate"``: the true distance may be smaller or larger.
        seconds: how long that took.
        seed: of the samples, or ``None``.
    """

    value: float
    target: int
    per_target: dict[int, float]
    norm: float
    radius: float
    seconds: float
    seed: int | None = None
    kind: str = "estimate"

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        about = f"L{self.norm}, extreme-value estimate, not a bound; nearest class {self.target}"
        return f"CLEVER {self.value:.4g} ({about})"


def clever(
    estimator: Any,
    x: np.ndarray,
    nb_batches: int,
    batch_size: int,
    radius: float,
    norm: float | str = 2,
    target: int | Iterable[int] | None = None,
    c_init: float = 1.0,
    pool_factor: int = 10,
    seed: int | None = None,
) -> CleverScore:
    """The CLEVER score of one input, as ART's ``clever_u`` and ``clever_t`` define it.

    Gradients of all classes are taken at once over the whole pool, and all targets share them.

    Args:
        estimator: classifier, as for :func:`artclip.lipschitz_lower_bound`.
        x: one input, shape input_shape.
        nb_batches: maxima that the distribution is fitted to, >= 1.
        batch_size: gradient norms per maximum, >= 1.
        radius: of the ball that is sampled, > 0, in ``norm``.
        norm: 1, 2 or inf, on inputs; gradients are measured in the dual norm.
        target: class or classes to measure the distance to; ``None`` for all but the predicted one.
        c_init: first shape parameter of the fit, > 0.
        pool_factor: pool of samples, in units of ``batch_size``, >= 1.
        seed: of the samples, or ``None``; no global RNG is touched.

    Raises:
        TypeError, ValueError: bad input.
    """
    for name, number in (("nb_batches", nb_batches), ("batch_size", batch_size), ("pool_factor", pool_factor)):
        checks.positive_integer(name, number)
    checks.positive("radius", radius)
    checks.positive("c_init", c_init)
    p = checks.norm("norm", norm)
    seed = checks.seed(seed)
    began, f, rng = time.perf_counter(), function_of(estimator), np.random.default_rng(seed)
    refuse_defences(f)
    x = checks.inputs(np.asarray(x)[None], f.input_shape or None, box=f.clip_values)[0]
    outputs = f.predict(x[None])[0]
    if len(outputs) < 2:
        raise ValueError(
            "CLEVER is a distance to another class, and this model has one output. Let a classifier return two logits, "
            "0 and z, in the place of one logit z"
        )
    predicted = int(outputs.argmax())
    targets = _targets(target, predicted, len(outputs))
    pool = x + _ball(rng, pool_factor * batch_size, x.shape, radius, p)
    if f.clip_values is not None:
        pool = np.clip(pool, *f.clip_values)
    jacobians = _jacobians(f, pool, [predicted, *targets])
    scores = {}
    for index, j in enumerate(targets, 1):
        norms = np.linalg.norm(jacobians[:, 0] - jacobians[:, index], ord=dual_norm(p), axis=1)
        maxima = norms[rng.integers(len(norms), size=(nb_batches, batch_size))].max(axis=1)
        scores[j] = min(float((outputs[predicted] - outputs[j]) / _location(maxima, c_init)), radius)
    nearest = min(scores, key=lambda j: scores[j])
    return CleverScore(scores[nearest], nearest, scores, p, radius, time.perf_counter() - began, seed)


def _targets(target: int | Iterable[int] | None, predicted: int, nb_classes: int) -> list[int]:
    if target is None:
        return [j for j in range(nb_classes) if j != predicted]
    targets = np.atleast_1d(np.asarray(list(target) if isinstance(target, Iterable) else target)).astype(int).tolist()
    for j in targets:
        if not 0 <= j < nb_classes or j == predicted:
            raise ValueError(
                f"target={j} must be a class from 0 to {nb_classes - 1} other than the predicted one, {predicted}"
            )
    return targets


def _ball(rng: np.random.Generator, n: int, shape: tuple[int, ...], radius: float, p: float) -> np.ndarray:
    """n points uniform in the ball of the p-norm; in L1 as ART draws them, uniform on its sphere."""
    d = math.prod(shape)
    if p == math.inf:
        points = rng.uniform(-1, 1, (n, d))
    elif p == 2:
        points = rng.standard_normal((n, d))
        points *= rng.uniform(size=(n, 1)) ** (1 / d) / np.linalg.norm(points, axis=1, keepdims=True)
    else:
        gaps = np.diff(np.sort(rng.uniform(size=(n, d))), prepend=0.0)
        points = gaps * rng.choice([-1.0, 1.0], (n, d))
    return (radius * points).reshape(n, *shape)


def _jacobians(f: Function, points: np.ndarray, classes: list[int]) -> np.ndarray:
    """Gradients of the outputs named, shape (n, len(classes), d)."""
    k, size = len(classes), math.prod(points.shape[1:])
    rows = max(1, min(_ROWS, _ELEMENTS // size) // k)
    parts = []
    for start in range(0, len(points), rows):
        part = points[start : start + rows]
        outputs, pull = f.pullback(f.tensor(np.repeat(part, k, axis=0)))
        cotangents = np.zeros((len(part) * k, outputs.shape[1]))
        cotangents[np.arange(len(cotangents)), np.tile(classes, len(part))] = 1
        parts.append(np.asarray(f.host(pull(f.tensor(cotangents))), dtype=np.float64).reshape(len(part), k, size))
    return np.concatenate(parts)


def _location(maxima: np.ndarray, c_init: float) -> float:
    """Location of the reverse Weibull distribution fitted to the maxima: the largest gradient norm to be expected."""
    from scipy.optimize import fmin
    from scipy.stats import weibull_min

    if np.ptp(maxima) <= 1e-6 * maxima.max():  # a linear model: nothing to fit
        return float(maxima.max())
    _, location, _ = weibull_min.fit(-maxima, c_init, optimizer=lambda *a, **k: fmin(*a, **{**k, "disp": 0}))
    return -float(location)
