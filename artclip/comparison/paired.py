"""Two defences on the same samples: McNemar's test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class Paired:
    """How two models differ on the same samples.

    Attributes:
        first, second: their names.
        seed: of both trainings.
        only_first: samples that the first alone gets right.
        only_second: samples that the second alone gets right.
        p_value: of a difference at least as large, if each were as likely to be right where just one is.
        nb_samples: of all.
    """

    first: str
    second: str
    seed: int
    only_first: int
    only_second: int
    p_value: float
    nb_samples: int

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.first} alone right on {self.only_first}, {self.second} alone on "
            f"{self.only_second} of {self.nb_samples} samples, p = {self.p_value:.2g}"
        )


def mcnemar(kept: np.ndarray, other: np.ndarray) -> tuple[int, int, float]:
    """McNemar's test, exact and two-sided.

    Args:
        kept, other: which samples each of two models gets right, bool, shape (n,).

    Returns:
        How many the first alone gets right, how many the second alone, and the p-value (1 where they never differ).

    Source: McNemar 1947, Psychometrika 12; the exact form is a binomial test of the samples on which they differ.
    """
    first, second = int(np.sum(kept & ~other)), int(np.sum(other & ~kept))
    p = 1.0 if first + second == 0 else float(binomtest(first, first + second, 0.5).pvalue)
    return first, second, p
