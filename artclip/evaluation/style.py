"""What the report of an evaluation looks like: one page, light or dark, down to the width of a phone."""

from __future__ import annotations

from string import Template

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
.middle { min-width: 42rem; }
.narrow { overflow-wrap: anywhere; }
.narrow th { min-width: 7rem; width: 30%; }
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

PAGE = Template(
    f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>{_CSS}</style>
</head>
"""
    """<body>
<header>
<p class="quiet">Robustness, attacks within $budget</p>
<h1>$model</h1>
<p class="quiet">$data</p>
</header>
<main>
<div class="top">
<section aria-label="Accuracy">$headline</section>
<section aria-label="Signs of gradient masking">$signs</section>
</div>
<h2>Attacks</h2>
$attacks
<h2>What the figures mean</h2>
<ul>$notes</ul>
$figures
<h2>Lipschitz constant</h2>
$lipschitz
<h2>Run it again</h2>
<p class="quiet">With the model as <code>estimator</code>, and the samples and labels as <code>x</code> and
<code>y</code>:</p>
<pre><code>$rerun</code></pre>
<h2>Settings</h2>
$settings
</main>
</body>
</html>
"""
)
