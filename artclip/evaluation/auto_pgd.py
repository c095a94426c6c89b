"""Auto-PGD: projected gradient ascent that halves its steps where it no longer gains, after Croce and Hein.

In L2 and L∞ Croce, Hein 2020, arXiv 2003.01690, algorithm 1; in L1 Croce, Hein 2021, arXiv 2103.01208, whose steps move
few coordinates. It runs on the view of the model that all attacks have, one pass forward and back for a step; a sample
that falls leaves at once, and the others go on without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from artclip.evaluation.attack_classifier import AttackClassifier
from artclip.evaluation.balls import into_ball, steepest, still_free
from artclip.evaluation.threat_model import Stage, ThreatModel
from artclip.norms import column, lengths

_MOMENTUM, _GAINS = 0.75, 0.75  # weight of the new step; share of steps that must gain
_FIRST, _SHORTER, _SHORTEST = 0.22, 0.03, 0.06  # of the steps: until the first look, and between looks
_SPARSE, _FEWER = 0.2, 1.5  # in L1: share of the coordinates that a first step moves; by what it falls
_L1_LOOK = 0.04  # of the steps, between looks in L1
_SHORT, _LONG = 0.15, 3  # share of the steps of short climbs; number of long ones


def auto_pgd(threat: ThreatModel, loss: str, *, max_iter: int = 100) -> list[Stage]:
    """One climb of a loss from a random point of the ball."""
    k = threat.classifier.nb_classes
    if loss == "DLR" and k < 3:
        raise ValueError(f"the DLR loss compares more logits than the {k} of this model")

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        classifier = threat.classifier.with_loss(loss)
        return climb(classifier, x, threat.labels(y), threat.norm, threat.eps, max_iter)[0]

    return [run]


def targeted_auto_pgd(threat: ThreatModel, *, max_iter: int = 100, nb_targets: int = 9) -> list[Stage]:
    """Climbs towards likely wrong classes: short ones to all of them, then long ones to the three that came nearest.

    Long ones to all nine, as published, take twice the time and find no more.
    """
    k = threat.classifier.nb_classes
    # Labels, and numbers that are rounded, tell no ratio: most of their differences are 0. DLR compares four logits.
    loss = "targeted margin" if threat.classifier.stepped or k < 4 else "targeted DLR"
    short = max(1, round(_SHORT * max_iter))

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        found, remaining = x.astype(np.float32), np.ones(len(x), bool)
        targets = threat.wrong_classes(x, y)[:, :nb_targets]
        reached, best = np.full(targets.shape, -math.inf), np.full(len(x), -math.inf)

        def towards(columns: np.ndarray, steps: int) -> None:
            """A climb of each sample that stands to the target in its column (n,)."""
            index = np.flatnonzero(remaining)
            if not len(index):
                return
            labels, columns = threat.labels(y[index]), columns[index]  # a row names its class, and by 0.5 the target
            labels[np.arange(len(index)), targets[index, columns]] = 0.5
            classifier = threat.classifier.with_loss(loss)
            points, values = climb(classifier, x[index], labels, threat.norm, threat.eps, steps)
            reached[index, columns] = np.maximum(reached[index, columns], values)
            better = values >= best[index]
            found[index[better]], best[index[better]] = points[better], values[better]
            remaining[index] = ~np.isinf(values)

        for number in range(targets.shape[1]):
            towards(np.full(len(x), number), short)
        for columns in np.argsort(-reached, axis=1)[:, :_LONG].T:
            towards(columns, max_iter)
        return found

    return [run]


def climb(
    classifier: AttackClassifier, x: np.ndarray, labels: np.ndarray, norm: float, eps: float, max_iter: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each sample the first point with a wrong label, or that of the largest loss; and that loss, or inf, (n,).

    Args:
        classifier: the attacked model; its loss is climbed.
        x: samples, float32, shape (n, *shape).
        labels: as that loss takes them, shape (n, k).
        norm: of the ball: 1, 2 or inf.
        eps: its radius, > 0.
        max_iter: steps, >= 1.
    """
    if not len(x):
        return x.astype(np.float32), np.zeros(0)
    run = _Run(classifier, x.astype(np.float32), labels, norm, eps)
    looks, last = set(_looks(max_iter, norm)), 0
    for step in range(max_iter + 1):
        run.look()
        if not len(run.index):
            break
        if step in looks:
            run.adapt(step - last)
            last = step
        if step < max_iter:
            run.step()
    return run.found, run.reached


def _looks(max_iter: int, norm: float) -> list[int]:
    """The steps after which step sizes are looked at."""
    shortest, shorter, length = (max(1, int(share * max_iter)) for share in (_SHORTEST, _SHORTER, _FIRST))
    if norm == 1:
        shorter, shortest, length = 0, 1, max(1, int(_L1_LOOK * max_iter))
    looks = [length]
    while looks[-1] + (length := max(length - shorter, shortest)) <= max_iter:
        looks.append(looks[-1] + length)
    return looks


