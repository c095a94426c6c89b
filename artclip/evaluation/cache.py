"""Outcomes kept on disk under a hash of everything that they follow from."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from artclip.hashing.contents import NotHashable, content_digest
from artclip.hashing.digests import digest, own_code


def fingerprint(evaluated: Any) -> str:
    """Hash of a model: of all that it computes with, as far as Python shows it, and of what it says of all samples.

    Args:
        evaluated: the :class:`~artclip.evaluation.evaluated_model.EvaluatedModel`.

    Raises:
        NotHashable: something in the model shows nothing of what it holds, or its answers are random.
    """
    f = evaluated.f
    answers = [evaluated.outputs(evaluated.x) for _ in range(2)]
    if f.access != "predict alone":  # a framework may round differently from process to process
        answers = [np.round(one, 3) + 0.0 for one in answers]
    if not np.array_equal(answers[0], answers[1], equal_nan=True):
        raise NotHashable("its outputs for the same inputs differ from call to call")
    return digest(content_digest(evaluated.estimator), *f.state(), answers[0])


def key_of(evaluated: Any, *settings: Any) -> tuple[str, str]:
    """The key of a model and its samples, and ""; or "" and why nothing can be kept.

    Args:
        evaluated: the :class:`~artclip.evaluation.evaluated_model.EvaluatedModel`.
        settings: what else the outcomes follow from.
    """
    try:
        return digest(fingerprint(evaluated), evaluated.x, evaluated.y, own_code(), *settings), ""
    except NotHashable as error:
        return "", str(error)


class Cache:
    """A folder of arrays under keys; with no folder it keeps nothing.

    Args:
        folder: made where it does not exist.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._folder = None if folder is None else Path(folder)
        if self._folder is not None:
            if self._folder.exists() and not self._folder.is_dir():
                raise NotADirectoryError(f"cache {folder} is a file; give a folder")
            self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays under the key, or ``None``; a damaged file counts as none."""
        if self._folder is None:
            return None
        try:
            with np.load(self._folder / f"{key}.npz", allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, **arrays: Any) -> None:
        """Keep arrays under the key; a reader never meets half a file."""
        if self._folder is None:
            return
        handle, name = tempfile.mkstemp(suffix=".part", dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, **arrays)
            os.replace(name, self._folder / f"{key}.npz")
        except BaseException:
            os.unlink(name)
            raise
