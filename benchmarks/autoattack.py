"""The standard set of ``artclip.evaluate`` beside the original AutoAttack, on nets of several kinds.

AutoAttack (Croce, Hein 2020: APGD-CE, APGD-T, FAB-T, Square) is run as ``pyautoattack`` ships the code of its authors,
in its standard version, on the outputs that each net is deployed with. Both attack the first 1,000 test images; seconds
are CPU seconds of one thread, one after the other in one process. The nets of artclip's own are trained on 20,000
images with one seed; budgets were set so that most have something to lose and something to keep, before anything was
compared. Signs of gradient masking are those of the quick set on 200 images.

Run: ``python benchmarks/autoattack.py FOLDER [NET ...]`` with ``pyautoattack`` and ``onnx2torch`` installed, and a
folder that holds the nets of others (``benchmarks/verifiers.py`` says where they are from), five to fifteen minutes a
net on one core; every row is saved as it comes. The data come from the folder that ARTCLIP_DATA names.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from common import recorded, save
from torch import nn
from verifiers import NETS as OTHERS
from verifiers import loaded

import artclip
from artclip.comparison.defences import parse
from artclip.comparison.training_config import TrainingConfig
from artclip.frameworks import function_of
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier

NB_IMAGES, NB_TRAINING, SEED = 1000, 20_000, 0


@dataclass(frozen=True)
class Case:
    """A net, what it was trained by, and the budget that it is attacked within."""

    data: str
    norm: float
    eps: float
    net: str = ""
    training: str = ""
    nb_epochs: int = 5


CASES = {
    "MNIST MLP": Case("mnist", 2, 0.5, "mlp-200-80", "standard"),
    "MNIST MLP, CLIP": Case("mnist", 2, 1.5, "mlp-200-80", "clip:lamda=0.2"),
    "MNIST MLP, PGD-7": Case("mnist", 2, 1.5, "mlp-200-80", "pgd:eps=1.5,max_iter=7"),
    "MNIST MLP of sigmoids": Case("mnist", 2, 0.5, "sigmoids", "standard"),
    "MNIST MLP, logits × 1000": Case("mnist", np.inf, 0.02, "mlp-200-80 × 1000", "standard"),
    "MNIST CNN": Case("mnist", np.inf, 0.05, "cnn", "standard", 3),
    "MNIST CNN, CLIP": Case("mnist", 2, 1.5, "cnn", "clip:lamda=0.2", 3),
    "mnist_wong.pth": Case("mnist", np.inf, 0.1),
    "mnist_256x2.onnx": Case("mnist", np.inf, 0.03),
    "mnist_keras_avgpool.onnx": Case("mnist", np.inf, 0.02),
    "CIFAR-10 CNN": Case("cifar-10", 2, 0.1, "cnn", "standard", 6),
    "CIFAR-10 CNN, CLIP": Case("cifar-10", 2, 0.25, "cnn", "clip:lamda=0.1", 6),
    "CIFAR-10 CNN, N-FGSM": Case("cifar-10", np.inf, 4 / 255, "cnn", "n-fgsm:eps=0.0157", 6),
    "cifar_resnet_2b.onnx": Case("cifar-10", np.inf, 2 / 255),
}


class Scaled(nn.Module):
    """A net whose outputs are multiplied, so that a softmax of them saturates."""

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.net(x)


def wrapped(net: nn.Module, shape: tuple[int, ...], learning_rate: float = 3e-3) -> PyTorchClassifier:
    optimizer = torch.optim.Adam(net.parameters(), learning_rate)
    return PyTorchClassifier(
        net, nn.CrossEntropyLoss(), shape, 10, optimizer, clip_values=(0.0, 1.0), device_type="cpu"
    )


def trained(case: Case) -> Any:
    """A classifier of artclip's own."""
    (x, y), _ = artclip.load_data(case.data)
    x, y, name, factor = np.asarray(x[:NB_TRAINING], np.float32), y[:NB_TRAINING], *case.net.partition(" × ")[::2]
    torch.manual_seed(SEED)
    if name == "sigmoids":
        layers = [
            nn.Flatten(),
            *(m for a, b in ((784, 200), (200, 80), (80, 10)) for m in (nn.Linear(a, b), nn.Sigmoid())),
        ]
        classifier = wrapped(nn.Sequential(*layers), x.shape[1:])
    else:
        classifier = make_classifier(name, x.shape[1:], 10, (0, 1), seed=SEED, learning_rate=3e-3)
    trainer = parse(case.training).train(
        classifier, TrainingConfig("torch", float(case.norm), case.eps, 0.5, case.nb_epochs, 128, SEED)
    )
    scheduler = cosine_scheduler(classifier, case.nb_epochs)
    trainer.fit(x, y, batch_size=128, nb_epochs=case.nb_epochs, scheduler=scheduler)
    return wrapped(Scaled(classifier.model, float(factor)), x.shape[1:]) if factor else classifier


