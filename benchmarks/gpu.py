"""ResNet-18 on CIFAR-10 on a GPU: plain, CLIP, single-step and PGD training, and CLIP beside a single step.

Every training runs for the same epochs, with crop and flip, Adam and a cosine, in settings that are not chosen; then it
meets the AutoAttack set of ART on test images in L2. What falls at the first radius falls at the second, so only the
others are attacked there. Seconds are those of the whole training, wall clock, batches included. Rows are saved as they
come, and those that are there already, of equal settings, stay; what does not fit into ``--max-seconds`` is named, and
the next call goes on with it.

Run: ``python benchmarks/gpu.py``. ``--tiny`` proves on a CPU that it runs, on digits, and saves nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from common import clean, recorded, save, standing

import artclip
from artclip.comparison.defences import parse
from artclip.comparison.training_config import TrainingConfig
from artclip.data import RandomCropFlip
from artclip.frameworks.pytorch.nets import cosine_scheduler, make_classifier

RADII, BATCH_SIZE = (0.25, 0.5), 128
TRAININGS = {
    "standard": "standard",
    "clip": "clip:lamda=0.1",
    "clip+fgsm": "clip+fgsm:adversarial_eps=0.5,lamda=0.1",
    "n-fgsm": "n-fgsm:eps=0.5",
    "pgd": "pgd:eps=0.5,max_iter=3",
}
PRECISIONS = ("float32", "bfloat16")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--trainings", nargs="+", choices=TRAININGS, default=list(TRAININGS))
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the forward passes (autocast)")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--attacked", type=int, default=1000, help="test images that meet the attacks")
    parser.add_argument("--max-seconds", type=float, default=np.inf, help="no training begins that may end later")
    parser.add_argument("--tiny", action="store_true")
    return parser.parse_args()


def data(tiny: bool) -> tuple[Any, Any]:
    """Training and test images with labels."""
    if not tiny:
        return artclip.load_data("cifar-10")
    return tuple((x[:1024], y[:1024]) for x, y in artclip.load_data("digits", channels_first=True))


def precision(name: str, device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, torch.bfloat16) if name == "bfloat16" else nullcontext()


def figures(settings: dict[str, Any], setting: str, seed: int, training: Any, test: Any) -> dict[str, Any]:
    """A training, timed, on test images."""
    classifier = make_classifier(settings["net"], training[0].shape[1:], 10, (0, 1), learning_rate=1e-3, seed=seed)
    device = classifier.device.type
    plan = TrainingConfig("torch", 2, RADII[-1], 0.5, settings["epochs"], BATCH_SIZE, seed)
    trainer, on_gpu = parse(setting).train(classifier, plan), device == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with precision(settings["precision"], device):
        options = {"batch_size": BATCH_SIZE, "nb_epochs": settings["epochs"], "augmentation": RandomCropFlip()}
        trainer.fit(*training, scheduler=cosine_scheduler(classifier, settings["epochs"]), **options)
    row: dict[str, Any] = {"setting": setting, "seed": seed, "clean": clean(classifier, test)}
    row["seconds"] = sum(record["seconds"] for record in trainer.history)
    row["gradients"] = sum(record["gradients"] for record in trainer.history) / len(training[0]) / settings["epochs"]
    row["peak memory, MiB"] = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None
    x, y = (np.asarray(part[: settings["attacked"]]) for part in test)
    for eps, remaining in standing(classifier, x, y, RADII, settings["attacks"], seed).items():
        row[f"AutoAttack set of ART {eps:g}"] = 100 * len(remaining) / len(x)
    print(row, flush=True)
    return row


def main() -> int:
    given, began = arguments(), time.perf_counter()
    if not given.tiny and not torch.cuda.is_available():
        print("no CUDA device is at hand; --tiny proves on a CPU that this runs", file=sys.stderr)
        return 2
    settings: dict[str, Any] = {"net": "resnet18", "precision": given.precision, "epochs": given.epochs}
    settings |= {"attacked": given.attacked, "attacks": ["pgd-margin", "autoattack-set"], "batch_size": BATCH_SIZE}
    if given.tiny:
        settings |= {"net": "cnn", "epochs": 12, "attacked": 40, "attacks": ["pgd-margin:max_iter=2,nb_restarts=1"]}
    else:
        settings |= {"GPU": torch.cuda.get_device_name()}
    results = recorded("gpu", [])
    parts, longest, left_out = data(given.tiny), 0.0, []
    for seed in given.seeds:
        for setting in (TRAININGS[name] for name in given.trainings):
            if any(r["settings"] == settings and (r["setting"], r["seed"]) == (setting, seed) for r in results):
                continue
            start = time.perf_counter()
            if start - began + 2 * longest > given.max_seconds:  # PGD-3 takes twice the gradients of the one before it
                left_out.append(f"{setting} (seed {seed})")
                continue
            results.append({"settings": settings, **figures(settings, setting, seed, *parts)})
            longest = max(longest, time.perf_counter() - start)
            if not given.tiny:
                save("gpu", {"radii, L2": RADII, "data": "CIFAR-10, JPEG copies"}, results, "torch")
    if left_out:
        print(f"no time was left for {', '.join(left_out)}; call it once more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
