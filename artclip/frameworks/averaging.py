"""The decay of averages of weights, for every framework."""

from __future__ import annotations

from typing import Any


def decay_at(step: Any, decay: float, least: Any = min) -> Any:
    """min(decay, (1 + t) / (10 + t)) after t steps: at first the average follows the weights closely.

    The rule of TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``.

    Args:
        step: t >= 0, a number or a tensor.
        decay: in [0, 1).
        least: gives the smaller of two.
    """
    return least(decay, (1 + step) / (10 + step))
