"""Figures of a comparison, by matplotlib: what robustness costs, and how each defence came to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from artclip.comparison.data import ComparisonData
from artclip.comparison.run_result import RunResult
from artclip.reporting.figures import FAINT, MARKERS, SERIES, draw_input, new_figure, short, styled

_MOST_PAIRS = 6


@styled
def plot_comparison(comparison: ComparisonData) -> Any:
    """Security curves with a band over the seeds, and the trade of clean against robust accuracy.

    Args:
        comparison: what :func:`artclip.compare` returned.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no training succeeded.
    """
    return _panels(comparison, [_draw_curves, _draw_trade])


@styled
def plot_steepness(comparison: ComparisonData) -> Any:
    """Accuracy against the Lipschitz bracket, and λ and the pairs' mean quotient over the epochs."""
    return _panels(comparison, [_draw_lipschitz, _draw_quotients, _draw_lamda])


@styled
def plot_pairs(comparison: ComparisonData) -> Any:
    """The steepest pair found of each defence: u, v and their difference; of the first seed."""
    chosen = [c for c in _first_cells(comparison) if "u" in c.arrays][:_MOST_PAIRS]
    if not chosen:
        raise ValueError("there is no steepest pair to show; compare with lipschitz=True")
    figure = new_figure(2.0 * len(chosen) + 0.6, 6.4)
    for column, cell in zip(figure.subplots(3, len(chosen), squeeze=False).T, chosen, strict=True):
        u, v = cell.arrays["u"].astype(np.float64), cell.arrays["v"].astype(np.float64)
        low, high = float(min(u.min(), v.min())), float(max(u.max(), v.max()))
        largest = float(np.abs(v - u).max()) or 1.0
        draw_input(
            column[0], u, f"{_label(comparison, cell)}\nquotient {cell.figures['lipschitz_lower']:.3g}", low, high
        )
        draw_input(column[1], v, "", low, high)
        draw_input(column[2], v - u, "", -largest, largest, "RdBu_r")
        for axes, name in zip(column, ("u", "v", "v − u"), strict=True):
            axes.title.set_fontsize(9)
            if cell is chosen[0]:
                axes.set_ylabel(name)
    return figure


@styled
def plot_examples(comparison: ComparisonData) -> Any:
    """Adversarial examples of each defence, within the budget; of the first seed."""
    chosen = [c for c in _first_cells(comparison) if "samples" in c.arrays][:_MOST_PAIRS]
    if not chosen:
        raise ValueError("no attack found an adversarial example, so there is none to show")
    nb = max(len(c.arrays["samples"]) for c in chosen)
    figure = new_figure(2.0 * 2 * nb, 1.9 * len(chosen) + 0.2)
    for row, cell in zip(figure.subplots(len(chosen), 2 * nb, squeeze=False), chosen, strict=True):
        a = cell.arrays
        for axes in row[2 * len(a["samples"]) :]:
            axes.set_axis_off()
        for i, (x, adversarial) in enumerate(zip(a["samples"], a["adversarial"], strict=True)):
            low, high = float(min(x.min(), adversarial.min())), float(max(x.max(), adversarial.max()))
            draw_input(row[2 * i], x, f"label {a['labels'][i]}", low, high)
            draw_input(row[2 * i + 1], adversarial, f"taken for {a['said'][i]}", low, high)
        for axes in row:
            axes.title.set_fontsize(9)
        row[0].set_ylabel(_label(comparison, cell), fontsize=9)
    return figure


