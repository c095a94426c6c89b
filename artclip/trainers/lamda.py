"""The weight λ of the regulariser: fixed, or steered by the discrepancy principle (algorithm 2).

A controller is told the training accuracy at every check of the loop (about ten an epoch) or once an epoch, and
answers with the next λ. Adding one: a class with ``value``, ``each`` and ``update``, and a line in :func:`controller`.
"""

from __future__ import annotations

import math
from typing import Protocol

from artclip import checks


class Controller(Protocol):
    """What the training loop asks of a λ."""

    value: float
    each: str
    """``"check"`` or ``"epoch"``: when to call :meth:`update`."""

    def update(self, accuracy: float) -> None:
        """Take the training accuracy in [0, 1] since the last update."""


class Fixed:
    """A constant λ >= 0."""

    each = "epoch"

    def __init__(self, lamda: float) -> None:
        self.value = lamda

    def update(self, accuracy: float) -> None:
        """Leave λ as it is."""


class Additive:
    """The paper's rule: once an epoch λ goes up by a fixed step while accuracy is over the target, else down.

    Args:
        lamda: first λ, >= 0.
        target: training accuracy to hold, in (0, 1].
        increment: the step, > 0. λ never falls below 0.
    """

    each = "epoch"

    def __init__(self, lamda: float, target: float, increment: float) -> None:
        self.value, self.target, self.increment = lamda, target, increment

    def update(self, accuracy: float) -> None:
        """Step towards the target."""
        step = self.increment if accuracy > self.target else -self.increment
        self.value = max(0.0, self.value + step)


class Multiplicative:
    """Discrepancy rule on log λ, several times an epoch: a λ that is off by decades is found within an epoch or two.

    The step is proportional to how far the logit of the accuracy is from that of the target, and limited to a factor
    of two, so 0.99 against a target of 0.95 moves λ as fast as 0.80 does in the other direction. While accuracy is
    below the target but rising, λ waits: a net that has not learnt yet is no reason to give up λ.

    Args:
        lamda: first λ, > 0.
        target: training accuracy to hold, in (0, 1].
        gain: step of log λ per unit of logit difference.
    """

    each = "check"
    least, most = 1e-8, 1e4

    def __init__(self, lamda: float, target: float, gain: float = 0.5) -> None:
        self.value, self.target, self.gain = lamda, target, gain
        self._last = 0.0

    def update(self, accuracy: float) -> None:
        """Step towards the target."""
        rising = accuracy > self._last
        self._last = accuracy
        if accuracy < self.target and rising:
            return
        step = self.gain * (_logit(accuracy) - _logit(self.target))
        factor = math.exp(min(math.log(2), max(-math.log(2), step)))
        self.value = min(self.most, max(self.least, self.value * factor))


def _logit(accuracy: float) -> float:
    a = min(1 - 1e-4, max(1e-4, accuracy))
    return math.log(a / (1 - a))


def controller(lamda: float, target_accuracy: float | None, lamda_increment: float | None) -> Controller:
    """The controller for a trainer's arguments.

    Args:
        lamda: the fixed λ, or the first one, >= 0.
        target_accuracy: training accuracy in (0, 1] to hold, or ``None`` for a fixed λ.
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
