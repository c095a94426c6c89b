"""Models out: a folder that :func:`artclip.load_model` reads, without pickles and without code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import Trainable, models_of, trainable_of
from artclip.frameworks.check import refuse_own_predict
from artclip.frameworks.preprocessing import taken_apart
from artclip.models.loading import RECORD
from artclip.reporting.records import describe


def save(model: Any, path: str | os.PathLike[str], architecture: str | None = None) -> Path:
    """Write a classifier, and how it was trained, into a folder; ``artclip.load_model(path)`` gives it back.

    The folder holds the model or its weights, and ``training.json`` with shapes, ``clip_values``, mean and std, the
    kind of classifier, its loss, history, λ, seed and versions. Each file is whole or not there. A loss that is not one
    of the framework's own, and the optimizer, are not kept: a model that is loaded can be attacked and measured. To go
    on with a training, give the trainer a ``checkpoint``.

    Args:
        model: ART classifier on PyTorch or TensorFlow; or a trainer of artclip, whose history is kept too.
        path: folder, made if need be; a model that it holds already is replaced.
        architecture: ``package.module:factory``, a function without arguments that returns the bare net, so that only
            weights are written; :func:`artclip.load_model` then asks for ``trust``, as it calls the function. ``None``
            writes the net itself: by ``torch.export`` (``model.pt2``), or as a Keras file (``model.keras``).

    Returns:
        The folder.

    Raises:
        TypeError: not such a classifier.
        ValueError: a defence of pre- or postprocessing, which no file can hold; a net that cannot be exported; or a bad
            path.
    """
    classifier = getattr(model, "classifier", model)
    _refuse_defences(classifier)
    _refuse_what_differs(classifier, architecture)
    f = trainable_of(classifier)
    if f.nb_classes is None:
        raise TypeError(f"model is a regressor ({type(classifier).__name__}); save() takes classifiers")
    if architecture is not None and not (isinstance(architecture, str) and ":" in architecture):
        raise ValueError(f"architecture={architecture!r} is not of the form package.module:factory")
    into, room = checks.folder(path), models_of(f.name)
    name = room.FILE if architecture is None else f.weights_file
    record = {
        "format": 1,
        "framework": f.name,
        "file": name,
        "architecture": architecture,
        "input_shape": list(f.input_shape),
        "nb_classes": int(f.nb_classes),
        **_ranges(classifier, f),
        "estimator": _kind(classifier),
        "loss": f.kept_loss(),
        **{key: getattr(model, key, None) for key in ("history", "lamda", "seed")},
        **describe(f.name),
    }
    make = f.save_weights if architecture else lambda part: room.save(classifier.model, part, f.input_shape)
    _write(into, name, make, record)
    return into


def _refuse_what_differs(classifier: Any, architecture: str | None) -> None:
    """A file would hold another function than ``predict`` computes."""
    f = trainable_of(classifier)
    refuse_own_predict(f)
    if architecture is None and (notes := f.notes()):
        raise ValueError(
            f"{notes[0]}, and a file would not; put the Sequential into a module of its own, and save that"
        )


def _refuse_defences(classifier: Any) -> None:
    """Raise ``ValueError`` where ART does more to inputs and outputs than a file can hold."""
    if not hasattr(classifier, "preprocessing_operations"):
        return
    before, after = taken_apart(classifier)[0], classifier.postprocessing_defences or []
    for kind, defences in (("preprocessing", before), ("postprocessing", after)):
        if defences:
            names = ", ".join(type(d).__name__ for d in defences)
            raise ValueError(
                f"the classifier has defences of {kind} ({names}), which no file can hold; save one without them, and "
                f"give them again after loading: load_model(FOLDER).set_params({kind}_defences=...)"
            )


def _ranges(classifier: Any, f: Trainable) -> dict[str, Any]:
    """``clip_values``, and mean and std with as many axes as a batch, so that none can be taken for another."""
    pair, axes = taken_apart(classifier)[1], len(f.input_shape) + 1
    scaling = pair and [a.reshape((1,) * (axes - a.ndim) + a.shape if a.ndim else ()).tolist() for a in pair]
    box = None if f.clip_values is None else [np.asarray(v).tolist() for v in f.clip_values]
    return {"clip_values": box, "preprocessing": scaling}


def _kind(classifier: Any) -> dict[str, Any]:
    """Which of ART's classifiers it is, or is made of."""
    known = ("PyTorchClassifier", "TensorFlowV2Classifier", "KerasClassifier")
    name = next((base.__name__ for base in type(classifier).__mro__ if base.__name__ in known), None)
    more = {"use_logits": bool(classifier.use_logits)} if name == "KerasClassifier" else {}
    return {"class": name, "channels_first": bool(getattr(classifier, "channels_first", name == known[0])), **more}


def save_named(trainer: Any, path: Path, **more: Any) -> list[Path]:
    """Write the weights of a net that has a name here, with settings that say which; returns the files."""
    f = trainable_of(trainer.classifier)
    shape = {"input_shape": list(f.input_shape), "nb_classes": f.nb_classes}
    record = {
        **more,
        **shape,
        **_ranges(trainer.classifier, f),
        "lamda": trainer.lamda,
        "seed": trainer.seed,
        "history": trainer.history,
    }
    _write(path, f.weights_file, f.save_weights, record)
    return [path / f.weights_file, path / RECORD]


def _write(folder: Path, name: str, make: Callable[[str], Any], record: dict[str, Any]) -> None:
    """Write a model and its record under other names first, so that each is whole and both are of one model."""
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    parts = [(folder / f"part-{n}", folder / n) for n in (name, RECORD)]  # Keras insists on the ending
    make(str(parts[0][0]))
    parts[1][0].write_text(text, encoding="utf-8")
    for part, whole in parts:
        os.replace(part, whole)
