"""Nets that verifiers are compared on, and others that somebody else trained: certified in Linf balls, and attacked.

Test images that a net gets right are certified by ``certified_radius``'s bounds in the ball, in float64 on one thread;
what margin-PGD (100 steps, two starts) leaves standing is an upper bound. The Lipschitz bracket, L2 to L2, stands
beside it. Nothing is chosen. CIFAR-10 is its JPEG copies.

Run: ``python benchmarks/verifiers.py FOLDER [WORD ...]`` with a folder that holds ``mnist_wong.pth``
(github.com/locuslab/convex_adversarial), ``mnist_256x2.onnx``, ``mnist_keras_avgpool.onnx`` and
``cifar_resnet_2b.onnx`` (VNN-COMP) and ``cifar10_resnet20.th`` (github.com/akamaster/pytorch_resnet_cifar10), or some
of them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from common import attacked, recorded, save
from torch import nn
from torch.nn import functional

import artclip
from artclip.frameworks import function_of, graph_of
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.local.labels import LabelBounds

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ATTACK = ["pgd-margin:max_iter=100,nb_restarts=2"]
# File: data, radii, images that are certified, ART's preprocessing.
NETS: dict[str, tuple[str, tuple[float, ...], int, Any]] = {
    "mnist_wong.pth": ("mnist", (0.05, 0.1), 200, None),
    "mnist_256x2.onnx": ("mnist", (0.01, 0.02, 0.03), 200, None),
    "mnist_keras_avgpool.onnx": ("mnist", (0.01, 0.02), 50, None),
    "cifar_resnet_2b.onnx": ("cifar-10", (0.5 / 255, 1 / 255, 2 / 255), 50, (MEAN, (0.225,) * 3)),
    "cifar10_resnet20.th": ("cifar-10", (0.1 / 255, 0.25 / 255), 5, (MEAN, STD)),
}
SECONDS = 300.0  # for all images of a net and a radius


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2, self.more = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs), outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more // 2))
        return functional.relu(x + y)


class ResNet20(nn.Module):
    """He et al. 2016, for CIFAR-10, with shortcuts that have no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        sizes = ((16, 16), (16, 32), (32, 64))
        for i, (m, n) in enumerate(sizes):
            blocks = [Block(m, n, 1 + (i > 0)), Block(n, n, 1), Block(n, n, 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(functional.avg_pool2d(x, x.shape[3]).flatten(1))


def loaded(path: Path, shape: tuple[int, ...], preprocessing: Any) -> Any:
    """A classifier of a file."""
    given: dict[str, Any] = {}
    if path.suffix == ".onnx":
        given |= {} if preprocessing is None else {"preprocessing": preprocessing}
        return artclip.load_model(path, input_shape=shape, clip_values=(0, 1), **given)
    if path.name == "mnist_wong.pth":
        convs = nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten()
        net: nn.Module = nn.Sequential(*convs, nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10))
    else:
        net = ResNet20()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    weights = weights.get("state_dict", weights)
    weights = weights[0] if isinstance(weights, list) else weights
    net.load_state_dict({k.removeprefix("module."): v for k, v in weights.items()})
    given |= {} if preprocessing is None else {"preprocessing": _as_channels(preprocessing)}
    return PyTorchClassifier(net.eval(), nn.CrossEntropyLoss(), shape, 10, clip_values=(0, 1), **given)


def _as_channels(scaling: tuple[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in scaling)
    return mean, std


def figures(path: Path) -> dict[str, Any]:
    """One net."""
    data, radii, nb, preprocessing = NETS[path.name]
    _, (x, y) = artclip.load_data(data)
    classifier = loaded(path, x.shape[1:], preprocessing)
    x, y = np.asarray(x[:1000], np.float32), y[:1000]
    x = x.reshape(-1, *classifier.input_shape)
    labels = np.concatenate([classifier.predict(part) for part in np.split(x, 10)]).argmax(1)
    row: dict[str, Any] = {"net": path.name, "clean": 100 * float((labels == y).mean()), "images": nb}
    lower = artclip.lipschitz_lower_bound(classifier, x[:500], seed=0, nb_restarts=16, max_seconds=60)
    upper = artclip.lipschitz_upper_bound(classifier, max_seconds=60)
    row |= {"Lip ≥": lower.value, "Lip ≤": upper.value, "method": upper.method.split(";")[0]}
    x, y, right = x[:nb], y[:nb], labels[:nb] == y[:nb]
    bounds = LabelBounds(graph_of(classifier), function_of(classifier), None, np.inf)
    by_eps = []
    for eps in radii:
        found = attacked(classifier, x, y, eps, ATTACK, 0, norm=np.inf, nb_distances=0)
        tried, began = np.flatnonzero(right & found.survivors), time.process_time()
        kept = bounds.keep(x[tried], y[tried], eps, Budget(SECONDS))
        seconds, looked_at = time.process_time() - began, int((kept >= 0).sum())
        share = 100 * float((kept == 1).sum()) / (nb - int((kept < 0).sum()))
        by_eps.append({"eps": eps, "certified": share, "PGD": 100 * float(found.survivors.mean())})
        by_eps[-1] |= {"images looked at": looked_at, "seconds": seconds / max(looked_at, 1)}
        print(path.name, by_eps[-1], flush=True)
    return {**row, "by eps": by_eps}


def main() -> None:
    torch.set_num_threads(1)
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    rows = {row["net"]: row for row in recorded("verifiers", [])}
    for name in NETS:
        if (folder / name).exists() and (not words or any(word in name for word in words)):
            rows[name] = figures(folder / name)
            print(rows[name], flush=True)
            save("verifiers", {"attack": ATTACK, "seconds": SECONDS, "threads": 1}, list(rows.values()), "torch")


if __name__ == "__main__":
    main()
