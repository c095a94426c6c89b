"""The tables of the README, from ``results/*.json``. Run: ``python benchmarks/tables.py``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from common import RESULTS

COLUMNS = {
    "clean": ("clean", ".1f"),
    "PGD-40 L2 1.0, cross-entropy": ("PGD-40, ε = 1", ".1f"),
    "PGD-100 L2 1.5, margin": ("margin PGD-100, ε = 1.5", ".1f"),
    "PGD-100 L2 2.0, margin": ("margin PGD-100, ε = 2", ".1f"),
    "Lipschitz, lower bound by pair ascent": ("Lip ≥", ".2f"),
}


def table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mnist(results: dict[str, Any]) -> str:
    rows = [["net, training", *(title for title, _ in COLUMNS.values())]]
    for activation in ("relu", "sigmoid"):
        runs = results[activation]["test"]
        for name in dict.fromkeys(run["training"] for run in runs):
            chosen = [run for run in runs if run["training"] == name]
            label = name.replace("chosen λ", f"λ = {chosen[0]['options'].get('lamda')}")
            cells = []
            for key, (_, form) in COLUMNS.items():
                values = [run[key] for run in chosen]
                cells.append(f"{format(np.mean(values), form)} ± {format(np.std(values), form)}")
            rows.append([f"{activation}, {label}", *cells])
    return table(rows)


def cost(results: list[dict[str, Any]]) -> str:
    rows = [["net, threads", "λ = 0", "defaults", "cheap", "published CLIP", "epoch, defaults, over ART `fit`"]]
    for row in results:
        steps = row["step over plain"]
        medians = [steps[name]["median"] for name in ("artclip λ=0", "default", "cheap", "published")]
        figures = [*medians, row["epoch over ART fit"]["median"]]
        rows.append([f"{row['activation']}, {row['threads']}", *(f"{v:.2f}" for v in figures)])
    return table(rows)


def cost_tensorflow(results: list[dict[str, Any]]) -> str:
    rows = [["net, threads", "plain, concrete", "λ = 0", "defaults", "cheap", "epoch, defaults, over ART `fit`"]]
    for row in results:
        steps = row["step over plain"]
        medians = [steps[name]["median"] for name in ("plain, concrete", "artclip λ=0", "default", "cheap")]
        figures = [*medians, row["epoch over ART fit"]["median"]]
        rows.append([f"{row['activation']}, {row['threads']}", *(f"{v:.2f}" for v in figures)])
    return table(rows)


FRAMEWORKS = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
METRICS = {"test": ("test", 100, ".1f"), "pgd": ("PGD-40", 100, ".1f"), "lipschitz_lower": ("Lip ≥", 1, ".2f")}


def both(results: dict[str, Any]) -> str:
    columns = [f"{title}, {name}" for title, *_ in METRICS.values() for name in FRAMEWORKS.values()]
    rows = [["data, training", *columns]]
    for data, tables in results.items():
        for pair in zip(*(tables[f] for f in FRAMEWORKS), strict=True):
            cells = [
                f"{format(scale * row[metric]['mean'], form)} ± {format(scale * row[metric]['std'], form)}"
                for metric, (_, scale, form) in METRICS.items()
                for row in pair
            ]
            rows.append([f"{data}, {pair[0]['defence']}", *cells])
    return table(rows)


def bounds(results: list[dict[str, Any]]) -> str:
    titles = ["net", "Jacobian ≥", "Lip ≥, box", "Lip ≥, free", "LipSDP ≤", "ECLipsE-Fast ≤", "product ≤"]
    rows = [[*titles, "LipSDP / lower", "s, lower", "s, LipSDP", "certified at 0.3"]]
    for row in results:
        lower, upper = row["lower, free"], row["upper"]
        figures = [row["Jacobian norm on 10,000 points"], row["lower, clip_values"], lower]
        figures += [upper[m] for m in ("lipsdp", "eclipse", "product")]
        seconds = [lower["seconds"], upper["lipsdp"]["seconds"]]
        shares = " / ".join(f"{100 * v:.0f}" for v in row["certified at 0.3"].values())
        cells = [f"{f['value']:.2f}" for f in figures] + [f"{row['upper over lower']:.2f}"]
        rows.append([row["net"], *cells, *(f"{s:.1f}" for s in seconds), f"{shares} %"])
    return table(rows)


SHOWN = {
    "mnist_mlp": mnist,
    "step_cost": cost,
    "step_cost_tensorflow": cost_tensorflow,
    "both_frameworks": both,
    "bounds": bounds,
}


def main() -> None:
    for name, show in SHOWN.items():
        print(f"\n{name}\n\n{show(json.loads((RESULTS / f'{name}.json').read_text())['results'])}")


if __name__ == "__main__":
    main()
