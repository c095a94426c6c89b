"""Whether the best figure of a column is told from the others by the samples, or stands first by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artclip.comparison.paired import holm, sign_flip

if TYPE_CHECKING:
    from artclip.comparison.result import Comparison

ALPHA = 0.05


@dataclass(frozen=True)
class Rival:
    """A row against the best one.

    Attributes:
        row: of the comparison.
        p_value: of the paired test on samples, pooled over seeds and adjusted by Holm for the number of rivals.
        in_every_seed: whether the best row is at least level with it in every seed.
    """

    row: dict[str, Any]
    p_value: float
    in_every_seed: bool

    @property
    def behind(self) -> bool:
        """Whether the best row is told from it."""
        return self.p_value < ALPHA and self.in_every_seed


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


def best(comparison: Comparison, metric: str) -> Best | None:
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
    tests = [_test(comparison, metric, first, other) for other in others]
    if any(test is None for test in tests):
        return None
    found = [test for test in tests if test is not None]
    adjusted = holm([p for p, _ in found])
    rivals = [Rival(row, p, ahead) for row, p, (_, ahead) in zip(others, adjusted, found, strict=True)]
    return Best(first, rivals)


def _test(comparison: Comparison, metric: str, row: dict[str, Any], other: dict[str, Any]) -> tuple[float, bool] | None:
    """The p-value of two rows, and whether the first is at least level in every seed that both have."""
    name = "clean" if metric == "test" else metric
    kept, others = (
        {c.seed: c.kept[name] for c in comparison.of(r["defence"], r["net"]) if name in c.kept} for r in (row, other)
    )
    seeds = [seed for seed in kept if seed in others]
    if not seeds or len({kept[s].shape for s in seeds} | {others[s].shape for s in seeds}) > 1:
        return None
    differences = [kept[s].astype(int) - others[s].astype(int) for s in seeds]
    return sign_flip(sum(differences[1:], differences[0])), all(d.sum() >= 0 for d in differences)
