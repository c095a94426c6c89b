"""Brackets of the Lipschitz constant and certified radii of nets trained on MNIST, beside other estimators.

Run: ``python benchmarks/bounds.py``. MNIST comes from the folder that ARTCLIP_DATA names. deel-torchlip joins in where
it is installed (``pip install deel-torchlip``).
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from art.metrics import clever_u
from common import mnist, save
from torch import nn

import artclip

SEEDS, NB_EPOCHS, BATCH_SIZE = (0, 1, 2), 5, 128
METHODS = ("product", "eclipse", "lipsdp")
CLEVER = ((50, 50), (200, 200), (500, 1024))  # batches and their size; the last are the paper's
RADIUS = 2.0


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


# Net, λ of CLIP, and how many settings of CLEVER are tried.
NETS = {
    "relu 64-64": (lambda: mlp(nn.ReLU, 64, 64), 0.0, 3),
    "relu 64-64, CLIP": (lambda: mlp(nn.ReLU, 64, 64), 0.05, 2),
    "relu 200-80, CLIP": (lambda: mlp(nn.ReLU, 200, 80), 0.02, 0),
    "sigmoid 64-64": (lambda: mlp(nn.Sigmoid, 64, 64), 0.0, 0),
    "gelu 64-64": (lambda: mlp(nn.GELU, 64, 64), 0.0, 0),
    "relu 5×64": (lambda: mlp(nn.ReLU, *[64] * 5), 0.0, 0),
    "small cnn": (cnn, 0.0, 2),
}


def trained(make: Any, lamda: float, x: np.ndarray, y: np.ndarray, seed: int) -> PyTorchClassifier:
    torch.manual_seed(seed)
    net = make()
    options = {"optimizer": torch.optim.Adam(net.parameters(), 2e-3), "clip_values": (0.0, 1.0), "device_type": "cpu"}
    classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), (784,), 10, **options)
    artclip.CLIPTrainer(classifier, lamda=lamda, seed=seed).fit(x, y, batch_size=BATCH_SIZE, nb_epochs=NB_EPOCHS)
    return classifier


def timed(make: Any) -> dict[str, float]:
    began = time.perf_counter()
    value = float(make())
    return {"value": value, "seconds": time.perf_counter() - began}


def on_points(classifier: PyTorchClassifier, x: np.ndarray) -> float:
    """The largest Jacobian norm on some points."""
    net = classifier.model.eval()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda t: net(t[None])[0]))
    norms = [torch.linalg.matrix_norm(jacobian(torch.from_numpy(x[i : i + 500])), 2) for i in range(0, len(x), 500)]
    return float(torch.cat(norms).max())


def around_points(classifier: PyTorchClassifier, x: np.ndarray) -> float:
    """As CLEVER samples, by ART's gradients: the largest Jacobian norm at 100 points in balls around 100 images."""
    away = np.random.default_rng(0).standard_normal((100, *x.shape))
    reach = np.random.default_rng(1).uniform(size=(100, len(x), 1)) ** (1 / x.shape[1])
    points = x + RADIUS * reach * away / np.linalg.norm(away, axis=2, keepdims=True)
    points = np.clip(points, 0, 1).astype(np.float32).reshape(-1, x.shape[1])
    parts = (classifier.class_gradient(points[i : i + 500]) for i in range(0, len(points), 500))
    return max(float(np.linalg.norm(part, 2, axis=(1, 2)).max()) for part in parts)


def by_deel(classifier: PyTorchClassifier, x: np.ndarray) -> float:
    from deel.torchlip.utils import evaluate_lip_const

    with contextlib.redirect_stdout(io.StringIO()):
        return evaluate_lip_const(classifier.model.eval(), torch.from_numpy(x), "all")


