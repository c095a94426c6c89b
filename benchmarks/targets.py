"""How closely ``target_accuracy`` is held, by the model as deployed, on kinds of nets, data and schedules.

Each kind is trained with five seeds, nets on CIFAR-10 (JPEG copies) with three. What is reported is the accuracy of the
model with which ``fit`` ends, on all data that the target is of, less the target; and the share of CPU time that
measuring it took.

Run: ``python benchmarks/targets.py [--only TEXT]``; kinds whose name does not hold the text stay as they are. The data
come from the folder that ARTCLIP_DATA names.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.data_generators import NumpyDataGenerator
from art.estimators.classification import PyTorchClassifier
from common import recorded, save
from torch import nn

import artclip
from artclip.frameworks.pytorch.nets import NETS, make_classifier
from artclip.trainers.accuracy import DeployedAccuracy

SEEDS, EPOCHS = {"digits": 5, "mnist": 5, "cifar-10": 3}, {"digits": 30, "mnist": 8, "cifar-10": 10}
NB_SAMPLES = {"digits": 12_000, "mnist": 12_000, "cifar-10": 20_000}
# Kind: data, labels, middle of the net, target, schedule of the rate, how it is trained.
CASES: dict[str, tuple[str, str, str, float, str, str]] = {
    f"{data}, {what}": case
    for data, target in (("digits", 0.90), ("mnist", 0.95))
    for what, case in {
        "ten classes": (data, "ten", "plain", target, "constant", "fit"),
        "ten classes, cosine rate": (data, "ten", "plain", target, "cosine", "fit"),
        "ten classes, Dropout": (data, "ten", "dropout", target, "constant", "fit"),
        "ten classes, BatchNorm": (data, "ten", "batchnorm", target, "constant", "fit"),
        "ten classes, BatchNorm, cosine rate": (data, "ten", "batchnorm", target, "cosine", "fit"),
        "two classes": (data, "two", "plain", 0.90, "constant", "fit"),
        "two classes, cosine rate": (data, "two", "plain", 0.90, "cosine", "fit"),
        "two classes, Dropout": (data, "two", "dropout", 0.90, "constant", "fit"),
        "two classes of which one is rare, balanced accuracy": (data, "rare", "plain", 0.90, "cosine", "balanced"),
        "three labels a sample": (data, "three", "plain", 0.90, "cosine", "fit"),
        "ten classes, held on validation data": (data, "ten", "dropout", target, "cosine", "validation"),
        "ten classes, batches of a generator": (data, "ten", "dropout", target, "cosine", "generator"),
    }.items()
} | {
    f"cifar-10, {name}": ("cifar-10", "ten", name, target, "cosine", "fit")
    for name, target in (("cnn", 0.5), ("convnet", 0.5), ("resnet", 0.6))
}
LABELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ten": lambda y: y,
    "two": lambda y: (y % 2).astype(int),
    "rare": lambda y: (y == 3).astype(int),
    "three": lambda y: np.stack([y % 2, y > 4, y == 3], 1).astype(np.float32),
}


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Training samples in [0, 1], (n, d) of grey images."""
    (x, y), _ = artclip.load_data(name)
    x, y = x[: NB_SAMPLES[name]], y[: NB_SAMPLES[name]]
    return x if name == "cifar-10" else x.reshape(len(x), -1), y


def net(size: int, outputs: int, middle: str) -> nn.Module:
    """A net with two hidden layers."""
    extra: Callable[[], list[nn.Module]] = {
        "plain": lambda: [nn.ReLU()],
        "dropout": lambda: [nn.ReLU(), nn.Dropout(0.5)],
        "batchnorm": lambda: [nn.BatchNorm1d(128), nn.ReLU()],
    }[middle]
    return nn.Sequential(nn.Linear(size, 128), *extra(), nn.Linear(128, 128), *extra(), nn.Linear(128, outputs))


