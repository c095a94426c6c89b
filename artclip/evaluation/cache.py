"""Outcomes kept on disk under a hash of everything that they follow from."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from artclip.hashing import digest


def fingerprint(f: Any, x: np.ndarray, batch_size: int) -> str:
    """Hash of a model: its kind, its weights, and what it says of some inputs, so that changed code shows too.

    Args:
        f: the model's adapter, from :func:`artclip.frameworks.function_of`.
        x: inputs, shape (n, *input_shape).
        batch_size: inputs in one pass.
    """
    model = getattr(f, "estimator", f)
    weights: Iterable[np.ndarray] = f.state()
    said = [np.round(f.outputs(x, batch_size), 3) + 0.0 for _ in range(2)]
    # A random model would never meet its own cache.
    answers = [said[0]] if np.array_equal(*said) else []
    return digest(f"{type(model).__module__}.{type(model).__qualname__}", *weights, *answers)


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
