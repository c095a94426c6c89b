"""A residual net with BatchNorm on CIFAR-10 (JPEG copies): how much flatter CLIP makes it for a point of accuracy.

Settings of CLIP are tried on validation images with a seed that is not used again, beside plain training. Of those that
cost at most ``CLEAN_LOSS`` points of clean accuracy against plain training of as many epochs, the one with the smallest
Lip ≥ is chosen; if none is that accurate, the most accurate one. Of the longest trainings: the shorter ones underfit.
Then nets from other seeds are measured on test images: clean accuracy, Lip ≥ by a quick search and by a whole one, the
quotient that the history shows beside the mean Jacobian norm, and what stands against the AutoAttack set of ART in L2.

Run: ``python benchmarks/residual.py [PROCESSES]``. A training takes four minutes of one free core, a whole search two
to four, the attacks on a flat net a quarter of an hour. Every row is saved as it comes, and a later run goes on from
there. The data come from the folder that ARTCLIP_DATA names.
"""

from __future__ import annotations

import sys
from typing import Any

import joblib
import numpy as np
import torch
from common import clean, jacobian_norms, parts, recorded, save, standing

import artclip
from artclip import CLIPTrainer
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier

CHOICE_SEED, SEEDS, CLEAN_LOSS = 100, (0, 1, 2), 1.0
NB_TRAINING, NB_EPOCHS, BATCH_SIZE, LEARNING_RATE = 20_000, 8, 128, 3e-3
NB_SEARCHED, NB_JACOBIANS = 2000, 1000  # images that a search starts from, and at which Jacobian norms are taken
RADII, NB_ATTACKED = (0.25, 0.5), 500
PLAIN, LONG = "standard", {"nb_epochs": 16}
SETTINGS: dict[str, dict[str, Any]] = {
    PLAIN: {"lamda": 0.0},
    "λ = 0.01": {"lamda": 0.01},
    "λ = 0.03": {"lamda": 0.03},
    "λ = 0.03, from the fifth epoch on": {"lamda": 0.03, "warmup_epochs": 4},
    f"{PLAIN}, 16 epochs": {"lamda": 0.0, **LONG},
    "λ = 0.01, 16 epochs": {"lamda": 0.01, **LONG},
    "λ = 0.02, 16 epochs": {"lamda": 0.02, **LONG},
    "λ = 0.03, 16 epochs": {"lamda": 0.03, **LONG},
}
QUICK: dict[str, Any] = {"nb_restarts": 16, "max_iter": 20}


def data() -> tuple[Any, Any, Any]:
    """Training, validation and test part."""
    training, validation, test = parts("cifar-10")
    return tuple(part[:NB_TRAINING] for part in training), validation, test


def untrained(seed: int) -> Any:
    """The net; with channels last a step takes 0.6 of the time on a CPU."""
    classifier = make_classifier("resnet", (3, 32, 32), 10, (0, 1), learning_rate=LEARNING_RATE, seed=seed)
    classifier.model.to(memory_format=torch.channels_last)
    return classifier


def trained(options: dict[str, Any], seed: int, x: np.ndarray, y: np.ndarray) -> CLIPTrainer:
    """A trainer that has trained."""
    torch.set_num_threads(1)
    options = {"nb_epochs": NB_EPOCHS, **options}
    classifier, nb_epochs = untrained(seed), options.pop("nb_epochs")
    trainer = CLIPTrainer(classifier, seed=seed, **options)
    scheduler = cosine_scheduler(classifier, nb_epochs)
    trainer.fit(x, y, batch_size=BATCH_SIZE, nb_epochs=nb_epochs, scheduler=scheduler)
    return trainer


def measured(classifier: Any, history: list[dict[str, Any]], part: Any, searches: dict[str, Any]) -> dict[str, Any]:
    """Figures of a trained net on validation or test images.

    Args:
        classifier: it.
        history: of its training.
        part: images and labels.
        searches: name -> options of :func:`artclip.lipschitz_lower_bound`.
    """
    classifier.model.eval()
    x, _ = part
    row: dict[str, Any] = {"clean": clean(classifier, part), "images": len(x)}
    for name, options in searches.items():
        found = artclip.lipschitz_lower_bound(classifier, x[:NB_SEARCHED], seed=0, **options)
        row |= {name: found.value, f"seconds of {name}": found.seconds}
    batches = np.array_split(x[:NB_JACOBIANS], 8)
    row["mean Jacobian norm"] = float(np.concatenate([jacobian_norms(classifier.model, b) for b in batches]).mean())
    row["quotient shown"] = history[-1]["lipschitz"]
    row["gradients"] = sum(r["gradients"] for r in history) / NB_TRAINING / len(history)
    row["CPU seconds"] = sum(r["cpu_seconds"] for r in history)
    return row


