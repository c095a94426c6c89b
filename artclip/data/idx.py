"""Folders of four IDX files, as MNIST comes."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np

Split = tuple[np.ndarray, np.ndarray]

IDX_FILES = tuple((f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k"))


def idx_folder(folder: Path) -> tuple[Split, Split]:
    """Images, unsigned bytes of shape (n, height, width), and class indices of a folder of four IDX files."""
    train, test = ((_idx(folder / images), _idx(folder / labels).astype(np.int64)) for images, labels in IDX_FILES)
    return train, test


def _idx(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; the folder must hold the four IDX files {IDX_FILES}")
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
