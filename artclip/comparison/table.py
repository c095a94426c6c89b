"""The table of a comparison: which columns, how a figure is said, and terminal, Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

from artclip.comparison.data import ComparisonData
from artclip.comparison.message import message
from artclip.comparison.significance import best
from artclip.evaluation.attacks import NONE
from artclip.reporting.text import WIDTH, budget, fraction, norm_name, shortened, wrapped
from artclip.reporting.text import cell as text_cell
from artclip.reporting.text import table as text_table


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        metric: its key in a row.
        title: with what must be said of it.
        scale, form: how its figures are written.
        best: whether the largest is best, and its outcomes by sample can tell it from the others.
    """

    metric: str
    title: str
    scale: float = 100
    form: str = ".1f"
    best: bool = True

    def cell(self, summary: dict[str, Any] | None, intervals: bool = False) -> str:
        """Mean ± standard deviation over the seeds; one figure of one seed; – for none; [low, high] on request."""
        if summary is None or summary["mean"] is None:
            return "–"
        text = self._said(summary["mean"])
        if summary["std"] is not None:
            text += f" ± {self._said(summary['std'])}"
        if intervals and summary.get("interval") is not None:
            text += " [{}, {}]".format(*map(self._said, summary["interval"]))
        return text

    def _said(self, figure: float) -> str:
        return format(figure * self.scale, self.form)


#: What a terminal shows, the most important first.
SHORT = (
    *("test", "worst", "certified", "smoothed_certified", "gradients"),
    *("cpu_cost", "lipschitz_lower", "lipschitz_upper", "lamda"),
)
_SHORT_TITLES = {"test": "clean", "worst": "worst case", "certified": "certified", "gradients": "grad. ×"}
_SHORT_TITLES |= {"smoothed_certified": "cert. smoothed"}


def columns(comparison: ComparisonData) -> list[Column]:
    """The columns that have figures, from left to right."""
    e = comparison.experiment
    norm = norm_name(comparison.settings["norm"])
    within = f"{norm} {fraction(e.eps)}"
    all_columns = [Column("train", "train", best=False), Column("test", "test")]
    attacks = sorted(e.chosen, key=lambda c: c.attack.access != NONE)
    titles = [c.title for c in attacks]
    for c in attacks:
        title = c.title if titles.count(c.title) == 1 else c.name
        budget = f" {within}" if c.attack.in_budget else ""
        all_columns.append(Column(c.name, f"{title}{budget}"))
    all_columns += [
        Column("worst", f"worst case {within}"),
        Column("certified", f"certified {within}"),
        Column("smoothed", "clean, smoothed"),
        Column("smoothed_certified", f"certified {within}, smoothed"),
        Column("lipschitz_lower", f"Lip {norm} ≥", 1, ".2f", False),
        Column("lipschitz_upper", f"Lip {norm} ≤", 1, ".2f", False),
        Column("lamda", "λ", 1, ".2g", False),
        Column("seconds_per_epoch", "s/epoch", 1, ".3f", False),
        Column("cpu_cost", "CPU ×", 1, ".2f", False)
        if comparison.has("cpu_cost")
        else Column("cpu_seconds_per_epoch", "CPU s/epoch", 1, ".3f", False),
        Column("gradients", "gradients ×", 1, ".2f", False),
        Column("peak_memory", "MiB ≤", 1, ".0f", False),
    ]
    # Without a worst case its column says so.
    return [c for c in all_columns if c.metric == "worst" or comparison.has(c.metric)]


def cells(comparison: ComparisonData, intervals: bool = False) -> tuple[list[str], list[list[tuple[str, bool]]]]:
    """Titles; and for each row its cells, each with whether it is told from all others of its column as the best."""
    chosen, many, clear = columns(comparison), comparison.many_nets, _clear(comparison)
    titles = [*(["net"] if many else []), "defence", *(c.title for c in chosen), "signs of masking"]
    lines = []
    for row in comparison.rows:
        line = [(row["net"], False)] if many else []
        line.append((row["defence"] + comparison.seeds_mark(row) + comparison.missed_mark(row), False))
        line += [(c.cell(row.get(c.metric), intervals), row is clear.get(c.metric)) for c in chosen]
        line.append((signs(row), False))
        lines.append(line)
    return titles, lines


def _clear(comparison: ComparisonData) -> dict[str, dict[str, Any]]:
    """Metric -> the row that is told from all others as the best."""
    best_rows = {c.metric: best(comparison, c.metric) for c in columns(comparison) if c.best}
    return {metric: b.row for metric, b in best_rows.items() if b is not None and b.clear}


def signs(row: dict[str, Any]) -> str:
    """The signs of masking, those that cast doubt on the worst case marked by a ``!``."""
    if row["error"]:
        return f"failed: {row['error']}"
    names = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in row["signs"].items())
    return ("! " if row["doubtful"] else "") + (names or ("none" if row["probed"] else "not looked for"))


