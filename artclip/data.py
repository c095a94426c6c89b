"""Data in: scikit-learn's digits, MNIST and Fashion-MNIST, ``.npz`` files and folders of IDX files."""

from __future__ import annotations

import gzip
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from artclip import checks

Split = tuple[np.ndarray, np.ndarray]

_IDX_FILES = tuple((f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k"))
_OPENML_NAMES = {"mnist": "mnist_784", "fashion-mnist": "Fashion-MNIST"}
_KEYS = ("x_train", "y_train", "x_test", "y_test")
NAMES = ("digits", *_OPENML_NAMES)


def load_data(data: str | os.PathLike[str], channels_first: bool = True) -> tuple[Split, Split]:
    """Load a data set with its split into training and test part.

    Args:
        data: ``"digits"`` (shipped with scikit-learn, 1,437 + 360 images of 8×8); ``"mnist"`` or
            ``"fashion-mnist"`` (60,000 + 10,000 of 28×28), read from the folder that the environment variable
            ``ARTCLIP_DATA`` names, else fetched from OpenML by scikit-learn, which keeps a cache; an ``.npz`` file
            with ``x_train``, ``y_train``, ``x_test``, ``y_test``; a folder with four IDX ``.gz`` files; or
            ``package.module:function``, your own function that returns these arrays.
        channels_first: images as (n, channels, height, width), else (n, height, width, channels). An ``.npz`` file
            and what your own function gives are returned as they are.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: images float32 in [0, 1], labels int64 class indices.

    Raises:
        ValueError: an unknown name, or a file that does not hold what it should.
        FileNotFoundError: no such file, or data neither at hand nor to be fetched.
    """
    name = os.fspath(data)
    if name == "digits":
        return _images(_digits(), channels_first)
    if name in _OPENML_NAMES:
        folder = os.environ.get("ARTCLIP_DATA")
        return _images(_idx_folder(Path(folder) / name) if folder else _openml(name), channels_first)
    path = Path(name)
    if path.suffix == ".npz":
        return _npz(path)
    if path.is_dir():
        return _images(_idx_folder(path), channels_first)
    if ":" in name:
        return _from_module(name)
    raise ValueError(
        f"data {name!r} is not known; use one of {', '.join(NAMES)}, an .npz file, a folder of IDX files, or "
        "package.module:function"
    )


def _from_module(name: str) -> tuple[Split, Split]:
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


def fit_to(x: np.ndarray, input_shape: tuple[int, ...] | None) -> np.ndarray:
    """Inputs in the shape that a model wants: channels moved to the other end, pixels in one row, other axes of one.

    Args:
        x: inputs, shape (n, ...).
        input_shape: of one sample, as the model wants it; ``None`` or () to leave x as it is.

    Raises:
        ValueError: x cannot be brought into that shape without changing what it shows.
    """
    shape = tuple(input_shape or x.shape[1:])
    moved = {x.shape[1:]: x}
    if x.ndim == 4:
        for turned in (np.moveaxis(x, 1, -1), np.moveaxis(x, -1, 1)):
            moved.setdefault(turned.shape[1:], turned)
    if shape in moved:
        return moved[shape]
    in_a_row = len(shape) - shape.count(1) <= 1 and math.prod(shape) == math.prod(x.shape[1:])
    if checks.same_but_for_ones(x.shape[1:], shape) or in_a_row:
        return x.reshape(len(x), *shape)
    raise ValueError(f"the data have inputs of shape {x.shape[1:]}, but the model wants {shape}")


def _images(parts: tuple[Split, Split], channels_first: bool) -> tuple[Split, Split]:
    axis = 1 if channels_first else 3
    (x_train, y_train), (x_test, y_test) = parts
    return (np.expand_dims(x_train, axis), y_train), (np.expand_dims(x_test, axis), y_test)


def _digits() -> tuple[Split, Split]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    x, y = (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
    return (x_train, y_train), (x_test, y_test)


def _idx_folder(folder: Path) -> tuple[Split, Split]:
    train, test = (
        (_idx(folder / images).astype(np.float32) / 255, _idx(folder / labels).astype(np.int64))
        for images, labels in _IDX_FILES
    )
    return train, test


def _idx(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; the folder must hold the four IDX files {_IDX_FILES}")
    try:
        with gzip.open(path) as file:
            raw = file.read()
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error
    # Header: two zero bytes, type 8 (unsigned byte), number of axes, then each axis as a big-endian 32-bit integer.
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * raw[3]:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    shape = tuple(int(n) for n in np.frombuffer(raw, ">i4", raw[3], offset=4))
    if len(raw) != 4 + 4 * raw[3] + math.prod(shape):
        raise ValueError(f"{path} should hold {math.prod(shape)} bytes of data, shape {shape}, but does not")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def _openml(name: str) -> tuple[Split, Split]:
    from sklearn.datasets import fetch_openml

    try:
        bunch = fetch_openml(_OPENML_NAMES[name], version=1, as_frame=False, parser="liac-arff")
    except OSError as error:
        raise FileNotFoundError(
            f"{name} could not be fetched from OpenML ({error}); set ARTCLIP_DATA to a folder that holds {name}/ with "
            "its four IDX files"
        ) from error
    x, y = (bunch.data / 255).astype(np.float32).reshape(-1, 28, 28), bunch.target.astype(np.int64)
    return (x[:60_000], y[:60_000]), (x[60_000:], y[60_000:])


def _npz(path: Path) -> tuple[Split, Split]:
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
