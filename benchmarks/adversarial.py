"""CLIP beside adversarial examples, against single-step, multi-step and gradient-penalty rivals of the registry.

Every training has three settings, its grid, and one of them is chosen on 1,000 validation images with a seed that is
not used again: of those that cost at most ``clean_loss`` points of clean accuracy against plain training, the one that
stands best at one radius (the last of a case, in Linf the second) against APGD-CE and PGD on the margin. (If none is
that accurate, the most accurate.) Then nets from other seeds meet the AutoAttack set of ART on test images; what falls
at the first radius falls at the second, so only the others are attacked there. Seconds are CPU seconds of one thread.

Three cases are for understanding: ``mnist-mlp-long`` trains four times as long with the settings chosen before,
``mnist-mlp-parts`` changes one part of the pairs at a time and ``mnist-mlp-front`` one weight or radius, both on
validation images alone.

Run: ``python benchmarks/adversarial.py CASE [PROCESSES]`` with a case of ``CASES``; the results of the others stay as
they are. The data come from the folder that ARTCLIP_DATA names.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import joblib
import numpy as np
import torch
from common import attacked, clean, parts, peak_held, recorded, save, standing
from torch.profiler import ProfilerActivity, profile

import artclip
from artclip.comparison.defences import parse
from artclip.comparison.training_config import TrainingConfig
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier

CHOICE_SEED, NB_CHOICE, BATCH_SIZE = 100, 1000, 128
CHOICE = ["apgd-ce:max_iter=40", "pgd-margin:max_iter=40,nb_restarts=1"]


def grids(
    radii: tuple[float, ...],
    lamdas: tuple[float, ...],
    jacobians: tuple[float, ...],
    both: tuple[tuple[float, float], ...],
    norm: str = "",
) -> dict[str, list[str]]:
    """Three settings of each training: radii of examples, weights of penalties, and pairs of both."""
    return {
        "standard": ["standard"],
        "fgsm": [f"fgsm:eps={r:g}" for r in radii],
        "n-fgsm": [f"n-fgsm:eps={r:g}" for r in radii],
        "grad-align": [f"grad-align:eps={r:g}" for r in radii],
        "pgd": [f"pgd:eps={r:g},max_iter=7" for r in radii],
        "trades": [f"trades:eps={radii[1]:g},beta={b:g}" for b in (0.5, 1, 3)],
        "gradient-norm": [f"gradient-norm:eps={k * radii[1]:g}" for k in (1, 1.5, 2)],
        "jacobian": [f"jacobian:lamda={v:g}" for v in jacobians],
        "clip": [f"clip:{norm}lamda={v:g},pair_interval=6" for v in lamdas],
        "clip+fgsm": [f"clip+fgsm:adversarial_eps={r:g},lamda={v:g},pair_interval=6" for r, v in both],
    }


@dataclass(frozen=True)
class Case:
    """Nets of one kind on one data set, and how they are trained and attacked."""

    data: str
    net: str
    nb_epochs: int
    radii: tuple[float, ...]
    grids: dict[str, list[str]]
    nb_attacked: int = 1000
    clean_loss: float = 1.0
    seeds: tuple[int, ...] = (0, 1, 2)
    learning_rate: float = 3e-3
    activation: str = "gelu"
    nb_training: int | None = None
    norm: float | str = 2
    chosen_at: int = -1
    """Which of the radii the choice is for."""


MNIST = grids((1.75, 2.0, 2.25), (0.3, 0.5, 0.8), (0.1, 0.2, 0.3), ((1.5, 0.5), (1.75, 0.5), (2.0, 0.3)))
FASHION = grids((0.5, 0.75, 1.0), (0.05, 0.1, 0.2), (0.03, 0.1, 0.2), ((0.5, 0.1), (0.75, 0.05), (0.75, 0.1)))
CIFAR = grids((0.375, 0.5, 0.75), (0.05, 0.1, 0.2), (0.03, 0.1, 0.2), ((0.375, 0.1), (0.5, 0.05), (0.5, 0.1)))
LINF_RADII = (2 / 255, 4 / 255, 8 / 255)
LINF_BOTH = ((4 / 255, 1e-4), (6 / 255, 3e-5), (6 / 255, 1e-4))
LINF = grids((4 / 255, 6 / 255, 8 / 255), (3e-5, 1e-4, 3e-4), (0.03, 0.1, 0.2), LINF_BOTH, "norm=inf,")
CHOSEN = {  # on 15 epochs
    "fgsm": ["fgsm:eps=2.25"],
    "n-fgsm": ["n-fgsm:eps=2"],
    "clip": ["clip:lamda=0.8,pair_interval=6"],
    "clip+fgsm": ["clip+fgsm:adversarial_eps=1.75,lamda=0.5,pair_interval=6"],
    "clip+fgsm, little": ["clip+fgsm:adversarial_eps=2,lamda=0.1,pair_interval=6"],
}
PARTS = {  # each changes one part of a training whose steps are all penalised, so that λ·k is the same
    "λ = 0.4": ["clip:lamda=0.4,pair_interval=1"],
    "every 3rd step": ["clip:lamda=0.4,pair_interval=3"],
    "ascents": [f"clip:lamda=0.4,pair_interval=1,pair_steps={n}" for n in (0, 1, 4)],
    "pairs": [f"clip:lamda=0.4,pair_interval=1,nb_pairs={n}" for n in (10, 128)],
    "distance": [f"clip:lamda=0.4,pair_interval=1,separation={h:g}" for h in (0.25, 0.5, 2, 4)],
    "places": [f"clip:lamda=0.4,pair_interval=1,pair_init={name}" for name in ("near", "data", "noise")],
    "steepest alone": ["clip:lamda=0.4,pair_interval=1,reduction=max"],
    "ascents, seldom": ["clip:lamda=0.4,pair_interval=2,pair_steps=4"],
    "ascents, many": ["clip:lamda=0.4,pair_interval=1,pair_steps=8", "clip:lamda=0.3,pair_interval=1,pair_steps=4"],
    "linear": ["clip:lamda=0.4,pair_interval=1,penalty=linear"],
}
EPS_FRONT = (0.75, 1.0, 1.5, 2.0, 2.5, 3.0)
FRONT = {
    "standard": ["standard"],
    "fgsm": [f"fgsm:eps={r:g}" for r in EPS_FRONT],
    "pgd": [f"pgd:eps={r:g},max_iter=7" for r in EPS_FRONT],
    "trades": [f"trades:eps={r:g},beta=1" for r in EPS_FRONT],
    "clip": [f"clip:lamda={v:g},pair_interval=6" for v in (0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6)],
    "clip+fgsm": [f"clip+fgsm:adversarial_eps=1.5,lamda={v:g},pair_interval=6" for v in (0.1, 0.2, 0.4, 0.8, 1.2)],
}
CASES = {
    "mnist-mlp-long": Case("mnist", "mlp-200-80", 60, (1.5, 2.0), {"standard": ["standard"], **CHOSEN}),
    "mnist-mlp-parts": Case("mnist", "mlp-200-80", 15, (1.5, 2.0), {"standard": ["standard"], **PARTS}, seeds=()),
    "mnist-mlp-front": Case("mnist", "mlp-200-80", 15, (1.5, 2.0), FRONT, seeds=()),
    "mnist-mlp": Case("mnist", "mlp-200-80", 15, (1.5, 2.0), MNIST),
    "mnist-cnn": Case("mnist", "cnn", 8, (1.5, 2.0), MNIST),
    "fashion-mlp": Case("fashion-mnist", "mlp-200-80", 15, (0.5, 1.0), FASHION, clean_loss=2.0),
    "cifar-cnn": Case("cifar-10", "cnn", 10, (0.25, 0.5), CIFAR, clean_loss=3.0, nb_training=20_000),
    "cifar-cnn-equal-time": Case(  # 15 epochs of CLIP take as long as ten of N-FGSM
        "cifar-10",
        "cnn",
        15,
        (0.25, 0.5),
        {"standard": ["standard"], "clip": [f"clip:lamda={v:g},pair_interval=6" for v in (0.2, 0.3, 0.4)]},
        clean_loss=3.0,
        nb_training=20_000,
    ),
    "cifar-cnn-linf": Case(
        "cifar-10", "cnn", 10, LINF_RADII, LINF, clean_loss=3.0, nb_training=20_000, norm="inf", chosen_at=1
    ),
    "cifar-convnet": Case("cifar-10", "convnet", 10, (0.25, 0.5), CIFAR, clean_loss=3.0, nb_training=20_000),
}


def data_of(case: Case) -> tuple[Any, Any, Any]:
    """Training, validation and test part."""
    training, validation, test = parts(case.data)
    return tuple(part[: case.nb_training] for part in training), validation, test


def trained(case: Case, text: str, seed: int, data: Any) -> Any:
    """A trainer that has trained."""
    torch.set_num_threads(1)
    x, y = data
    plan = TrainingConfig("torch", float(case.norm), case.radii[-1], 0.5, case.nb_epochs, BATCH_SIZE, seed)
    options: dict[str, Any] = {"activation": case.activation, "learning_rate": case.learning_rate, "seed": seed}
    classifier = make_classifier(case.net, x.shape[1:], 10, (0, 1), **options)
    trainer = parse(text).train(classifier, plan)
    scheduler = cosine_scheduler(classifier, case.nb_epochs)
    trainer.fit(x, y, batch_size=BATCH_SIZE, nb_epochs=case.nb_epochs, scheduler=scheduler)
    return trainer


def tried(case: Case, text: str) -> dict[str, Any]:
    """A setting on validation images."""
    training, (x, y), _ = data_of(case)
    trainer = trained(case, text, CHOICE_SEED, training)
    classifier = trainer.classifier
    row: dict[str, Any] = {"setting": text, "clean": clean(classifier, (x, y))}
    for eps in case.radii:
        found = attacked(classifier, x[:NB_CHOICE], y[:NB_CHOICE], eps, CHOICE, CHOICE_SEED, norm=case.norm)
        row[f"APGD and PGD {eps:g}"] = 100 * found.robust_accuracy
    row["CPU seconds"] = sum(r["cpu_seconds"] for r in trainer.history)
    print(row, flush=True)
    return row


def chosen(rows: list[dict[str, Any]], least: float, radius: float) -> str:
    """The setting that the trials are for."""
    accurate = [row for row in rows if row["clean"] >= least]
    if accurate:
        return str(max(accurate, key=lambda row: row[f"APGD and PGD {radius:g}"])["setting"])
    return str(max(rows, key=lambda row: row["clean"])["setting"])


def figures(case: Case, name: str, text: str, seed: int) -> dict[str, Any]:
    """A training on test images."""
    training, _, test = data_of(case)
    trainer = trained(case, text, seed, training)
    classifier = trainer.classifier
    row: dict[str, Any] = {"training": name, "setting": text, "seed": seed, "clean": clean(classifier, test)}
    x, y = (a[: case.nb_attacked] for a in test)
    found = standing(classifier, x, y, case.radii, ["pgd-margin", "autoattack-set"], seed, norm=case.norm)
    for eps, remaining in found.items():
        row[f"AutoAttack set of ART {eps:g}"] = 100 * len(remaining) / len(x)
        row[f"standing {eps:g}"] = np.packbits(np.isin(np.arange(len(x)), remaining)).tobytes().hex()  # image by image
    row["Lip ≥"] = artclip.lipschitz_lower_bound(classifier, test[0][:2000], seed=seed).value
    row["CPU seconds"] = sum(r["cpu_seconds"] for r in trainer.history)
    row["gradients"] = sum(r["gradients"] for r in trainer.history) / len(training[0]) / case.nb_epochs
    print(row, flush=True)
    return row


def peak_memory(case: Case, setting: str) -> float:
    """MiB that PyTorch holds at most in a fit of 12 steps, above what it held before."""
    training, _, _ = data_of(case)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        trained(replace(case, nb_epochs=1), setting, CHOICE_SEED, [part[: 12 * BATCH_SIZE] for part in training])
    return peak_held(profiled)


def main() -> None:
    """One case, into its place in the results; trials and rows that are there already, of equal settings, stay."""
    name = sys.argv[1]
    case = CASES[name]
    nb_processes = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    parallel = joblib.Parallel(n_jobs=nb_processes, batch_size=1, return_as="generator_unordered")
    results = recorded("adversarial", {})
    about = json.loads(json.dumps({k: v for k, v in vars(case).items() if k != "grids"}))
    before = results.get(name, {})
    before = before if before.get("case") == about else {}

    def keep(trials: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
        results[name] = {**results.get(name, {}), "case": about, "validation": trials, "test": rows}
        protocol = {"optimizer": "Adam, cosine", "batch_size": BATCH_SIZE, "threads": 1, "choice": CHOICE}
        save("adversarial", {**protocol, "settings tried of each training": 3, "images": NB_CHOICE}, results, "torch")

    choices = not case.seeds or any(len(grid) > 1 for grid in case.grids.values())
    texts = [text for grid in case.grids.values() for text in grid] if choices else []
    trials, rows = [row for row in before.get("validation", []) if row["setting"] in texts], before.get("test", [])
    missing = [text for text in texts if text not in {row["setting"] for row in trials}]
    for trial in parallel(joblib.delayed(tried)(case, text) for text in missing):
        trials.append(trial)
        keep(trials, rows)
    settings = {name: grid[0] for name, grid in case.grids.items()}
    if choices:
        tried_of = {n: [row for row in trials if row["setting"] in grid] for n, grid in case.grids.items()}
        least = tried_of["standard"][0]["clean"] - case.clean_loss
        settings = {n: chosen(some, least, case.radii[case.chosen_at]) for n, some in tried_of.items()}
    rows = [row for row in rows if settings.get(row["training"]) == row["setting"]]
    done = {(row["training"], row["seed"]) for row in rows}
    jobs = [(n, text, seed) for seed in case.seeds for n, text in settings.items() if (n, seed) not in done]
    for row in parallel(joblib.delayed(figures)(case, *job) for job in jobs):
        rows.append(row)
        keep(trials, rows)
    if not case.seeds:
        return
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # what an earlier fit held would count
        peaks = {n: pool.apply(peak_memory, (case, text)) for n, text in settings.items()}
    results[name]["peak memory of a fit, MiB"] = peaks
    keep(trials, rows)


if __name__ == "__main__":
    main()
