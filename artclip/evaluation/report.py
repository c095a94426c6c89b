"""An evaluation as one HTML file: no network, no scripts, and nothing from outside that is not escaped."""

from __future__ import annotations

import re
from html import escape
from string import Template
from typing import Any

from artclip.evaluation.attacks import ATTACKS, AttackConfig, choose
from artclip.evaluation.data import EvaluationData
from artclip.evaluation.plots import plot_evaluation, plot_examples
from artclip.evaluation.runner import Outcome
from artclip.reporting.html import card, cell, column, document, head, number, picture, settings, table
from artclip.reporting.intervals import wilson

_KINDS = {
    "lower": "lower bound: at least this",
    "upper": "upper bound: at most this",
    "exact": "exact value",
}
_DOMAINS = {"clip_values": "within clip_values", "free": "all"}
_SETTINGS = {
    "data_sha256": "SHA-256 of the data",
    "nb_samples": "samples",
    "nb_classes": "classes",
    "eps": "budget eps",
    "full": "each attack on all samples",
    "access": "gradients by",
    "bpda": "defences that gradients pass by an estimate (BPDA)",
    "nb_draws": "draws that attacks take the mean of (EOT)",
    "clip_values": "clip_values given beside the model",
    "no_upper_bound": "why no upper bound",
    "nb_probed": "samples probed for masking",
    "python": "version of Python",
}
_BODY = Template("""<header>
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
</main>""")
_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")


def evaluation_page(ev: EvaluationData) -> str:
    """The report of an evaluation.

    Args:
        ev: what :func:`artclip.evaluate` returned.

    Returns:
        A whole HTML page that needs no other file. Without matplotlib it comes without figures, and says so.
    """
    s = ev.settings
    body = _BODY.substitute(
        model=escape(str(s["name"])),
        data=escape(f"{s['nb_samples']} samples of {s['data']}, {s['nb_classes']} classes"),
        budget=escape(_budget(ev)),
        headline=_headline(ev),
        signs=_signs(ev),
        attacks=_attacks(ev),
        notes="".join(f"<li>{escape(line)}</li>" for line in ev.notes()),
        figures=_figures(ev),
        lipschitz=_lipschitz(ev),
        rerun=escape(rerun(ev)),
        settings=settings({**s, "seconds in all": f"{ev.seconds:.1f}"}, _SETTINGS),
    )
    return document(f"Robustness of {s['name']}", body)


def rerun(ev: EvaluationData) -> str:
    """Python code that evaluates in the same way; attack objects that the user brought are left to fill in."""
    s, given = ev.settings, [o.chosen for o in ev.outcomes if o.chosen.given is not None]
    arguments: dict[str, Any] = {
        "norm": s["norm"] if s["norm"] == "inf" else _Name(s["norm"]),
        "eps": [*(e for e, _ in ev.below), s["eps"]] if ev.below else s["eps"],
        "attacks": _asked_for([o.chosen for o in ev.outcomes], float(s["norm"])),
        "lipschitz": bool(ev.lipschitz),
        "batch_size": s["batch_size"],
        "seed": s["seed"],
        "full": s["full"],
        "masking": s["nb_probed"] > 0,
        "name": s["name"],
        "data": s["data"],
        **({} if ev.class_names is None else {"class_names": ev.class_names}),
        **({} if s.get("clip_values") is None else {"clip_values": tuple(s["clip_values"])}),
    }
    lines = ["from artclip import evaluate", ""]
    lines += [f"attack_{i} = ...  # {' '.join(c.attack.paper.split())}: {c.options!r}" for i, c in enumerate(given)]
    lines += ["evaluation = evaluate(", "    estimator,", "    x,", "    y,"]
    return "\n".join([*lines, *(f"    {key}={value!r}," for key, value in arguments.items()), ")"])