def patterns(classifier: PyTorchClassifier, tries: int = 100) -> float:
    """A steep Jacobian with each ReLU on or off at will, whether inputs exist for it or not; no LipSDP can be below."""
    weights = [m.weight.detach().double().numpy() for m in classifier.model if isinstance(m, nn.Linear)]
    best, rng = 0.0, np.random.default_rng(0)
    for _ in range(tries):
        on = [rng.integers(0, 2, len(w)).astype(float) for w in weights[:-1]]
        value = 0.0
        while True:
            matrix = weights[0]
            for d, w in zip(on, weights[1:], strict=True):
                matrix = w @ (d[:, None] * matrix)
            u, s, v = np.linalg.svd(matrix, full_matrices=False)
            if s[0] <= value * (1 + 1e-9):
                break
            value = s[0]
            for k in range(len(on)):  # the best pattern of one layer, the others held
                ahead, back = weights[0] @ v[0], u[:, 0]
                for d, w in zip(on[:k], weights[1:], strict=False):
                    ahead = w @ (d * ahead)
                for j in reversed(range(k, len(on))):
                    back = weights[j + 1].T @ (back if j == len(on) - 1 else on[j + 1] * back)
                on[k] = (back * ahead > 0).astype(float)
        best = max(best, value)
    return best


def clever(classifier: PyTorchClassifier, sample: np.ndarray, nb_batches: int, batch_size: int) -> dict[str, Any]:
    ours = [artclip.clever(classifier, sample, nb_batches, batch_size, RADIUS, seed=s) for s in range(5)]
    np.random.seed(0)  # noqa: NPY002
    theirs = timed(lambda: clever_u(classifier, sample, nb_batches, batch_size, RADIUS, norm=2, verbose=False))
    seconds = float(np.median([s.seconds for s in ours]))
    return {
        "batches": nb_batches,
        "batch size": batch_size,
        "artclip": {"values": [s.value for s in ours], "seconds": seconds},
        "ART": theirs,
        "ratio of seconds": theirs["seconds"] / seconds,
    }


def certified(classifier: PyTorchClassifier, data: Any, bounds: dict[str, Any]) -> dict[str, float]:
    constants = {"pairs": bounds["lipsdp"], "√2·LipSDP": bounds["lipsdp"].value, "√2·product": bounds["product"].value}
    radii = {name: artclip.certified_radius(classifier, *data, constant) for name, constant in constants.items()}
    return {name: float(np.mean(r >= 0.3)) for name, r in radii.items()}


def one(name: str, seed: int, data: Any) -> dict[str, Any]:
    (x, y), test = data
    make, lamda, nb_clever = NETS[name]
    classifier = trained(make, lamda, x, y, seed)
    row: dict[str, Any] = {"net": name, "lamda": lamda, "seed": seed}
    row["clean"] = float(np.mean(classifier.predict(test[0]).argmax(1) == test[1]))
    lower = {d: artclip.lipschitz_lower_bound(classifier, x, domain=d, seed=seed) for d in ("clip_values", "free")}
    row["lower"] = {d: {"value": e.value, "seconds": e.seconds} for d, e in lower.items()}
    row["rivals from below"] = {
        "Jacobian norm on 10,000 points": timed(lambda: on_points(classifier, x[:10_000])),
        "ART gradients around 100 images": timed(lambda: around_points(classifier, x[:100])),
    }
    if find_spec("deel"):
        row["rivals from below"]["deel-torchlip"] = timed(lambda: by_deel(classifier, x[:1000]))
    bounds = {m: artclip.lipschitz_upper_bound(classifier, method=m) for m in METHODS}
    row["upper"] = {m: {"value": b.value, "seconds": b.seconds} for m, b in bounds.items()}
    row["upper over lower"] = bounds["lipsdp"].value / max(e.value for e in lower.values())
    if name.startswith("relu"):
        row["patterns at will"] = patterns(classifier)
    row["certified at 0.3"] = certified(classifier, test, bounds)
    if seed == SEEDS[0]:
        row["CLEVER"] = [clever(classifier, test[0][0], *size) for size in CLEVER[:nb_clever]]
    print(row, flush=True)
    return row


def main() -> None:
    data = mnist()
    settings = {
        "epochs": NB_EPOCHS,
        "optimizer": "Adam 2e-3",
        "seeds": SEEDS,
        "norm": "L2 to L2",
        "CLEVER radius": RADIUS,
        "threads": torch.get_num_threads(),
    }
    results = [one(name, seed, data) for name in NETS for seed in SEEDS]
    ratios = [row["upper over lower"] for row in results]
    assert all(math.isfinite(r) and r >= 1 for r in ratios), "a lower bound above an upper bound"
    save("bounds", settings, results, "torch")


if __name__ == "__main__":
    main()
