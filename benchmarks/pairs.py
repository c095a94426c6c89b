"""One update for all nets: fresh and persistent pairs under one protocol, and where training breaks.

``one protocol``: nets of each kind, on MNIST and Fashion-MNIST, without a penalty, with the defaults (fresh pairs,
λ = 0.1), with the paper's persistent pairs (``pair_init="near"``, λ = 0.1), and with fresh pairs and a λ for each net:
the largest of ``CHOICES`` that costs at most ``LOSS`` points of accuracy on validation images, with a seed that is not
used again. Where trainings are short, so that by default more than every 12th step is penalised, also with every 12th.
Nothing else is chosen for any net. Figures are of test images.

``stability``: λ from 0.001 to 1, one epoch, five seeds (CNNs two), on validation images. A run counts as broken where
steps had to be undone, or where the net is not much better than chance.

Run: ``python benchmarks/pairs.py [PROCESSES]``, three quarters of an hour on two cores. The data come from the folder
that ARTCLIP_DATA names.
"""

from __future__ import annotations

import math
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import torch
from common import attacked, clean, jacobian_norms, parts, save
from torch import nn

from artclip import CLIPTrainer, lipschitz_lower_bound
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier
from artclip.trainers.options import INTERVAL, LEAST_PENALISED

NB_ATTACKED, LAMDA = 500, 0.1
LAMDAS = (0.001, 0.01, 0.1, 0.3, 1.0)
KINDS: dict[str, dict[str, Any]] = {"plain": {"lamda": 0.0}, "fresh": {}, "persistent": {"pair_init": "near"}}
LAZY: dict[str, dict[str, Any]] = {"fresh, every 12th step": {"pair_interval": 12}}
CHOICES, LOSS, CHOICE_SEED = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3), 0.8, 100  # the loss with room for chance: goal is 1.0
QUICK = {"nb_restarts": 16, "max_iter": 20}


def batchnorm_cnn(input_shape: tuple[int, ...], nb_classes: int) -> nn.Module:
    """Two convolutions and two dense layers, with BatchNorm."""
    return nn.Sequential(
        *(nn.Conv2d(input_shape[0], 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, nb_classes)),
    )


@dataclass(frozen=True)
class Net:
    """A net with its data, optimizer, epochs, and the radius at which it is attacked."""

    model: Any
    activation: str = "relu"
    data: str = "mnist"
    sgd: bool = False
    nb_epochs: int = 5
    nb_samples: int = 55_000
    eps: float = 1.5
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def kinds(self) -> dict[str, dict[str, Any]]:
        """How it is trained."""
        short = self.nb_epochs * math.ceil(self.nb_samples / 128) < INTERVAL * LEAST_PENALISED
        return {**KINDS, **(LAZY if short else {})}

    def trained(self, seed: int, x: np.ndarray, y: np.ndarray, **options: Any) -> CLIPTrainer:
        """A trainer that has fitted this net, with SGD 0.1 and momentum 0.9, or Adam 0.003, along a cosine."""
        classifier = make_classifier(self.model, x.shape[1:], 10, (0, 1), self.activation, 3e-3, seed)
        if self.sgd:
            classifier._optimizer = torch.optim.SGD(classifier.model.parameters(), lr=0.1, momentum=0.9)
        trainer = CLIPTrainer(classifier, seed=seed, **{"lamda": LAMDA, **options})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of undone steps, which are counted
            scheduler = cosine_scheduler(classifier, self.nb_epochs)
            trainer.fit(x, y, batch_size=128, nb_epochs=self.nb_epochs, scheduler=scheduler)
        classifier.model.eval()
        return trainer


NETS = {
    "MLP ReLU, SGD": Net("mlp-200-80", sgd=True),
    "MLP ReLU": Net("mlp-200-80"),
    "MLP sigmoid": Net("mlp-200-80", "sigmoid"),
    "MLP GELU": Net("mlp-200-80", "gelu"),
    "MLP ReLU, Fashion-MNIST": Net("mlp-200-80", data="fashion-mnist", eps=0.5),
    "MLP ReLU, 2,000 images": Net("mlp-200-80", nb_epochs=10, nb_samples=2_000),
    "CNN": Net("cnn", nb_epochs=2, seeds=(0, 1)),
    "CNN with BatchNorm": Net(batchnorm_cnn, nb_epochs=2, seeds=(0, 1)),
    "CNN, 5,000 images": Net("cnn", nb_epochs=5, nb_samples=5_000, seeds=(0, 1)),
    "residual net with BatchNorm": Net("resnet", nb_epochs=3, nb_samples=5_000, seeds=(0, 1)),
}
FIVE = (0, 1, 2, 3, 4)
STABILITY = {
    "MLP ReLU, SGD": Net("mlp-200-80", sgd=True, nb_epochs=1, seeds=FIVE),
    "MLP ReLU": Net("mlp-200-80", nb_epochs=1, seeds=FIVE),
    "MLP GELU": Net("mlp-200-80", "gelu", nb_epochs=1, seeds=FIVE),
    "MLP sigmoid": Net("mlp-200-80", "sigmoid", nb_epochs=1, seeds=FIVE),
    "CNN": Net("cnn", nb_epochs=1, seeds=(0, 1)),
    "CNN, SGD": Net("cnn", nb_epochs=1, sgd=True, seeds=(0, 1)),
    "CNN with BatchNorm": Net(batchnorm_cnn, nb_epochs=1, seeds=(0, 1)),
}


