"""Two defences on the same samples: McNemar's test, and the same over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import convolve
from scipy.stats import binom, binomtest
from scipy.stats import t as student


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


def sign_flip(differences: np.ndarray) -> float:
    """The exact two-sided permutation test of paired differences: each sample's sign may as well be the other.

    A sample counts with all its seeds together, since one that is hard is so for every seed: several seeds do not make
    more samples of it. With one seed it is McNemar's test.

    Args:
        differences: for each sample, in how many seeds the first model alone is right, less in how many the second
            alone is; integers, shape (n,).

    Returns:
        The probability of a sum at least as far from 0; 1 where there is no difference.

    Source: Fisher 1935, The Design of Experiments; by convolution, so that nothing is drawn.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    probabilities = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        steps = np.zeros(2 * size * count + 1)  # of sums from -size * count to size * count
        steps[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        probabilities = np.maximum(convolve(probabilities, steps), 0.0)
    reach = len(probabilities) // 2
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(min(1.0, probabilities[sums >= abs(int(differences.sum()))].sum()))


def over_seeds(differences: np.ndarray) -> float:
    """The p-value of paired differences of several trainings, where both samples and trainings are drawn from many.

    A t-test whose variance is that of the mean over the samples plus that of the mean over the seeds.

    Args:
        differences: for each seed and sample 1 where the first model alone is right, -1 where the second alone is,
            else 0; shape (seeds, n), two seeds at least.

    Source: Welch 1947, Biometrika 34, for the degrees of freedom.
    """
    mean, error, freedom = _mean_of(differences)
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * student.sf(abs(mean) / error, freedom))


def interval(differences: np.ndarray) -> tuple[float, float]:
    """The 95 % confidence interval of a mean difference: those that :func:`over_seeds` does not refute at 5 %.

    Args:
        differences: as for :func:`over_seeds`.

    Returns:
        (low, high).
    """
    mean, error, freedom = _mean_of(differences)
    half = error * float(student.ppf(0.975, freedom)) if error else 0.0
    return mean - half, mean + half


def _mean_of(differences: np.ndarray) -> tuple[float, float, float]:
    """The mean, its standard error over samples and seeds, and the degrees of freedom of that."""
    parts = [(differences.mean(axis).var(ddof=1) / size, size - 1) for axis, size in enumerate(differences.shape[::-1])]
    variance = float(sum(part for part, _ in parts))
    freedom = variance**2 / sum(part**2 / count for part, count in parts) if variance else np.inf
    return float(differences.mean()), variance**0.5, float(freedom)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, so that the chance of one false finding among them stays what is asked for.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted
