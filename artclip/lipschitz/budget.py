"""The time that a computation may take."""

from __future__ import annotations

import time
from functools import cached_property

import numpy as np

_PROBE = 384  # rows of the matrices whose product shows how fast this machine is now
_SHARE = 0.5  # of that speed which other computations reach


class Budget:
    """Seconds from some moment on.

    Args:
        seconds: > 0; may be infinite.
        began: the moment, of ``time.perf_counter``; ``None`` for now.
    """

    def __init__(self, seconds: float, began: float | None = None) -> None:
        self._seconds, self._began = seconds, time.perf_counter() if began is None else began

    def used(self) -> float:
        """Seconds since then."""
        return time.perf_counter() - self._began

    def left(self) -> float:
        """Seconds left, below 0 when there are none."""
        return self._seconds - self.used()

    def left_until(self, share: float) -> float:
        """Seconds left until a share of them is over."""
        return share * self._seconds - self.used()

    def affords(self, cost: float) -> bool:
        """Whether so many floating-point operations fit into what is left."""
        left = self.left()
        return left > 0 and (cost < 1e6 or cost / self._speed <= left)

    @cached_property
    def _speed(self) -> float:
        """Floating-point operations a second."""
        matrix, began = np.ones((_PROBE, _PROBE)), time.perf_counter()
        matrix @ matrix
        return _SHARE * 2 * _PROBE**3 / max(time.perf_counter() - began, 1e-9)
