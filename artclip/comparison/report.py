"""A comparison as one HTML file: no network, one script that sorts, and nothing from outside that is not escaped."""

from __future__ import annotations

from functools import partial
from typing import Any

from artclip.comparison import plots, table
from artclip.comparison.data import ComparisonData
from artclip.comparison.message import measured, message, spoken_of
from artclip.comparison.significance import best
from artclip.reporting.html import page, pictures
from artclip.reporting.text import budget, code, counted, fraction


def comparison_page(comparison: ComparisonData) -> str:
    """The report of a comparison.

    Args:
        comparison: what :func:`artclip.compare` returned.

    Returns:
        A whole HTML page that needs no other file. Without matplotlib it comes without figures, and says so.
    """
    s, e = comparison.settings, comparison.experiment
    rows, best_row = sorted(measured(comparison), key=lambda row: -row["worst"]["mean"]), best(comparison, "worst")
    spoken = {row["net"] + row["defence"]: row for row in [*spoken_of(comparison).values(), *rows[:1]]}
    settings = {k: v for k, v in s.items() if k not in ("command", "versions")} | {"eps": fraction(e.eps)}
    settings["attacks"] = ", ".join(f"{name}: {text}" if name != text else name for name, text in e.attacks.items())
    drawn, no_figures = pictures({name: partial(draw, comparison) for name, draw in plots.FIGURES.items()})
    length = f"{counted(comparison.nb_seeds, 'seed')}, {counted(e.nb_epochs, 'epoch')}"
    return page(
        "comparison.html",
        "sort.js",
        title=f"Defences on {s['data']}",
        above=f"Defences on {s['data']}, attacks within {budget(s['norm'], e.eps)}",
        message=message(comparison),
        below=f"{', '.join(s['models'])} ({e.activation or 'activations of their own'}), {e.framework}, {length}",
        cards=[(row, comparison.title(row)) for row in spoken.values()],
        highest=rows[0] if rows else None,
        nb_rows=len(rows),
        alike=[comparison.title(rival.row) for rival in best_row.rivals if not rival.behind] if best_row else [],
        drawn=drawn,
        no_figures=no_figures,
        table=_table(comparison),
        nb_names=1 + comparison.many_nets,
        notes=comparison.notes(),
        best=best_row,
        paired=comparison.paired,
        title_of=comparison.title,
        command=s.get("command", ""),
        code=rerun(comparison),
        settings=settings,
        versions=s.get("versions", {}),
    )


def rerun(comparison: ComparisonData) -> str:
    """Python code that compares in the same way; data and nets that are no names are left to fill in."""
    s, e = comparison.settings, comparison.experiment
    defaults = type(e)(framework=e.framework)
    lines = [f"    {'data' if s['data'] == 'arrays' else repr(s['data'])},"]
    lines += [f"    model={s['models'] if len(s['models']) > 1 else s['models'][0]!r},"]
    lines += [f"    defences={s['defences']!r},", f"    nb_seeds={comparison.nb_seeds},"]
    for name, value in vars(e).items():
        if name == "framework" or value != getattr(defaults, name):
            lines.append(f"    {name}={code(value)},")
    if s["nb_threads"] != 1:
        lines.append(f"    nb_threads={s['nb_threads']},")
    return "\n".join(["from artclip import compare", "", "comparison = compare(", *lines, ")"])


def _table(comparison: ComparisonData) -> tuple[list[str], list[list[dict[str, Any]]]]:
    """Titles; and rows of cells: text, whether it is the best, interval, and what it is sorted by.

    What a terminal shows goes first.
    """
    titles, lines = table.cells(comparison)
    names, chosen = 1 + comparison.many_nets, table.columns(comparison)
    first = {metric: place for place, metric in enumerate(table.SHORT)}
    places = sorted(range(len(chosen)), key=lambda i: first.get(chosen[i].metric, len(first)))
    order = [*range(names), *(names + i for i in places), len(titles) - 1]
    rows = []
    for row, line in zip(comparison.rows, lines, strict=True):
        cells = [{"text": text, "best": is_best, "interval": "", "value": text} for text, is_best in line]
        for c, cell in zip(chosen, cells[names:-1], strict=True):
            figure = row.get(c.metric) or {}
            if figure.get("interval") is not None:
                cell["interval"] = "{:.1f} – {:.1f}".format(*(100 * end for end in figure["interval"]))
            cell["value"] = "" if figure.get("mean") is None else repr(float(figure["mean"]))
        rows.append([cells[i] for i in order])
    return [titles[i] for i in order], rows
