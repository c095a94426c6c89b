"""CLIP against adversarial training and other defences: the AutoAttack set of ART, Lipschitz bounds, cost.

Each defence has one setting for each net, which is chosen from a grid on 5,000 validation images with a seed that is
not used again: of those that cost at most a point of clean accuracy against plain training, the one that stands best
against PGD on the margin at the first radius. (If none is that accurate, the most accurate.) The grids are in
``CASES``. Then nets from other seeds, trained on the remaining images, meet the AutoAttack set of ART (APGD-CE, APGD-T,
Square; ART has no FAB) on test images. What falls at the first radius falls at the second, so only the others are
attacked there.

Run: ``python benchmarks/defences.py [PROCESSES] [TRAINING ...]``, some three hours on two cores; where trainings are
named, only they are run, and take the place of their rows in the results. The data come from the folder that
ARTCLIP_DATA names. The 1-Lipschitz net joins in where deel-torchlip is installed (``pip install deel-torchlip``).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import joblib
import numpy as np
import rivals
import torch
from common import RESULTS, attacked, clean, jacobian_norms, parts, save

from artclip import CLIPTrainer, WeightRegularizationTrainer, lipschitz_lower_bound, lipschitz_upper_bound
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier

CHOICE_SEED, NB_CHOICE = 100, 1000
KEY = ("data", "net", "activation", "training")
LAMDAS = (0.1, 0.2, 0.4)
Grids = dict[str, list[dict[str, Any]]]


def adversarial(max_iter: int, *radii: float, nb_epochs: int | None = None) -> Grids:
    """At some radii; as long as the others, or ``longer`` or ``shorter`` where the number of epochs is given."""
    name = "adversarial, 1 step" if max_iter == 1 else f"adversarial, {max_iter} steps"
    epochs = {"nb_epochs": nb_epochs} if nb_epochs else {}
    if nb_epochs:
        name += ", longer" if nb_epochs > 10 else ", shorter"
    return {name: [{"eps": eps, "max_iter": max_iter, **epochs} for eps in radii]}


def lazy(*nb_epochs: int) -> list[dict[str, Any]]:
    """CLIP by its defaults, for so many epochs at each λ."""
    return [{"lamda": v, "nb_epochs": n} for v, n in zip(LAMDAS, nb_epochs, strict=True)]


def dense(nb_epochs: int, *lamdas: float) -> list[dict[str, Any]]:
    """CLIP with pairs at every second step, so for fewer epochs."""
    return [{"lamda": v, "pair_interval": 2, "nb_epochs": nb_epochs} for v in lamdas]


def at_rates(options: dict[str, Any], *rates: float) -> list[dict[str, Any]]:
    return [{**options, "learning_rate": rate} for rate in rates]


STANDARD: Grids = {"standard": [{}]}
OTHERS: Grids = {
    "weight": [{"lamda": v} for v in (1e-5, 1e-4, 1e-3)],
    "spectral product": [{"lamda": v} for v in (1e-3, 3e-3, 1e-2)],
    "gaussian": [{"sigma": v} for v in (0.3, 0.5, 0.7)],
    "jacobian": [{"lamda": v} for v in (0.03, 0.1, 0.3)],
    **({"one_lipschitz": [{"scale": v} for v in (1.0, 2.0, 5.0)]} if find_spec("deel") else {}),
    "trades": [
        *({"eps": 1.5, "beta": v} for v in (0.5, 1.0, 3.0, 6.0)),
        *({"eps": 1.25, "beta": v} for v in (1.0, 2.0)),
        {"eps": 2.0, "beta": 1.0},
        *at_rates({"eps": 1.5, "beta": 1.0}, 1e-3, 6e-3),
    ],
}


@dataclass(frozen=True)
class Case:
    """Nets of one kind on one data set, and how they are attacked."""

    data: str
    net: str
    activation: str
    nb_epochs: int
    radii: tuple[float, float]
    nb_attacked: int
    grids: Grids
    seeds: tuple[int, ...] = (0, 1, 2)
    learning_rate: float = 3e-3

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from the others."""
        return self.data, self.net, self.activation


