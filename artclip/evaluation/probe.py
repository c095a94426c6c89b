"""Short attacks on a few samples: what signs of gradient masking are read from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from artclip.evaluation.attacks import AttackConfig, choose
from artclip.evaluation.runner import AttackRunner, Outcome, distances

PROBED = 100  # samples at most
STEPS = 20
_QUERIES = 300  # of a short search by outputs alone


@dataclass
class Probe:
    """A few samples that the model gets right, and short attacks on them.

    Args:
        estimator: as the user gave it.
        runner: those samples and the attacked model.
        outcomes: of the evaluation, in the order in which they were run.
        broken: samples of the evaluation that some attack within the budget broke, shape (n,).
        certified: certified L2 radii of the evaluation's samples, shape (n,), or ``None``.
        index: of those samples among the evaluation's, shape (m,).
        nan: samples of the evaluation that outputs are NaN for, inputs of attacks that they are, and of how many.
        by_batch: how far outputs depend on the other samples of the batch, as a share of the largest; 0 for rounding.
        distance: of the nearest adversarial example of the evaluation's samples, shape (n,), NaN where nobody looked;
            or ``None``.

    Attributes:
        fell: which of the samples the short attacks broke within the evaluation's budget, shape (m,).
    """

    estimator: Any
    runner: AttackRunner
    outcomes: list[Outcome]
    broken: np.ndarray
    certified: np.ndarray | None = None
    index: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    nan: tuple[int, int, int] = (0, 0, 0)
    by_batch: float = 0.0
    distance: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.fell = np.zeros(len(self.runner.x), bool)

    @property
    def enough(self) -> bool:
        """Whether there is something to attack by gradients."""
        return len(self.runner.x) > 0 and self.runner.threat.classifier.has_gradients

    @property
    def alone(self) -> np.ndarray:
        """Which of the evaluation's samples fell to the short attacks alone, shape (n,)."""
        fell = np.zeros(len(self.broken), bool)
        fell[self.index[self.fell]] = True
        return fell & ~self.broken

    def accuracy(self, attack: str, eps: float | None = None) -> float:
        """Accuracy on the samples under an attack by name; ``eps`` as in the evaluation where it is not given."""
        threat = self.runner.threat if eps is None else replace(self.runner.threat, eps=eps)
        return self.left_by(choose([attack], threat.norm)[0], replace(self.runner, threat=threat))

    def left_by(self, chosen: AttackConfig, runner: AttackRunner) -> float:
        """Share of a runner's samples that an attack leaves standing."""
        broken = runner.attack(chosen, np.ones(len(runner.x), bool)).broken
        if runner.threat.eps <= self.runner.threat.eps:
            self.fell |= broken
        return float(1 - broken.mean())

    @cached_property
    def curve(self) -> list[tuple[float, float]]:
        """(eps, accuracy) of short PGD attacks, until nothing stands or eps reaches every valid input."""
        if not self.enough:
            return []
        threat, attack = self.runner.threat, f"pgd-margin:max_iter={STEPS},nb_restarts=1"
        largest = self.largest
        below = [m * threat.eps for m in (0.25, 0.5) if m * threat.eps < largest]
        points = [(0.0, 1.0), *((eps, self.accuracy(attack, eps)) for eps in below), (threat.eps, self.reference)]
        while points[-1][1] > 0 and points[-1][0] < largest:
            eps = min(2 * points[-1][0], largest)
            points.append((eps, self.accuracy(attack, eps)))
        return points

    @cached_property
    def largest(self) -> float:
        """An eps at which no label can be robust: 0 where the samples tell of none.

        It reaches every valid input; without ``clip_values``, from each sample some sample of another label.
        """
        threat, x = self.runner.threat, self.runner.x
        if threat.classifier.clip_values is not None:
            wide = float(np.max(np.subtract(threat.classifier.clip_values[1], threat.classifier.clip_values[0])))
            return wide * (1.0 if threat.norm == np.inf else x[0].size ** (1 / threat.norm))
        others = [x[self.runner.y != label] for label in self.runner.y]
        if not all(map(len, others)):
            return 0.0
        return float(max(distances(o, row[None], threat.norm).min() for o, row in zip(others, x, strict=True)))

    @cached_property
    def reference(self) -> float:
        """Accuracy under a short PGD on the margin: what other short attacks are held against."""
        return self.accuracy(f"pgd-margin:max_iter={STEPS},nb_restarts=1")

    @cached_property
    def blind(self) -> float:
        """Accuracy under a short search by outputs alone, where gradients lead nowhere."""
        return self.accuracy(f"square:max_iter={_QUERIES}")

    @cached_property
    def flat_margin(self) -> float:
        """Share of samples at which the margin of the logits has a gradient of exactly zero."""
        a = self.runner
        return share_of_zeros(a.threat.classifier.with_loss("margin").loss_gradient(a.x, a.threat.labels(a.y)))


def share_of_zeros(gradients: np.ndarray) -> float:
    """Share of gradients (n, *shape) that are zero throughout."""
    return float((np.abs(gradients.reshape(len(gradients), -1)).max(1) == 0).mean())
