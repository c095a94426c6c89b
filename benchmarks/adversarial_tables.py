"""The tables of ``results/adversarial.json``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from common import RESULTS
from markdown_tables import groups, spread, table

from artclip.comparison.paired import interval

CASES = {
    "mnist-mlp": "MNIST, MLP",
    "mnist-cnn": "MNIST, CNN",
    "fashion-mlp": "Fashion-MNIST, MLP",
    "cifar-cnn": "CIFAR-10, CNN",
    "cifar-convnet": "CIFAR-10, ConvNet",
}
OPTIONS = {
    "adversarial_eps": "ε",
    "eps": "ε",
    "lamda": "λ",
    "beta": "β",
    "pair_interval": "k",
    "max_iter": "steps",
}


def measured() -> list[str]:
    """Cases with figures of test images."""
    path = RESULTS / "adversarial.json"
    results = json.loads(path.read_text())["results"] if path.exists() else {}
    return [name for name in CASES if results.get(name, {}).get("test")]


def adversarial(results: dict[str, Any], name: str) -> str:
    """A row for each training of a case; mean ± standard deviation, and cost over that of plain training."""
    rows, case = results[name]["test"], results[name]["case"]
    radii = [f"AutoAttack set of ART {eps:g}" for eps in case["radii"]]
    lines = [["training", "setting", "clean", *(f"ε = {eps:g}" for eps in case["radii"]), "Lip ≥"]]
    lines[0] += ["CPU time ×", "gradients ×", "memory ×"]
    memory = results[name].get("peak memory of a fit, MiB", {})
    plain = {key: mean_of(rows, "standard", key) for key in ("CPU seconds", "gradients")}
    for (training,), seeds in groups(rows, "training").items():
        _, _, given = seeds[0]["setting"].partition(":")
        options = (option.split("=") for option in given.split(",") if option)
        setting = ", ".join(f"{OPTIONS[key]} = {value}" for key, value in options)
        figures = [spread(seeds, key, ".1f") for key in ("clean", *radii)]
        costs = [f"{mean_of(rows, training, key) / value:.1f}" for key, value in plain.items()]
        costs.append(f"{memory[training] / memory['standard']:.1f}" if training in memory else "–")
        lines.append([training, setting, *figures, spread(seeds, "Lip ≥", ".1f"), *costs])
    return table(lines)


def mean_of(rows: list[dict[str, Any]], training: str, key: str) -> float:
    return float(np.mean([row[key] for row in rows if row["training"] == training]))


def beside_rivals(results: dict[str, Any], ours: str) -> str:
    """Points that a training has more than each rival, with 95 % intervals over images and seeds, case by case."""
    lines = [["net", "rival", "clean", "smaller ε", "larger ε", "CPU time, of the rival's"]]
    for name, title in CASES.items():
        if name not in results or not results[name]["test"]:
            continue
        rows, case = results[name]["test"], results[name]["case"]
        for rival in dict.fromkeys(row["training"] for row in rows):
            if rival in ("standard", ours):
                continue
            clean = mean_of(rows, ours, "clean") - mean_of(rows, rival, "clean")
            cells = [f"{clean:+.1f}", *(apart(rows, ours, rival, eps, case["nb_attacked"]) for eps in case["radii"])]
            cost = mean_of(rows, ours, "CPU seconds") / mean_of(rows, rival, "CPU seconds")
            lines.append([title, rival, *(c.replace("-", "−") for c in cells), f"{cost:.2f}"])
    return table(lines)


def apart(rows: list[dict[str, Any]], ours: str, rival: str, eps: float, nb_images: int) -> str:
    """The difference in points, and its interval."""

    def standing(training: str) -> np.ndarray:
        by_seed = sorted((row["seed"], row[f"standing {eps:g}"]) for row in rows if row["training"] == training)
        return np.array([np.unpackbits(np.frombuffer(bytes.fromhex(h), np.uint8))[:nb_images] for _, h in by_seed])

    differences = standing(ours).astype(int) - standing(rival).astype(int)
    low, high = interval(differences)
    return f"{100 * differences.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
