"""The tables of the README, from ``results/*.json``. Run: ``python benchmarks/tables.py``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from common import RESULTS

from artclip.comparison.reproduce import beside

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
    titles = ["net", "Jacobian ≥", "ART ≥", "deel ≥", "Lip ≥, box", "Lip ≥, free", "LipSDP ≤", "ECLipsE-Fast ≤"]
    rows = [[*titles, "product ≤", "LipSDP / lower", "patterns / lower", "s, box", "s, LipSDP", "certified at 0.3"]]
    for name in dict.fromkeys(row["net"] for row in results):
        seeds = [row for row in results if row["net"] == name]

        def mean(get: Any, seeds: list[Any] = seeds) -> float:
            return sum(map(get, seeds)) / len(seeds)

        values = [lambda r, k=k: r["rivals from below"][k]["value"] for k in seeds[0]["rivals from below"]]
        values += [lambda r, k=k: r["lower"][k]["value"] for k in ("clip_values", "free")]
        values += [lambda r, k=k: r["upper"][k]["value"] for k in ("lipsdp", "eclipse", "product")]
        cells = [f"{mean(get):.2f}" for get in values]
        cells.append(" ".join(f"{row['upper over lower']:.2f}" for row in seeds))
        at_will = "patterns at will" in seeds[0] and "relu" in name
        steepest = [max(bound["value"] for bound in row["lower"].values()) for row in seeds]
        cells.append(
            " ".join(f"{r['patterns at will'] / s:.2f}" for r, s in zip(seeds, steepest, strict=True))
            if at_will
            else ""
        )
        cells.append(f"{mean(lambda r: r['lower']['clip_values']['seconds']):.1f}")
        cells.append(f"{mean(lambda r: r['upper']['lipsdp']['seconds']):.1f}")
        shares = [mean(lambda r, k=k: 100 * r["certified at 0.3"][k]) for k in seeds[0]["certified at 0.3"]]
        rows.append([name, *cells, " / ".join(f"{v:.0f}" for v in shares) + " %"])
    return table(rows)


def clever(results: list[dict[str, Any]]) -> str:
    rows = [["net", "batches × size", "artclip, 5 seeds", "ART", "ART's seconds over artclip's"]]
    for row in results:
        for c in row.get("CLEVER", []):
            values = " ".join(f"{v:.2g}" for v in c["artclip"]["values"])
            size = f"{c['batches']} × {c['batch size']}"
            rows.append([row["net"], size, values, f"{c['ART']['value']:.2g}", f"{c['ratio of seconds']:.1f}"])
    return table(rows)


def evaluate_speed(results: list[dict[str, Any]]) -> str:
    ratio = "ART's seconds over artclip's"
    rows = [["net", "eps", "artclip, accuracy", "ART, accuracy", f"{ratio}, batch 32", f"{ratio}, same batch"]]
    for row in results:
        small, same = row["ART"].values()
        ratios = [f"{v:.1f}" for v in row[ratio].values()]
        accuracies = [f"{100 * v['accuracy']:.2f}" for v in (row["artclip"], small)]
        accuracies[1] += f" / {100 * same['accuracy']:.2f}"
        rows.append([f"{row['net']}, {FRAMEWORKS[row['framework']]}", f"{row['eps']:g}", *accuracies, *ratios])
    return table(rows)


def masking(results: list[dict[str, Any]]) -> str:
    columns = {
        "clean": "clean",
        "sign-gradient recipe": "sign-gradient recipe",
        "PGD through the output": "PGD through the output",
        "pgd": "PGD",
        "pgd-margin": "PGD margin",
    }
    rows = [["net", *columns.values(), "worst case", "signs"]]
    for name in dict.fromkeys(row["net"] for row in results):
        seeds = [row for row in results if row["net"] == name]
        cells = []
        for key in columns:
            values = [row["accuracy"][key] for row in seeds if key in row["accuracy"]]
            cells.append(" ".join(f"{v:.1f}" for v in values) or "–")
        worst = " ".join(f"{row['worst case']:.1f}" for row in seeds)
        signs = dict.fromkeys(sign["name"] for row in seeds for sign in row["signs"])
        rows.append([name, *cells, worst, ", ".join(signs) or "none"])
    return table(rows)


def reproduced(results: list[dict[str, Any]]) -> str:
    """Published / ours of each table of ``artclip reproduce``, and what holds of what was claimed."""
    shown = []
    for t in results:
        more = {"worst case, ours": "worst", "Lip ≥, ours": "lipschitz_lower"}
        rows = beside(t["name"], t["columns"], t["published"], t["ours"], more)
        held = "\n".join(f"- {text}: **{'holds' if ok else 'does not hold'}**." for text, ok in t["claims"].items())
        shown.append("\n".join(rows) + f"\n\n{t['setting']}\n\n{held}")
    return "\n\n".join(shown)


SHOWN = {
    "mnist_mlp": mnist,
    "step_cost": cost,
    "step_cost_tensorflow": cost_tensorflow,
    "both_frameworks": both,
    "evaluate_speed": evaluate_speed,
    "masking": masking,
    "bounds": lambda results: f"{bounds(results)}\n\n{clever(results)}",
}


def main() -> None:
    for name in ("reproduce_readme", "reproduce_talk"):
        print(f"\n{name}\n\n{reproduced(json.loads((RESULTS / f'{name}.json').read_text())['tables'])}")
    for name, show in SHOWN.items():
        print(f"\n{name}\n\n{show(json.loads((RESULTS / f'{name}.json').read_text())['results'])}")


if __name__ == "__main__":
    main()
