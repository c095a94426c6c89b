"""The figures of the docs, from ``results/defences.json``: robustness against accuracy and cost, and brackets.

Run: ``python benchmarks/figures.py [FOLDER]``; they go to ``docs/figures`` otherwise.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from common import RESULTS
from tables import groups, plain_gradients

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.colors import LogNorm

ROWS = list[dict[str, Any]]


RIGHT, LEFT = {"xytext": (8, -3), "ha": "left"}, {"xytext": (-9, -3), "ha": "right"}
ABOVE, BELOW = {"xytext": (0, 9), "ha": "center"}, {"xytext": (0, -16), "ha": "center"}
LABELS: dict[str, dict[str, Any]] = {  # where they stand, for those that have others beside them
    "clip": LEFT,
    "clip, dense": BELOW,
    "clip, longest": ABOVE,
    "adversarial, 3 steps": LEFT,
    "adversarial, 7 steps": LEFT,
    "adversarial, 1 step, shorter": BELOW,
}
IN_PANEL: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {  # where that is not their place
    ("mnist", "mlp-200-80", "relu"): {
        "clip": {"xytext": (-2, -16), "ha": "right"},
        "clip, dense": LEFT,
        "clip, equal seconds": {"xytext": (-7, 5), "ha": "right"},
        "adversarial, 7 steps": ABOVE,
        "adversarial, 7 steps, as attacked": {"xytext": (-4, 7), "ha": "right"},
        "adversarial, 1 step, longer": {"xytext": (5, -13), "ha": "left"},
    },
    ("mnist", "mlp-200-80", "gelu"): {
        "clip, longer": LEFT,
        "adversarial, 7 steps": ABOVE,
    },
    ("fashion-mnist", "mlp-200-80", "relu"): {
        "clip, dense": LEFT,
        "clip, longest": RIGHT,
        "adversarial, 1 step": BELOW,
        "adversarial, 1 step, as attacked": {"xytext": (0, -14), "ha": "right"},
        "adversarial, 7 steps": {"xytext": (5, 7), "ha": "left"},
        "adversarial, 7 steps, as attacked": ABOVE,
    },
}


def mean(rows: ROWS, key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def called(name: str) -> str:
    """Short enough for a label; AT is adversarial training, with its number of steps."""
    short = re.sub(r"adversarial, (\d) steps?", r"AT-\1", name)
    return {"one_lipschitz": "1-Lipschitz net", "trades": "TRADES"}.get(name, short.replace("clip", "CLIP"))


def front(axes: Any, net: tuple[str, ...], rows: ROWS, cost: Any) -> Any:
    """Clean accuracy against the AutoAttack set of ART at the larger radius; CLIP as diamonds; colour is the cost."""
    radius = [k for k in rows[0] if k.startswith("AutoAttack set of ART")][-1]
    plain, points = plain_gradients(rows), None
    labels = LABELS | IN_PANEL.get(net, {})
    for (name,), seeds in groups(rows, "training").items():
        x, y = mean(seeds, "clean"), mean(seeds, radius)
        ours = name.startswith("clip")
        marker = {"marker": "D", "s": 90} if ours else {"marker": "o", "s": 70}
        colour = {"c": [mean(seeds, "gradients") / plain], "cmap": "viridis_r", "norm": cost}
        points = axes.scatter(x, y, **marker, **colour, edgecolors="black" if ours else "none", zorder=3)
        axes.annotate(called(name), (x, y), textcoords="offset points", fontsize=8, **labels.get(name, RIGHT))
    ylabel = f"AutoAttack set of ART, ε = {radius.split()[-1]}, %"
    axes.set(title=", ".join(net), xlabel="clean, %", ylabel=ylabel, ylim=(-8, 80))
    axes.margins(x=0.4)
    axes.grid(alpha=0.25)
    return points


def bracket(axes: Any, title: str, rows: ROWS) -> None:
    """From the lower to the upper bound of the Lipschitz constant, a bar for each training."""
    trainings = groups(rows, "training")
    for height, ((name,), seeds) in enumerate(reversed(trainings.items())):
        low = mean(seeds, "Lip ≥")
        by_construction = name == "one_lipschitz"  # times the scale of its outputs
        high = seeds[0]["options"]["scale"] if by_construction else mean(seeds, "Lip ≤")
        colour = "#c2541b" if name.startswith("clip") else "#1b5e96"
        axes.plot(low, height, "|", ms=6, mew=3, color=colour)  # a bracket that is closed has no length
        axes.plot([low, high], [height, height], color=colour, lw=6, solid_capstyle="butt")
        for end, sign, side in ((low, "≥", "right"), (high, "≤", "left")):
            at, shift = (end, height), (-5 if side == "right" else 5, 0)
            text = {"ha": side, "va": "center", "fontsize": 8}
            axes.annotate(f"{sign} {end:.2g}", at, xytext=shift, textcoords="offset points", **text)
    axes.set_yticks(range(len(trainings)), [called(n) for (n,) in reversed(trainings)])
    axes.set(xscale="log", title=title, xlabel="Lipschitz constant, L2 to L2")
    axes.set_xlim(1, 250)
    axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axes.minorticks_off()
    axes.grid(axis="x", alpha=0.25)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "figures"
    rows = json.loads((RESULTS / "defences.json").read_text())["results"]["test"]
    nets = groups(rows, "data", "net", "activation")
    figure, grid = pyplot.subplots(2, 2, figsize=(11, 8.4), layout="constrained")
    cost, points = LogNorm(0.95, 9), None
    for axes, (net, some) in zip(grid.flat, nets.items(), strict=True):
        points = front(axes, net, some, cost)
    bar = figure.colorbar(points, ax=grid, shrink=0.6, label="gradients, over plain training", ticks=[1, 2, 4, 8])
    bar.ax.set_yticklabels(["1", "2", "4", "8"])
    bar.ax.minorticks_off()
    figure.savefig(folder / "front.png", dpi=110)
    (key, some), *_ = nets.items()
    figure, axes = pyplot.subplots(figsize=(8, 4.6), layout="constrained")
    bracket(axes, ", ".join(key), some)
    figure.savefig(folder / "brackets.png", dpi=110)


if __name__ == "__main__":
    main()
