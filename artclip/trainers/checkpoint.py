"""The state of a training on disk: whole or not there, in two generations, and without code.

A generation is one ``.safetensors`` file: arrays, and in its header a record in JSON with a digest of both. It is
written under another name, flushed to the disk and renamed, so that a crash leaves the file before or the new one.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from artclip.hashing.digests import digest

GENERATIONS = ("checkpoint.safetensors", "checkpoint-previous.safetensors")
FORMAT = 4
Arrays = dict[str, np.ndarray]


class Damaged(ValueError):
    """A checkpoint that is not what was written."""


def write(path: Path, arrays: Arrays, record: dict[str, Any]) -> None:
    """Write the next generation into a folder; the one before it is kept, older ones are not."""
    current, previous = (path / name for name in GENERATIONS)
    text = json.dumps({"format": FORMAT, **record}, ensure_ascii=False)
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    part = path / f"part-{current.name}"
    save_file(arrays, part, metadata={"record": text, "sha256": _digest(text, arrays)})
    _flush(part)
    if current.exists():
        os.replace(current, previous)
    os.replace(part, current)
    _flush(path)


def exists(path: Path | None) -> bool:
    """Whether a folder holds a checkpoint, whole or not."""
    return path is not None and any((path / name).exists() for name in GENERATIONS)


def read(path: Path) -> tuple[Arrays, dict[str, Any]] | None:
    """The newest generation that is whole, with a warning if a newer one is damaged; ``None`` if there is none.

    Raises:
        ValueError: there are some, and none is whole.
    """
    faults = []
    for file in (path / name for name in GENERATIONS):
        if not file.exists():
            continue
        try:
            arrays_and_record = _read(file)
        except Damaged as error:
            faults.append(str(error))
            continue
        if faults:
            warnings.warn(f"{faults[0]}; continuing from the one before it, {file.name}", RuntimeWarning, stacklevel=4)
        return arrays_and_record
    if faults:
        raise ValueError(f"{'; '.join(faults)}; remove the folder to start again")
    return None


def _read(file: Path) -> tuple[Arrays, dict[str, Any]]:
    try:
        with safe_open(file, framework="np") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise Damaged(f"checkpoint {file} is damaged ({error})") from error
    text = metadata.get("record", "")
    if metadata.get("sha256") != _digest(text, arrays):
        raise Damaged(f"checkpoint {file} is damaged (its content is not what was written)")
    record = json.loads(text)
    if record["format"] != FORMAT:
        raise ValueError(
            f"checkpoint {file} has format {record['format']}, of another version of artclip than this one"
        )
    return arrays, record


def _digest(text: str, arrays: Arrays) -> str:
    return digest(text, *(part for name in sorted(arrays) for part in (name, arrays[name])))


def _flush(path: Path) -> None:
    """Have what was written to a file, or the names in a folder, on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def terminable(wanted: bool) -> Iterator[None]:
    """Inside, SIGTERM raises ``SystemExit``, so that what is under way can be saved first; in the main thread alone."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
