"""The weight λ of the regulariser: fixed, or steered by the discrepancy principle (algorithm 2).

A controller is told an accuracy at every check of the loop (about ten an epoch) and at the end of every epoch, and
answers with the next λ. Adding one: a subclass of :class:`Controller` and a line in :func:`controller`.
"""

from __future__ import annotations

import math

from artclip import checks

MEMORY = 0.3  # weight of the newest figure in a running mean over checks
TREND_MEMORY = 0.2
# Of the accuracy's lead over its running mean, so much is added to it; and while it rises towards the target.
LOOK_AHEAD, PATIENCE = 1.0, 3.0
REACH = 2.0  # logits from the target beyond which an accuracy is as far off as can be


class Controller:
    """λ, and what is known of the accuracy that it follows.

    The accuracy of the model as deployed is measured on few samples, that of the training batches on many, but in train
    mode. What the two differ by changes slowly. So its running mean is added to the second: the sum is of the deployed
    model, and far less noisy than the first.

    Args:
        lamda: first λ, >= 0.
        target: accuracy to hold, in (0, 1]; ``None`` for none.

    Attributes:
        value: λ now.
        accuracy: of the deployed model, at the last check.
        gap: what it has more than the training batches, a running mean.
    """

    def __init__(self, lamda: float, target: float | None = None) -> None:
        self.value, self.target = lamda, target
        self.accuracy, self.gap, self.nb_checks = 0.0, 0.0, 0

    def check(self, deployed: float, trained: float) -> None:
        """Take accuracies in [0, 1]: of the deployed model now, and of the training batches before it."""
        self.nb_checks += 1
        self.gap += max(1 / self.nb_checks, MEMORY) * (deployed - trained - self.gap)
        self.accuracy = trained + self.gap

    def end_epoch(self, accuracy: float) -> None:
        """Take the mean accuracy of the deployed model at the checks of an epoch."""

    @property
    def at_bound(self) -> bool:
        """Whether λ can go no further."""
        return False


class Fixed(Controller):
    """A constant λ >= 0."""


class Additive(Controller):
    """The paper's rule: once an epoch λ goes up by a fixed step while accuracy is over the target, else down.

    Args:
        lamda: first λ, >= 0.
        target: accuracy to hold, in (0, 1].
        increment: the step, > 0. λ never falls below 0.
    """

    target: float

    def __init__(self, lamda: float, target: float, increment: float) -> None:
        super().__init__(lamda, target)
        self.increment = increment

    def end_epoch(self, accuracy: float) -> None:
        """λ, a step up or down."""
        step = self.increment if accuracy > self.target else -self.increment
        self.value = max(0.0, self.value + step)

    @property
    def at_bound(self) -> bool:
        """Whether λ can go no further."""
        return self.value == 0


class Multiplicative(Controller):
    """Discrepancy rule on log λ, several times an epoch: a λ that is off by decades is found within an epoch or two.

    The step is proportional to how far the logit of the accuracy is from that of the target, so 0.99 against a target
    of 0.95 moves λ as fast as 0.80 does in the other direction. It is limited to a factor of two. The accuracy's trend
    counts as well, so that λ turns before the target is passed. While accuracy is below the target but rises towards
    it, λ does not fall: a net that has not learnt yet is no reason to give up λ.

    Args:
        lamda: first λ, > 0.
        target: accuracy to hold, in (0, 1].
        gain: step of log λ per unit of logit difference.
    """

    least, most = 1e-8, 1e4
    target: float

    def __init__(self, lamda: float, target: float, gain: float = 0.8) -> None:
        super().__init__(lamda, target)
        self.gain, self._mean = gain, 0.0

    def check(self, deployed: float, trained: float) -> None:
        """λ, larger or smaller by a factor."""
        super().check(deployed, trained)
        target = _logit(self.target)
        now = min(target + REACH, max(target - REACH, _logit(self.accuracy)))
        if self.nb_checks == 1:
            self._mean = now
            if now < target:
                return
        trend = now - self._mean
        self._mean += TREND_MEMORY * trend
        learning = now < target and trend > 0
        step = self.gain * (now + (PATIENCE if learning else LOOK_AHEAD) * trend - target)
        if learning:
            step = min(0.0, step)
        factor = math.exp(min(math.log(2), max(-math.log(2), step)))
        self.value = min(self.most, max(self.least, self.value * factor))

    @property
    def at_bound(self) -> bool:
        """Whether λ can go no further."""
        return self.value in (self.least, self.most)


def _logit(accuracy: float) -> float:
    a = min(1 - 1e-4, max(1e-4, accuracy))
    return math.log(a / (1 - a))


def controller(lamda: float, target_accuracy: float | None, lamda_increment: float | None) -> Controller:
    """The controller for a trainer's arguments.

    Args:
        lamda: the fixed λ, or the first one, >= 0.
        target_accuracy: accuracy in (0, 1] to hold, or ``None`` for a fixed λ.
        lamda_increment: step of the paper's additive rule, > 0; ``None`` for the multiplicative rule.

    Raises:
        ValueError: a value out of its range, or an increment without a target.
    """
    checks.non_negative("lamda", lamda)
    if target_accuracy is None:
        if lamda_increment is not None:
            raise ValueError(f"lamda_increment={lamda_increment!r} does nothing without target_accuracy")
        return Fixed(float(lamda))
    checks.share("target_accuracy", target_accuracy)
    if lamda_increment is None:
        if lamda == 0:
            raise ValueError("lamda=0 cannot grow by factors; start above 0, or give lamda_increment")
        return Multiplicative(float(lamda), target_accuracy)
    checks.positive("lamda_increment", lamda_increment)
    return Additive(float(lamda), target_accuracy, float(lamda_increment))
