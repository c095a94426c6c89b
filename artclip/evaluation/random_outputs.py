"""Models that answer at random: whether one does, the label that counts, and how often it is asked.

Attacks climb the mean of logits and gradients over draws: the expectation over transformation of Athalye, Engstrom,
Ilyas, Kwok 2018 (arXiv 1707.07397). A label that counts is the majority of draws: one draw would break a sample by luck
alone where an attack has many tries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from artclip.frameworks import global_random

DRAWS = 10  # of logits and gradients, that attacks take the mean of
VOTES = 11  # draws that a label is the majority of
_CLEAR = 1e-3  # of the largest output, that two calls differ by where it is not rounding


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """How far two answers (n, k) to the same inputs differ, as a share of the largest output; 0 for rounding."""
    same = (first == second) | (np.isnan(first) & np.isnan(second))  # infinities among them
    size = np.abs(first[np.isfinite(first)]).max(initial=1e-12)
    with np.errstate(invalid="ignore"):
        share = float(np.nan_to_num(np.abs(np.where(same, 0, first - second)), nan=np.inf).max() / size)
    return share if share > _CLEAR else 0.0


def is_random(outputs: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> bool:
    """Whether two calls on x, shape (n, *input_shape), differ by more than rounding."""
    return apart(outputs(x), outputs(x)) > 0


def majority(votes: np.ndarray) -> np.ndarray:
    """The label (n,) that most of the draws (m, n) have; of several such the lowest."""
    labels = np.unique(votes)
    return np.asarray(labels[(votes[..., None] == labels).sum(0).argmax(1)])


def said(votes: np.ndarray, y: np.ndarray) -> str:
    """What a person is told of a random model whose draws (m, n) say these labels of samples of the labels y (n,)."""
    shares = (votes == y).mean(1)
    return (
        f"Outputs are random. A label that counts is the majority of {len(votes)} draws; a single draw gets "
        f"{100 * shares.mean():.1f} % of the samples right, with a standard deviation of "
        f"{100 * shares.std(ddof=1):.1f} points. Attacks climb the mean of logits and gradients over {DRAWS} "
        "draws (expectation over transformation, arXiv 1707.07397)"
    )


@contextmanager
def randomness(f: Any, entropy: tuple[int, ...]) -> Iterator[None]:
    """Inside, all that is drawn follows from the numbers; afterwards every global generator is as found."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    with global_random.seeded(seed), f.seeded(seed):
        yield
