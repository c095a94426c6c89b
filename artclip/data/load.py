"""Data sets by name or path."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from artclip import checks
from artclip.data import openml
from artclip.data.archives import is_archive
from artclip.data.arrays import npz, of_function
from artclip.data.description import DataDescription, Split
from artclip.data.idx import IDX_FILES, idx_folder
from artclip.data.images import read_images
from artclip.pixels import Uint8Images

logger = logging.getLogger(__name__)

NAMES = ("digits", *openml.NAMES)
_FORMS = (
    f"one of {', '.join(NAMES)}, an .npz file, a folder of IDX files, a folder, .zip or .tar of images, or "
    "package.module:function"
)
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_data(data: str | os.PathLike[str], channels_first: bool = True, uint8: bool = False) -> tuple[Split, Split]:
    """Load a data set with its split into training and test part.

    Args:
        data: ``"digits"`` (shipped with scikit-learn, 1,437 + 360 images of 8×8); ``"mnist"`` or
            ``"fashion-mnist"`` (60,000 + 10,000 of 28×28) or ``"cifar-10"`` (50,000 + 10,000 of 3×32×32), read from
            the folder that the environment variable ``ARTCLIP_DATA`` names, else fetched from OpenML by scikit-learn,
            which keeps a cache; an ``.npz`` file with ``x_train``, ``y_train``, ``x_test``, ``y_test``; a folder with
            four IDX ``.gz`` files; a folder of images, or a ``.zip`` or ``.tar.*`` of one, with ``train/CLASS/`` and
            ``test/CLASS/`` (or ``val/``), or with ``CLASS/`` alone, of which a fifth, drawn by a fixed seed and of each
            class alike, becomes the test part (images come in a random order that is always the same); or
            ``package.module:function``, your own function that returns these arrays. Of
            ``"cifar-10"``, ``ARTCLIP_DATA`` holds the folder ``cifar-10/`` or an archive of it, and what it holds is
            taken: copies saved as JPEG are not the original pixels. :func:`describe_data` tells.
        channels_first: images as (n, channels, height, width), else (n, height, width, channels). An ``.npz`` file
            and what your own function gives are returned as they are.
        uint8: keep images whose source has 8 bits as they are, in a quarter of the memory: the inputs are
            :class:`artclip.data.Uint8Images`, which give float32 in [0, 1] where they are indexed.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: images float32 in [0, 1], labels int64 class indices, in the
        alphabetical order of the classes' folders.

    Raises:
        ValueError: an unknown name, or a file that does not hold what it should.
        FileNotFoundError: no such file, or data neither at hand nor to be fetched.
        ImportError: images, and Pillow is not installed.
    """
    return load_described(data, channels_first, uint8)[0]


def describe_data(data: str | os.PathLike[str]) -> DataDescription:
    """What :func:`load_data` takes from a source; it is read to know. ``print`` shows it in one line.

    Args:
        data: as for :func:`load_data`.
    """
    return load_described(data, uint8=True)[1]


def load_described(
    data: str | os.PathLike[str], channels_first: bool = True, uint8: bool = False
) -> tuple[tuple[Split, Split], DataDescription]:
    """:func:`load_data`, and what was taken."""
    splits, description = _read(os.fspath(data), channels_first)
    description = description.of(splits)
    if description.source:  # of the others the name says it all
        logger.info("%s", description)
    if not uint8:
        splits = tuple((np.asarray(x), y) for x, y in splits)  # type: ignore[assignment]
    return splits, description


def check_source(name: str) -> None:
    """See that data of this name are known here, or that there is such a file; nothing is read.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: no such file.
    """
    path = Path(name)
    by_ending = path.suffix == ".npz" or is_archive(path)
    if name in NAMES or path.is_dir() or (by_ending and path.is_file()):
        return
    if path.is_file():
        raise ValueError(f"the file {name} is of a kind that is not known; use {_FORMS}")
    if by_ending:
        raise FileNotFoundError(f"{name} does not exist")
    if ":" in name:  # a function, which is looked for when it is called
        return
    if checks.is_path(name):
        raise FileNotFoundError(f"{name} does not exist; use {_FORMS}")
    raise ValueError(f"data {name!r} is not known; use {_FORMS}")


def _read(name: str, channels_first: bool) -> tuple[tuple[Split, Split], DataDescription]:
    check_source(name)
    described = DataDescription(name)
    if name == "digits":
        return _with_channels(_digits(), channels_first), described
    path, folder = Path(name), os.environ.get("ARTCLIP_DATA")
    if name == "cifar-10":
        found = _found(Path(folder), name) if folder else None
        if found is not None:
            return read_images(found, name, channels_first)
        images = tuple(_turned(part, channels_first) for part in openml.fetch(name))
        return images, DataDescription(name, "OpenML", class_names=_CIFAR)  # type: ignore[return-value]
    if name in openml.NAMES:
        parts = idx_folder(Path(folder) / name) if folder else openml.fetch(name)
        return _with_channels(parts, channels_first), described
    if path.suffix == ".npz":
        return npz(path), described
    if path.is_dir():
        if any((path / file).exists() for pair in IDX_FILES for file in pair):
            return _with_channels(idx_folder(path), channels_first), described
        try:
            return read_images(path, name, channels_first)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; or the four IDX files, of which {IDX_FILES[0][0]} is missing") from None
    return read_images(path, name, channels_first) if is_archive(path) else (of_function(name), described)


def _found(folder: Path, name: str) -> Path | None:
    """The folder or archive of that name in a folder."""
    if (folder / name).is_dir():
        return folder / name
    if not folder.is_dir():
        raise FileNotFoundError(f"ARTCLIP_DATA names {folder}, which is no folder")
    return next((p for p in sorted(folder.iterdir()) if p.name.startswith(f"{name}.") and is_archive(p)), None)


def _with_channels(parts: tuple[Split, Split], channels_first: bool) -> tuple[Split, Split]:
    """Grey images with an axis of one channel; unsigned bytes stand for values in [0, 1]."""
    axis, found = 1 if channels_first else 3, []
    for x, y in parts:
        wide: Any = np.expand_dims(x, axis)
        found.append((Uint8Images(wide) if wide.dtype == np.uint8 else wide, y))
    return found[0], found[1]


def _turned(part: Split, channels_first: bool) -> Split:
    x, y = part
    return Uint8Images(x if channels_first else np.ascontiguousarray(np.moveaxis(x, 1, -1))), y


def _digits() -> tuple[Split, Split]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    x, y = (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
    return (x_train, y_train), (x_test, y_test)
