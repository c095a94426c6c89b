"""Results of many evaluations and comparisons, ranked within each budget."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from artclip.evaluation.leaderboard_entries import Entry, entries_of
from artclip.reporting.html import page
from artclip.reporting.intervals import wilson
from artclip.reporting.records import as_json, written
from artclip.reporting.text import budget, cell, counted, shortened, table, wrapped

_PLACES = ("*.json", "*/*.json", "*/*/*.json")
_LONGEST = 30  # of a model's name on a terminal


@dataclass
class Leaderboard:
    """Entries by budget, the highest worst case first.

    Attributes:
        entries: of all budgets, in their order.
        skipped: files that hold no result, by why.
    """

    entries: list[Entry]
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> dict[tuple[str, str, float, str], list[Entry]]:
        """Entries by data, norm, eps and what is allowed."""
        found: dict[tuple[str, str, float, str], list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.budget, []).append(entry)
        return found

    def notes(self, entries: list[Entry]) -> list[str]:
        """What must be said beside a table of entries, one line each."""
        lines = ["The worst case is an upper bound of the robust accuracy, the certified share a lower one."]
        doubtful = [e.model for e in entries if e.doubtful]
        if doubtful:
            lines.append(f"! Signs say that the worst case may be too high: {', '.join(doubtful)}.")
        counts = sorted({e.nb_samples for e in entries})
        if len({e.data_sha256 for e in entries if e.data_sha256}) > 1 or len(counts) > 1:
            numbers = f": {', '.join(map(str, counts))} of them" * (len(counts) > 1)
            lines.append(f"! Not all were attacked on the same samples{numbers}.")
        valid = sorted({e.valid for e in entries if e.valid})
        if len(valid) > 1:
            lines.append(f"! Valid inputs are not the same for all: {'; '.join(valid)}.")
        sets = {e.attacks for e in entries if e.worst is not None}
        if len(sets) > 1:
            lines.append(f"! Worst cases are of other attacks: {'; '.join(sorted(', '.join(s) for s in sets))}.")
        return lines

    def to_markdown(self) -> str:
        """A table for each budget, and what must be said beside it."""
        return "\n\n".join(self._parts(lambda e: cell(e.model), len(_HEADS)))

    def to_text(self) -> str:
        """:meth:`to_markdown` for a terminal: names are shortened, and costs and attacks left out."""
        return "\n\n".join(self._parts(lambda e: shortened(cell(e.model), _LONGEST), _NARROW))

    def __str__(self) -> str:
        return self.to_text()

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {"entries": [asdict(e) for e in self.entries], "skipped": self.skipped}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:meth:`to_dict` as JSON; also written to ``path`` where given."""
        return as_json(self.to_dict(), path)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """A page in one file that needs no network; also written to ``path`` where given."""
        groups = [(_title(key), _rows(es, lambda e: e.model), self.notes(es)) for key, es in self.groups.items()]
        files = sorted({e.file for e in self.entries})
        text = page(
            "leaderboard.html",
            "sort.js",
            title="Leaderboard",
            above="Models within each budget, the highest worst case first",
            message=f"{counted(len(self.entries), 'result')} within {counted(len(groups), 'budget')}",
            below=f"from {counted(len(files), 'file')}",
            heads=_HEADS,
            groups=groups,
            command="",
            code="artclip.leaderboard(FOLDER).to_html(FILE)",
            settings={"files": files, "left out": [f"{name}: {why}" for name, why in self.skipped.items()]},
            versions={},
        )
        return written(text, path)

    def _parts(self, named: Any, columns: int) -> list[str]:
        parts = []
        for key, entries in self.groups.items():
            rows = [row[:columns] for row in _rows(entries, named)]
            lines = table(_HEADS[:columns], rows, range(2, min(columns, 9)))
            parts.append("\n".join([f"{_title(key)}\n", *lines, "", *wrapped(self.notes(entries))]))
        if self.skipped:
            said = ", ".join(f"{name} ({why})" for name, why in self.skipped.items())
            parts.append("\n".join(wrapped([f"Left out: {said}."])))
        return parts


_HEADS = (
    "#",
    "model",
    "clean",
    "worst case",
    "certified",
    "Lip ≥",
    "Lip ≤",
    "passes",
    "gradients ×",
    "signs",
    "attacks",
)
_NARROW = 7


def _title(key: tuple[str, str, float, str]) -> str:
    data, norm, eps, allowed = key
    return f"{data}, {budget(norm, eps)}" + f", {allowed}" * bool(allowed)


def _rows(entries: list[Entry], named: Any) -> list[list[str]]:
    def share(value: float | None, e: Entry) -> str:
        if value is None:
            return "–"
        low, high = (100 * end for end in wilson(value, e.nb_samples))
        return f"{100 * value:.1f} [{low:.1f}, {high:.1f}]"

    def figure(value: float | None, digits: str = ".3g") -> str:
        return "–" if value is None else f"{value:{digits}}"

    return [
        [
            str(rank),
            named(e) + " !" * e.doubtful,
            figure(None if e.clean is None else 100 * e.clean, ".1f"),
            share(e.worst, e),
            share(e.certified, e),
            figure(e.lower),
            figure(e.upper),
            figure(e.passes, ".0f"),
            figure(e.gradients, ".2f"),
            ", ".join(e.signs) or "none",
            ", ".join(e.attacks),
        ]
        for rank, e in enumerate(entries, 1)
    ]


def leaderboard(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Leaderboard:
    """Rank the results that ``evaluate`` and ``compare`` wrote as JSON.

    Args:
        paths: a folder, whose ``.json`` files are read, and those in folders up to two levels below it; or files and
            folders.

    Returns:
        The :class:`Leaderboard`. Files that hold no such result are left out by name.

    Raises:
        FileNotFoundError: a path that is not there.
        ValueError: no result in any of them.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    files: dict[Path, str] = {}
    for path in map(Path, given):
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there; give a folder of JSON results, or such files")
        inside = sorted(file for p in _PLACES for file in path.glob(p)) if path.is_dir() else [path]
        files |= {file: str(file.relative_to(path)) if path.is_dir() else str(file) for file in inside}
    entries, skipped = list[Entry](), dict[str, str]()
    for file, name in files.items():
        try:
            entries += entries_of(json.loads(file.read_text(encoding="utf-8")), name)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            skipped[name] = "no JSON" if isinstance(error, json.JSONDecodeError) else "no result of evaluate or compare"
    if not entries:
        raise ValueError(
            f"no result in {', '.join(map(str, given)) or 'nothing'}; write some by artclip evaluate ... -o result.json"
        )
    order = {key: i for i, key in enumerate(dict.fromkeys(e.budget for e in entries))}
    entries.sort(key=lambda e: (order[e.budget], math.inf if e.worst is None else -e.worst))
    return Leaderboard(entries, skipped)
