"""An evaluation as one HTML file: no network, no scripts, and nothing from outside that is not escaped."""

from __future__ import annotations

import re
from typing import Any

from artclip.evaluation.attacks import ATTACKS, AttackConfig, choose
from artclip.evaluation.data import EvaluationData
from artclip.evaluation.plots import figures
from artclip.reporting.html import page, pictures
from artclip.reporting.text import code, fraction

_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")


def evaluation_page(ev: EvaluationData) -> str:
    """The report of an evaluation.

    Args:
        ev: what :func:`artclip.evaluate` returned.

    Returns:
        A whole HTML page that needs no other file. Without matplotlib it comes without figures, and says so.
    """
    s = ev.settings
    settings = {k: v for k, v in s.items() if k not in ("command", "versions")}
    drawn, no_figures = pictures(figures(ev))
    # A paper is text, number, text, number, ..., text.
    records = [{**r, "paper": _ARXIV.split(r["paper"])} for r in ev.records()]
    return page(
        "evaluation.html",
        title=f"Robustness of {s['name']}",
        above=f"Robustness of {s['name']}, attacks within {ev.budget}",
        message=ev.message(),
        below=f"{ev.samples}, {s['nb_classes']} classes",
        ev=ev,
        ran=sum(o.in_budget for o in ev.outcomes),
        attacks=[(r, "failed" if o.tried.any() else "not run") for r, o in zip(records, ev.outcomes, strict=True)],
        drawn=drawn,
        no_figures=no_figures,
        command=s.get("command", ""),
        code=rerun(ev),
        settings=settings | {"eps": fraction(s["eps"]), "seconds in all": f"{ev.seconds:.1f}"},
        versions=s.get("versions", {}),
    )


def rerun(ev: EvaluationData) -> str:
    """Python code that evaluates in the same way; attack objects that the user brought are left to fill in."""
    s, given = ev.settings, [o.chosen for o in ev.outcomes if o.chosen.given is not None]
    arguments: dict[str, Any] = {
        "norm": s["norm"] if s["norm"] == "inf" else _Name(s["norm"]),
        "eps": [*(_Name(code(e)) for e, _ in ev.below), _Name(code(s["eps"]))] if ev.below else _Name(code(s["eps"])),
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