CLIP: Grids = {
    "clip": [{"lamda": v} for v in LAMDAS],
    "clip, dense": dense(6, 0.07, 0.1, 0.15),  # no more gradients than plain training
    "clip, longer": [*lazy(17, 15, 11), *dense(11, 0.07, 0.1, 0.15)],  # as many as adversarial training of one step
    "clip, longest": [*lazy(73, 65, 48), *dense(48, 0.07, 0.1, 0.15)],  # as many as of seven
}
CLIP_MORE: Grids = {
    "clip, longest": [
        *CLIP["clip, longest"],
        *at_rates({"lamda": 0.2, "nb_epochs": 65}, 1e-3, 6e-3),
        {"lamda": 0.1, "pair_interval": 6, "nb_epochs": 65},
    ],
    "clip, equal seconds": [{"lamda": 0.2, "nb_epochs": 45}],  # of seven steps: 8.2 s an epoch against 1.8
}
FOUR = (1.25, 1.5, 1.75, 2.0)
ONE = {
    **adversarial(1, *FOUR),
    **adversarial(1, *FOUR, nb_epochs=5),  # as many gradients as plain training
    **adversarial(1, *FOUR, nb_epochs=40),  # as many as that of seven steps
}
SEVEN: Grids = {
    "adversarial, 7 steps": [
        *adversarial(7, 1.0, 1.25, 1.5, 1.75, 2.0)["adversarial, 7 steps"],
        *at_rates({"eps": 1.5, "max_iter": 7}, 1e-3, 6e-3),
        *at_rates({"eps": 1.25, "max_iter": 7}, 6e-3),
    ],
    "adversarial, 7 steps, as attacked": [{"eps": 1.5, "max_iter": 7}],  # the usual choice
}

CASES = [
    Case(
        *("mnist", "mlp-200-80", "relu", 10, (1.5, 2.0), 500),
        {**STANDARD, **CLIP, **CLIP_MORE, **ONE, **SEVEN, **OTHERS},
    ),
    Case(
        *("mnist", "mlp-200-80", "gelu", 10, (1.5, 2.0), 300),
        {
            **STANDARD,
            **CLIP,
            **adversarial(1, 1.5, 1.75, 2.0),
            **adversarial(1, 1.5, 1.75, 2.0, nb_epochs=5),
            **adversarial(1, 1.5, 1.75, 2.0, nb_epochs=40),
            **adversarial(7, 1.25, 1.5, 1.75, 2.0),
            "trades": [*({"eps": 1.5, "beta": v} for v in (0.5, 1.0, 2.0)), {"eps": 1.25, "beta": 1.0}],
        },
    ),
    Case(
        *("mnist", "cnn", "relu", 5, (1.5, 2.0), 300),
        {
            **STANDARD,
            "clip": CLIP["clip"],
            "clip, dense": dense(3, 0.1, 0.15, 0.2),
            "clip, longer": [*lazy(8, 7, 6), *dense(5, 0.1, 0.15, 0.2)],
            **adversarial(1, 1.5, 1.75, 2.0, 2.5, 3.0),
            **adversarial(1, 1.5, 2.0, 2.5, nb_epochs=3),
            **adversarial(3, 1.5, 1.75, 2.0, 2.5),
            **adversarial(7, 1.5, 1.75, 2.0, 2.5),
        },
    ),
    Case(
        *("fashion-mnist", "mlp-200-80", "relu", 10, (0.5, 1.0), 300),
        {
            **STANDARD,
            "clip": CLIP["clip"],
            "clip, dense": dense(6, 0.02, 0.05, 0.1),
            "clip, longer": [*lazy(17, 15, 11), *dense(11, 0.02, 0.05, 0.1)],
            "clip, longest": [{"lamda": v, "nb_epochs": 73} for v in (0.02, 0.05, 0.1)] + dense(48, 0.02, 0.05, 0.1),
            **adversarial(1, 0.25, 0.35, 0.5, 0.75, 1.0),
            **adversarial(1, 0.25, 0.35, 0.5, 0.75, nb_epochs=5),
            "adversarial, 1 step, as attacked": adversarial(1, 0.5)["adversarial, 1 step"],
            **adversarial(7, 0.25, 0.35, 0.5, 0.75),
            "adversarial, 7 steps, as attacked": [{"eps": 0.5, "max_iter": 7}],
        },
    ),
]
Arrays = tuple[np.ndarray, np.ndarray]


def trained(case: Case, name: str, options: dict[str, Any], seed: int, data: Arrays) -> Any:
    torch.set_num_threads(1)
    shape, options = data[0].shape[1:], dict(options)
    nb_epochs = options.pop("nb_epochs", case.nb_epochs)
    learning_rate = options.pop("learning_rate", case.learning_rate)
    if name == "one_lipschitz":
        trainer = rivals.one_lipschitz(shape, learning_rate, seed, **options)
    else:
        classifier = make_classifier(case.net, shape, 10, (0, 1), case.activation, learning_rate, seed)
        trainer = _trainer(name, classifier, seed, options)
    trainer.fit(*data, batch_size=128, nb_epochs=nb_epochs, scheduler=cosine_scheduler(trainer.classifier, nb_epochs))
    trainer.classifier.model.eval()
    return trainer


