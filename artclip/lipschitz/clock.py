"""The time that a search for steep pairs has."""

from __future__ import annotations

import math
import time


class Clock:
    """The time that a search has.

    Args:
        max_seconds: how long it may take from now on, > 0; ``math.inf`` for no limit.
    """

    def __init__(self, max_seconds: float = math.inf) -> None:
        self.began, self.max_seconds = time.perf_counter(), max_seconds
        self.rate, self.cut_short = math.inf, False  # steps of one pair in a second; whether something was left out
        self.until(1.0)

    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.began

    def until(self, share: float) -> None:
        """What runs now has to end when this share of the time is over."""
        self._end = share * self.max_seconds

    def over(self) -> bool:
        """Whether what runs now has to end."""
        over = self.seconds() > self._end
        self.cut_short |= over
        return over

    def fitting(self, steps: float) -> float:
        """How many of so many steps of one pair there is time for, in what runs now."""
        fit = steps if self._end == math.inf else min(steps, max(0.0, self._end - self.seconds()) * self.rate)
        self.cut_short |= fit < steps
        return fit