def _panels(comparison: ComparisonData, draw: list[Callable[[Any, ComparisonData], None]]) -> Any:
    rows = [row for row in comparison.rows if not row["error"]]
    if not rows:
        raise ValueError("no training succeeded, so there is nothing to show")
    figure = new_figure(5.2 * len(draw) if len(draw) < 3 else 13.5, 4.4 + 0.22 * ((len(rows) + 3) // 4))
    for axes, panel in zip(figure.subplots(1, len(draw), squeeze=False)[0], draw, strict=True):
        panel(axes, comparison)
        axes.grid(alpha=0.3)
    from matplotlib.lines import Line2D  # there is a matplotlib

    handles = []
    for row in rows:
        colour, marker = _look(comparison, row["net"], row["defence"])
        handles.append(Line2D([], [], color=colour, marker=marker, label=short(_name(comparison, row), 34)))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
    return figure


def _draw_curves(axes: Any, comparison: ComparisonData) -> None:
    for cells, colour, marker in _rows(comparison):
        curves = [c.curve for c in cells if c.curve]
        if not curves:
            continue
        eps = [e for e, _ in curves[0]]
        accuracy = 100 * np.array([[a for _, a in curve] for curve in curves])
        mean, spread = accuracy.mean(0), accuracy.std(0, ddof=1) if len(accuracy) > 1 else 0.0
        axes.plot(eps, mean, color=colour, marker=marker, markersize=4)
        axes.fill_between(eps, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
    e = comparison.experiment
    axes.axvline(e.eps, color=FAINT, linestyle="--", linewidth=1)
    axes.set_ylim(-3, 103), axes.set_xlabel(f"eps, L{comparison.settings['norm']}"), axes.set_ylabel("accuracy in %")
    axes.set_title(f"Short PGD on {e.curve_samples} samples, band: ± std over seeds", fontsize=10)


def _draw_trade(axes: Any, comparison: ComparisonData) -> None:
    means = []
    for cells, colour, marker in _rows(comparison):
        points = 100 * np.array(
            [[_of(c, "test"), _of(c, "worst")] for c in cells if c.figures.get("worst") is not None]
        )
        if not len(points):
            continue
        means.append(points.mean(0))
        axes.plot(*points.T, marker, color=colour, markersize=4, alpha=0.45)
        axes.plot(*means[-1], marker, color=colour, markersize=8)
    front = sorted((p for p in means if not any((q >= p).all() and (q > p).any() for q in means)), key=tuple)
    if front:
        axes.plot(*np.array(front).T, color=FAINT, linewidth=1, linestyle=":", zorder=0)
    axes.set_xlabel("clean accuracy on test data in %"), axes.set_ylabel("worst case in %, an upper bound")
    axes.set_title("What robustness costs; each dot a seed, dotted: the front of means", fontsize=10)


def _draw_lipschitz(axes: Any, comparison: ComparisonData) -> None:
    for cells, colour, marker in _rows(comparison):
        for c in cells:
            low, high = c.figures.get("lipschitz_lower"), c.figures.get("lipschitz_upper")
            if low is None or c.figures.get("worst") is None:
                continue
            accuracy = 100 * _of(c, "worst")
            axes.plot(low, accuracy, marker, color=colour, markersize=5)
            if high is not None:
                axes.plot([low, high], [accuracy] * 2, color=colour, linewidth=1)
    axes.set_xscale("log"), axes.set_ylabel("worst case in %, an upper bound")
    axes.set_xlabel(f"Lipschitz constant L{comparison.settings['norm']}: from lower to upper bound")
    axes.set_title("Accuracy against steepness", fontsize=10)


def _draw_quotients(axes: Any, comparison: ComparisonData) -> None:
    _over_epochs(axes, comparison, "lipschitz")
    axes.set_ylabel("mean quotient of the training pairs")
    axes.set_title("Steepness while training (no bound)", fontsize=10)


def _draw_lamda(axes: Any, comparison: ComparisonData) -> None:
    _over_epochs(axes, comparison, "lamda")
    axes.set_ylabel("λ"), axes.set_title("λ while training", fontsize=10)


def _over_epochs(axes: Any, comparison: ComparisonData, key: str) -> None:
    drawn = False
    for cells, colour, _ in _rows(comparison):
        for c in cells:
            points = [(r["epoch"], r[key]) for r in c.history if r.get(key)]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.3, alpha=0.8)
                drawn = True
    axes.set_xlabel("epoch")
    if drawn:
        axes.set_yscale("log")
    else:
        axes.text(0.5, 0.5, "none has it", ha="center", va="center", transform=axes.transAxes)


def _of(cell: RunResult, metric: str) -> float:
    value = cell.figures[metric]
    return math.nan if value is None else value  # which is not drawn


def _rows(comparison: ComparisonData) -> list[tuple[list[RunResult], str, str]]:
    """The cells of each row that have figures, with colour and marker."""
    found = []
    for row in comparison.rows:
        cells = [c for c in comparison.of(row["defence"], row["net"]) if not c.error]
        if cells:
            found.append((cells, *_look(comparison, row["net"], row["defence"])))
    return found


def _look(comparison: ComparisonData, net: str, defence: str) -> tuple[str, str]:
    """A colour for each defence, a marker for each net, or for each defence where there is one net."""
    defences = list(dict.fromkeys(c.defence for c in comparison.cells))
    place = defences.index(defence)
    nets = list(dict.fromkeys(c.net for c in comparison.cells))
    return SERIES[place % len(SERIES)], MARKERS[(nets.index(net) if len(nets) > 1 else place) % len(MARKERS)]


def _first_cells(comparison: ComparisonData) -> list[RunResult]:
    return [cells[0] for cells, *_ in _rows(comparison)]


def _name(comparison: ComparisonData, row: dict[str, Any]) -> str:
    return f"{row['net']}, {row['defence']}" if comparison.many_nets else str(row["defence"])


def _label(comparison: ComparisonData, cell: RunResult) -> str:
    return short(_name(comparison, {"net": cell.net, "defence": cell.defence}), 24)