def original(classifier: Any, x: np.ndarray, y: np.ndarray, case: Case) -> tuple[np.ndarray, float]:
    """Which images (n, channels, rows, columns) stand under AutoAttack, by the net as deployed, and CPU seconds."""
    from pyautoattack import AutoAttack

    f, began = function_of(classifier), time.process_time()
    norm = "L2" if case.norm == 2 else "Linf"
    shape = classifier.input_shape

    def net(images: torch.Tensor) -> torch.Tensor:
        return f.forward(images.reshape(-1, *shape))

    attack = AutoAttack(net, norm=norm, eps=case.eps, seed=SEED, version="standard", device="cpu")
    found, _ = attack.run_standard_evaluation(torch.from_numpy(x), torch.from_numpy(y), batch_size=500)
    seconds = time.process_time() - began
    return f.outputs(found.numpy().reshape(-1, *shape), 500).argmax(1) == y, seconds


def figures(name: str, folder: Path) -> dict[str, Any]:
    """One net."""
    case = CASES[name]
    _, (x, y) = artclip.load_data(case.data)
    classifier = trained(case) if case.net else loaded(folder / name, x.shape[1:], OTHERS[name][3])
    images = np.asarray(x[:NB_IMAGES], np.float32)
    x, y = images.reshape(-1, *classifier.input_shape), np.asarray(y[:NB_IMAGES], np.int64)
    quiet: dict[str, Any] = {"lipschitz": False, "masking": False, "verbose": False, "nb_distances": 0, "seed": SEED}
    began = time.process_time()
    ours = artclip.evaluate(classifier, x, y, norm=case.norm, eps=case.eps, **quiet)
    seconds = time.process_time() - began
    theirs, their_seconds = original(classifier, images, y, case)
    looked = artclip.evaluate(
        classifier, x[:200], y[:200], norm=case.norm, eps=case.eps, attacks="quick", **{**quiet, "masking": True}
    )
    by_attack = {o.chosen.title: 100 * ours.accuracy[o.chosen.name] for o in ours.outcomes if o.in_budget}
    row: dict[str, Any] = {"net": name, "norm": f"L{case.norm}", "eps": case.eps, "clean": 100 * ours.accuracy["clean"]}
    row |= {"artclip": 100 * float(ours.survivors.mean()), "AutoAttack": 100 * float(theirs.mean())}
    row |= {"both": 100 * float((ours.survivors & theirs).mean()), "artclip, CPU seconds": seconds}
    row |= {"AutoAttack, CPU seconds": their_seconds, "by attack": by_attack}
    row["signs"] = [sign.name for sign in looked.warnings]
    return {**row, "seconds by attack": {o.chosen.title: o.seconds for o in ours.outcomes}}


def main() -> None:
    torch.set_num_threads(1)
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(CASES)
    for name in names:
        row = figures(name, folder)
        print(row, flush=True)
        rows = {one["net"]: one for one in recorded("autoattack", [])} | {name: row}
        settings = {"images": NB_IMAGES, "training images": NB_TRAINING, "seed": SEED, "threads": 1}
        save("autoattack", settings, [rows[n] for n in CASES if n in rows], "torch", "pyautoattack", "onnx2torch")


if __name__ == "__main__":
    main()
