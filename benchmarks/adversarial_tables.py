"""The tables of ``results/adversarial.json``."""

from __future__ import annotations

from typing import Any

import numpy as np
from common import recorded
from markdown_tables import groups, spread, table

from artclip.comparison.paired import interval

CASES = {
    "mnist-mlp": "MNIST, MLP",
    "mnist-cnn": "MNIST, CNN",
    "fashion-mlp": "Fashion-MNIST, MLP",
    "cifar-cnn": "CIFAR-10, CNN",
    "cifar-convnet": "CIFAR-10, ConvNet",
}
ORDER = ("standard", "fgsm", "n-fgsm", "grad-align", "gradient-norm", "jacobian", "pgd", "trades", "clip", "clip+fgsm")
OURS, RIVALS = ("clip", "clip+fgsm"), ("n-fgsm", "pgd", "trades")
OPTIONS = {
    "adversarial_eps": "ε",
    "eps": "ε",
    "lamda": "λ",
    "beta": "β",
    "max_iter": "steps",
}
BASE = {"lamda": "0.4", "pair_interval": "1"}
PARTS = {
    "pair_steps": "ascents: {}",
    "pair_interval": "one of {} steps",
    "nb_pairs": "pairs: {}",
    "separation": "distance {}",
    "pair_init": "places: {}",
    "reduction": "the steepest pair alone",
    "penalty": "Q in place of Q²",
    "lamda": "λ = {}",
}


def measured() -> list[str]:
    """Cases with figures of test images."""
    results = recorded("adversarial", {})
    return [name for name in CASES if results.get(name, {}).get("test")]


def adversarial(results: dict[str, Any], name: str) -> str:
    """A row for each training of a case; mean ± standard deviation, and cost over that of plain training."""
    rows, case = results[name]["test"], results[name]["case"]
    radii = [f"AutoAttack set of ART {eps:g}" for eps in case["radii"]]
    lines = [["training", "setting", "clean", *(f"ε = {eps:g}" for eps in case["radii"]), "Lip ≥"]]
    lines[0] += ["CPU time ×", "gradients ×", "memory ×"]
    memory = results[name].get("peak memory of a fit, MiB", {})
    plain = {key: mean_of(rows, "standard", key) for key in ("CPU seconds", "gradients")}
    for (training,), seeds in sorted(groups(rows, "training").items(), key=lambda group: ORDER.index(group[0][0])):
        setting = said(seeds[0]["setting"])
        figures = [spread(seeds, key, ".1f") for key in ("clean", *radii)]
        costs = [f"{mean_of(rows, training, key) / value:.1f}" for key, value in plain.items()]
        costs.append(f"{memory[training] / memory['standard']:.1f}" if training in memory else "–")
        lines.append([training, setting, *figures, spread(seeds, "Lip ≥", ".1f"), *costs])
    return table(lines)


def said(setting: str) -> str:
    """The options of a defence as it is named, but for ``pair_interval``, of which larger λ leave nothing."""
    return ", ".join(f"{OPTIONS[key]} = {value}" for key, value in options_of(setting).items() if key in OPTIONS)


def options_of(setting: str) -> dict[str, str]:
    """What stands behind the name of a defence."""
    return dict(option.split("=") for option in setting.partition(":")[2].split(",") if option)


def tried(results: dict[str, Any], name: str) -> str:
    """All settings on validation images."""
    radii = results[name]["case"]["radii"]
    lines = [["training", "setting", "clean", *(f"ε = {eps:g}" for eps in radii)]]
    rows = results[name]["validation"]
    for row in sorted(rows, key=lambda row: (ORDER.index(row["setting"].partition(":")[0]), row["setting"])):
        figures = [f"{row[key]:.1f}" for key in ("clean", *(f"APGD and PGD {eps:g}" for eps in radii))]
        lines.append([row["setting"].partition(":")[0], said(row["setting"]), *figures])
    return table(lines)


def parts(results: dict[str, Any]) -> str:
    """What a change of each part of the pairs does, on validation images."""
    rows, radii = results["mnist-mlp-parts"]["validation"], results["mnist-mlp-parts"]["case"]["radii"]
    lines, plain = [["changed", *(f"ε = {eps:g}" for eps in radii), "clean", "CPU time ×"]], rows[0]["CPU seconds"]

    def changes(row: dict[str, Any]) -> dict[str, str]:
        return {key: value for key, value in options_of(row["setting"]).items() if BASE.get(key) != value}

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        """Plain training, then nothing, then one change of each part after the other, then several."""
        found = changes(row)
        key, value = next(iter(found.items()), ("", ""))
        order = list(PARTS).index(key) if found else -1
        return row["setting"] != "standard", len(found), order, float(value) if value[-1:].isdigit() else 0.0

    for row in sorted(rows, key=place):
        figures = [f"{row[key]:.1f}" for key in (*(f"APGD and PGD {eps:g}" for eps in radii), "clean")]
        said = ", ".join(PARTS[key].format(value) for key, value in changes(row).items()) or "nothing"
        name = "plain training" if row["setting"] == "standard" else said
        lines.append([name, *figures, f"{row['CPU seconds'] / plain:.1f}"])
    return table(lines)


