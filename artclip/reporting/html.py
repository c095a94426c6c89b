"""What a report looks like: one page, light or dark, down to the width of a phone; and the pieces it is made of."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from html import escape
from typing import Any

_CSS = """
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #ffffff; --ink: #1d2126; --quiet: #5b636d;
  --line: #dfe2e6; --link: #1b5e96; --warn: #fff3e6; --edge: #c2541b; --calm: #eaf5f0; --good: #2a7d6b; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15181c; --card: #1e2227; --ink: #e6e8eb; --quiet: #a3abb5;
    --line: #363c44; --link: #82bcec; --warn: #38261a; --edge: #f0915a; --calm: #1b2d28; --good: #66c2ab; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 72rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0; }
p { margin: .3rem 0; }
a { color: var(--link); }
.quiet, small { color: var(--quiet); }
small { font-size: .85em; font-weight: 400; }
.top { display: grid; gap: 1rem; margin-top: 1.2rem; align-items: start; }
@media (min-width: 46rem) { .top { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(2, minmax(0, 1fr)); }
.card, .scroll, .figure { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
.card { padding: .8rem 1rem; }
.card.first { grid-column: 1 / -1; }
.card b { font-size: 1.5rem; font-weight: 600; }
.card.first b { font-size: 3.2rem; line-height: 1.15; }
.sign, .calm { border-radius: .5rem; border-left: .4rem solid; padding: .7rem 1rem; margin-bottom: .8rem; }
.sign { background: var(--warn); border-color: var(--edge); }
.sign h3 { color: var(--edge); }
.sign p::first-letter { text-transform: uppercase; }
.calm { background: var(--calm); border-color: var(--good); }
.scroll, .figure { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--quiet); font-weight: 600; }
tbody th { font-weight: 600; }
.wide { min-width: 62rem; }
.sortable tbody th, .sortable thead th:first-child { position: sticky; left: 0; background: var(--card); }
.middle { min-width: 42rem; }
.narrow { overflow-wrap: anywhere; }
.narrow th { min-width: 7rem; width: 30%; }
th button { all: unset; cursor: pointer; }
th button:hover { text-decoration: underline; }
th button:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
th[aria-sort="descending"] button::after { content: " ▾"; }
th[aria-sort="ascending"] button::after { content: " ▴"; }
tr.sum { background: color-mix(in srgb, var(--line) 35%, transparent); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
th.text { min-width: 9rem; }
.figure { background: #ffffff; padding: .6rem; margin: 0 0 1rem; }
.figure img { display: block; width: 100%; min-width: 44rem; height: auto; margin: 0 auto; }
.figure img.tall { min-width: 0; max-width: 44rem; }
ul { padding-left: 1.2rem; margin: .3rem 0; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem;
  overflow-x: auto; overflow-wrap: normal; font: .85rem/1.45 ui-monospace, Consolas, Menlo, monospace; }
"""


def document(title: str, body: str, script: str = "") -> str:
    """A whole page that needs no network: only the script given may run.

    Args:
        title: of the page, not yet escaped.
        body: HTML, escaped.
        script: JavaScript, or "".
    """
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    policy += f"; script-src 'sha256-{allowed}'" if script else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
{body}
{f"<script>{script}</script>" if script else ""}
</body>
</html>
"""


def table(head: list[str], rows: list[str], kind: str) -> str:
    """A table of :func:`column` heads and ready rows; ``kind`` sets how wide it must be."""
    top = f"<thead><tr>{''.join(head)}</tr></thead>" if head else ""
    return f'<div class="scroll"><table class="{kind}">{top}<tbody>{"".join(rows)}</tbody></table></div>'


def column(text: str, kind: str = "") -> str:
    """The head of a column."""
    return f'<th scope="col" class="{kind}">{escape(text)}</th>'


def head(text: str, below: str = "") -> str:
    """The head of a row, with small print below it."""
    small = f"<br><small>{escape(below)}</small>" if below else ""
    return f'<th scope="row">{escape(text)}{small}</th>'


def cell(text: str) -> str:
    """A cell of text."""
    return f"<td>{escape(text)}</td>"


def number(text: str) -> str:
    """A cell with a figure."""
    return f'<td class="number">{escape(text)}</td>'


def card(kind: str, title: str, sign: str, figure: str, note: str = "") -> str:
    """A figure to be seen first, with what it is."""
    note = note and f"<p><small>{escape(note)}</small></p>"
    said = f"<small>{escape(sign)}</small> <b>{escape(figure)}</b>"
    return f'<div class="card {kind}"><p class="quiet">{escape(title)}</p><p>{said}</p>{note}</div>'


def picture(draw: Callable[[], Any], alt: str, kind: str = "") -> str:
    """A figure of matplotlib as a PNG within the page, whatever style the user has set for other figures."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        draw().savefig(file, format="png", dpi=130)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<div class="figure"><img class="{kind}" alt="{escape(alt)}" src="data:image/png;base64,{data}"></div>'


def settings(values: dict[str, Any], names: dict[str, str]) -> str:
    """Settings, versions among them, as a table; ``names`` says what a person calls some of them."""
    values = dict(values)
    versions = {f"version of {name}": value for name, value in values.pop("versions", {}).items()}
    rows = [
        f"<tr>{head(names.get(name, name.replace('_', ' ')))}{cell(_said(value))}</tr>"
        for name, value in {**values, **versions}.items()
    ]
    return table([], rows, "narrow")


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value in (None, "") else str(value)