def _trainer(name: str, classifier: Any, seed: int, options: dict[str, Any]) -> Any:
    if name == "standard":
        return rivals.plain(classifier, seed)
    if name.startswith("clip"):
        return CLIPTrainer(classifier, seed=seed, **options)
    if name in ("weight", "spectral product"):
        kind = "l2" if name == "weight" else "spectral"
        return WeightRegularizationTrainer(classifier, kind=kind, seed=seed, **options)
    return getattr(rivals, name.partition(",")[0])(classifier, seed, **options)


def tried(case: Case, name: str, options: dict[str, Any]) -> Any:
    """A setting on validation images."""
    training, (x, y), _ = parts(case.data)
    classifier = trained(case, name, options, CHOICE_SEED, training).classifier
    attack = ["pgd-margin:max_iter=40,nb_restarts=1"]
    found = attacked(classifier, x[:NB_CHOICE], y[:NB_CHOICE], case.radii[0], attack, CHOICE_SEED)
    row = {"options": options, "clean": clean(classifier, (x, y)), "PGD margin": 100 * found.robust_accuracy}
    print("tried", case.data, case.net, case.activation, name, row, flush=True)
    return row


def chosen(rows: list[dict[str, Any]], least: float) -> dict[str, Any]:
    accurate = [row for row in rows if row["clean"] >= least]
    if accurate:
        return max(accurate, key=lambda row: row["PGD margin"])["options"]
    return max(rows, key=lambda row: row["clean"])["options"]


def figures(case: Case, name: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """A training on test images."""
    training, _, test = parts(case.data)
    trainer = trained(case, name, options, seed, training)
    classifier = trainer.classifier
    row = {"data": case.data, "net": case.net, "activation": case.activation, "training": name, "seed": seed}
    row |= {"options": options, "clean": clean(classifier, test)}
    x, y = (a[: case.nb_attacked] for a in test)
    remaining = np.arange(len(x))
    for eps in case.radii:
        first = eps == case.radii[0]
        found = attacked(
            classifier, x[remaining], y[remaining], eps, ["pgd-margin", "autoattack-set"], seed, masking=first
        )
        row |= {"signs": [w.name for w in found.warnings]} if first else {}
        remaining = remaining[found.survivors]
        row[f"AutoAttack set of ART {eps:g}"] = 100 * len(remaining) / len(x)
    row["Lip ≥"] = lipschitz_lower_bound(classifier, test[0], seed=seed).value
    row["Lip ≤"] = _upper(classifier)
    row["mean Jacobian norm"] = float(jacobian_norms(classifier.model, test[0][:1000]).mean())
    row["quotient shown"] = trainer.history[-1].get("lipschitz")
    row["gradients"] = sum(r["gradients"] for r in trainer.history) / len(training[0])
    row["seconds"] = sum(r["seconds"] for r in trainer.history)
    print(row, flush=True)
    return row


def _upper(classifier: Any) -> float | None:
    try:
        return lipschitz_upper_bound(classifier, max_seconds=20).value
    except ValueError:  # layers of deel-torchlip
        return None


def jobs(trials: dict[tuple[str, ...], list[Any]], only: list[str]) -> list[tuple[Case, str, dict[str, Any], int]]:
    """What to measure on test images: each training with the setting that its trials are for."""
    found = []
    for case in CASES:
        of = {key[-1]: rows for key, rows in trials.items() if key[:-1] == case.key}
        least = of["standard"][0]["clean"] - 1.0
        settings = {name: chosen(rows, least) for name, rows in of.items() if not only or name in only}
        found += [(case, name, options, seed) for name, options in settings.items() for seed in case.seeds]
    return found


def main() -> None:
    only = sys.argv[2:]
    before = json.loads((RESULTS / "defences.json").read_text())["results"] if only else {"validation": [], "test": []}
    parallel = joblib.Parallel(n_jobs=int(sys.argv[1]) if len(sys.argv) > 1 else 2, batch_size=1)
    asked = [
        (case, name, options)
        for case in CASES
        for name, grid in case.grids.items()
        for options in grid
        if not only or name in only
    ]
    answers = parallel(joblib.delayed(tried)(*a) for a in asked)
    trials: dict[tuple[str, ...], list[Any]] = {}
    for (case, name, _), answer in zip(asked, answers, strict=True):
        trials.setdefault((*case.key, name), []).append(answer)
    trials = {tuple(r[k] for k in KEY): r["trials"] for r in before["validation"]} | trials
    results = parallel(joblib.delayed(figures)(*job) for job in jobs(trials, only))
    validation = [{**dict(zip(KEY, key, strict=True)), "trials": rows} for key, rows in trials.items()]
    kept = [row for row in before["test"] if row["training"] not in only]
    settings = {
        "optimizer": "Adam 0.003, cosine",
        "batch_size": 128,
        "threads": 1,
        "cases": [{k: v for k, v in vars(case).items() if k != "grids"} for case in CASES],
    }
    save("defences", settings, {"validation": validation, "test": kept + results}, "torch")


if __name__ == "__main__":
    main()
