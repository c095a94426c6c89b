"""Figures of a comparison, by matplotlib: what robustness costs, and how each defence came to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from artclip.comparison.data import ComparisonData
from artclip.comparison.run_result import RunResult
from artclip.reporting.figures import FAINT, MARKERS, SERIES, draw_input, log_axis, new_figure, short, styled
from artclip.reporting.text import axis, norm_name

_MOST_PAIRS = 6
_WIDTH = 5.2  # inches, of a figure that is read on a phone too


def plot_comparison(comparison: ComparisonData) -> Any:
    """Worst case over the cost of training, security curves, and clean against robust accuracy.

    Args:
        comparison: what :func:`artclip.compare` returned.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no training succeeded.
    """
    return _panels(comparison, _draw_cost, _draw_curves, _draw_trade)


@styled
def plot_pairs(comparison: ComparisonData) -> Any:
    """The steepest pair found of each defence: u, v and their difference; of the first seed."""
    chosen = [c for c in _first_cells(comparison) if "u" in c.arrays][:_MOST_PAIRS]
    if not chosen:
        raise ValueError("there is no steepest pair to show; compare with lipschitz=True")
    for row, cell in _image_rows(comparison, figure := new_figure(_WIDTH, 2.1 * len(chosen)), chosen, 3):
        u, v = cell.arrays["u"].astype(np.float64), cell.arrays["v"].astype(np.float64)
        low, high = float(min(u.min(), v.min())), float(max(u.max(), v.max()))
        largest = float(np.abs(v - u).max()) or 1.0
        draw_input(row[0], u, f"u, quotient {cell.figures['lipschitz_lower']:.3g}", low, high)
        draw_input(row[1], v, "v", low, high)
        draw_input(row[2], v - u, "v − u", -largest, largest, "RdBu_r")
    return figure


@styled
def plot_examples(comparison: ComparisonData) -> Any:
    """Adversarial examples of each defence, within the budget; of the first seed."""
    chosen = [c for c in _first_cells(comparison) if "samples" in c.arrays][:_MOST_PAIRS]
    if not chosen:
        raise ValueError("no attack found an adversarial example, so there is none to show")
    nb = max(len(c.arrays["samples"]) for c in chosen)
    for row, cell in _image_rows(comparison, figure := new_figure(_WIDTH, 1.35 * len(chosen)), chosen, 2 * nb):
        a = cell.arrays
        for axes in row[2 * len(a["samples"]) :]:
            axes.set_axis_off()
        for i, (x, adversarial) in enumerate(zip(a["samples"], a["adversarial"], strict=True)):
            low, high = float(min(x.min(), adversarial.min())), float(max(x.max(), adversarial.max()))
            draw_input(row[2 * i], x, f"a {a['labels'][i]}", low, high)
            draw_input(row[2 * i + 1], adversarial, f"taken for {a['said'][i]}", low, high)
    return figure


def _image_rows(comparison: ComparisonData, figure: Any, cells: list[RunResult], columns: int) -> Iterator[Any]:
    """For each cell its axes, below its name, and the cell."""
    parts = figure.subfigures(len(cells), 1, squeeze=False)[:, 0]
    for part, cell in zip(parts, cells, strict=True):
        row = next(row for row in comparison.rows if (row["net"], row["defence"]) == (cell.net, cell.defence))
        name = short(comparison.title(row, False), 40)
        part.suptitle(name, x=0.01, ha="left", fontsize=10, fontweight="bold")
        yield part.subplots(1, columns, squeeze=False)[0], cell


def _panel(draw: Callable[[Any, ComparisonData], None]) -> Callable[[ComparisonData], Any]:
    return lambda comparison: _panels(comparison, draw)


@styled
def _panels(comparison: ComparisonData, *draw: Callable[[Any, ComparisonData], None]) -> Any:
    rows = [row for row in comparison.rows if row["nb_seeds"]]
    if not rows:
        raise ValueError("no training succeeded, so there is nothing to show")
    ncols = 2 if len(draw) == 1 else 4
    figure = new_figure(_WIDTH * len(draw), 3.8 + 0.22 * math.ceil(len(rows) / ncols))
    for axes, panel in zip(figure.subplots(1, len(draw), squeeze=False)[0], draw, strict=True):
        panel(axes, comparison)
        axes.grid(alpha=0.3)
    from matplotlib.lines import Line2D  # there is a matplotlib

    handles = []
    for row in rows:
        colour, marker = _look(comparison, row["net"], row["defence"])
        handles.append(Line2D([], [], color=colour, marker=marker, label=short(comparison.title(row, False), 34)))
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols)
    return figure


def _draw_cost(axes: Any, comparison: ComparisonData) -> None:
    rows = [row for row in comparison.rows if row.get("worst", {}).get("mean") is not None]
    metric = next((m for m in ("gradients", "cpu_cost") if all(row.get(m, {}).get("mean") for row in rows)), None)
    if not rows or metric is None:
        raise ValueError("there is no worst case, or no cost, to show")
    costs = [row[metric]["mean"] for row in rows]
    for row in rows:
        colour, marker = _look(comparison, row["net"], row["defence"])
        middle = 100 * row["worst"]["mean"]
        low, high = (100 * end for end in row["worst"].get("interval") or 2 * [row["worst"]["mean"]])
        errors = [[middle - low], [high - middle]]
        axes.errorbar(row[metric]["mean"], middle, errors, fmt=marker, color=colour, markersize=8, capsize=3)
    axes.set_xscale("log", base=2), axes.set_xlim(min(costs) / 1.3, max(costs) * 1.3)
    ticks = [2**i for i in range(math.floor(math.log2(min(costs))), math.ceil(math.log2(max(costs))) + 1)]
    axes.set_xticks(ticks, [f"{tick:g} ×" for tick in ticks])
    what = "gradients" if metric == "gradients" else "CPU time"
    axes.set_xlabel(f"{what} of training, in multiples of plain training")
    axes.set_ylabel("worst case in %, an upper bound")
    axes.set_title("Up and to the left is better; bars: 95 % interval", fontsize=10)


def _draw_curves(axes: Any, comparison: ComparisonData) -> None:
    e = comparison.experiment
    scale, name = axis(comparison.settings["norm"], e.eps)
    for cells, colour, marker in _rows(comparison):
        curves = [c.curve for c in cells if c.curve]
        if not curves:
            continue
        eps = [scale * e for e, _ in curves[0]]
        accuracy = 100 * np.array([[a for _, a in curve] for curve in curves])
        mean, spread = accuracy.mean(0), accuracy.std(0, ddof=1) if len(accuracy) > 1 else 0.0
        axes.plot(eps, mean, color=colour, marker=marker, markersize=4)
        axes.fill_between(eps, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
    axes.axvline(scale * e.eps, color=FAINT, linestyle="--", linewidth=1)
    axes.set_xlabel(f"{name}; dashed: the budget")
    axes.set_ylim(-3, 103), axes.set_ylabel("accuracy in %")
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
    axes.set_title("Up and to the right is better; small: each seed", fontsize=10)


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
    log_axis(axes, "x")
    axes.set_ylabel("worst case in %, an upper bound")
    axes.set_xlabel(f"Lipschitz constant, {norm_name(comparison.settings['norm'])}: from lower to upper bound")
    axes.set_title("Worst case over the Lipschitz constant", fontsize=10)


def _draw_quotients(axes: Any, comparison: ComparisonData) -> None:
    _over_epochs(axes, comparison, "lipschitz")
    axes.set_ylabel("mean quotient of the training pairs")
    axes.set_title("Quotients while training (no bound)", fontsize=10)


def _draw_lamda(axes: Any, comparison: ComparisonData) -> None:
    _over_epochs(axes, comparison, "lamda")
    axes.set_ylabel("λ"), axes.set_title("λ while training", fontsize=10)


def _over_epochs(axes: Any, comparison: ComparisonData, key: str) -> None:
    for cells, colour, _ in _rows(comparison):
        for c in cells:
            points = [(r["epoch"], r[key]) for r in c.history if r.get(key)]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.3, alpha=0.8)
    if not axes.lines:
        raise ValueError(f"no training has a {key} to show")
    axes.set_xlabel("epoch")
    log_axis(axes, "y")


def _of(cell: RunResult, metric: str) -> float:
    value = cell.figures[metric]
    return math.nan if value is None else value  # which is not drawn


def _rows(comparison: ComparisonData) -> list[tuple[list[RunResult], str, str]]:
    """The cells of each row that have figures, with colour and marker."""
    rows = []
    for row in comparison.rows:
        cells = [c for c in comparison.of(row["defence"], row["net"]) if not c.error]
        if cells:
            rows.append((cells, *_look(comparison, row["net"], row["defence"])))
    return rows


def _look(comparison: ComparisonData, net: str, defence: str) -> tuple[str, str]:
    """A colour for each defence, a marker for each net, or for each defence where there is one net."""
    defences = list(dict.fromkeys(c.defence for c in comparison.cells))
    place = defences.index(defence)
    nets = list(dict.fromkeys(c.net for c in comparison.cells))
    return SERIES[place % len(SERIES)], MARKERS[(nets.index(net) if len(nets) > 1 else place) % len(MARKERS)]


def _first_cells(comparison: ComparisonData) -> list[RunResult]:
    return [cells[0] for cells, *_ in _rows(comparison)]


#: Figures of a report by name.
FIGURES = {
    "cost": _panel(_draw_cost),
    "trade": _panel(_draw_trade),
    "examples": plot_examples,
    "curves": _panel(_draw_curves),
    "lipschitz": _panel(_draw_lipschitz),
    "quotients": _panel(_draw_quotients),
    "lamda": _panel(_draw_lamda),
    "pairs": plot_pairs,
}