def untrained(shape: tuple[int, ...], outputs: int, middle: str, seed: int, labels: str) -> PyTorchClassifier:
    """A net by name, or one with two hidden layers."""
    if middle in NETS:
        return make_classifier(middle, shape, outputs, (0, 1), learning_rate=2e-3, seed=seed)
    torch.manual_seed(seed)
    model = net(shape[0], outputs, middle)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loss = nn.BCEWithLogitsLoss() if labels == "three" else nn.CrossEntropyLoss()
    return PyTorchClassifier(model, loss, shape, outputs, optimizer=optimizer, clip_values=(0, 1), device_type="cpu")


def trained(case: tuple[str, str, str, float, str, str], seed: int) -> dict[str, Any]:
    """One training."""
    name, labels, middle, target, rate, way = case
    x, y = data(name)
    y = LABELS[labels](y)
    outputs = y.shape[1] if y.ndim == 2 else int(y.max()) + 1
    classifier = untrained(x.shape[1:], outputs, middle, seed, labels)
    epochs, optimizer = EPOCHS[name], classifier.optimizer
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs) if rate == "cosine" else None
    metric = "balanced_accuracy" if way == "balanced" else "accuracy"
    trainer = artclip.CLIPTrainer(classifier, target_accuracy=target, target_metric=metric, seed=seed)
    held = slice(0, None)
    options = {"nb_epochs": epochs, "scheduler": scheduler}
    measured, started = Timed(), time.process_time()
    with measured, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is warned of is in the notes
        if way == "generator":
            trainer.fit_generator(NumpyDataGenerator(x, y, batch_size=128, shuffle=True), **options)
        elif way == "validation":
            held = slice(0, len(x) // 5)
            rest = slice(held.stop, None)
            trainer.fit(x[rest], y[rest], validation_data=(x[held], y[held]), **options)
        else:
            trainer.fit(x, y, **options)
    seconds = time.process_time() - started
    z, y = classifier.predict(x[held]), y[held]
    right = ((z > 0) == (y > 0.5)).mean(1) if labels == "three" else z.argmax(1) == y
    accuracy = np.mean([right[y == c].mean() for c in np.unique(y)]) if way == "balanced" else right.mean()
    return {
        "off": float(accuracy - target),
        "lamda": trainer.lamda,
        "notes": trainer.notes,
        "share_of_time": measured.seconds / seconds,
    }


class Timed:
    """CPU seconds spent in measuring accuracies, inside."""

    def __enter__(self) -> None:
        self.seconds, self._kept = 0.0, {n: getattr(DeployedAccuracy, n) for n in ("at", "now")}
        for name, original in self._kept.items():
            setattr(DeployedAccuracy, name, self._timed(original))

    def _timed(self, original: Callable[..., float]) -> Callable[..., float]:
        def run(*args: Any, **kwargs: Any) -> float:
            started = time.process_time()
            value = original(*args, **kwargs)
            self.seconds += time.process_time() - started
            return value

        return run

    def __exit__(self, *_: object) -> None:
        for name, original in self._kept.items():
            setattr(DeployedAccuracy, name, original)


def main() -> None:
    """Run all kinds, or those whose name holds a text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    chosen = parser.parse_args().only
    torch.set_num_threads(1)
    results = recorded("targets", {}) if chosen else {}
    for name, case in CASES.items():
        if chosen not in name:
            continue
        runs = [trained(case, seed) for seed in range(SEEDS[case[0]])]
        results[name] = {"target": case[3], "runs": runs}
        off = [100 * r["off"] for r in runs]
        print(
            f"{name}: " + " ".join(f"{o:+.1f}" for o in off),
            f"share of time {max(r['share_of_time'] for r in runs):.1%}",
            flush=True,
        )
        save("targets", {"seeds": SEEDS, "samples": NB_SAMPLES, "epochs": EPOCHS, "threads": 1}, results, "torch")


if __name__ == "__main__":
    main()
