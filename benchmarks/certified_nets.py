"""Nets by name that are made to be certified, on MNIST, Fashion-MNIST and CIFAR-10 (JPEG copies), in L2.

Their matrices stay orthogonal (``StiefelMuon``), their units are MaxMin, and they are trained by ``certify_eps``
without pairs. The radius that the loss asks for is chosen on 5,000 validation images, after a sixth of the epochs and
with a seed that is not used again, by the share that is certified at one radius. Then nets from other seeds are
certified on all test images, by constants that hold everywhere: verified robust accuracy. PGD on the margin, on 500 of
them, bounds robust accuracy from above; an image that is certified and broken ends the script.

Run: ``python benchmarks/certified_nets.py CASE`` with a case of ``CASES``, a quarter of an hour a net on one core;
every row is saved as it comes, and a later run goes on from there. The data come from the folder that ARTCLIP_DATA
names.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from common import attacked, check_unbroken, clean, parts, recorded, save

from artclip import CLIPTrainer, certified_radius, lipschitz_lower_bound, lipschitz_upper_bound
from artclip.data.augmentation import augmentation_of
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier

CHOICE_SEED, NB_ATTACKED, NB_SEARCHED = 100, 500, 500


@dataclass(frozen=True)
class Case:
    """A net and data, and how it is trained and certified on them."""

    net: str
    data: str
    radii: tuple[float, ...]
    main: float
    """The radius that the choice is for, and at which the net is attacked."""
    tried: tuple[float, ...]
    """Radii that the loss asks for."""
    nb_epochs: int
    augmentation: str | None
    batch_size: int = 512
    learning_rate: float = 2e-3
    seeds: tuple[int, ...] = (0, 1, 2)


CASES = {
    "mnist": Case("lipconvnet", "mnist", (0.5, 1.0, 1.58), 1.58, (1.75, 2.0), 18, None),
    "mnist, residual": Case("lipresnet", "mnist", (0.5, 1.0, 1.58), 1.58, (1.75, 2.0), 18, None),
    "fashion-mnist": Case("lipconvnet", "fashion-mnist", (0.25, 0.5, 1.0), 0.5, (0.5, 0.75), 12, "crop-flip:padding=1"),
    "cifar-10": Case(
        "lipconvnet", "cifar-10", (36 / 255, 72 / 255, 108 / 255), 36 / 255, (0.2, 0.3), 18, "crop-flip:padding=2"
    ),
}


def trained(case: Case, eps: float, seed: int, data: Any, nb_epochs: int) -> CLIPTrainer:
    """A trainer that has trained."""
    x, y = data
    classifier = make_classifier(case.net, x.shape[1:], 10, learning_rate=case.learning_rate, seed=seed)
    trainer = CLIPTrainer(classifier, lamda=0.0, certify_eps=eps, seed=seed)
    plan: dict[str, Any] = {"batch_size": case.batch_size, "nb_epochs": nb_epochs}
    scheduler, augmentation = cosine_scheduler(classifier, nb_epochs), augmentation_of(case.augmentation)
    trainer.fit(x, y, scheduler=scheduler, augmentation=augmentation, **plan)
    return trainer


def certified(case: Case, trainer: CLIPTrainer, data: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Radii of all samples, and what is said of them."""
    classifier = trainer.classifier
    upper = lipschitz_upper_bound(classifier, method="product")
    radii = certified_radius(classifier, *data, upper)
    shares = {f"certified {r:.4g}": 100 * float(np.mean(radii >= r)) for r in case.radii}
    return radii, {"clean": clean(classifier, data), **shares, "Lip ≤": upper.value}


def figures(case: Case, eps: float, seed: int, training: Any, test: Any) -> dict[str, Any]:
    """A net on test images."""
    trainer = trained(case, eps, seed, training, case.nb_epochs)
    radii, said = certified(case, trainer, test)
    row = {"certify_eps": eps, "seed": seed, **said}
    x, y = (a[:NB_ATTACKED] for a in test)
    found = attacked(trainer.classifier, x, y, case.main, ["pgd-margin"], seed)
    check_unbroken(found, radii[:NB_ATTACKED] >= case.main, case.net)
    row[f"PGD margin {case.main:.4g}"] = 100 * found.robust_accuracy
    row["Lip ≥"] = lipschitz_lower_bound(trainer.classifier, test[0][:NB_SEARCHED], seed=seed, max_seconds=60).value
    row["CPU seconds"] = sum(r["cpu_seconds"] for r in trainer.history)
    print(row, flush=True)
    return row


def main() -> None:
    """One case, into its place in the results; rows of equal settings that are there already stay."""
    torch.set_num_threads(1)
    name = sys.argv[1]
    case = CASES[name]
    about = json.loads(json.dumps(asdict(case)))
    results = recorded("certified_nets", {})
    before = results.get(name, {})
    before = before if before.get("case") == about else {}
    training, validation, test = parts(case.data)
    trials, rows = before.get("validation", []), before.get("test", [])

    def keep() -> None:
        others = recorded("certified_nets", {})  # another case may have been at work
        others[name] = {"case": about, "validation": trials, "test": rows}
        save("certified_nets", {"optimizer": "StiefelMuon, cosine", "threads": 1}, others, "torch")

    for eps in case.tried:
        if eps not in {row["certify_eps"] for row in trials}:
            trainer = trained(case, eps, CHOICE_SEED, training, max(1, case.nb_epochs // 6))
            trials.append({"certify_eps": eps, **certified(case, trainer, validation)[1]})
            print(trials[-1], flush=True)
            keep()
    chosen = max(trials, key=lambda row: row[f"certified {case.main:.4g}"])["certify_eps"]
    rows = [row for row in rows if row["certify_eps"] == chosen]
    for seed in case.seeds:
        if seed not in {row["seed"] for row in rows}:
            rows.append(figures(case, chosen, seed, training, test))
            keep()


if __name__ == "__main__":
    main()