def markdown(comparison: ComparisonData, intervals: bool = False) -> str:
    """A table of equal widths; bold is what :func:`cells` tells from all others."""
    titles, lines = cells(comparison, intervals)
    texts = [[f"**{text}**" if best else text_cell(text) for text, best in line] for line in lines]
    return "\n".join(text_table(titles, texts, range(1 + comparison.many_nets, len(titles) - 1)))


def short(comparison: ComparisonData, intervals: bool = False) -> list[str]:
    """The table that fits a terminal, as lines: as many of :data:`SHORT` as there is room for."""
    names, clear = 1 + comparison.many_nets, _clear(comparison)
    chosen = [c for m in SHORT for c in columns(comparison) if c.metric == m]
    titles = ["net", "defence"][-names:] + [_SHORT_TITLES.get(c.metric, c.title) for c in chosen]
    rows, longest, all_names = [], 24, {row[name] for row in comparison.rows for name in titles[:names]}
    while len({shortened(name, longest) for name in all_names}) < len(all_names):
        longest += 1
    for row in comparison.rows:
        texts = [text_cell(shortened(row[name], longest)) for name in titles[:names]]
        texts[-1] += comparison.seeds_mark(row) + comparison.missed_mark(row, short=True)
        for c in chosen:
            summary = row.get(c.metric)
            figure = c.cell(summary and {**summary, "std": summary["std"] if c.best else None}, intervals)
            figure = f"**{figure}**" if row is clear.get(c.metric) else figure
            texts.append(figure + " !" * (c.metric == "worst" and row["doubtful"]))
        rows.append(texts)
    for last in range(len(titles), names, -1):
        lines = text_table(titles[:last], [row[:last] for row in rows], range(names, last))
        if len(lines[0]) <= WIDTH:
            break
    return lines


def text(comparison: ComparisonData, intervals: bool = False, more: str = "to_markdown(), to_html(), to_json()") -> str:
    """What a terminal shows: the message, :func:`short`, notes, and where the rest is."""
    e = comparison.experiment
    heading = f"Accuracies in %, worst case within {budget(comparison.settings['norm'], e.eps)}. All columns: {more}."
    notes, first = wrapped([heading, *comparison.notes()]), wrapped([f"{message(comparison)}."], "")
    return "\n".join([*first, "", *short(comparison, intervals), "", *notes])


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$"}
_LATEX |= {"×": r"$\times$", "λ": r"$\lambda$", "–": "--", "σ": r"$\sigma$", "ε": r"$\varepsilon$"}


def latex(comparison: ComparisonData, intervals: bool = False) -> str:
    """A ``tabular`` with the rules of the package booktabs; bold is what :func:`cells` tells from all others."""
    titles, lines = cells(comparison, intervals)
    first = 1 + comparison.many_nets
    shape = "l" * first + "r" * (len(titles) - first - 1) + "l"
    bodies = [_row([rf"\textbf{{{_latex(text)}}}" if best else _latex(text) for text, best in line]) for line in lines]
    begin, end = ["% needs \\usepackage{booktabs}", rf"\begin{{tabular}}{{{shape}}}", r"\toprule"], r"\end{tabular}"
    return "\n".join([*begin, _row([_latex(t) for t in titles]), r"\midrule", *bodies, r"\bottomrule", end])


def _row(texts: list[str]) -> str:
    return " & ".join(texts) + r" \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def records(comparison: ComparisonData) -> list[dict[str, Any]]:
    """One flat dict a row: net, defence, of how many seeds its figures are, and for each metric its mean.

    With more seeds there is its standard deviation too, as ``worst_std``; accuracies come with the ends of their 95 %
    interval, as ``worst_low`` and ``worst_high``.
    """
    flat_rows = []
    for row in comparison.rows:
        record: dict[str, Any] = {"net": row["net"], "defence": row["defence"], "nb_seeds": row["nb_seeds"]}
        for c in columns(comparison):
            figure = row.get(c.metric) or {"mean": None, "std": None}
            record[c.metric] = figure["mean"]
            if comparison.nb_seeds > 1:
                record[f"{c.metric}_std"] = figure["std"]
            if c.metric in comparison.samples:
                record[f"{c.metric}_low"], record[f"{c.metric}_high"] = figure.get("interval") or (None, None)
        record |= {"doubtful": row["doubtful"], "signs": ", ".join(row["signs"]), "notes": "; ".join(row["notes"])}
        flat_rows.append({**record, "error": row["error"]})
    return flat_rows


def as_csv(comparison: ComparisonData) -> str:
    """:func:`records` as comma-separated values; shares in [0, 1]."""
    rows, file = records(comparison), io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
