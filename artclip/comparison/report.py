"""A comparison as one HTML file: no network, one script that sorts, and nothing from outside that is not escaped."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from html import escape
from string import Template
from typing import Any

from artclip.comparison import plots, table
from artclip.comparison.data import ComparisonData
from artclip.comparison.significance import best
from artclip.reporting.html import card, cell, column, document, head, number, picture, settings
from artclip.reporting.html import table as html_table

_BODY = Template("""<header>
<p class="quiet">Comparison of defences, attacks within $budget</p>
<h1>$title</h1>
<p class="quiet">$subtitle</p>
</header>
<main>
$cards
<h2>Table</h2>
<p class="quiet">Click a heading to sort. $bold</p>
$table
<ul>$notes</ul>
$figures
$paired
<h2>Run it again</h2>
<pre><code>$rerun</code></pre>
<h2>Settings</h2>
$settings
</main>""")

_SETTINGS = {
    "data_sha256": "SHA-256 of the data",
    "nb_attacked": "test samples attacked",
    "eps": "budget eps",
    "noise": "sigma of the noise",
    "n_jobs": "jobs side by side",
    "nb_threads": "threads of a job",
    "python": "version of Python",
    "curve": "attack of the curves",
}

_BOLD = (
    "Accuracies in %, with standard deviations (n − 1) over the seeds and, below, the 95 % interval for the number of "
    "samples (Wilson). Bold: told from every other row by a paired test, as the notes say."
)

# Sorts by a column's figures, or by its text; a row without a figure goes last.
_SORT = """
document.querySelectorAll("table.sortable th button").forEach(function (button) {
  button.addEventListener("click", function () {
    var th = button.parentElement, table = th.closest("table"), body = table.tBodies[0];
    var place = Array.prototype.indexOf.call(th.parentElement.children, th);
    var up = th.getAttribute("aria-sort") === "descending";
    table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    var rows = Array.prototype.slice.call(body.rows);
    rows.sort(function (a, b) {
      var p = a.cells[place].dataset.value, q = b.cells[place].dataset.value;
      if (p === undefined || p === "") { return q === undefined || q === "" ? 0 : 1; }
      if (q === undefined || q === "") { return -1; }
      var order = isNaN(p) || isNaN(q) ? p.localeCompare(q) : p - q;
      return up ? order : -order;
    });
    rows.forEach(function (row) { body.appendChild(row); });
  });
});
"""


def comparison_page(comparison: ComparisonData) -> str:
    """The report of a comparison.

    Args:
        comparison: what :func:`artclip.compare` returned.

    Returns:
        A whole HTML page that needs no other file. Without matplotlib it comes without figures, and says so.
    """
    s, e = comparison.settings, comparison.experiment
    title = f"Defences on {s['data']}"
    seeds = f"{comparison.nb_seeds} seed{'s' * (comparison.nb_seeds > 1)}"
    shown = {k: v for k, v in s.items() if k != "attacks"}
    shown["attacks"] = ", ".join(f"{name}: {text}" if name != text else name for name, text in e.attacks.items())
    body = _BODY.substitute(
        title=escape(title),
        budget=escape(f"L{s['norm']} ≤ {e.eps:g}"),
        subtitle=escape(f"{', '.join(s['models'])} ({e.activation}), {e.framework}, {seeds}, {e.nb_epochs} epochs"),
        cards=_cards(comparison),
        bold=escape(_BOLD),
        table=_table(comparison),
        notes="".join(f"<li>{escape(line)}</li>" for line in comparison.notes()),
        figures=_figures(comparison),
        paired=_paired(comparison),
        rerun=escape(rerun(comparison)),
        settings=settings(shown, _SETTINGS),
    )
    return document(title, body, _SORT)


def rerun(comparison: ComparisonData) -> str:
    """Python code that compares in the same way; data and nets that are no names are left to fill in."""
    s, e = comparison.settings, comparison.experiment
    defaults = type(e)(framework=e.framework)
    lines = [f"    {'data' if s['data'] == 'arrays' else repr(s['data'])},"]
    lines += [f"    model={s['models'] if len(s['models']) > 1 else s['models'][0]!r},"]
    lines += [f"    defences={s['defences']!r},", f"    nb_seeds={comparison.nb_seeds},"]
    for name, value in vars(e).items():
        if name == "framework" or value != getattr(defaults, name):
            lines.append(f"    {name}={'float(' + repr('inf') + ')' if value == math.inf else repr(value)},")
    if s["nb_threads"] != 1:
        lines.append(f"    nb_threads={s['nb_threads']},")
    return "\n".join(["from artclip import compare", "", "comparison = compare(", *lines, ")"])


def _good(comparison: ComparisonData) -> list[dict[str, Any]]:
    """The rows that did not fail, the most robust first; those without a worst case last."""
    good = [row for row in comparison.rows if not row["error"]]
    return sorted(good, key=lambda row: -(-1.0 if row["worst"]["mean"] is None else row["worst"]["mean"]))


def _cards(comparison: ComparisonData) -> str:
    good = _good(comparison)
    if not good:
        return '<div class="sign"><h3>No training succeeded</h3></div>'
    first = good[0]
    worst, gradients = first["worst"]["mean"], first["gradients"]["mean"]
    if worst is None:
        said = "No worst case: no attack ran within the budget"
        return f'<div class="cards">{card("first", said, "", "–")}</div>'
    title = f"{_name(comparison, first)}: worst case of all attacks within the budget"
    cards = [card("first", title, "at most", f"{100 * worst:.1f} %", " ".join(_cautions(comparison, first, len(good))))]
    cards.append(card("", "Its clean accuracy", "", f"{100 * first['test']['mean']:.1f} %"))
    if gradients is not None:
        cards.append(card("", "Gradients it takes, for one of plain training", "", f"{gradients:.2f}"))
    return f'<div class="cards">{"".join(cards)}</div>'


def _cautions(comparison: ComparisonData, row: dict[str, Any], nb_rows: int) -> list[str]:
    """What must be said of the row whose worst case is highest."""
    said = []
    interval = row["worst"].get("interval")
    if interval is not None:
        said.append(f"95 % interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f} %.")
    if nb_rows > 1:
        said.append("Chosen as the highest on these very samples, so it flatters a little.")
        found = best(comparison, "worst")
        alike = [] if found is None else [_name(comparison, r.row) for r in found.rivals if not r.behind]
        if alike:
            said.append(f"These samples and seeds do not tell it from {', '.join(alike)}.")
    if row["doubtful"]:
        said.append("May be too high: see its signs of masking.")
    return said


def _table(comparison: ComparisonData) -> str:
    titles, lines = table.cells(comparison)
    chosen = table.columns(comparison)
    first = 1 + comparison.many_nets
    rows = []
    for row, line in zip(comparison.rows, lines, strict=True):
        cells = [_sorted(head(text), text) for text, _ in line[:first]]
        for c, (text, is_best) in zip(chosen, line[first:-1], strict=True):
            said = number(text)
            if is_best:
                said = said.replace(">", "><b>", 1).replace("</td>", "</b></td>")
            interval = (row.get(c.metric) or {}).get("interval")
            if interval is not None:
                low, high = (100 * end for end in interval)
                said = said.replace("</td>", f'<br><small class="quiet">{low:.1f} – {high:.1f}</small></td>')
            mean = (row.get(c.metric) or {}).get("mean")
            cells.append(_sorted(said, "" if mean is None else repr(float(mean))))
        cells.append(_sorted(cell(line[-1][0]), line[-1][0]))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    kinds = [""] * first + ["number"] * len(chosen) + ["text"]
    heads = [_button(column(title, kind), title) for title, kind in zip(titles, kinds, strict=True)]
    return html_table(heads, rows, "wide sortable")


def _sorted(tag: str, value: str) -> str:
    """The cell with what it is sorted by."""
    name = tag[1:3]
    return tag.replace(f"<{name}", f'<{name} data-value="{escape(value)}"', 1)


def _button(tag: str, title: str) -> str:
    said = escape(title)
    return tag.replace(f">{said}<", f'><button type="button">{said}</button><')


def _figures(comparison: ComparisonData) -> str:

    shown: list[tuple[str, Callable[[Any], Any], str, str]] = [
        (
            "Robustness, and what it costs",
            plots.plot_comparison,
            "",
            "Accuracy over eps; worst case over clean accuracy",
        ),
        ("Steepness", plots.plot_steepness, "", "Worst case over the bracket; mean quotient and λ over the epochs"),
        ("Steepest pairs found", plots.plot_pairs, "tall", "u, v and v − u of the steepest pair of each defence"),
        ("Adversarial examples", plots.plot_examples, "tall", "Samples and adversarial examples within the budget"),
    ]
    found = ""
    for title, draw, kind, alt in shown:
        try:
            found += f"<h2>{escape(title)}</h2>{picture(partial(draw, comparison), alt, kind)}"
        except ImportError:
            return "<p>No figures: matplotlib is not installed; pip install 'artclip[report]'.</p>"
        except ValueError:  # nothing to show
            continue
    return found


def _paired(comparison: ComparisonData) -> str:
    """The row with the highest worst case against each other: seed by seed, and over all seeds."""
    found = best(comparison, "worst")
    if found is None:
        return ""
    first, rows = found.row, []
    for rival in found.rivals:
        name = head(_name(comparison, rival.row))
        for p in comparison.paired(
            first["defence"], rival.row["defence"], net=first["net"], other_net=rival.row["net"]
        ):
            figures = [str(p.seed), str(p.only_first), str(p.only_second), f"{p.p_value:.2g}"]
            rows.append(f"<tr>{name}{''.join(map(number, figures))}</tr>")
        figures = ["all, adjusted", "", "", f"{rival.p_value:.2g}"]
        rows.append(f"<tr>{name}{''.join(map(number, figures))}</tr>")
    heads = [column("against"), column("seed", "number"), column("it alone survives", "number")]
    heads += [column("the other alone survives", "number"), column("p (paired test)", "number")]
    return f"<h2>{escape(_name(comparison, first))}, sample by sample</h2>{html_table(heads, rows, 'middle')}"


def _name(comparison: ComparisonData, row: dict[str, Any]) -> str:
    return f"{row['defence']} ({row['net']})" if comparison.many_nets else str(row["defence"])