class _Name(str):
    """Code, not text: it is written without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _asked_for(chosen: list[AttackConfig], norm: float) -> Any:
    """Names as a list where they say everything, else a dict from names to what they stood for."""
    asked: dict[str, str] = {}
    for c in chosen:
        if c.given is not None:
            asked[c.name] = _Name(f"attack_{len(asked)}")  # they come first
            continue
        key = next((name for name, attack in ATTACKS.items() if attack.title == c.attack.title), c.name)
        changed = ",".join(f"{k}={v!r}" for k, v in c.options.items() if v != c.attack.options.get(k))
        asked[c.name] = f"{key}:{changed}" if changed else key
    try:
        meant = choose(list(asked), norm)
    except ValueError:  # names of the user's own
        return asked
    same = [(c.name, c.title, c.options) for c in meant] == [(c.name, c.title, c.options) for c in chosen]
    return list(asked) if same else asked


def _budget(ev: EvaluationData) -> str:
    return f"L{ev.settings['norm']} ≤ {ev.settings['eps']:g}"


def _headline(ev: EvaluationData) -> str:
    ran, robust = sum(o.in_budget for o in ev.outcomes), ev.robust_accuracy
    worst = f"Robust accuracy: the worst case of {ran} attack{'s' * (ran != 1)} within the budget"
    worst += f" and of artclip's probe ({ev.nb_fell_to_probe} samples fell to it alone)" if ev.nb_fell_to_probe else ""
    doubt = "May be too high: see the warnings" if ev.doubtful else ""
    first = card("first", worst, "at most", _percent(robust), doubt) if robust is not None else None
    cards = [
        first or card("first", "Robust accuracy", "", "–", "No attack within the budget ran"),
        card("", "Clean", "", _percent(float(ev.right.mean()))),
    ]
    if ev.certified_accuracy is not None:
        cards.append(card("", "Certified", "at least", _percent(ev.certified_accuracy)))
    return f'<div class="cards">{"".join(cards)}</div>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _signs(ev: EvaluationData) -> str:
    if not ev.warnings:
        return "".join(f'<div class="calm"><p>{escape(line)}</p></div>' for line in ev.verdict())
    return "".join(
        f'<div class="sign" role="note"><h3>Warning: {escape(w.name)}</h3>'
        f"<p>{escape(w.finding)}.</p><p>{escape(w.advice)}.</p></div>"
        for w in ev.warnings
    )


def _attacks(ev: EvaluationData) -> str:
    nb = len(ev.right)
    rows = [_sum("clean", float(ev.right.mean()), "no attack", nb)]
    rows += [_attack(o, record, nb) for o, record in zip(ev.outcomes, ev.records(), strict=True)]
    what = "all attacks within the budget: an upper bound"
    what += f"; {ev.nb_fell_to_probe} samples fell to artclip's probe alone" if ev.nb_fell_to_probe else ""
    robust = ev.robust_accuracy
    rows.append(_sum("worst case", robust, "no attack within the budget ran" if robust is None else what, nb))
    if ev.certified_accuracy is not None:
        rows.append(
            _sum("certified", ev.certified_accuracy, "proved for every change within the budget: a lower bound", nb)
        )
    heads = [
        column("Attack"),
        column("Accuracy in %", "number"),
        column("95 % interval", "number"),
        column("Of what", "text"),
        column("Access"),
    ]
    heads += [column("Budget"), column("Broken of tried", "number"), column("Not counted")]
    heads += [column("Seconds", "number"), column("Paper")]
    return table(heads, rows, "wide")


def _between(share: float | None, nb_samples: int) -> str:
    """Wilson's interval of a share, in %."""
    return "–" if share is None else "{:.1f} – {:.1f}".format(*(100 * end for end in wilson(share, nb_samples)))


def _sum(title: str, share: float | None, what: str, nb_samples: int) -> str:
    figure = number("–" if share is None else f"{100 * share:.1f}") + number(_between(share, nb_samples))
    return f'<tr class="sum">{head(title)}{figure}<td colspan="7">{escape(what)}</td></tr>'


def _attack(o: Outcome, record: dict[str, Any], nb_samples: int) -> str:
    accuracy, what = f"{100 * (record['accuracy'] or 0):.1f}", record["of"]
    if record["accuracy"] is None:
        accuracy, what = "failed" if o.tried.any() else "not run", record["error"]
    cells = [
        head(record["title"], ", ".join(f"{k}={v}" for k, v in record["parameters"].items())),
        number(accuracy),
        number(_between(record["accuracy"], nb_samples)),
        cell(what),
        cell(record["access"]),
        cell(record["budget"] or "outside"),
        number(f"{record['nb_broken']} of {record['nb_tried']}"),
        cell(", ".join(f"{count} {reason}" for reason, count in record["not_counted"].items()) or "–"),
        number(f"{record['seconds']:.1f}"),
        _ARXIV.sub(r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>', cell(record["paper"])),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _lipschitz(ev: EvaluationData) -> str:
    bounds = [b for b in ev.lipschitz.values() if b is not None]
    if not bounds:
        return '<p class="quiet">Not bounded.</p>'
    rows = [
        f"<tr>{head(_KINDS[b.kind])}{number(f'{b.value:.4g}')}{cell(f'L{b.norm} to L{b.output_norm}')}"
        f"{cell(_DOMAINS.get(b.domain, b.domain))}{cell(b.method)}{number(f'{b.seconds:.1f}')}</tr>"
        for b in bounds
    ]
    heads = [column("What it is"), column("Value", "number"), column("Norms"), column("Inputs")]
    heads += [column("Method"), column("Seconds", "number")]
    why = ev.settings["no_upper_bound"]
    missing = f"<p>No upper bound, and so no certificate: {escape(why.rstrip('.'))}.</p>" if why else ""
    return table(heads, rows, "middle") + missing


def _figures(ev: EvaluationData) -> str:
    said = (f"{name} {'not run' if value is None else f'{value:.1f} %'}" for name, value in ev.columns().items())
    try:
        found = picture(lambda: plot_evaluation(ev), f"Accuracy by attack: {', '.join(said)}", "")
        if ev.examples:
            alt = "Samples, the changes that attacks made, and the adversarial examples, each with the model's answer"
            found += "<h2>Adversarial examples</h2>" + picture(lambda: plot_examples(ev), alt, "tall")
    except ImportError:
        return "<p>No figures: matplotlib is not installed; pip install 'artclip[report]'.</p>"
    return f"<h2>Accuracy by attack</h2>{found}"
