"""Certificates against attacks: no radius that is proved may hold an adversarial example.

Thirty nets of many kinds on scikit-learn's digits (8×8 pixels), each trained for a few epochs, some with CLIP. Of each
334 samples that it gets right have radii, in L2 from ``certified_radius(method="auto")``, of every second net in Linf
(``"local"``), within four minutes. In each ball, shrunk by 10⁻⁶, the margin is attacked by PGD of 200 steps from ten
starts, in float64 and sample by sample; the minimum-norm attack of ``evaluate`` looks for anything nearer than the
radius; and labels are those of ``predict``. One example within a radius makes it fail. What a radius is worth is the
other figure: how many samples fall at 1.5 times.

Run: ``python benchmarks/fuzz_certificates.py [PROCESSES]``, an hour on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import joblib
import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from common import save
from torch import nn

import artclip
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.nearest import search_nearest
from artclip.frameworks.pytorch.nets import MaxMin

SAMPLES, STEPS, STARTS, LARGER, EPOCHS, SECONDS = 334, 200, 10, 1.5, 8, 240.0
ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    *(nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.ELU),
    *(MaxMin, nn.Hardswish, nn.Mish, nn.ReLU6, nn.SELU, nn.Softsign),
)


class Residual(nn.Module):
    """x + part(x)."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.part(x)


def dense(activation: Callable[[], nn.Module], *widths: int) -> nn.Module:
    sizes = (64, *widths)
    layers = [part for m, n in pairwise(sizes) for part in (nn.Linear(m, n), activation())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(sizes[-1], 10))


def convolutional(activation: Callable[[], nn.Module], pool: nn.Module, normed: bool, block: bool) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(1, 6, 3, padding=1), *([nn.BatchNorm2d(6)] if normed else []), activation()]
    if block:
        layers.append(Residual(nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), activation())))
    return nn.Sequential(
        *layers, pool, nn.Flatten(), nn.Dropout(0.1), nn.Linear(96, 24), activation(), nn.Linear(24, 10)
    )


def nets() -> list[tuple[str, Callable[[], nn.Module], dict[str, Any]]]:
    """Name, maker, and what is unusual about the classifier."""
    made: list[tuple[str, Callable[[], nn.Module], dict[str, Any]]] = []
    for i, kind in enumerate(ACTIVATIONS):
        widths = ((32,), (48, 32), (32, 24, 16))[i % 3]
        made.append((f"dense {widths}, {kind.__name__}", lambda k=kind, w=widths: dense(k, *w), {}))
    pools = (nn.MaxPool2d(2), nn.AvgPool2d(2))
    for i, kind in enumerate((nn.ReLU, nn.GELU, nn.Tanh, nn.LeakyReLU, MaxMin, nn.SiLU, nn.ELU, nn.ReLU6)):
        parts = pools[i % 2], i % 3 == 0, i % 2 == 1
        name = f"convolutional, {kind.__name__}" + ", BatchNorm" * parts[1] + ", residual" * parts[2]
        made.append((name, lambda k=kind, p=parts: convolutional(k, *p), {}))
    blocks = [Residual(nn.Sequential(nn.Linear(64, 64), nn.ReLU())) for _ in range(3)]
    made += [
        ("residual, dense", lambda: nn.Sequential(nn.Flatten(), *blocks, nn.Linear(64, 10)), {}),
        ("softmax at the end", lambda: nn.Sequential(dense(nn.ReLU, 32), nn.Softmax(1)), {}),
        ("mean and std", lambda: dense(nn.GELU, 40), {"preprocessing": (0.3, 0.4)}),
        ("pixels of 0 to 255", lambda: dense(nn.ReLU, 40), {"clip_values": (0, 255), "preprocessing": (0, 255)}),
        ("no range", lambda: dense(nn.SiLU, 40), {"clip_values": None}),
        ("CLIP, dense", lambda: dense(nn.ReLU, 64, 32), {"lamda": 0.3}),
        ("CLIP, convolutional", lambda: convolutional(nn.GELU, pools[0], False, False), {"lamda": 0.3}),
        ("CLIP, wide", lambda: dense(nn.GELU, 128, 64), {"lamda": 0.1}),
    ]
    return made


