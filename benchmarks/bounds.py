"""Brackets of the Lipschitz constant and certified radii of nets trained on MNIST.

Run: ``python benchmarks/bounds.py``. MNIST comes from the folder that ARTCLIP_DATA names.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from art.metrics import clever_u
from common import mnist, save
from torch import nn

import artclip

SEED, NB_EPOCHS, BATCH_SIZE = 0, 5, 128
METHODS = ("product", "eclipse", "lipsdp")
CLEVER = {"nb_batches": 50, "batch_size": 50, "radius": 2.0}


def mlp(activation: type[nn.Module], *widths: int) -> nn.Sequential:
    sizes = [784, *widths]
    hidden = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), activation())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], 10))


def cnn() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 8, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(8, 16, 4, stride=2, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


NETS = {
    "relu 64-64": (lambda: mlp(nn.ReLU, 64, 64), 0.0),
    "relu 64-64, CLIP": (lambda: mlp(nn.ReLU, 64, 64), 0.05),
    "sigmoid 64-64": (lambda: mlp(nn.Sigmoid, 64, 64), 0.0),
    "relu 5×64": (lambda: mlp(nn.ReLU, *[64] * 5), 0.0),
    "small cnn": (cnn, 0.0),
}


def trained(make: Any, lamda: float, x: np.ndarray, y: np.ndarray) -> PyTorchClassifier:
    torch.manual_seed(SEED)
    net = make()
    options = {"optimizer": torch.optim.Adam(net.parameters(), 2e-3), "clip_values": (0.0, 1.0), "device_type": "cpu"}
    classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), (784,), 10, **options)
    artclip.CLIPTrainer(classifier, lamda=lamda, seed=SEED).fit(x, y, batch_size=BATCH_SIZE, nb_epochs=NB_EPOCHS)
    return classifier


def sampled(classifier: PyTorchClassifier, x: np.ndarray) -> dict[str, float]:
    """The largest Jacobian norm on the points, the obvious rival of a search."""
    began, net = time.perf_counter(), classifier.model.eval()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda t: net(t[None])[0]))
    norms = [torch.linalg.matrix_norm(jacobian(torch.from_numpy(x[i : i + 500])), 2) for i in range(0, len(x), 500)]
    return {"value": float(torch.cat(norms).max()), "seconds": time.perf_counter() - began}


def one(name: str, data: Any) -> dict[str, Any]:
    (x, y), (x_test, y_test) = data
    make, lamda = NETS[name]
    classifier = trained(make, lamda, x, y)
    row: dict[str, Any] = {"net": name, "lamda": lamda}
    row["clean"] = float(np.mean(classifier.predict(x_test).argmax(1) == y_test))
    for domain in ("clip_values", "free"):
        lower = artclip.lipschitz_lower_bound(classifier, x, domain=domain, seed=SEED)
        row[f"lower, {domain}"] = {"value": lower.value, "seconds": lower.seconds}
    row["Jacobian norm on 10,000 points"] = sampled(classifier, x[:10_000])
    bounds = {m: artclip.lipschitz_upper_bound(classifier, method=m) for m in METHODS}
    row["upper"] = {m: {"value": b.value, "seconds": b.seconds} for m, b in bounds.items()}
    row["upper over lower"] = bounds["lipsdp"].value / row["lower, free"]["value"]
    radii = {
        "pairs": artclip.certified_radius(classifier, x_test, y_test, bounds["lipsdp"]),
        "√2·LipSDP": artclip.certified_radius(classifier, x_test, y_test, bounds["lipsdp"].value),
        "√2·product": artclip.certified_radius(classifier, x_test, y_test, bounds["product"].value),
    }
    row["certified at 0.3"] = {n: float(np.mean(r >= 0.3)) for n, r in radii.items()}
    sample = x_test[0]
    ours = [artclip.clever(classifier, sample, seed=s, **CLEVER) for s in range(5)]
    began = time.perf_counter()
    np.random.seed(SEED)  # noqa: NPY002
    theirs = clever_u(classifier, sample, norm=2, verbose=False, **CLEVER)
    row["CLEVER"] = {
        "artclip": {"values": [s.value for s in ours], "seconds": float(np.median([s.seconds for s in ours]))},
        "ART": {"value": float(theirs), "seconds": time.perf_counter() - began},
    }
    print(name, {k: v for k, v in row.items() if k != "net"})
    return row


def main() -> None:
    data = mnist()
    settings = {
        "epochs": NB_EPOCHS,
        "optimizer": "Adam 2e-3",
        "seed": SEED,
        "norm": "L2 to L2",
        "CLEVER": CLEVER,
        "threads": torch.get_num_threads(),
    }
    results = [one(name, data) for name in NETS]
    ratios = [row["upper over lower"] for row in results]
    assert all(math.isfinite(r) and r >= 1 for r in ratios), "a lower bound above an upper bound"
    save("bounds", settings, results, "torch")


if __name__ == "__main__":
    main()
