"""What a leaderboard takes from the JSON of an evaluation or a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A model within a budget.

    Attributes:
        model: its name; of a comparison the defence, and the net where there are several.
        file: that the result is from.
        data: name of the data.
        data_sha256: hash of the samples; "" of a comparison, which tells that of all its data.
        norm: of the budget, as ``"2"``.
        eps: the budget.
        nb_samples: that were attacked.
        clean, worst, certified: shares in [0, 1]; ``None`` where they were not measured. The worst case is an upper
            bound of the robust accuracy, the certified share a lower one.
        lower, upper: bounds of the Lipschitz constant, or ``None``.
        attacks: titles or names of the attacks within the budget.
        signs: of gradient masking.
        doubtful: whether one of them is about the worst case.
        passes: inputs that went forward in the attacks, for each sample; ``None`` where it is not told.
        gradients: that the training took, over those of plain training; ``None`` where it is not told.
        nb_seeds: trainings that the figures are means of.
        allowed: what an attacker may do to features, where not all may change by any amount.
        valid: the range of valid inputs; "" of a comparison.
    """

    model: str
    file: str
    data: str
    data_sha256: str
    norm: str
    eps: float
    nb_samples: int
    clean: float | None
    worst: float | None
    certified: float | None
    lower: float | None
    upper: float | None
    attacks: tuple[str, ...]
    signs: tuple[str, ...]
    doubtful: bool
    passes: float | None = None
    gradients: float | None = None
    nb_seeds: int = 1
    allowed: str = ""
    valid: str = ""

    @property
    def budget(self) -> tuple[str, str, float, str]:
        """Data, norm, eps and what is allowed: entries of equal ones are ranked together."""
        return self.data, self.norm, self.eps, self.allowed


def entries_of(record: dict[str, Any], file: str) -> list[Entry]:
    """Those of a record; ``KeyError`` and its like where it is none."""
    return _compared(record, file) if "rows" in record else [_evaluated(record, file)]


def _evaluated(record: dict[str, Any], file: str) -> Entry:
    settings, n = record["settings"], int(record["settings"]["nb_samples"])
    bounds = record["lipschitz"]
    return Entry(
        model=str(record["name"]),
        file=file,
        data=str(record["dataset"]),
        data_sha256=str(settings["data_sha256"]),
        norm=str(settings["norm"]),
        eps=float(record["eps"]),
        nb_samples=n,
        clean=_share(record["accuracy"]["clean"]),
        worst=_share(record["robust_accuracy"]),
        certified=_share(record["certified_accuracy"]),
        lower=_value(bounds.get("lower")),
        upper=_value(bounds.get("upper")),
        attacks=tuple(str(a["title"]) for a in record["attacks"] if a["budget"] and not a["error"]),
        signs=tuple(str(w["name"]) for w in record["warnings"]),
        doubtful=bool(record["unreliable"]),
        passes=float(record["number_forward_passes"]) / n,
        allowed=", ".join(f"{name} {settings[name]}" for name in ("fixed", "integers") if settings.get(name)),
        valid=str(settings.get("range") or ""),
    )


def _compared(record: dict[str, Any], file: str) -> list[Entry]:
    settings, found = record["settings"], []
    many = len({row["net"] for row in record["rows"]}) > 1
    for row in record["rows"]:
        if row.get("error"):
            continue
        figures = {key: row.get(key, {}).get("mean") for key in _METRICS}
        found.append(
            Entry(
                model=f"{row['net']}, {row['defence']}" if many else str(row["defence"]),
                file=file,
                data=str(settings["data"]),
                data_sha256="",
                norm=str(settings["norm"]),
                eps=float(settings["eps"]),
                nb_samples=int(settings["nb_attacked"]),
                clean=_share(figures["test"]),
                worst=_share(figures["worst"]),
                certified=_share(figures["certified"]),
                lower=figures["lipschitz_lower"],
                upper=figures["lipschitz_upper"],
                attacks=tuple(name for name in settings["attacks"] if name != "noise"),
                signs=tuple(map(str, row["signs"])),
                doubtful=bool(row["doubtful"]),
                gradients=figures["gradients"],
                nb_seeds=int(row["nb_seeds"]),
            )
        )
    return found


_METRICS = ("test", "worst", "certified", "lipschitz_lower", "lipschitz_upper", "gradients")


def _share(value: Any) -> float | None:
    """A share in [0, 1], or ``None``; ``ValueError`` for another number."""
    if value is None:
        return None
    if not 0 <= float(value) <= 1:
        raise ValueError(f"{value!r} is no share")
    return float(value)


def _value(bound: dict[str, Any] | None) -> float | None:
    return None if bound is None else float(bound["value"])
