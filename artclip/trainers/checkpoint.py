"""Weights and history on disk after each epoch, so that a training that dies has not been for nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from artclip.frameworks import trainable_of
from artclip.models import RECORD


def folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made if need be.

    Raises:
        ValueError: there is a file of that name.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"cannot write to {path}: it is a file; give a folder")
    path.mkdir(parents=True, exist_ok=True)
    return path


def weights_file(trainer: Any) -> str:
    """Name of the file of weights: ``model.pt`` (a state dict) or ``model.weights.h5``."""
    return trainable_of(trainer.classifier).weights_file


def write(path: Path, trainer: Any, **more: Any) -> None:
    """Write the weights and a JSON record of λ, seed and history; each file is whole or not there."""
    classifier = trainer.classifier
    shape = {"input_shape": list(classifier.input_shape), "nb_classes": getattr(classifier, "nb_classes", None)}
    record = {**more, **shape, "lamda": trainer.lamda, "seed": trainer.seed, "history": trainer.history}
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    _whole(path / weights_file(trainer), trainable_of(trainer.classifier).save_weights)
    _whole(path / RECORD, lambda part: Path(part).write_text(text))


def _whole(path: Path, make: Any) -> None:
    part = path.with_name("part-" + path.name)  # Keras insists on the ending
    make(str(part))
    os.replace(part, path)
