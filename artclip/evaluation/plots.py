"""Figures of evaluations and curves, by matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from artclip import checks
from artclip.evaluation.attacks import NONE
from artclip.evaluation.data import EvaluationData
from artclip.evaluation.examples import draw_example, varied
from artclip.reporting.figures import BLUE, FAINT, GREEN, MARKERS, ORANGE, SERIES, VERMILLION, new_figure, short, styled
from artclip.reporting.text import axis, counted, fraction

_COLOURS = {
    "no attack": FAINT,
    "within the budget": BLUE,
    "outside the budget": ORANGE,
    "worst case": VERMILLION,
    "certified": GREEN,
}
_LINES = SERIES[1:]


class Accuracies(Protocol):
    """What :func:`plot_curves` draws of a curve, which documents them: :class:`~artclip.evaluation.curves.Curve`."""

    title: str
    label: str
    values: list[float]
    accuracy: dict[str, list[float]]
    spread: dict[str, list[float]]
    calls: dict[str, list[float]]


def plot_evaluation(ev: EvaluationData) -> Any:
    """Accuracy by attack and over eps, proved radii over distances of examples, and short attacks of the probe.

    Args:
        ev: what :func:`artclip.evaluate` returned.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: matplotlib is not installed.
    """
    chosen = list(_panels(ev).values())
    return _figure(ev, chosen, (6.5, 11, 14, 18)[len(chosen) - 1])


def figures(ev: EvaluationData) -> dict[str, Callable[[], Any]]:
    """By name :func:`plot_examples` and the parts of :func:`plot_evaluation`, wide as a phone can show."""
    parts = {name: partial(_figure, ev, [draw], 5.4) for name, draw in _panels(ev).items()}
    return {"examples": partial(plot_examples, ev), **parts}


def _panels(ev: EvaluationData) -> dict[str, Callable[[Any, EvaluationData], None]]:
    panels: dict[str, Callable[[Any, EvaluationData], None]] = {"bars": _draw_bars}
    if ev.below or ev.looked_at.any():
        panels["eps"] = _draw_by_eps if ev.all_looked_at or not ev.looked_at.any() else _draw_distances
    if (ev.bounded & ev.looked_at).any():
        panels["distances"] = _draw_radii
    if ev.curve:
        panels["probe"] = _draw_probe
    return panels


@styled
def _figure(ev: EvaluationData, draw: list[Callable[[Any, EvaluationData], None]], width: float) -> Any:
    bars = _bars(ev)
    figure = new_figure(width, max(3.2, 0.34 * len(bars) + 1.3))
    for axes, panel in zip(figure.subplots(1, len(draw), squeeze=False)[0], draw, strict=True):
        panel(axes, ev)
    if _draw_bars in draw:
        from matplotlib.patches import Patch  # there is a matplotlib

        present = [kind for kind in _COLOURS if any(bar[2] == kind for bar in bars)]
        handles = [Patch(color=_COLOURS[kind]) for kind in present]
        ncols = 3 if len(draw) == 1 else len(present)
        figure.legend(handles, present, loc="outside lower center", ncols=ncols)
    return figure


@styled
def plot_examples(ev: EvaluationData, nb: int = 4) -> Any:
    """Samples, what an attack added, and the adversarial examples, with the model's answers; a sample in each row.

    Args:
        ev: what :func:`artclip.evaluate` returned.
        nb: rows at most, >= 1; attacks within the budget go first, each sample is shown once.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there are no adversarial examples.
    """
    checks.positive_integer("nb", nb)
    if not ev.examples:
        raise ValueError("no attack found an adversarial example, so there is none to show")
    chosen = varied(ev, nb)
    figure = new_figure(6.0, 2.2 * len(chosen) + 0.2)
    for row, example in zip(figure.subplots(len(chosen), 3, squeeze=False), chosen, strict=True):
        draw_example(row, ev, example)
    return figure


@styled
def plot_curves(*curves: Accuracies) -> Any:
    """Accuracy over eps, calls or sigma: one axes a curve, one line a model; a band of ± one deviation for noise.

    Args:
        *curves: what :func:`~artclip.evaluation.curves.robustness_curve`,
            :func:`~artclip.evaluation.curves.query_curve` and :func:`~artclip.evaluation.curves.noise_curve` returned.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no curves.
    """
    if not curves:
        raise ValueError("give at least one curve")
    figure = new_figure(5.5 * len(curves), 3.8)
    names = list(dict.fromkeys(name for curve in curves for name in curve.accuracy))
    for axes, curve in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        for name, accuracy in curve.accuracy.items():
            place = names.index(name)  # a model looks the same in every axes
            colour, marker = _LINES[place % len(_LINES)], MARKERS[place % len(MARKERS)]
            percent = 100 * np.array(accuracy)
            at = curve.calls.get(name, curve.values)
            axes.plot(at, percent, marker=marker, markersize=4, color=colour, label=short(name))
            if name in curve.spread:
                band = 100 * np.array(curve.spread[name])
                axes.fill_between(at, percent - band, percent + band, color=colour, alpha=0.2, linewidth=0)
        axes.set_title(short(curve.title, 60)), axes.set_xlabel(curve.label), axes.set_ylabel("accuracy in %")
        if curve.calls:
            axes.set_xscale("symlog", linthresh=10)
        axes.set_ylim(-3, 103), axes.grid(alpha=0.3), axes.legend()
    return figure


def _bars(ev: EvaluationData) -> list[tuple[str, float | None, str, str]]:
    """Title, accuracy in % or ``None``, class, and what stands before the figure or for it, from top to bottom."""
    accuracy = ev.accuracy
    bars: list[tuple[str, float | None, str, str]] = [("clean", 100 * accuracy["clean"], "no attack", "")]
    for o in ev.outcomes:
        kind = "within the budget" if o.chosen.attack.in_budget else "outside the budget"
        kind = "no attack" if o.chosen.attack.access == NONE else kind
        figure = 100 * accuracy[o.chosen.name] if o.chosen.name in accuracy else None
        without = "" if figure is not None else "failed" if o.tried.any() else "not run"
        bars.append((short(o.chosen.title), figure, kind, without))
    robust = ev.robust_accuracy
    if robust is None:
        bars.append(("worst case", None, "worst case", "no attack ran"))
    else:
        bars.append(("worst case", 100 * robust, "worst case", "≤ "))
    if ev.certified_accuracy is not None:
        bars.append(("certified", 100 * ev.certified_accuracy, "certified", "≥ "))
    return bars


def _draw_bars(axes: Any, ev: EvaluationData) -> None:
    bars = _bars(ev)
    for place, (_, accuracy, kind, sign) in enumerate(bars):
        if accuracy is not None:
            axes.barh(place, accuracy, 0.72, color=_COLOURS[kind])
        figure = sign if accuracy is None else f"{sign}{accuracy:.1f}"
        style = "italic" if accuracy is None else "normal"
        axes.text((accuracy or 0) + 1, place, figure, va="center", fontsize=9, style=style)
    axes.set_yticks(range(len(bars)), [title for title, *_ in bars])
    axes.set_xlim(0, 114), axes.set_xticks(range(0, 101, 20)), axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_title(f"Accuracy on {counted(len(ev.right), 'sample')}")
    axes.set_xlabel(f"accuracy in %, budget {ev.budget}")


def _draw_by_eps(axes: Any, ev: EvaluationData) -> None:
    """The worst case over eps: as a line where the nearest example of every sample was looked for."""
    scale, name = axis(ev.settings["norm"], ev.settings["eps"])
    points = [(scale * eps, 100 * accuracy) for eps, accuracy in ev.by_eps if accuracy is not None]
    if ev.all_looked_at and ev.distance is not None:
        there = np.sort(ev.distance[ev.right & np.isfinite(ev.distance)])
        left = (ev.right.sum() - np.arange(len(there) + 1)) / len(ev.right)
        axes.step([0, *(scale * there)], 100 * left, BLUE, where="post")
        axes.plot(*zip(*points[1:], strict=True), "o", color=_COLOURS["worst case"], markersize=5)
    else:
        axes.plot(*zip(*points, strict=True), "o-", color=_COLOURS["worst case"], markersize=4)
    axes.set_ylim(-3, 112), axes.grid(alpha=0.3)
    axes.set_title(f"Worst case of all attacks\non {counted(len(ev.right), 'sample')}", fontsize=11)
    axes.set_xlabel(name), axes.set_ylabel("accuracy in %")


def _draw_radii(axes: Any, ev: EvaluationData) -> None:
    """A dot a sample: what is proved of it, over what was found."""
    assert ev.distance is not None
    assert ev.radius is not None
    scale, norm = axis(ev.settings["norm"], ev.settings["eps"])
    norm = norm.removeprefix("eps")
    shown = ev.bounded & ev.looked_at
    found, proved = scale * ev.distance[shown], scale * ev.radius[shown]
    there = np.isfinite(found)
    proved = np.minimum(proved, 2 * max(scale * ev.settings["eps"], found[there].max(initial=0)))  # of constant outputs
    end = 1.05 * float(max(found[there].max(initial=0), proved.max(initial=0), scale * ev.settings["eps"]))
    axes.fill_between([0, end], [0, end], [end, end], color=FAINT, alpha=0.25, linewidth=0)
    axes.plot([0, end], [0, end], color="black", linewidth=0.8)
    axes.plot(found[there], proved[there], "o", color=BLUE, markersize=4, alpha=0.7, markeredgewidth=0)
    if not there.all():
        at = np.full((~there).sum(), end)
        axes.plot(at, proved[~there], ">", color=ORANGE, markersize=5, clip_on=False, label="no example found")
        axes.legend(loc="upper left")
    axes.axvline(scale * ev.settings["eps"], color=VERMILLION, linestyle="--", linewidth=1)
    axes.axhline(scale * ev.settings["eps"], color=VERMILLION, linestyle="--", linewidth=1)
    axes.set_xlim(0, end), axes.set_ylim(0, end), axes.set_box_aspect(1)
    axes.set_title(f"Proved below, broken above:\n{counted(int(shown.sum()), 'sample')}", fontsize=11)
    axes.set_xlabel(f"nearest adversarial example found{norm}"), axes.set_ylabel(f"proved radius{norm}")


def _draw_distances(axes: Any, ev: EvaluationData) -> None:
    """What share of the samples that were looked at has no example within a distance."""
    assert ev.distance is not None
    scale, norm = axis(ev.settings["norm"], ev.settings["eps"])
    found = np.sort(scale * ev.distance[ev.looked_at])
    there = found[np.isfinite(found)]
    left = 100 * (1 - np.arange(len(there) + 1) / len(found))
    axes.step([0, *there], left, where="post", color=BLUE)
    axes.axvline(scale * ev.settings["eps"], color=VERMILLION, linestyle="--", linewidth=1)
    axes.set_ylim(-3, 112), axes.grid(alpha=0.3)
    axes.set_title(f"Without an adversarial example found:\n{counted(len(found), 'sample')}", fontsize=11)
    axes.set_xlabel(norm.replace("eps", "distance")), axes.set_ylabel("share in %")


def _draw_probe(axes: Any, ev: EvaluationData) -> None:
    (eps, accuracy), (scale, name) = np.array(ev.curve).T, axis(ev.settings["norm"], ev.settings["eps"])
    eps, budget = scale * eps, scale * ev.settings["eps"]
    if eps[-1] > 4 * budget:  # it doubles from step to step, and 0 has no place on such an axis
        eps, accuracy = eps[1:], accuracy[1:]
        axes.set_xscale("log")
        apart = [e for e, before in zip(eps, [0, *eps], strict=False) if e > 1.4 * before]
        axes.set_xticks(apart, [f"{e:.3g}" for e in apart]), axes.set_xticks([], minor=True)
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.plot(eps, 100 * accuracy, "o-", color=BLUE, markersize=4)
    axes.axvline(budget, color=VERMILLION, linestyle="--", linewidth=1)
    label = f"budget {fraction(ev.settings['eps'])}"
    axes.annotate(label, (budget, 112), (4, -4), textcoords="offset points", color=VERMILLION, va="top")
    axes.set_ylim(-3, 112), axes.grid(alpha=0.3)
    few = ev.settings["nb_probed"]
    axes.set_title(f"Probe: short PGD on {counted(few, 'sample')}\nthat the model gets right", fontsize=11)
    axes.set_xlabel(name), axes.set_ylabel("accuracy in %")
