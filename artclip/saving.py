"""Models out: a folder that :func:`artclip.load_model` reads, without pickles and without code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from artclip import checks
from artclip.evaluation.record import describe
from artclip.frameworks import models_of, trainable_of
from artclip.models import RECORD


def save(model: Any, path: str | os.PathLike[str], architecture: str | None = None) -> Path:
    """Write a classifier, and how it was trained, into a folder; ``artclip.load_model(path)`` gives it back.

    The folder holds the model or its weights, and ``training.json`` with shapes, ``clip_values``, mean and std,
    history, λ, seed and versions. Each file is whole or not there. Loss and optimizer are not kept: a model that is
    loaded can be attacked and measured. To go on with a training, give the trainer a ``checkpoint``.

    Args:
        model: ART classifier on PyTorch or TensorFlow; or a trainer of artclip, whose history is kept too.
        path: folder, made if need be; files of the same names in it are replaced.
        architecture: ``package.module:factory``, a function without arguments that returns the bare net, so that only
            weights are written; :func:`artclip.load_model` then asks for ``trust``, as it calls the function. ``None``
            writes the net itself: by ``torch.export`` (``model.pt2``), or as a Keras file (``model.keras``).

    Returns:
        The folder.

    Raises:
        TypeError: not such a classifier.
        ValueError: a preprocessing defence, which no file can hold; a net that cannot be exported; or a bad path.
    """
    classifier = getattr(model, "classifier", model)
    f = trainable_of(classifier)
    if f.nb_classes is None:
        raise TypeError(f"model is a regressor ({type(classifier).__name__}); save() takes classifiers")
    if architecture is not None and not (isinstance(architecture, str) and ":" in architecture):
        raise ValueError(f"architecture={architecture!r} is not of the form package.module:factory")
    if f.has_defences:
        raise ValueError("the classifier has preprocessing defences, which no file can hold; apply them to the data")
    into, room = checks.folder(path), models_of(f.name)
    name = room.FILE if architecture is None else f.weights_file
    record = {
        "format": 1,
        "framework": f.name,
        "file": name,
        "architecture": architecture,
        "input_shape": list(f.input_shape),
        "nb_classes": int(f.nb_classes),
        "clip_values": None if f.clip_values is None else [np.asarray(v).tolist() for v in f.clip_values],
        "preprocessing": None if f.scaling is None else [np.asarray(f.host(t)).tolist() for t in f.scaling],
        **{key: getattr(model, key, None) for key in ("history", "lamda", "seed")},
        **describe(f.name),
    }
    if architecture is None:
        whole(into / name, lambda part: room.save(classifier.model, part, f.input_shape))
    else:
        whole(into / name, f.save_weights)
    write_record(into, record)
    return into


def save_named(trainer: Any, path: Path, **more: Any) -> list[Path]:
    """Write the weights of a net that has a name here, with settings that say which; returns the files."""
    f = trainable_of(trainer.classifier)
    shape = {"input_shape": list(f.input_shape), "nb_classes": f.nb_classes}
    record = {**more, **shape, "lamda": trainer.lamda, "seed": trainer.seed, "history": trainer.history}
    whole(path / f.weights_file, f.save_weights)
    write_record(path, record)
    return [path / f.weights_file, path / RECORD]


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write the record of a model into its folder."""
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    whole(path / RECORD, lambda part: Path(part).write_text(text, encoding="utf-8"))


def whole(path: Path, make: Any) -> None:
    """Have a function write a file under another name first, so that the file is whole or not there."""
    part = path.with_name("part-" + path.name)  # Keras insists on the ending
    make(str(part))
    os.replace(part, path)
