"""The figures of README and docs that show committed results: robustness against cost, and Lipschitz brackets.

``front.png`` is of ``results/demo.json``, ``radii.png`` of ``results/radii.json``, the others of
``results/defences.json``. What a title says in figures is
computed from them. Run: ``python benchmarks/figures.py [FOLDER]``; they go to ``docs/figures`` otherwise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS
from markdown_tables import groups
from tables import plain_gradients

from artclip.reporting.figures import BLUE, GREEN, GREY, VERMILLION, new_figure, styled

ROWS = list[dict[str, Any]]
DPI = 200  # 1,280 pixels wide: sharp on a page, and its letters still read at 390
# Of the demo's defences: what they are, colour, marker, and where the label stands (points from the mark).
DEMO: dict[str, tuple[str, str, str, tuple[int, int], str]] = {
    "standard": ("Standard training", GREY, "o", (10, -4), "left"),
    "weight@0.98": ("Weight decay", GREEN, "s", (26, -4), "left"),
    "clip@0.98": ("CLIP", BLUE, "D", (2, -24), "left"),
    "clip@0.95": ("CLIP, larger λ", BLUE, "d", (43, 2), "left"),
    "madry": ("Adversarial training", VERMILLION, "s", (12, 24), "right"),
}
NAMED = {"clip": (BLUE, "D", "CLIP"), "adversarial": (VERMILLION, "s", "adversarial training")}
NAMED |= {"": (GREY, "o", "other defences")}
KINDS = {"trades": NAMED["adversarial"], **NAMED}
PANELS = {  # of defences.json
    ("mnist", "mlp-200-80", "relu"): "MNIST, MLP, ReLU",
    ("mnist", "mlp-200-80", "gelu"): "MNIST, MLP, GELU",
    ("mnist", "cnn", "relu"): "MNIST, CNN, ReLU",
    ("fashion-mnist", "mlp-200-80", "relu"): "Fashion-MNIST, MLP, ReLU",
}
BRACKETS = {  # one setting of each defence
    "standard": "standard training",
    "gaussian": "Gaussian noise",
    "adversarial, 1 step": "adversarial, 1 step",
    "trades": "TRADES",
    "weight": "weight decay",
    "adversarial, 7 steps": "adversarial, 7 steps",
    "spectral product": "spectral norms",
    "jacobian": "Jacobian",
    "clip": "CLIP",
    "one_lipschitz": "1-Lipschitz net",
}


def mean(rows: ROWS, key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def deviation(rows: ROWS, key: str) -> float:
    return float(np.std([row[key] for row in rows], ddof=1))


def of(training: str) -> tuple[str, str, str]:
    """Colour, marker and name of a kind of training."""
    return next(look for kind, look in KINDS.items() if training.startswith(kind))


@styled
def front(record: dict[str, Any]) -> Any:
    """The demo: worst-case accuracy against training cost, with a bar of ± one standard deviation each way."""
    rows, settings = {row["defence"]: row for row in record["results"]}, record["settings"]
    accuracy = {name: 100 * rows[name]["worst"]["mean"] for name in DEMO}
    cost = {name: rows[name]["cpu_cost"]["mean"] for name in DEMO}
    gains = [round(accuracy[name] - accuracy["standard"]) for name in ("clip@0.98", "madry")]
    figure = new_figure(
        6.4,
        4.5,
        f"CLIP gains {gains[0]} points under attack for {cost['clip@0.98']:.1f} × the training cost,\n"
        f"adversarial training {gains[1]} points for {cost['madry']:.0f} ×",
    )
    axes = figure.subplots()
    for name, (title, colour, marker, (x, y), side) in DEMO.items():
        bars = {"xerr": rows[name]["cpu_cost"]["std"], "yerr": 100 * rows[name]["worst"]["std"]}
        axes.errorbar(cost[name], accuracy[name], **bars, fmt=marker, color=colour, markersize=9, capsize=3)
        at = {"xy": (cost[name], accuracy[name]), "textcoords": "offset points", "ha": side}
        axes.annotate(title, xytext=(x, y), color=colour, fontsize=11, weight="bold", **at)
        clean = f"{accuracy[name]:.0f} %, clean {100 * rows[name]['test']['mean']:.0f} %"
        axes.annotate(clean, xytext=(x, y - 13), color=GREY, fontsize=10, **at)
    axes.set_xscale("log"), axes.set_xlim(0.8, 16), axes.set_ylim(33, 78), axes.minorticks_off()
    axes.set_xticks([1, 2, 4, 8, 12], ["1 ×", "2 ×", "4 ×", "8 ×", "12 ×"]), axes.grid(alpha=0.3)
    axes.set_xlabel("CPU time of an epoch, standard training = 1 (log axis)")
    axes.set_ylabel(f"accuracy under attack, in %\n(worst case within L{settings['norm']} ≤ {settings['eps']:g})")
    note = f"{settings['data']}, MLP, {len(settings['seeds'])} seeds; bars: ± 1 standard deviation"
    axes.text(0.99, 0.02, note, transform=axes.transAxes, ha="right", color=GREY, fontsize=9)
    return figure


@styled
def defences(rows: ROWS) -> Any:
    """The AutoAttack set of ART at the larger radius against the cost in gradients, one panel a net."""
    message = (
        "On MNIST, CLIP is more robust at ε = 2 than adversarial training\n"
        "of equal cost; on Fashion-MNIST, at ε = 1, neither leads"
    )
    figure = new_figure(6.4, 6.2, message)
    for axes, (net, title) in zip(figure.subplots(2, 2, sharex=True, sharey=True).flat, PANELS.items(), strict=True):
        some = [row for row in rows if (row["data"], row["net"], row["activation"]) == net]
        radius, plain = [k for k in some[0] if k.startswith("AutoAttack set of ART")][-1], plain_gradients(some)
        for (name,), seeds in groups(some, "training").items():
            colour, marker, _ = of(name)
            cost = mean(seeds, "gradients") / plain
            bar = {"yerr": deviation(seeds, radius), "elinewidth": 1, "capsize": 2}
            axes.errorbar(cost, mean(seeds, radius), fmt=marker, color=colour, **bar, zorder=3 if colour == BLUE else 2)
        axes.set_title(f"{title}, ε = {radius.split()[-1]}", fontsize=10, loc="left")
        axes.set_xscale("log"), axes.set_xlim(0.8, 12), axes.set_ylim(-3, 80), axes.grid(alpha=0.3)
        axes.minorticks_off(), axes.set_xticks([1, 2, 4, 8], ["1 ×", "2 ×", "4 ×", "8 ×"])
    for at, (colour, _, name) in zip(((0.95, 60), (2.2, 27), (1.1, 12)), (of(n) for n in NAMED), strict=True):
        figure.axes[0].annotate(name, at, color=colour, weight="bold", fontsize=10)
    for axes, height in zip(figure.axes[1:], (-1, 0, 14), strict=True):
        axes.annotate("standard training", (1.1, height), color=GREY, fontsize=10)
    figure.supxlabel("gradients taken, standard training = 1 (log axis)", fontsize=10)
    figure.supylabel("accuracy under the AutoAttack set of ART, in %", fontsize=10)
    return figure


@styled
def brackets(rows: ROWS) -> Any:
    """From the lower to the upper bound of the Lipschitz constant, a bar for each defence, the steepest on top."""
    net, title = next(iter(PANELS.items()))
    some = [row for row in rows if (row["data"], row["net"], row["activation"]) == net]
    bounds = {}
    for (name,), seeds in groups(some, "training").items():
        by_construction = name == "one_lipschitz"  # times the scale of its outputs
        high = seeds[0]["options"]["scale"] if by_construction else mean(seeds, "Lip ≤")
        bounds[name] = mean(seeds, "Lip ≥"), high
    plain, ours = ("{:.0f} to {:.0f}".format(*bounds[name]) for name in ("standard", "clip"))
    message = f"Standard training ends with a Lipschitz constant\nof {plain}, CLIP with one of {ours}"
    figure = new_figure(6.4, 4.6, message)
    axes = figure.subplots()
    order = sorted(BRACKETS, key=lambda name: bounds[name][0])
    for height, name in enumerate(order):
        low, high = bounds[name]
        colour, said = of(name)[0], dict.fromkeys((f"{low:.2g}", f"{high:.2g}"))
        axes.plot(low, height, "|", ms=8, mew=3, color=colour)  # a bracket that is closed has no length
        axes.plot([low, high], [height, height], color=colour, lw=8, solid_capstyle="butt")
        axes.annotate("–".join(said), (high, height), (7, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(order)), [BRACKETS[name] for name in order], fontsize=10)
    for label, name in zip(axes.get_yticklabels(), order, strict=True):
        if name == "clip":
            label.set(color=BLUE, weight="bold")
    axes.set_xscale("log"), axes.set_xlim(1, 200), axes.minorticks_off(), axes.grid(axis="x", alpha=0.3)
    axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axes.set_xlabel(f"from the lower to the upper bound, L2 to L2 (log axis)\n{title}; means of 3 seeds")
    return figure


TRAINED = {"standard": "Plain training", "clip": "CLIP, λ = 0.2", "pgd": "PGD-7, ε = 1.5"}


@styled
def radii(rows: ROWS) -> Any:
    """What is proved of each image over what was found, a dot an image, for some trainings."""
    figure = new_figure(7.2, 3.2)
    end = 1.03 * max(max(row["distance"]) for row in rows)
    for axes, row in zip(figure.subplots(1, len(rows), sharey=True), rows, strict=True):
        axes.fill_between([0, end], [0, end], [end, end], color=GREY, alpha=0.25, linewidth=0)
        axes.plot([0, end], [0, end], color="black", linewidth=0.8)
        axes.plot(row["distance"], row["radius"], "o", color=BLUE, markersize=3, alpha=0.6, markeredgewidth=0)
        axes.set_xlim(0, end), axes.set_ylim(0, end), axes.set_box_aspect(1)
        proved, found = np.median(row["radius"]), np.median(row["distance"])
        axes.set_title(
            f"{TRAINED[row['training'].partition(':')[0]]}\nmedians {proved:.2f} and {found:.2f}", fontsize=10
        )
        axes.set_xlabel("nearest example found, L2", fontsize=9)
    figure.axes[0].set_ylabel("proved radius, L2")
    return figure


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "figures"
    rows = json.loads((RESULTS / "defences.json").read_text())["results"]["test"]
    drawn = {"front": front(json.loads((RESULTS / "demo.json").read_text()))}
    drawn["radii"] = radii(json.loads((RESULTS / "radii.json").read_text())["results"])
    for name, figure in {**drawn, "defences": defences(rows), "brackets": brackets(rows)}.items():
        figure.savefig(folder / f"{name}.png", dpi=DPI)


if __name__ == "__main__":
    main()