def attacked(classifier: Any, x: np.ndarray, y: np.ndarray, radii: np.ndarray, norm: float, seed: int) -> np.ndarray:
    """Which samples PGD on the margin breaks within radii of their own, shape (n,); labels are those of ``predict``."""
    net = classifier.model.eval()
    scaling = classifier.preprocessing
    mean, std = (0.0, 1.0) if scaling is None else (float(scaling.mean), float(scaling.std))
    low, high = (-np.inf, np.inf) if classifier.clip_values is None else classifier.clip_values
    broken, rng = np.zeros(len(x), bool), torch.Generator().manual_seed(seed)
    start, r = torch.from_numpy(x).double().flatten(1), torch.from_numpy(radii)[:, None]
    labels = torch.nn.functional.one_hot(torch.from_numpy(y), 10).bool()
    net = net.double()

    def into(d: torch.Tensor) -> torch.Tensor:
        if norm == 2:
            d = d * torch.clamp(r / d.norm(dim=1, keepdim=True).clamp_min(1e-30), max=1)
        else:
            d = torch.minimum(torch.maximum(d, -r), r)
        return torch.clamp(start + d, low, high) - start

    for i in range(STARTS):
        d = torch.randn(start.shape, generator=rng, dtype=torch.float64)
        d = into(d * r / (d.norm(dim=1, keepdim=True) if norm == 2 else 1)) * (i > 0)
        for step in range(STEPS):
            d = d.requires_grad_(True)
            outputs = net(((start + d).reshape(x.shape) - mean) / std)
            margin = torch.where(labels, -torch.inf, outputs).amax(1) - outputs[labels]
            (slope,) = torch.autograd.grad(margin.sum(), d)
            slope = slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-30) if norm == 2 else slope.sign()
            d = into(d.detach() + 2.5 * r / STEPS * 4 * (1 - step / STEPS) * slope).detach()
        ends = (start + d).reshape(x.shape).numpy()
        net.float()
        broken |= classifier.predict(ends.astype(np.float32)).argmax(1) != y
        net.double()
    net.float()
    return broken


def figures(index: int) -> dict[str, Any]:
    """One net."""
    torch.set_num_threads(1)
    torch.manual_seed(index)
    name, make, options = nets()[index]
    norm = (2, np.inf)[index % 2]
    (x_train, y_train), (x_test, y_test) = artclip.load_data("digits")
    x, y = np.concatenate([x_test, x_train]), np.concatenate([y_test, y_train])
    scale = 255 if options.get("clip_values") == (0, 255) else 1
    x, x_train = (scale * x).astype(np.float32), (scale * x_train).astype(np.float32)
    lamda = options.pop("lamda", 0.0)
    net = make()
    given = {"clip_values": (0, 1), "optimizer": torch.optim.Adam(net.parameters(), 3e-3), **options}
    classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), (1, 8, 8), 10, **given)
    artclip.CLIPTrainer(classifier, lamda=lamda, seed=index).fit(x_train, y_train, batch_size=64, nb_epochs=EPOCHS)
    right = np.flatnonzero(classifier.predict(x).argmax(1) == y)[:SAMPLES]
    x, y = x[right], y[right]
    radii = artclip.certified_radius(
        classifier, x, y, method="auto" if norm == 2 else "local", norm=norm, max_seconds=SECONDS
    )
    within = attacked(classifier, x, y, radii * (1 - 1e-6), norm, index)
    evaluated = EvaluatedModel(classifier, x, y)
    nearest = search_nearest(evaluated, norm, np.arange(len(x)))
    found = nearest.distance if nearest is not None else np.full(len(x), np.inf)
    nearer = found < radii * (1 - 1e-6)
    larger = attacked(classifier, x, y, radii * LARGER, norm, index)
    row = {"net": name, "norm": str(norm), "samples": len(x), "broken": int((within | nearer).sum())}
    row |= {"certified": int((radii > 0).sum()), "median radius": float(np.median(radii))}
    row |= {"median distance": float(np.median(found)), f"share broken at {LARGER:g} r": float(larger.mean())}
    print(row, flush=True)
    return row


def main() -> None:
    nb_processes = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    parallel = joblib.Parallel(n_jobs=nb_processes, batch_size=1, return_as="generator")
    settings = {"data": "digits", "PGD": f"{STEPS} steps, {STARTS} starts, float64", "epochs": EPOCHS}
    rows: list[dict[str, Any]] = []
    for row in parallel(joblib.delayed(figures)(i) for i in range(len(nets()))):
        rows.append(row)
        save("fuzz_certificates", {**settings, "samples": sum(r["samples"] for r in rows)}, rows, "torch")
    if broken := [row for row in rows if row["broken"]]:
        raise SystemExit(f"certificates were broken: {broken}")


if __name__ == "__main__":
    main()
