"""The table of a comparison: which columns, how a figure is said, and Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from artclip.evaluation.attacks import NONE

if TYPE_CHECKING:
    from artclip.comparison.result import Comparison


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        metric: its key in a row.
        title: with what must be said of it.
        scale, form: how its figures are written.
        best: whether the largest (+1) or the smallest (-1) is best, or neither (0).
    """

    metric: str
    title: str
    scale: float = 100
    form: str = ".1f"
    best: int = 1

    def cell(self, summary: dict[str, Any] | None) -> str:
        """Mean ± standard deviation over the seeds; one figure of one seed; – for none."""
        if summary is None or summary["mean"] is None:
            return "–"
        mean = format(summary["mean"] * self.scale, self.form)
        return mean if len(summary["values"]) == 1 else f"{mean} ± {format(summary['std'] * self.scale, self.form)}"


def summary(values: list[float | None]) -> dict[str, Any]:
    """Mean, standard deviation and values over the seeds; a mean of ``None`` where a seed has none."""
    if not values or any(v is None for v in values):
        return {"mean": None, "std": None, "values": values}
    numbers = np.array(values, float)
    return {"mean": float(numbers.mean()), "std": float(numbers.std()), "values": values}


def columns(comparison: Comparison) -> list[Column]:
    """The columns that have figures, from left to right."""
    e = comparison.experiment
    norm = comparison.settings["norm"]
    found = [Column("train", "train", best=0), Column("test", "test")]
    attacks = sorted(e.chosen, key=lambda c: c.attack.access != NONE)
    titles = [c.title for c in attacks]
    for c in attacks:
        title = c.title if titles.count(c.title) == 1 else c.name
        budget = f" L{norm} {e.eps:g}" if c.attack.in_budget else ""
        found.append(Column(c.name, f"{title}{budget}"))
    found += [
        Column("worst", f"worst case L{norm} {e.eps:g}"),
        Column("certified", f"certified L2 {e.eps:g}"),
        Column("lipschitz_lower", f"Lip L{norm} ≥", 1, ".2f", -1),
        Column("lipschitz_upper", f"Lip L{norm} ≤", 1, ".2f", -1),
        Column("lamda", "λ", 1, ".2g", 0),
        Column("seconds_per_epoch", "s/epoch", 1, ".3f", -1),
        Column("cost", "time ×", 1, ".2f", -1),
        Column("gradients", "gradients ×", 1, ".2f", -1),
    ]
    known = {c.metric for c in found for row in comparison.rows if (row.get(c.metric) or {}).get("mean") is not None}
    return [c for c in found if c.metric in known or c.metric == "worst"]


def _best(comparison: Comparison, column: Column) -> float | None:
    """The best figure of a column, as it is written; ``None`` where nothing is best."""
    means = [row[column.metric]["mean"] for row in comparison.rows if not row["error"]]
    known = [float(format(m * column.scale, column.form)) for m in means if m is not None]
    if column.best == 0 or len(known) < 2 or min(known) == max(known):
        return None
    return max(known) if column.best > 0 else min(known)


def cells(comparison: Comparison) -> tuple[list[str], list[list[tuple[str, bool]]]]:
    """Titles; and for each row its cells, each with whether it is the best of its column."""
    chosen, many = columns(comparison), comparison.many_nets
    best = {c.metric: _best(comparison, c) for c in chosen}
    titles = [*(["net"] if many else []), "defence", *(c.title for c in chosen), "signs of masking"]
    lines = []
    for row in comparison.rows:
        line = [(row["net"], False)] if many else []
        line.append((row["defence"], False))
        for c in chosen:
            said = row.get(c.metric)
            mean = None if said is None or said["mean"] is None else float(format(said["mean"] * c.scale, c.form))
            line.append((c.cell(said), mean is not None and mean == best[c.metric]))
        line.append((signs(row), False))
        lines.append(line)
    return titles, lines


def signs(row: dict[str, Any]) -> str:
    """The signs of masking, those that cast doubt on the worst case marked by a ``!``."""
    if row["error"]:
        return f"failed: {row['error']}"
    said = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in row["signs"].items())
    return ("! " if row["doubtful"] else "") + (said or ("none" if row["probed"] else "not looked for"))


def markdown(comparison: Comparison) -> str:
    """A table of equal widths, best figures in bold."""
    titles, lines = cells(comparison)
    texts = [[f"**{text}**" if best else text.replace("|", "\\|") for text, best in line] for line in lines]
    right = len(titles) - 2 - comparison.many_nets  # figures stand to the right
    first = 1 + comparison.many_nets
    rules = [*["---"] * first, *["--:"] * right, "---"]
    table = [titles, rules, *texts]
    widths = [max(len(line[i]) for line in table) for i in range(len(titles))]
    padded = [
        [
            t.rjust(w) if first <= i < first + right else t.ljust(w)
            for i, (t, w) in enumerate(zip(line, widths, strict=True))
        ]
        for line in table
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$"}
_LATEX |= {"×": r"$\times$", "λ": r"$\lambda$", "–": "--", "σ": r"$\sigma$", "ε": r"$\varepsilon$"}


def latex(comparison: Comparison) -> str:
    """A ``tabular`` with the rules of the package booktabs, best figures in bold."""
    titles, lines = cells(comparison)
    first = 1 + comparison.many_nets
    shape = "l" * first + "r" * (len(titles) - first - 1) + "l"
    bodies = [_row([rf"\textbf{{{_latex(text)}}}" if best else _latex(text) for text, best in line]) for line in lines]
    begin, end = ["% needs \\usepackage{booktabs}", rf"\begin{{tabular}}{{{shape}}}", r"\toprule"], r"\end{tabular}"
    return "\n".join([*begin, _row([_latex(t) for t in titles]), r"\midrule", *bodies, r"\bottomrule", end])


def _row(texts: list[str]) -> str:
    return " & ".join(texts) + r" \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """One flat dict a row: net, defence, and for each metric its mean and, with more seeds, its standard deviation."""
    found = []
    for row in comparison.rows:
        record: dict[str, Any] = {"net": row["net"], "defence": row["defence"]}
        for c in columns(comparison):
            said = row.get(c.metric) or {"mean": None, "std": None}
            record[c.metric] = said["mean"]
            if comparison.nb_seeds > 1:
                record[f"{c.metric}_std"] = said["std"]
        found.append({**record, "doubtful": row["doubtful"], "signs": ", ".join(row["signs"]), "error": row["error"]})
    return found


def as_csv(comparison: Comparison) -> str:
    """:func:`records` as comma-separated values; shares in [0, 1]."""
    rows, file = records(comparison), io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
