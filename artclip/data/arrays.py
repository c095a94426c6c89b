"""Arrays that come as they are: ``.npz`` files, and what a function of the user gives."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from artclip import checks

Split = tuple[np.ndarray, np.ndarray]

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def of_function(name: str) -> tuple[Split, Split]:
    """What ``package.module:function`` gives."""
    from artclip.models.loading import from_module

    splits = from_module(name)
    try:
        (x_train, y_train), (x_test, y_test) = splits
    except (TypeError, ValueError):
        raise ValueError(f"{name} must return (x_train, y_train), (x_test, y_test)") from None
    return _numbers(name, x_train, y_train, x_test, y_test)


def _numbers(source: str | Path, *values: Any) -> tuple[Split, Split]:
    """The four arrays of a source, if they are numbers."""
    try:
        x_train, y_train, x_test, y_test = (checks.array(k, v) for k, v in zip(_KEYS, values, strict=True))
    except TypeError as error:
        raise ValueError(f"{source}: {error}") from None
    return (x_train, y_train), (x_test, y_test)


def npz(path: Path) -> tuple[Split, Split]:
    """The four arrays of an ``.npz`` file, as they are in it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in _KEYS if key in file}
            names = ", ".join(file.files) or "nothing"
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not a whole .npz file of plain arrays: {error}") from error
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it holds {names}")
    return _numbers(path, *(arrays[key] for key in _KEYS))
