"""Steps of features that take whole numbers alone: within a ball there may be so few that all can be tried."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from artclip.evaluation.threat_model import Stage, ThreatModel
from artclip.norms import lengths

MOST = 1000  # steps that are tried of a sample
_PASSES = 200  # by which a point is drawn towards its sample
_FEW = 2  # features that change together, where there are too many steps of all of them
_ROUNDING = 1e-6
_NUMBERS = 1 << 22  # of inputs in one pass
_SMALLER = 0.8  # times a radius, until a ball of it holds few enough steps


def exhaustive(threat: ThreatModel, *, max_eval: int = MOST) -> list[Stage]:
    """Every step of whole numbers within the ball, or, where these are more than ``max_eval``, of two features or one.

    Other features stay as they are. Labels that count are those of the model as deployed.
    """
    steps, _ = steps_within(threat, max_eval)

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        found, standing = x.copy(), np.ones(len(x), bool)
        for index, points, wrong in _tried(threat, x, y, steps, standing):
            fell = wrong.any(0)
            found[index[fell]] = points[wrong.argmax(0)[fell], np.flatnonzero(fell)]
            standing[index[fell]] = False
        return found

    return [run]


def all_are_tried(threat: ThreatModel, max_eval: int) -> bool:
    """Whether :func:`exhaustive` tries every point that there is within the budget."""
    try:
        return steps_within(threat, max_eval)[1]
    except ValueError:
        return False


def steps_within(threat: ThreatModel, max_eval: int) -> tuple[np.ndarray, bool]:
    """Steps of whole numbers within the budget, shape (k, size), by length; and whether no others are allowed.

    Raises:
        ValueError: no feature moves by whole numbers, or each by too many.
    """
    integers, others = _free(threat)
    nb = int(integers.sum())
    if not nb:
        raise ValueError("it tries steps of whole numbers: name the features that take these alone (integers=)")
    for together in dict.fromkeys((nb, min(nb, _FEW), 1)):
        found = whole_steps(nb, threat.norm, threat.eps, max_eval, together)
        if found is not None:
            return _wide(found, integers), together == nb and not others
    raise ValueError(f"a ball holds more than max_eval={max_eval} steps of one feature alone; raise it to try them")


def _free(threat: ThreatModel) -> tuple[np.ndarray, bool]:
    """Which features move by whole numbers, shape (size,), and whether any others move."""
    rules, size = threat.classifier.rules, math.prod(threat.classifier.input_shape)
    fixed, integers = (np.zeros(size, bool) if m is None else m.ravel() for m in (rules.fixed, rules.integers))
    return integers & ~fixed, bool((~integers & ~fixed).any())


def _wide(steps: np.ndarray, integers: np.ndarray) -> np.ndarray:
    """Steps of some features (k, nb) as steps of all of them (k, size)."""
    wide = np.zeros((len(steps), len(integers)), np.float32)
    wide[:, integers] = steps
    return wide


def whole_steps(nb: int, norm: float, radius: float, most: int, together: int) -> np.ndarray | None:
    """All vectors of ``nb`` whole numbers of at most that length, but 0, by length; ``None`` for more than ``most``.

    Args:
        nb: how many numbers.
        norm: 1, 2 or inf.
        radius: the largest length.
        most: how many vectors are too many.
        together: how many of a vector's numbers may be other than 0.
    """
    radius *= 1 + _ROUNDING
    if 2 * nb * math.floor(min(radius, most)) > most:
        return None
    values = np.arange(-math.floor(radius), math.floor(radius) + 1)
    # In the norm of the maximum each number is within the radius as it is.
    powers, room = (0 * values, 0.0) if math.isinf(norm) else (np.abs(values) ** norm, radius**norm)
    steps, spent = np.zeros((1, 0), int), np.zeros(1)
    for _ in range(nb):
        total = spent[:, None] + powers
        changed = (steps != 0).sum(1)[:, None] + (values != 0)
        rows, chosen = np.nonzero((total <= room) & (changed <= together))
        if len(rows) > most + 1:
            return None
        steps, spent = np.column_stack([steps[rows], values[chosen]]), total[rows, chosen]
    steps = steps[steps.any(1)]
    return steps[np.argsort(lengths(steps.astype(float), norm), kind="stable")] if len(steps) else steps


def _tried(
    threat: ThreatModel, x: np.ndarray, y: np.ndarray, steps: np.ndarray, standing: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Steps from samples that stand (n,), some at a time: indices (m,), points (k, m, *shape), and which are wrong.

    Points outside the range are not wrong.
    """
    low, high = threat.classifier.limits(x)
    nb = max(1, _NUMBERS // x.size)
    for start in range(0, len(steps), nb):
        index = np.flatnonzero(standing)
        if not len(index):
            return
        some = steps[start : start + nb]
        points = x[index] + some.reshape(len(some), 1, *x.shape[1:])
        valid = ((points >= low[index]) & (points <= high[index])).reshape(*points.shape[:2], -1).all(2)
        wrong, of = np.zeros(valid.shape, bool), np.broadcast_to(index, valid.shape)[valid]
        if len(of):
            wrong[valid] = threat.classifier.decide(points[valid]) != y[of]
        yield index, points, wrong


def nearer(threat: ThreatModel, x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points with a wrong label, or NaN, as near or nearer: the nearest of few steps, or one feature after the other.

    The first is of samples whose nearest known point lies so near that all steps can be tried; others are drawn towards
    their samples in one feature at a time for as long as the label stays wrong.

    Args:
        threat: model and norm; ``eps`` is how far anything may be.
        x: samples, shape (n, *shape).
        y: class indices, shape (n,).
        points: shape (n, *shape), NaN where none is known.
    """
    integers, _ = _free(threat)
    if not integers.any():
        return points
    points = _drawn_back(threat, x, y, points.copy(), integers)
    away = np.nan_to_num(lengths(points - x, threat.norm), nan=math.inf)
    nb = int(integers.sum())
    radius = min(float(away.max()), threat.eps, MOST / nb)
    while radius >= 1:
        steps = whole_steps(nb, threat.norm, radius, MOST, nb)
        if steps is not None:
            return _nearest_of(threat, x, y, points, away, _wide(steps, integers))
        radius *= _SMALLER
    return points


def _nearest_of(
    threat: ThreatModel, x: np.ndarray, y: np.ndarray, points: np.ndarray, away: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Points, or the first of the steps, which are by length, where one that is shorter has a wrong label."""
    standing, start = away > 0, 0
    for index, tried, wrong in _tried(threat, x, y, steps, standing):
        long = lengths(steps[start : start + len(tried)].astype(float), threat.norm)
        start += len(tried)
        wrong &= long[:, None] < away[index]
        first, found = wrong.argmax(0), wrong.any(0)
        points[index[found]] = tried[first[found], np.flatnonzero(found)]
        standing[index] = ~found & (long[-1] < away[index])
    return points


def _drawn_back(
    threat: ThreatModel, x: np.ndarray, y: np.ndarray, points: np.ndarray, integers: np.ndarray
) -> np.ndarray:
    """Points drawn towards their samples, in the feature that moved most by half of that, then by less."""
    flat, start = points.reshape(len(x), -1), x.reshape(len(x), -1)
    back = np.ceil(np.abs(np.nan_to_num(flat - start)) * integers / 2)
    for _ in range(_PASSES):
        index = np.flatnonzero(back.any(1))
        if not len(index):
            break
        way, row = flat[index] - start[index], np.arange(len(index))
        feature = np.where(back[index] > 0, np.abs(way), -1).argmax(1)
        tried, by = flat[index].copy(), back[index, feature]
        tried[row, feature] -= np.sign(way[row, feature]) * by
        wrong = threat.classifier.decide(tried.reshape(-1, *x.shape[1:])) != y[index]
        flat[index[wrong]] = tried[wrong]
        left = np.abs(flat[index, feature] - start[index, feature])
        back[index, feature] = np.minimum(np.where(wrong, by, by // 2), left)
    return flat.reshape(x.shape)
