"""The tables of README and docs, from ``results/*.json``.

``python benchmarks/tables.py`` writes them where they belong: between the lines ``<!-- table NAME -->`` and
``<!-- end of table -->`` of README.md and ``docs/``. ``python benchmarks/tables.py NAME ...`` prints some of them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from adversarial_tables import adversarial, beside_rivals, equal_time, longer, measured, parts, tried
from common import RESULTS
from markdown_tables import groups, spread, table

from artclip.comparison.reproduce import beside

ROOT = Path(__file__).parents[1]


def plain_gradients(rows: list[dict[str, Any]]) -> float:
    """Those that the plain training of a net takes."""
    return float(np.mean([row["gradients"] for row in rows if row["training"] == "standard"]))


def said(options: dict[str, Any]) -> str:
    names = {"lamda": "λ", "eps": "ε", "max_iter": "steps", "beta": "β", "sigma": "σ", "nb_epochs": "epochs"}
    names |= {"upper_penalty": "μ", "certify_eps": "ε", "learning_rate": "rate", "pair_interval": "k"}
    return ", ".join(f"{names.get(k, k)} = {v:g}" for k, v in options.items() if k != "max_iter")


def targets(results: dict[str, Any]) -> str:
    """How far accuracies are from their target, in points, seed by seed; and what measuring them took."""
    lines = [["data and net", "target", "accuracy less target, seed by seed", "largest", "share of CPU time"]]
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


def against(results: dict[str, Any], net: tuple[str, str, str], names: Iterable[str]) -> str:
    """Some rows of one table of :func:`defences`, without settings."""
    rows = groups(results["test"], "data", "net", "activation")[net]
    radii = [k for k in rows[0] if k.startswith("AutoAttack set of ART")]
    lines = [["training", "clean", *(f"ε = {r.rsplit(' ', 1)[1]}" for r in radii), "Lip ≥", "gradients ×"]]
    plain = plain_gradients(rows)
    for name in names:
        seeds = [row for row in rows if row["training"] == name]
        cells = [spread(seeds, k, ".1f") for k in ("clean", *radii)]
        cost = np.mean([r["gradients"] for r in seeds]) / plain
        lines.append([name, *cells, spread(seeds, "Lip ≥", ".1f"), f"{cost:.1f}"])
    return table(lines)


VERSUS = (
    (("mnist", "mlp-200-80", "relu"), "clip, dense", "adversarial, 1 step"),
    (("mnist", "mlp-200-80", "relu"), "clip, longest", "adversarial, 7 steps, as attacked"),
    (("mnist", "mlp-200-80", "gelu"), "clip, dense", "adversarial, 1 step"),
    (("mnist", "mlp-200-80", "gelu"), "clip, longest", "adversarial, 7 steps"),
    (("mnist", "cnn", "relu"), "clip, dense", "adversarial, 1 step"),
    (("mnist", "cnn", "relu"), "clip, longer", "adversarial, 7 steps"),
    (("fashion-mnist", "mlp-200-80", "relu"), "clip, longer", "adversarial, 1 step"),
    (("fashion-mnist", "mlp-200-80", "relu"), "clip, longest", "adversarial, 7 steps"),
)


def differences(results: dict[str, Any]) -> str:
    """What CLIP has more than adversarial training, in points of the means over seeds."""
    nets = groups(results["test"], "data", "net", "activation")
    lines = [["net", "CLIP", "against", "clean", "small ε", "large ε", "gradients ×, CLIP", "gradients ×, rival"]]
    for net, ours, rival in VERSUS:
        a, b = ([row for row in nets[net] if row["training"] == name] for name in (ours, rival))
        keys = ("clean", *(k for k in a[0] if k.startswith("AutoAttack set of ART")))
        points = [np.mean([r[k] for r in a]) - np.mean([r[k] for r in b]) for k in keys]
        cost = [np.mean([r["gradients"] for r in rows]) / plain_gradients(nets[net]) for rows in (a, b)]
        cells = [*(f"{v:+.1f}".replace("-", "−") for v in points), *(f"{v:.1f}" for v in cost)]
        lines.append([" ".join(net), ours, rival, *cells])
    return table(lines)


DEMO = {
    "standard": "standard",
    "weight@0.98": "small weights (`weight`), 98 %",
    "clip@0.98": "CLIP, 98 %",
    "clip@0.95": "CLIP, 95 %",
    "madry": "adversarial (Madry)",
}


def demo(results: list[dict[str, Any]]) -> str:
    """What ``make demo`` measures, in six columns."""
    rows = [["training", "clean", "worst case", "Lip ≥", "Lip ≤", "gradients ×"]]
    shown = {"test": (100, ".1f"), "worst": (100, ".1f"), "lipschitz_lower": (1, ".1f"), "lipschitz_upper": (1, ".1f")}
    for row in results:
        cells = [
            f"{format(scale * row[key]['mean'], form)} ± {format(scale * row[key]['std'], form)}"
            for key, (scale, form) in shown.items()
        ]
        rows.append([DEMO[row["defence"]], *cells, f"{row['gradients']['mean']:.1f}"])
    return table(rows)


def pairs(results: dict[str, Any]) -> tuple[str, str]:
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
    return table(rows), table(broken)


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


def short_fits(results: dict[str, Any]) -> str:
    counts = results["gradients"]
    return table([["steps of the fit", *counts], ["gradients ×", *(f"{v:.1f}" for v in counts.values())]])


def short_accuracies(results: dict[str, Any]) -> str:
    """A row a net and length; in each column clean accuracy / PGD on the margin."""
    rows = results["accuracies"]
    intervals = list(dict.fromkeys(row["interval"] for row in rows))
    heads = ["plain" if k == 0 else f"every {k}" if k > 1 else "every step" for k in intervals]
    found = [["net, steps", *heads]]
    for net, steps in dict.fromkeys((row["net"], row["steps"]) for row in rows):
        some = [row for row in rows if (row["net"], row["steps"]) == (net, steps)]
        found.append([f"{net}, {steps}", *(f"{r['clean']:.1f} / {r['PGD margin']:.1f}" for r in some)])
    return table(found)


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


def certified_nets(results: dict[str, Any]) -> str:
    """Verified robust accuracy of a net by name, at the radius that its training was chosen by and the next one."""
    rows = [
        ["net", "data", "ε", "clean", "certified, %", "margin-PGD leaves", "Lip ≥", "Lip ≤", "epochs", "CPU minutes"]
    ]
    for case in results.values():
        seeds, main = case["test"], f"{case['case']['main']:.4g}"
        which = [case["case"]["net"], case["case"]["data"]]
        more = [spread(seeds, k, ".2f") for k in ("Lip ≥", "Lip ≤")]
        minutes = f"{np.mean([row['CPU seconds'] for row in seeds]) / 60:.0f}"
        radii = [f"{r:.4g}" for r in case["case"]["radii"]]
        at = min(radii.index(main), len(radii) - 2)
        for radius in radii[at : at + 2]:
            left = spread(seeds, f"PGD margin {radius}", ".1f") if radius == main else "–"
            figures = [spread(seeds, "clean", ".1f"), spread(seeds, f"certified {radius}", ".1f"), left]
            rows.append([*which, in_pixels(float(radius)), *figures, *more, str(case["case"]["nb_epochs"]), minutes])
    return table(rows)


def smoothing(results: list[dict[str, Any]]) -> str:
    """Certified shares by constants and by noise, a row for each training."""
    radii = [k for k in results[0] if k.startswith("certified")]
    head = [r.replace(" ", ", ε = ") for r in radii]
    rows = [["certificate", "training", "clean", *head, "passes for an answer", "CPU seconds"]]
    for (kind, value), seeds in groups(results, "kind", "value").items():
        said = ["by constants, true", f"`certify_eps={value:g}`"]
        said = said if kind == "certify_eps" else ["by noise, 99.9 %", f"noise of σ = {value:g}"]
        cells = [spread(seeds, k, ".1f") for k in ("clean", *radii)]
        seconds = f"{np.mean([row['CPU seconds'] for row in seeds]):.0f}"
        rows.append([*said, *cells, f"{seeds[0]['passes']:,}", seconds])
    return table(rows)


def in_pixels(radius: float) -> str:
    """A radius as users say it: a short decimal number, or with 255 below it."""
    return f"{radius:g}" if round(radius, 2) == radius else f"{255 * radius:.0f}/255"


def local_certificates(results: list[dict[str, Any]]) -> str:
    """Certified shares by constants and in balls, at each radius, a row for each net."""
    radii = [k.removeprefix("ball ") for k in results[0] if k.startswith("ball ")]
    ways = ("constants", "lines", "ball", "PGD")
    rows = [["net", "λ", "clean", *(f"{way}, ε = {eps}" for eps in radii for way in ways), "s a sample"]]
    for (net, activation, lamda), seeds in groups(results, "net", "activation", "λ").items():
        cells = [spread(seeds, f"{way} {eps}", ".1f") for eps in radii for way in ways]
        seconds = np.mean([row[f"seconds {eps}"] for row in seeds for eps in radii])
        rows.append([f"{net}, {activation}", f"{lamda:g}", spread(seeds, "clean", ".1f"), *cells, f"{seconds:.2f}"])
    return table(rows)


def joined_bounds(results: list[dict[str, Any]]) -> str:
    """Brackets by the product of norms and by all layers together, a row for each net."""
    rows = [["net", "λ", "clean", "Lip ≥, free", "product ≤", "together ≤", "product / lower", "together / lower", "s"]]
    for (net, lamda), seeds in groups(results, "net", "λ").items():
        keys = ("Lip ≥, free", "product", "auto", "product / Lip ≥", "auto / Lip ≥")
        cells = [spread(seeds, key, ".2f") for key in keys]
        seconds = f"{np.mean([row['seconds of auto'] for row in seeds]):.1f}"
        rows.append([net, f"{lamda:g}", spread(seeds, "clean", ".1f"), *cells, seconds])
    return table(rows)


def convolutional_bounds(results: list[dict[str, Any]]) -> str:
    """Brackets of convolutional nets by the product of norms and by all layers together, a row for each net."""
    rows = [["net", "λ", "clean", "Lip ≥, free", "product / lower", "together / lower", "s", "product", "together"]]
    rows[0][-2:] = [f"certified by {name}, %" for name in rows[0][-2:]]
    for (net, lamda), seeds in groups(results, "net", "λ").items():
        cells = [spread(seeds, key, ".2f") for key in ("Lip ≥, free", "product / Lip ≥", "auto / Lip ≥")]
        seconds = f"{np.mean([row['seconds of auto'] for row in seeds]):.1f}"
        certified = [spread(seeds, f"certified by {method}", ".1f") for method in ("product", "auto")]
        rows.append([net, f"{lamda:g}", spread(seeds, "clean", ".1f"), *cells, seconds, *certified])
    return table(rows)


def audit(results: list[dict[str, Any]], some: tuple[str, ...] = ()) -> str:
    """What pairs show of each layer, as it is made and trained, and what is proved; or of some layers alone."""
    rows = [["library", "layer", "as made, Lip ≥", "trained, Lip ≥", "Lip ≤", "claim of 1"]]
    for row in results:
        name = row["layer"].replace("|", " ")
        if some and f"{row['library']} {name}" not in some:
            continue
        if "error" in row:
            rows.append([row["library"], name, "–", "–", "–", row["error"].partition(":")[0]])
            continue
        made, trained = ([r["at least"] for r in row["runs"] if r["trained"] is t] for t in (False, True))
        most = [r["at most"] for r in row["runs"]]
        verdicts = {r["verdict"] for r in row["runs"]}
        said = next(v for v in ("broken", "open", "proved") if v in verdicts)
        rows.append([row["library"], name, f"{max(made):.5g}", f"{max(trained):.5g}"])
        rows[-1] += ["–" if None in most else f"{max(most):.5g}", said]
    return table(rows)


def verifiers(results: list[dict[str, Any]], largest: bool = False) -> str:
    """Nets of others: certified and standing within Linf radii, or within the largest alone; Lipschitz brackets."""
    rows = [["net", "images", "clean", "Linf ε", "certified", "PGD leaves", "s an image", "Lip ≥", "Lip ≤"]]
    for row in results:
        for i, at in enumerate(row["by eps"][-1:] if largest else row["by eps"]):
            first = [row["net"], str(row["images"]), f"{row['clean']:.1f}"] if i == 0 else ["", "", ""]
            last = [f"{row['Lip ≥']:.3g}", f"{row['Lip ≤']:.3g}"] if i == 0 else ["", ""]
            eps = at["eps"] if row["net"].startswith("mnist") else f"{255 * at['eps']:g}/255"
            done = at["images looked at"] > 0
            figures = [f"{at['certified']:.1f}" if done else "–", f"{at['PGD']:.1f}", f"{at['seconds']:.2g}"]
            rows.append([*first, str(eps), *figures, *last])
    return table(rows)


def autoattack(results: list[dict[str, Any]], shown: Sequence[str] = ()) -> str:
    """What stands under the standard set and under AutoAttack, and CPU seconds; of some nets, or with every attack."""
    attacks = [] if shown else ["minimum norm", "APGD-CE", "APGD-T"]
    signs = [] if shown else ["signs"]
    heads = [
        "net",
        "budget",
        "clean",
        *attacks,
        "artclip",
        "AutoAttack",
        "CPU s, artclip",
        "CPU s, AutoAttack",
        "times",
    ]
    rows = [[*heads, *signs]]
    for row in results:
        if shown and row["net"] not in shown:
            continue
        by_attack = [f"{row['by attack'][name]:.1f}" for name in attacks]
        seconds = [row["artclip, CPU seconds"], row["AutoAttack, CPU seconds"]]
        figures = [f"{row[key]:.1f}" for key in ("artclip", "AutoAttack")]
        figures += [*(f"{s:.0f}" for s in seconds), f"{seconds[1] / seconds[0]:.1f}"]
        more = [", ".join(row["signs"]) or "none"] if signs else []
        rows.append([row["net"], budget(row["norm"], row["eps"]), f"{row['clean']:.1f}", *by_attack, *figures, *more])
    return table(rows)


def budget(norm: str, eps: float) -> str:
    return f"{norm.replace('inf', '∞')} ≤ {f'{255 * eps:g}/255' if 0 < eps < 0.02 else f'{eps:g}'}"


def fuzz_certificates(results: list[dict[str, Any]]) -> str:
    """Certificates under attack, a row for each net."""
    share = next(k for k in results[0] if k.startswith("share broken"))
    rows = [["net", "norm", "samples", "broken", "radius, median", "distance, median", f"{share}, %"]]
    for row in results:
        figures = [f"{row['median radius']:.3g}", f"{row['median distance']:.3g}", f"{100 * row[share]:.0f}"]
        rows.append([row["net"], f"L{row['norm']}", str(row["samples"]), str(row["broken"]), *figures])
    return table(rows)


AUDITED = (
    "deel-torchlip SpectralConv2d, 3×3, zeros",
    "deel-torchlip FrobeniusLinear, 48 to 10",
    "orthogonium AdaptiveOrthoConv2d, 3×3, zeros",
    "orthogonium UnitNormLinear, 48 to 10",
    "torch spectral_norm(Linear), 48 to 48",
    "torch spectral_norm(Conv2d), 3×3",
    "keras SpectralNormalization(Dense), 48 to 48",
    "keras SpectralNormalization(Conv2D), 3×3",
)


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


def reproduced(results: list[dict[str, Any]]) -> list[str]:
    """Published / ours, for each table of ``artclip reproduce``."""
    shown = []
    for t in results:
        more = {"worst case, ours": "worst", "Lip ≥, ours": "lipschitz_lower"}
        rows = beside(t["name"], t["columns"], t["published"], t["ours"], more)
        shown.append("\n".join(rows))
    return shown


def part(whole: str, first: Iterable[str] = (), columns: Iterable[str] = ()) -> str:
    """Of a table: the rows whose first cells begin with one of ``first``, and the columns of these titles."""
    head, _, *body = ([cell.strip() for cell in line[1:-1].split(" | ")] for line in whole.splitlines())
    first = tuple(first)
    rows = [row for row in body if not first or any(" | ".join(row).startswith(f) for f in first)]
    kept = [i for i, title in enumerate(head) if not i or not columns or title in columns]
    return table([[row[i] for i in kept] for row in (head, *rows)])


def flatter(results: dict[str, Any]) -> str:
    """Of :func:`pairs` a row for each net: attack and constant of the three trainings side by side."""
    kinds = ("plain", "fresh", "persistent")
    rows = [["net", *(f"PGD margin, {k}" for k in kinds), *(f"Lip ≥, {k}" for k in kinds)]]
    for (net,), runs in groups(results["one protocol"], "net").items():
        if net not in ("MLP ReLU, SGD", "CNN, 5,000 images"):
            of = {k: [r for r in runs if r["pairs"] == k] for k in kinds}
            attack = next(k for k in runs[0] if k.startswith("PGD"))
            cells = [f"{np.mean([r[key] for r in of[k]]):.1f}" for key in (attack, "Lip ≥") for k in kinds]
            rows.append([net, *cells])
    return table(rows)


MLP = ("mnist", "mlp-200-80", "relu")
PROVED = ("setting", "clean", "certified, ε = 1", "certified, ε = 1.58", "Lip ≤")
CERTIFIED = (
    "standard",
    "clip | λ = 0.1",
    "gloro | ε = 1.58",
    "one_lipschitz | scale = 1",
    "clip, certify_eps | λ = 0, ε = 1.75",
    "clip, certify_eps | λ = 0.01",
    "clip, certify_eps, Muon | λ = 0.01",
    "clip, certify_eps, Muon, wide",
)
ESTIMATORS = (
    "artclip, box",
    "artclip, free",
    "published pair ascent",
    "Jacobian norm",
    "deel-torchlip",
    "artclip, lipsdp",
    "eclipse-nn, ECLipsE_Fast",
    "eclipse-nn, ECLipsE (",
)
TARGETS = ("digits, ten classes |", "digits, ten classes, held", "mnist, ten classes |", "mnist, ten classes, Dropout")
TARGETS += ("mnist, ten classes, held", "cifar-10, cnn", "cifar-10, convnet", "cifar-10, resnet")


def residual(results: dict[str, Any]) -> str:
    """Plain training and the chosen setting of CLIP on test images, mean ± standard deviation over seeds."""
    attacked = {f"AutoAttack set of ART {eps:g}": ".1f" for eps in (0.25, 0.5)}
    heads = {"clean": ".1f", **attacked, "Lip ≥": ".1f", "mean Jacobian norm": ".2f", "quotient shown": ".2f"}
    heads["gradients"] = ".2f"
    names = [name.replace("AutoAttack set of ART ", "ε = ") for name in heads]
    lines = [["training", "seeds", *names, "plain / Lip"]]
    by_training = sorted(groups(results["test"], "training").items(), key=lambda g: g[1][0]["options"]["lamda"])
    plain = np.mean([row["Lip ≥"] for row in by_training[0][1]])
    for (name,), rows in by_training:
        figures = [spread(rows, key, form) for key, form in heads.items()]
        flatter_by = plain / np.mean([row["Lip ≥"] for row in rows])
        lines.append([name, str(len(rows)), *figures, f"{flatter_by:.1f}"])
    return table(lines)


def residual_all(results: dict[str, Any]) -> str:
    """Settings on validation images of one seed, then what was measured on test images."""

    def of(row: dict[str, Any]) -> tuple[Any, Any]:
        return row["seed"], row["options"].get("nb_epochs")

    plain = {of(row): row for part in results.values() for row in part if row["options"]["lamda"] == 0}
    heads = ["clean", "Lip ≥, quick", "Lip ≥", "plain / Lip", "mean Jacobian norm", "quotient shown", "gradients ×"]
    lines = [["training", "images", "seed", *heads]]
    for part_name, rows in results.items():
        for row in rows:
            # Both sides of the ratio by the same search.
            key = next((k for k in ("Lip ≥", "Lip ≥, quick") if k in row and k in plain.get(of(row), {})), None)
            flatter_by = plain[of(row)][key] / row[key] if key else None
            cells = ["–" if row.get(k) is None else f"{row[k]:.1f}" for k in heads[:3]]
            cells.append("–" if flatter_by is None else f"{flatter_by:.1f}")
            shown = [row["mean Jacobian norm"], row["quotient shown"], row["gradients"]]
            cells += ["–" if v is None else f"{v:.2f}" for v in shown]
            lines.append([row["training"], part_name, str(row["seed"]), *cells])
    return table(lines)


ATTACKED = ("MNIST MLP, CLIP", "MNIST MLP of sigmoids", "MNIST MLP, logits × 1000", "MNIST CNN, CLIP")
ATTACKED += ("mnist_wong.pth", "mnist_256x2.onnx", "CIFAR-10 CNN, CLIP", "cifar_resnet_2b.onnx")
DEFENCES = ("standard", "clip", "clip, dense", "clip, longest", "adversarial, 1 step", "adversarial, 7 steps")
STEP = ("default", "`pair_interval=2`", "published CLIP", "memory, default", "epoch, default, over ART `fit`")

ADVERSARIAL = ("standard", "fgsm", "n-fgsm", "grad-align", "pgd", "trades", "clip")


def of_case(case: str) -> dict[str, Callable[[Any], str]]:
    """The tables of a case of ``adversarial.py``: some trainings, all of them, and what was tried."""
    name = f"adversarial_{case.replace('-', '_')}"
    return {
        name: lambda r: part(adversarial(r, case), ADVERSARIAL),
        f"{name}_all": lambda r: adversarial(r, case),
        f"{name}_tried": lambda r: tried(r, case),
    }


# Name of a table: the file of results behind it, and what makes the table of its entry "results" (or "tables").
TABLES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "demo": ("demo", demo),
    "against": ("defences", lambda r: against(r, MLP, (*DEFENCES, "adversarial, 7 steps, as attacked", "trades"))),
    "differences": ("defences", differences),
    "defences": ("defences", defences),
    "flatter": ("pairs", flatter),
    "pairs": ("pairs", lambda r: pairs(r)[0]),
    "stability": ("pairs", lambda r: pairs(r)[1]),
    "residual": ("residual", residual),
    "residual_all": ("residual", residual_all),
    "cost": ("step_cost", lambda r: part(cost(r), columns=STEP)),
    "cost_all": ("step_cost", cost),
    "short_fits": ("short_fits", short_fits),
    "short_accuracies": ("short_fits", short_accuracies),
    "cost_gpu": ("step_cost_gpu", lambda r: part(cost(r), columns=STEP)),
    "cost_gpu_all": ("step_cost_gpu", cost),
    "cost_tensorflow": ("step_cost_tensorflow", cost_tensorflow),
    "both_frameworks": ("both_frameworks", both),
    **{name: ("adversarial", make) for case in measured() for name, make in of_case(case).items()},
    **({"beside_rivals": ("adversarial", beside_rivals)} if measured() else {}),
    "adversarial_parts": ("adversarial", parts),
    "adversarial_equal_time": ("adversarial", equal_time),
    "adversarial_longer": ("adversarial", longer),
    "targets": ("targets", lambda r: part(targets(r), TARGETS)),
    "targets_all": ("targets", targets),
    "evaluate_speed": ("evaluate_speed", evaluate_speed),
    "masking": ("masking", masking),
    "estimators": ("estimators", lambda r: part(estimators(r), ESTIMATORS)),
    "estimators_all": ("estimators", estimators),
    "certificates": (
        "certificates",
        lambda r: part(
            certificates(r), CERTIFIED, ("setting", "clean", "certified, ε = 1", "certified, ε = 1.58", "Lip ≤")
        ),
    ),
    "certificates_all": ("certificates", certificates),
    "certified_nets": ("certified_nets", certified_nets),
    "smoothing": ("smoothing", smoothing),
    "local_certificates": ("local_certificates", local_certificates),
    "joined_bounds": ("joined_bounds", joined_bounds),
    "convolutional_bounds": ("convolutional_bounds", convolutional_bounds),
    "audit": ("audit", lambda r: audit(r, AUDITED)),
    "audit_all": ("audit", audit),
    "autoattack": ("autoattack", lambda r: autoattack(r, ATTACKED)),
    "autoattack_all": ("autoattack", autoattack),
    "verifiers": ("verifiers", lambda r: verifiers(r, largest=True)),
    "verifiers_all": ("verifiers", verifiers),
    "fuzz_certificates": ("fuzz_certificates", fuzz_certificates),
    "bounds": (
        "bounds",
        lambda r: part(bounds(r), columns=("Jacobian ≥", "Lip ≥, free", "LipSDP ≤", "product ≤", "LipSDP / lower")),
    ),
    "bounds_all": ("bounds", bounds),
    "clever": ("bounds", clever),
    "reproduce_readme": ("reproduce_readme", lambda r: reproduced(r)[0]),
    "reproduce_talk_mnist": ("reproduce_talk", lambda r: reproduced(r)[0]),
    "reproduce_talk_fashion": ("reproduce_talk", lambda r: reproduced(r)[1]),
}


def made(name: str) -> str:
    """A table by its name, in Markdown."""
    file, make = TABLES[name]
    record = json.loads((RESULTS / f"{file}.json").read_text())
    return make(record["results"] if "results" in record else record["tables"])


def pages() -> list[Path]:
    """README and docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """A page with its tables as the results have them."""
    return re.sub(
        r"(<!-- table (\w+) -->\n).*?(<!-- end of table -->)",
        lambda m: f"{m[1]}\n{made(m[2])}\n\n{m[3]}",
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    for name in sys.argv[1:]:
        print(f"\n{name}\n\n{made(name)}")
    if not sys.argv[1:]:
        for page in pages():
            page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()