def tried(name: str) -> dict[str, Any]:
    """A setting on validation images."""
    training, validation, _ = data()
    trainer = trained(SETTINGS[name], CHOICE_SEED, *training)
    row = measured(trainer.classifier, trainer.history, validation, {"Lip ≥, quick": QUICK})
    return {"training": name, "options": SETTINGS[name], "seed": CHOICE_SEED, **row}


def chosen(trials: list[dict[str, Any]]) -> tuple[str, str]:
    """Plain training, and the setting of CLIP that the trials are for; of those that train longer, if there are any."""
    longest = max(row["options"].get("nb_epochs", NB_EPOCHS) for row in trials)
    trials = [row for row in trials if row["options"].get("nb_epochs", NB_EPOCHS) == longest]
    (plain,) = (row for row in trials if row["options"]["lamda"] == 0)
    others = [row for row in trials if row is not plain]
    accurate = [row for row in others if row["clean"] >= plain["clean"] - CLEAN_LOSS]
    flattest = min(accurate, key=lambda row: row["Lip ≥, quick"]) if accurate else max(others, key=lambda r: r["clean"])
    return str(plain["training"]), str(flattest["training"])


def figures(name: str, seed: int) -> dict[str, Any]:
    """A training on test images."""
    training, _, test = data()
    trainer = trained(SETTINGS[name], seed, *training)
    row = measured(trainer.classifier, trainer.history, test, {"Lip ≥, quick": QUICK, "Lip ≥": {}})
    x, y = (a[:NB_ATTACKED] for a in test)
    for eps, remaining in standing(trainer.classifier, x, y, RADII, ["pgd-margin", "autoattack-set"], seed).items():
        row[f"AutoAttack set of ART {eps:g}"] = 100 * len(remaining) / len(x)
    print({"training": name, "seed": seed, **row}, flush=True)
    return {"training": name, "options": SETTINGS[name], "seed": seed, **row}


def keep(trials: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Save what there is."""
    settings = {
        "data": "CIFAR-10, JPEG copies",
        "net": "resnet, ReLU, channels last",
        "optimizer": f"Adam {LEARNING_RATE:g}, cosine",
        "training images": NB_TRAINING,
        "epochs": NB_EPOCHS,
        "batch_size": BATCH_SIZE,
        "quick search": QUICK,
        "images searched from": NB_SEARCHED,
        "images of Jacobian norms": NB_JACOBIANS,
        "images attacked": NB_ATTACKED,
        "points of clean accuracy allowed": CLEAN_LOSS,
        "seeds planned": list(SEEDS),
        "threads": 1,
    }
    save("residual", settings, {"validation": trials, "test": rows}, "torch")


def main() -> None:
    """What is missing in the results; trials and rows that are there already stay."""
    before = recorded("residual", {"validation": [], "test": []})
    trials = [row for row in before["validation"] if SETTINGS.get(row["training"]) == row["options"]]
    parallel = joblib.Parallel(
        n_jobs=int(sys.argv[1]) if len(sys.argv) > 1 else 1, batch_size=1, return_as="generator_unordered"
    )
    missing = [name for name in SETTINGS if name not in {row["training"] for row in trials}]
    for trial in parallel(joblib.delayed(tried)(name) for name in missing):
        trials.append(trial)
        keep(trials, before["test"])
    names = chosen(trials)
    rows = [row for row in before["test"] if row["training"] in names and SETTINGS[row["training"]] == row["options"]]
    done = {(row["training"], row["seed"]) for row in rows}
    jobs = [(name, seed) for seed in SEEDS for name in names if (name, seed) not in done]
    for row in parallel(joblib.delayed(figures)(*job) for job in jobs):
        rows.append(row)
        keep(trials, rows)


if __name__ == "__main__":
    main()