def tried(name: str, lamda: float) -> float:
    """Accuracy on validation images with this λ."""
    torch.set_num_threads(1)
    net = NETS[name]
    (x, y), validation, _ = parts(net.data)
    trainer = net.trained(CHOICE_SEED, x[: net.nb_samples], y[: net.nb_samples], lamda=lamda)
    accuracy = clean(trainer.classifier, validation)
    print("tried", name, lamda, accuracy, flush=True)
    return accuracy


def chosen(accuracies: dict[float, float]) -> float:
    """The largest λ that costs little against λ = 0, or else the most accurate."""
    fine = [lamda for lamda in CHOICES if accuracies[lamda] >= accuracies[0.0] - LOSS]
    return max(fine) if fine else max(CHOICES, key=lambda lamda: accuracies[lamda])


def protocol(name: str, kind: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    net = NETS[name]
    (x, y), _, test = parts(net.data)
    trainer = net.trained(seed, x[: net.nb_samples], y[: net.nb_samples], **options)
    classifier, (xt, yt) = trainer.classifier, test
    attack = ["pgd-margin:max_iter=40,nb_restarts=1"]
    row = {"net": name, "pairs": kind, "options": options, "seed": seed, "clean": clean(classifier, test)}
    found = attacked(classifier, xt[:NB_ATTACKED], yt[:NB_ATTACKED], net.eps, attack, seed)
    row[f"PGD margin {net.eps:g}"] = 100 * found.robust_accuracy
    strong, quick = (lipschitz_lower_bound(classifier, xt, seed=seed, **more) for more in ({}, QUICK))
    row |= {
        "Lip ≥": strong.value,
        "Lip ≥, quick": quick.value,
        "seconds of the searches": [strong.seconds, quick.seconds],
    }
    row["mean Jacobian norm"] = float(jacobian_norms(classifier.model, xt[:1000]).mean())
    row["quotient shown"] = trainer.history[-1]["lipschitz"]
    row["skipped steps"] = sum(r["skipped_steps"] for r in trainer.history)
    print(row, flush=True)
    return row


def stability(name: str, lamda: float, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    net = STABILITY[name]
    (x, y), validation, _ = parts(net.data)
    row: dict[str, Any] = {"net": name, "lamda": lamda, "seed": seed}
    try:
        trainer = net.trained(seed, x, y, lamda=lamda)
    except FloatingPointError as error:
        row |= {"clean": None, "skipped steps": None, "error": str(error), "broken": True}
    else:
        row |= {"clean": clean(trainer.classifier, validation)}
        row["skipped steps"] = sum(r["skipped_steps"] for r in trainer.history)
        row["broken"] = row["skipped steps"] > 0 or row["clean"] < 50
    print(row, flush=True)
    return row


def main() -> None:
    parallel = joblib.Parallel(n_jobs=int(sys.argv[1]) if len(sys.argv) > 1 else 2, batch_size=1)
    asked = [(n, v) for n in NETS for v in (0.0, *CHOICES)]
    answers = dict(zip(asked, parallel(joblib.delayed(tried)(*a) for a in asked), strict=True))
    trials = {n: {v: answers[n, v] for v in (0.0, *CHOICES)} for n in NETS}
    kinds = {n: {**NETS[n].kinds, "fresh, λ chosen": {"lamda": chosen(trials[n])}} for n in NETS}
    default = {"lamda": LAMDA}
    jobs = [(n, k, o, s) for n, net in NETS.items() for k, o in kinds[n].items() for s in net.seeds if o != default]
    rows = parallel(joblib.delayed(protocol)(*job) for job in jobs)
    rows += [
        {**row, "pairs": "fresh, λ chosen", "options": default}
        for row in rows
        if row["pairs"] == "fresh" and kinds[row["net"]]["fresh, λ chosen"] == default
    ]
    rows.sort(key=lambda row: list(NETS).index(row["net"]))
    runs = parallel(
        joblib.delayed(stability)(n, v, s) for n, net in STABILITY.items() for v in LAMDAS for s in net.seeds
    )
    settings = {
        "lamda": LAMDA,
        "optimizer": "Adam 0.003 or SGD 0.1 with momentum 0.9, cosine",
        "batch_size": 128,
        "attacked images": NB_ATTACKED,
        "quick search": QUICK,
        "threads": 1,
    }
    save("pairs", settings, {"validation": trials, "one protocol": rows, "stability": runs}, "torch")


if __name__ == "__main__":
    main()