def longer(results: dict[str, Any]) -> str:
    """What four times as many epochs do, with the settings chosen before, on test images."""
    short, long = (results[name] for name in ("mnist-mlp", "mnist-mlp-long"))
    keys = ["clean", *(f"AutoAttack set of ART {eps:g}" for eps in long["case"]["radii"])]
    told = ["clean", *(f"ε = {eps:g}" for eps in long["case"]["radii"])]
    lines = [
        ["training", "setting", *(f"{what}, {c['case']['nb_epochs']} epochs" for c in (short, long) for what in told)]
    ]
    for (training, seed), rows in groups(long["test"], "training", "seed").items():
        before = [r for r in short["test"] if (r["setting"], r["seed"]) == (rows[0]["setting"], seed)]
        figures = [spread(some, key, ".1f") for some in (before, rows) for key in keys]
        lines.append([training.partition(",")[0], said(rows[0]["setting"]), *figures])
    return table(lines)


def mean_of(rows: list[dict[str, Any]], training: str, key: str) -> float:
    return float(np.mean([row[key] for row in rows if row["training"] == training]))


def beside_rivals(results: dict[str, Any]) -> str:
    """Points that a training of ours has more than a rival, with 95 % intervals over images and seeds."""
    lines = [["net, training", "rival", "clean", "smaller ε", "larger ε", "CPU time, of the rival's"]]
    for name in measured():
        rows, case = results[name]["test"], results[name]["case"]
        for ours in OURS:
            for rival in RIVALS:
                clean = mean_of(rows, ours, "clean") - mean_of(rows, rival, "clean")
                standing = (apart(rows, ours, rival, eps, case["nb_attacked"]) for eps in case["radii"])
                cost = mean_of(rows, ours, "CPU seconds") / mean_of(rows, rival, "CPU seconds")
                signed = [cell.replace("-", "−") for cell in (f"{clean:+.1f}", *standing)]
                lines.append([f"{CASES[name]}, {ours}", rival, *signed, f"{cost:.2f}"])
    return table(lines)


def equal_time(results: dict[str, Any]) -> str:
    """CLIP trained for as long as a single-step rival takes, beside that and others; and what it has more."""
    short, long = results["cifar-cnn"], results["cifar-cnn-equal-time"]
    ours = [{**row, "training": "ours"} for row in long["test"] if row["training"] == "clip"]
    radii, nb_images = long["case"]["radii"], long["case"]["nb_attacked"]
    lines = [["training", "setting", "epochs", "clean", *(f"ε = {eps:g}" for eps in radii), "CPU seconds"]]
    lines[0] += [f"CLIP has more, ε = {eps:g}" for eps in radii]
    keys = ["clean", *(f"AutoAttack set of ART {eps:g}" for eps in radii)]
    for case, names in ((short, ("n-fgsm", "pgd", "grad-align", "clip")), (long, ("clip",))):
        for name in names:
            rows = [row for row in case["test"] if row["training"] == name]
            figures = [spread(rows, key, ".1f") for key in keys]
            more = (
                ["–"] * len(radii)
                if case is long
                else [apart([*rows, *ours], "ours", name, e, nb_images) for e in radii]
            )
            told = [name, said(rows[0]["setting"]), str(case["case"]["nb_epochs"])]
            lines.append([*told, *figures, spread(rows, "CPU seconds", ".0f"), *(m.replace("-", "−") for m in more)])
    return table(lines)


def apart(rows: list[dict[str, Any]], ours: str, rival: str, eps: float, nb_images: int) -> str:
    """The difference in points, and its interval."""

    def standing(training: str) -> np.ndarray:
        by_seed = sorted((row["seed"], row[f"standing {eps:g}"]) for row in rows if row["training"] == training)
        return np.array([np.unpackbits(np.frombuffer(bytes.fromhex(h), np.uint8))[:nb_images] for _, h in by_seed])

    differences = standing(ours).astype(int) - standing(rival).astype(int)
    low, high = interval(differences if len(differences) > 1 else np.repeat(differences, 2, axis=0))
    return f"{100 * differences.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
