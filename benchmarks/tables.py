"""The tables of the docs, from ``results/*.json``. Run: ``python benchmarks/tables.py [NAME ...]``."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from common import RESULTS

from artclip.comparison.reproduce import beside


def table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(rows: list[dict[str, Any]], key: str, form: str) -> str:
    """Mean ± standard deviation (n - 1) over seeds, the mean of a single one; a dash where there is no figure."""
    values = [row[key] for row in rows if row.get(key) is not None]
    if len(values) < 2:
        return format(values[0], form) if values else "–"
    return f"{format(np.mean(values), form)} ± {format(np.std(values, ddof=1), form)}"


def groups(rows: list[dict[str, Any]], *keys: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Rows that agree in some entries, in the order of the first of them."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[k] for k in keys), []).append(row)
    return found


def plain_gradients(rows: list[dict[str, Any]]) -> float:
    """Those that the plain training of a net takes."""
    return float(np.mean([row["gradients"] for row in rows if row["training"] == "standard"]))


def said(options: dict[str, Any]) -> str:
    names = {"lamda": "λ", "eps": "ε", "max_iter": "steps", "beta": "β", "sigma": "σ", "nb_epochs": "epochs"}
    names |= {"upper_penalty": "μ", "certify_eps": "ε", "learning_rate": "rate", "pair_interval": "k"}
    return ", ".join(f"{names.get(k, k)} = {v:g}" for k, v in options.items() if k != "max_iter")


def targets(results: dict[str, Any]) -> str:
    """How far accuracies are from their target, in points, seed by seed; and what measuring them took."""
    lines = [["data and net", "target", "accuracy less target, five seeds", "largest", "share of CPU time"]]
    for name, kind in results.items():
        off = [100 * run["off"] for run in kind["runs"]]
        share = np.median([run["share_of_time"] for run in kind["runs"]])
        figures = [f"{100 * kind['target']:.0f}", " ".join(f"{o:+.1f}" for o in off), f"{max(map(abs, off)):.1f}"]
        lines.append([name, *figures, f"{share:.1%}"])
    return table(lines)


def defences(results: dict[str, Any]) -> str:
    """A table for each net: the AutoAttack set of ART on test images, bounds, cost."""
    shown = []
    for (data, net, activation), rows in groups(results["test"], "data", "net", "activation").items():
        radii = [k for k in rows[0] if k.startswith("AutoAttack set of ART")]
        head = ["training", "setting", "seeds", "clean", *(", ε = ".join(r.rsplit(" ", 1)) for r in radii)]
        lines = [[*head, "Lip ≥", "Lip ≤", "gradients ×"]]
        plain = plain_gradients(rows)
        for (name,), seeds in groups(rows, "training").items():
            accuracies = [spread(seeds, k, ".1f") for k in ("clean", *radii)]
            bounds = [spread(seeds, k, ".2f") for k in ("Lip ≥", "Lip ≤")]
            cost = np.mean([r["gradients"] for r in seeds]) / plain
            lines.append([name, said(seeds[0]["options"]), str(len(seeds)), *accuracies, *bounds, f"{cost:.1f}"])
        shown.append(f"**{data}, {net}, {activation}**\n\n{table(lines)}")
    return "\n\n".join(shown)


HEADLINE = (
    "standard",
    "clip",
    "clip, dense",
    "clip, longer",
    "clip, equal seconds",
    "clip, longest",
    "adversarial, 1 step",
    "adversarial, 1 step, as attacked",
    "adversarial, 1 step, shorter",
    "adversarial, 1 step, longer",
    "adversarial, 3 steps",
    "adversarial, 7 steps",
    "adversarial, 7 steps, as attacked",
    "trades",
)


def headline(results: dict[str, Any]) -> str:
    """What the README shows of :func:`defences`."""
    rows = [["net", "training", "clean", "small ε", "large ε", "Lip ≥", "gradients ×"]]
    for (data, net, activation), of in groups(results["test"], "data", "net", "activation").items():
        radii = [k for k in of[0] if k.startswith("AutoAttack set of ART")]
        plain = plain_gradients(of)
        for (name,), seeds in groups(of, "training").items():
            if name not in HEADLINE:
                continue
            budget = "/".join(r.removeprefix("AutoAttack set of ART ") for r in radii)
            title = f"{data.replace('mnist', 'MNIST').replace('fashion', 'Fashion')}, {net}, {activation}, ε = {budget}"
            cells = [f"{np.mean([r[k] for r in seeds]):.1f}" for k in ("clean", *radii)]
            cells += [f"{np.mean([r['Lip ≥'] for r in seeds]):.1f}"]
            rows.append([title, name, *cells, f"{np.mean([r['gradients'] for r in seeds]) / plain:.1f}"])
    return table(rows)


def pairs(results: dict[str, Any]) -> str:
    """Fresh and persistent pairs under one protocol; then where training broke."""
    rows = [
        ["net", "pairs", "clean", "PGD margin", "Lip ≥", "plain / Lip", "shown / mean Jacobian", "quick / whole search"]
    ]
    plain = {
        net: seeds for (net, kind), seeds in groups(results["one protocol"], "net", "pairs").items() if kind == "plain"
    }
    for (net, kind), seeds in groups(results["one protocol"], "net", "pairs").items():
        attack = next(k for k in seeds[0] if k.startswith("PGD"))
        flatter = np.mean([r["Lip ≥"] for r in plain[net]]) / np.mean([r["Lip ≥"] for r in seeds])
        told = [r["quotient shown"] / r["mean Jacobian norm"] for r in seeds if r["quotient shown"] is not None]
        quick = [r["Lip ≥, quick"] / r["Lip ≥"] for r in seeds]
        cells = [spread(seeds, "clean", ".1f"), spread(seeds, attack, ".1f"), spread(seeds, "Lip ≥", ".2f")]
        shown = f"{np.mean(told):.2f}" if told else "–"
        title = f"fresh, {said(seeds[0]['options'])} (chosen)" if kind == "fresh, λ chosen" else kind
        rows.append([net, title, *cells, f"{flatter:.1f}", shown, f"{min(quick):.2f}"])
    lamdas = sorted({r["lamda"] for r in results["stability"]})
    broken = [["net", *(f"λ = {v:g}" for v in lamdas)]]
    for (net,), runs in groups(results["stability"], "net").items():
        cells = []
        for lamda in lamdas:
            some = [r for r in runs if r["lamda"] == lamda]
            cells.append(f"{sum(r['broken'] for r in some)} of {len(some)}")
        broken.append([net, *cells])
    return f"{table(rows)}\n\nBroken trainings:\n\n{table(broken)}"


STEPS = {
    "artclip λ=0": "λ = 0",
    "default": "default",
    "dense": "`pair_interval=2`",
    "robust": "λ = 0.4",
    "certificate": "`certify_eps`",
}


def cost(results: list[dict[str, Any]]) -> str:
    names = {**STEPS, "published": "published CLIP"}
    rows = [["net, threads", *names.values(), "memory, default", "epoch, default, over ART `fit`"]]
    for row in results:
        steps, epoch = row["step over plain"], row.get("epoch over ART fit")
        cells = [f"{steps[name]['median']:.2f}" if name in steps else "–" for name in names]
        memory = f"{row['peak memory over plain']['default']:.2f}"
        rows.append([f"{row['net']}, {row['threads']}", *cells, memory, f"{epoch['median']:.2f}" if epoch else "–"])
    return table(rows)


def cost_tensorflow(results: list[dict[str, Any]]) -> str:
    names = list(results[0]["step over plain"])
    rows = [["net, threads", *(STEPS.get(name, name) for name in names), "epoch, default, over ART `fit`"]]
    for row in results:
        figures = [*(row["step over plain"][name]["median"] for name in names), row["epoch over ART fit"]["median"]]
        rows.append([f"{row['activation']}, {row['threads']}", *(f"{v:.2f}" for v in figures)])
    return table(rows)


FRAMEWORKS = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
METRICS = {"test": ("test", 100, ".1f"), "pgd": ("PGD-100 ×5", 100, ".1f"), "lipschitz_lower": ("Lip ≥", 1, ".2f")}


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


def estimators(results: list[dict[str, Any]]) -> str:
    """Value / seconds of each, means over seeds; what is under a proven lower bound is called no bound."""
    nets = groups(results, "net")
    rows = [["estimator", *(net for (net,) in nets)]]
    for side in ("below", "local", "above"):
        for name in results[0][side]:
            cells = []
            for seeds in nets.values():
                value, seconds = (np.mean([r[side][name][k] for r in seeds]) for k in ("value", "seconds"))
                steepest = np.mean([max(b["value"] for b in r["below"].values()) for r in seeds])
                wrong = " **no bound**" if side == "above" and value < steepest else ""
                shown = f"{value:.2f}" if value < 1e4 else f"{value:.0e}"
                cells.append(f"{shown}{wrong} / {seconds:.2f}")
            rows.append([f"{name} ({'of f at one place' if side == 'local' else side})", *cells])
    return table(rows)


def certificates(results: list[dict[str, Any]]) -> str:
    """Means ± deviations over seeds, a row for each setting of each training."""
    radii = [k for k in results[0] if k.startswith("certified")]
    (attack,) = (k for k in results[0] if k.startswith("PGD"))
    head = [r.replace(" ", ", ε = ") for r in radii]
    rows = [["training", "setting", "clean", *head, attack.replace("margin ", "margin, ε = "), "Lip ≥", "Lip ≤", "s"]]
    for (name, _), seeds in groups([{**r, "said": said(r["options"])} for r in results], "training", "said").items():
        cells = [spread(seeds, k, ".1f") for k in ("clean", *radii, attack)]
        bounds = [f"{np.mean([r[k] for r in seeds]):.2f}" if k in seeds[0] else "–" for k in ("Lip ≥", "Lip ≤")]
        rows.append([name, seeds[0]["said"], *cells, *bounds, f"{np.mean([r['seconds'] for r in seeds]):.0f}"])
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
    "defences": lambda results: f"{headline(results)}\n\n{defences(results)}",
    "pairs": pairs,
    "step_cost": cost,
    "step_cost_gpu": cost,
    "step_cost_tensorflow": cost_tensorflow,
    "both_frameworks": both,
    "targets": targets,
    "evaluate_speed": evaluate_speed,
    "masking": masking,
    "estimators": estimators,
    "certificates": certificates,
    "bounds": lambda results: f"{bounds(results)}\n\n{clever(results)}",
}


def main() -> None:
    for name in ("reproduce_readme", "reproduce_talk"):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        print(f"\n{name}\n\n{reproduced(json.loads((RESULTS / f'{name}.json').read_text())['tables'])}")
    for name, show in SHOWN.items():
        if (sys.argv[1:] and name not in sys.argv[1:]) or not (RESULTS / f"{name}.json").exists():
            continue
        print(f"\n{name}\n\n{show(json.loads((RESULTS / f'{name}.json').read_text())['results'])}")


if __name__ == "__main__":
    main()
