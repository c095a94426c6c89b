"""How far a share of a few samples may lie from that of all: Wilson's interval."""

from __future__ import annotations

import math

_Z = 1.959963984540054  # of the standard normal distribution, between whose ± lie 95 %


def wilson(share: float, nb_samples: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share.

    Args:
        share: found among the samples, in [0, 1]; a mean over seeds too, all of which saw the same samples.
        nb_samples: how many, >= 1.

    Returns:
        (low, high), in [0, 1].

    Source: Wilson 1927, Journal of the American Statistical Association 22.
    """
    shrink = 1 + _Z**2 / nb_samples
    centre = (share + _Z**2 / (2 * nb_samples)) / shrink
    half = _Z / shrink * math.sqrt(share * (1 - share) / nb_samples + (_Z / (2 * nb_samples)) ** 2)
    # At 0 and 1 an end is exact, where rounding would move it.
    return (0.0 if share <= 0 else max(0.0, centre - half)), (1.0 if share >= 1 else min(1.0, centre + half))
