"""Whether the best figure of a column is told from the others by the samples, or stands first by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.comparison.data import ComparisonData
from artclip.comparison.paired import holm, over_seeds, sign_flip

ALPHA = 0.05


@dataclass(frozen=True)
class Rival:
    """A row against the best one.

    Attributes:
        row: of the comparison.
        p_value: of a paired test on the same samples and seeds, adjusted by Holm for the number of rivals.
    """

    row: dict[str, Any]
    p_value: float

    @property
    def behind(self) -> bool:
        """Whether the best row is told from it."""
        return self.p_value < ALPHA


@dataclass(frozen=True)
class Best:
    """The row with the best mean.

    Attributes:
        row: of the comparison.
        rivals: the other rows that have the figure.
    """

    row: dict[str, Any]
    rivals: list[Rival]

    @property
    def clear(self) -> bool:
        """Whether it is told from every other row."""
        return bool(self.rivals) and all(rival.behind for rival in self.rivals)


def best(comparison: ComparisonData, metric: str) -> Best | None:
    """The row with the highest mean of an accuracy, and what tells it from the others.

    Args:
        comparison: of two rows or more.
        metric: an accuracy whose outcomes are kept by sample: ``test``, an attack's name, ``worst``, ``certified``.

    Returns:
        ``None`` where fewer than two rows have the figure, or where outcomes by sample are missing.
    """
    rows = [row for row in comparison.rows if not row["error"] and (row.get(metric) or {}).get("mean") is not None]
    if len(rows) < 2:
        return None
    first, *others = sorted(rows, key=lambda row: -row[metric]["mean"])
    tests = [p_value(comparison, metric, first, other) for other in others]
    p_values = [p for p in tests if p is not None]
    if len(p_values) < len(tests):
        return None
    return Best(first, [Rival(row, p) for row, p in zip(others, holm(p_values), strict=True)])


def p_value(comparison: ComparisonData, metric: str, row: dict[str, Any], other: dict[str, Any]) -> float | None:
    """Of two rows: the larger p-value of an exact test of the samples, and of one of samples and seeds.

    ``None`` where their outcomes by sample are not known, or are of different samples.
    """
    name = "clean" if metric == "test" else metric
    correct, other_correct = (
        {c.seed: c.kept[name] for c in comparison.of(r["defence"], r["net"]) if name in c.kept} for r in (row, other)
    )
    seeds = [seed for seed in correct if seed in other_correct]
    if not seeds or len({correct[s].shape for s in seeds} | {other_correct[s].shape for s in seeds}) > 1:
        return None
    differences = np.stack([correct[s].astype(int) - other_correct[s].astype(int) for s in seeds])
    exact = sign_flip(differences.sum(0))
    return exact if len(seeds) == 1 else max(exact, over_seeds(differences))
