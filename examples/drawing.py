"""What the examples that draw share: their arguments, data, a small CNN, and how figures are saved."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier

import artclip


def arguments(doc: str | None, argv: list[str] | None, seed: int = 0) -> argparse.Namespace:
    """The options of every example: ``-o FOLDER``, ``--seed``, ``--quick``."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="folder of the figures (default: out)")
    parser.add_argument("--seed", type=int, default=seed, help=f"of all randomness (default: {seed})")
    parser.add_argument(
        "--quick", action="store_true", help="far less training: a test that it runs, no figure to show"
    )
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=200)
    print(path)


def few_colours(path: Path, nb: int = 64) -> None:
    """An animation once more, all frames in the same few colours: a third of the bytes, and drawings look the same."""
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
        duration = image.info["duration"]
    palette = frames[-1].quantize(nb, method=Image.Quantize.MAXCOVERAGE)
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=duration, loop=0, optimize=True)
    print(path)


def images(name: str) -> tuple[str, Any, Any]:
    """Name and splits of an image data set; of scikit-learn's digits where ``ARTCLIP_DATA`` does not hold it."""
    if (Path(os.environ.get("ARTCLIP_DATA") or "/nonexistent") / name).is_dir():
        return name, *artclip.load_data(name)
    print(f"{name} is not in the folder that ARTCLIP_DATA names; scikit-learn's digits instead")
    return "digits", *artclip.load_data("digits")


def small_cnn(side: int, seed: int) -> PyTorchClassifier:
    """For grey images of side × side pixels, with logits."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 5, stride=2, padding=2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 5, stride=2, padding=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * (side // 4) ** 2, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 10),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    return PyTorchClassifier(
        net, torch.nn.CrossEntropyLoss(), (1, side, side), 10, optimizer=optimizer, clip_values=(0.0, 1.0)
    )


def answer(logits: np.ndarray, names: Sequence[object] = range(10)) -> str:
    """The class that logits (k,) speak for, and its softmax."""
    shares = np.exp(logits - logits.max(), dtype=np.float64)
    return f"{names[shares.argmax()]}, {100 * shares.max() / shares.sum():.0f} %"


def show(axes: Any, image: np.ndarray, title: str = "", span: float | None = None) -> None:
    """A grey image (1, h, w) in [0, 1]; with ``span``, a difference in red and blue up to it."""
    if span is None:
        axes.imshow(image[0], cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(image[0], cmap="RdBu_r", vmin=-span, vmax=span)
    axes.set_title(title, fontsize=10), axes.set_xticks([]), axes.set_yticks([])
    axes.spines[:].set_visible(False)