@dataclass
class _State:
    """Of the climbs that go on, a row for each.

    Attributes:
        x, labels: the samples and their labels.
        at, before, best: where a climb is, where it was a step ago, and where its loss was largest.
        gradient, best_gradient: of the loss there and there.
        value, best_value, best_at_look: the loss there, the largest, and the largest when steps were last looked at.
        size: of the steps.
        share: of the coordinates that a step moves, in L1.
        gains: steps that gained since the last look.
        was_halved: whether steps were halved there.
    """

    x: np.ndarray
    labels: np.ndarray
    at: np.ndarray
    before: np.ndarray
    best: np.ndarray
    gradient: np.ndarray
    best_gradient: np.ndarray
    value: np.ndarray
    best_value: np.ndarray
    best_at_look: np.ndarray
    size: np.ndarray
    share: np.ndarray
    gains: np.ndarray
    was_halved: np.ndarray

    def without(self, fell: np.ndarray) -> _State:
        """Those that did not fall, (n,)."""
        return _State(**{name: rows[~fell] for name, rows in vars(self).items()})


class _Run:
    """Samples that stand, and where their climbs are."""

    def __init__(
        self, classifier: AttackClassifier, x: np.ndarray, labels: np.ndarray, norm: float, eps: float
    ) -> None:
        self._classifier, self._rules, self._norm, self._eps = classifier, classifier.rules, norm, eps
        n = len(x)
        self.found, self.reached, self.index = x.copy(), np.full(n, math.inf), np.arange(n)
        self._leaves = classifier.nb_draws == 1 and not classifier.by_batch
        at = self._valid(x, x + _random(x, norm, eps))
        none, zeros = np.full(n, -math.inf), np.zeros_like(x)
        self._s = _State(
            x=x,
            labels=labels,
            at=at,
            before=at,
            best=at,
            gradient=zeros,
            best_gradient=zeros,
            value=none,
            best_value=none,
            best_at_look=none,
            size=np.full(n, 2 * eps if norm != 1 else eps, np.float32),
            share=np.full(n, _SPARSE),
            gains=np.zeros(n, int),
            was_halved=np.ones(n, bool),
        )

    def look(self) -> None:
        """Loss and gradient where the climbs are; those that arrived leave."""
        s = self._s
        seen = self._rules.allowed(s.x, s.at)
        margins, values, gradients = self._classifier.margins(seen, s.labels)
        s.gradient = gradients.astype(np.float32)
        s.gains = s.gains + (values > s.value)
        better = values > s.best_value
        s.value = values
        s.best_value = np.where(better, values, s.best_value)
        rows = column(better, s.at)
        s.best = np.where(rows, s.at, s.best)
        s.best_gradient = np.where(rows, s.gradient, s.best_gradient)
        fell = margins > 0
        self.found[self.index], self.reached[self.index] = self._rules.allowed(s.x, s.best), s.best_value
        if fell.any() and self._leaves:
            self.found[self.index[fell]], self.reached[self.index[fell]] = seen[fell], math.inf
            self.index = self.index[~fell]
            self._s = s.without(fell)

    def adapt(self, nb_steps: int) -> None:
        """Halve steps that no longer gain, and go back to the best point from there."""
        s = self._s
        if self._norm == 1:
            flat = (s.best != s.x).reshape(len(s.x), -1)
            share = np.maximum(flat.mean(1), 1 / flat.shape[1]) / _FEWER
            stays = share >= 0.95 * s.share
            s.size = np.where(stays, np.maximum(s.size / _FEWER, self._eps / 10), self._eps).astype(np.float32)
            s.share, back = share, ~stays
        else:
            stuck = ~s.was_halved & (s.best_value <= s.best_at_look)
            back = (s.gains < _GAINS * nb_steps) | stuck
            s.size = np.where(back, s.size / 2, s.size)
        s.was_halved, s.best_at_look, s.gains = back, s.best_value, np.zeros(len(back), int)
        rows = column(back, s.at)
        s.at, s.gradient = np.where(rows, s.best, s.at), np.where(rows, s.best_gradient, s.gradient)

    def step(self) -> None:
        """One step each, with momentum but for the first."""
        s = self._s
        x, at = s.x, s.at
        gradient = still_free(s.gradient, at, *self._classifier.limits(x)) if self._norm == 1 else s.gradient
        direction = steepest(gradient, self._norm, s.share)
        ahead = self._valid(x, at + column(s.size, x) * direction)
        if self._norm != 1:
            ahead = self._valid(x, at + _MOMENTUM * (ahead - at) + (1 - _MOMENTUM) * (at - s.before))
        s.before, s.at = at, ahead

    def _valid(self, x: np.ndarray, points: np.ndarray) -> np.ndarray:
        low, high = self._classifier.limits(x)
        return x + into_ball(points - x, self._eps, self._norm, x - low, high - x)


def _random(x: np.ndarray, norm: float, eps: float) -> np.ndarray:
    """A way of length eps in a random direction, for each sample."""
    if norm == math.inf:
        ways = np.random.uniform(-1, 1, x.shape)  # noqa: NPY002
    elif norm == 2:
        ways = np.random.standard_normal(x.shape)  # noqa: NPY002
    else:
        ways = np.random.laplace(size=x.shape)  # noqa: NPY002
    return (eps * ways / column(lengths(ways, norm), x)).astype(np.float32)
