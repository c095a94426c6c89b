"""Bad input gets a clear error before anything is touched: what was wrong, with the value, and what to do."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from artclip import ranges
from artclip.pixels import Uint8Images


def norm(name: str, value: Any) -> float:
    """The norm 1, 2 or inf; ``np.inf``, ``"inf"``, ``"2"``, ``"L2"`` and ``"linf"`` are understood."""
    try:
        said = value.lower().removeprefix("l") if isinstance(value, str) else value
        p = math.nan if isinstance(value, bool) else float(said)
    except (TypeError, ValueError):
        p = math.nan
    if p not in (1, 2, math.inf):
        raise ValueError(f"{name}={value!r} is not a norm known here; use 1, 2 or inf")
    return p if p == math.inf else int(p)


def one_of(name: str, value: Any, allowed: Iterable[str]) -> None:
    """The value is one of the names."""
    if not isinstance(value, str) or value not in tuple(allowed):
        raise ValueError(f"{name}={value!r} is not known; use one of {', '.join(map(repr, allowed))}")


def kind_of(value: Any) -> str:
    """What a value is, as ``"an int"``."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' or name == 'ndarray' else 'a'} {name}"


def switches(**values: Any) -> None:
    """Each is true or false, or 1 or 0."""
    for name, value in values.items():
        if not isinstance(value, (bool, np.bool_)) and not (isinstance(value, numbers.Integral) and value in (0, 1)):
            raise TypeError(f"{name}={value!r} must be True or False")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def positive(name: str, value: Any) -> None:
    """A finite number > 0."""
    if not _is_number(value) or value <= 0:
        raise ValueError(f"{name}={value!r} must be a finite number > 0")


def radii(name: str, value: Any, n: int) -> np.ndarray:
    """Radii (n,) > 0, from one for all or one for each of n samples."""
    given = np.asarray(value)
    given = given.astype(np.float64) if given.dtype.kind in "iuf" else np.array(math.nan)
    if given.shape not in ((), (n,)):
        raise ValueError(f"{name} has shape {given.shape}; give one number, or one for each of {n} samples")
    if not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(f"{name}={value!r} must be finite, > 0")
    return np.broadcast_to(given, (n,)).copy()


def non_negative(name: str, value: Any) -> None:
    """A finite number >= 0."""
    if not _is_number(value) or value < 0:
        raise ValueError(f"{name}={value!r} must be a finite number >= 0")


def positive_integer(name: str, value: Any, least: int = 1) -> None:
    """An integer >= ``least``."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} must be an integer >= {least}")


def seed(value: Any) -> int | None:
    """A seed as Python's integer, or ``None``."""
    if value is None:
        return None
    positive_integer("seed", value, 0)
    return int(value)


def seed_or_drawn(value: Any) -> int:
    """:func:`seed`, or one that is drawn where there is none."""
    given = seed(value)
    return int(np.random.SeedSequence().generate_state(1)[0]) if given is None else given


def decay(name: str, value: Any) -> None:
    """A number in [0, 1)."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"{name}={value!r} must lie in [0, 1), as 0.999; 0 for none")


def share(name: str, value: Any) -> None:
    """A number in (0, 1]."""
    if not _is_number(value) or not 0 < value <= 1:
        raise ValueError(f"{name}={value!r} must lie in (0, 1], as 0.95 for 95 %")


def folder(path: str | os.PathLike[str], name: str = "path") -> Path:
    """The folder, made if need be; ``ValueError`` where there is a file of that name."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name}={path!r} is {kind_of(path)}; give the name of a folder, as {name}='run'")
    folder_path = Path(path)
    if folder_path.exists() and not folder_path.is_dir():
        raise ValueError(f"cannot write to {folder_path}: it is a file; give a folder")
    folder_path.mkdir(parents=True, exist_ok=True)
    return folder_path


def is_path(name: str) -> bool:
    """Whether a name can only be one of a file or a folder: it has a folder or an ending in it."""
    return "/" in name or os.sep in name or bool(Path(name).suffix)


def clip_values(value: Any) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) as arrays, low < high everywhere."""
    try:
        low, high = (np.asarray(v, dtype=np.float64) for v in value)
    except (TypeError, ValueError):
        raise ValueError(f"clip_values={value!r} must be a pair (low, high)") from None
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise ValueError(f"clip_values={value!r} must be finite, with low < high")
    return low, high


def array(name: str, value: Any) -> np.ndarray:
    """The value as an array of numbers; ``TypeError`` where it is none."""
    if value is None:
        raise TypeError(f"{name} is None; give a numpy array")
    try:
        as_array = np.asarray(value)
    except Exception as error:  # ragged lists, tensors with a gradient or on another device
        reason = str(error).splitlines()[0]
        raise TypeError(f"{name} is {kind_of(value)} that is no array ({reason}); give a numpy array") from error
    if as_array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {as_array.dtype}; expected numbers{_for_text(name, as_array)}")
    return as_array


def _for_text(name: str, words: np.ndarray) -> str:
    """What to write where an array holds words."""
    first = next(iter(words.ravel().tolist()), None)
    if not isinstance(first, (str, bytes)):
        return ""
    short = name.split()[-1]
    how = f"; write names, {short} = np.unique({short}, return_inverse=True)" if short.startswith("y") else ""
    return f", and it holds words, as {first!r}{how}"


def same_but_for_ones(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether two shapes differ by axes of one alone, if at all."""
    return [n for n in given if n != 1] == [n for n in wanted if n != 1]


def reshaped(x: Any, input_shape: tuple[int, ...], name: str = "x") -> tuple[Any, list[str]]:
    """x in the model's shape where they differ by axes of one alone, and a line that says so; else x as it is."""
    samples, shape = array(name, x), tuple(input_shape)
    given = samples.shape[1:]
    if not shape or given == shape or not len(samples) or not same_but_for_ones(given, shape):
        return x, []
    line = f"{name} of shape ({len(samples)}, {', '.join(map(str, given))}) was taken as inputs of shape {shape}"
    return samples.reshape(len(samples), *shape), [line]


def inputs(
    x: Any, input_shape: tuple[int, ...] | None, name: str = "x", box: Any = None, keep_bytes: bool = False
) -> np.ndarray:
    """x as an array (n, *input_shape), n >= 1, of finite numbers; inside a box, where one is given.

    With ``keep_bytes`` :class:`~artclip.pixels.Uint8Images` stay what they are, for whom takes them in parts.
    """
    x = x if keep_bytes and isinstance(x, Uint8Images) else array(name, x)
    expected = ", ".join(map(str, ("n", *(("...",) if input_shape is None else input_shape))))
    if x.ndim == 0:
        raise ValueError(f"{name}={x.item()!r} is a single number; give an array of shape ({expected})")
    if len(x) == 0:
        raise ValueError(f"{name} is empty (shape {x.shape}); give at least one sample")
    if input_shape is not None and x.shape[1:] != tuple(input_shape):
        how = _reshaped(x.shape[1:], tuple(input_shape))
        raise ValueError(f"{name} has shape {x.shape}, but the classifier's input_shape asks for ({expected}){how}")
    _finite(name, x)
    ranges.in_range(name, x, box)
    return x


def _reshaped(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to write where inputs of one shape are to have another, if they can."""
    if len(given) == len(wanted) > 1 and given[0] != given[-1]:
        if (*given[1:], given[0]) == wanted:
            return "; its channels come first: write np.moveaxis(x, 1, -1)"
        if (given[-1], *given[:-1]) == wanted:
            return "; its channels come last: write np.moveaxis(x, -1, 1)"
    in_a_row = min(len(given), len(wanted)) == 1 and math.prod(given) == math.prod(wanted)
    if in_a_row or same_but_for_ones(given, wanted):
        return f"; write x.reshape(-1, {', '.join(map(str, wanted))})"
    return ""


def _finite(name: str, a: np.ndarray) -> None:
    if a.dtype.kind != "f" or isinstance(a, Uint8Images):
        return
    for start, part in ranges.chunks(a):
        finite = np.isfinite(part)
        if not finite.all():
            row = start + int(np.argmin(finite.reshape(len(finite), -1).all(1)))
            raise ValueError(f"{name} has NaN or infinite values, first in sample {row}")


def classes(x: np.ndarray, y: Any, nb_classes: int) -> np.ndarray:
    """Class indices (n,) of samples that were checked, from indices, one-hot labels or probabilities."""
    y = data(x, y, x.shape[1:], nb_classes)[1]
    if y.ndim == 1:
        return np.asarray(y)
    largest = y == y.max(1, keepdims=True)
    if (largest.sum(1) > 1).any():
        row = int(np.argmax(largest.sum(1)))
        raise ValueError(
            f"the label of sample {row} has {largest[row].sum()} largest entries, so it names no one class. Labels of "
            "several classes, or of none, are not supported: give class indices, one-hot rows, or probabilities with "
            "one largest entry"
        )
    several = ((y > 0).sum(1) > 1) & (y.sum(1) > 1 + 1e-3)
    if several.any():
        row = int(np.argmax(several))
        raise ValueError(
            f"the label of sample {row} has {(y[row] > 0).sum()} classes, of a sum of {y[row].sum():.3g}: labels of "
            "several classes are not supported; give class indices, one-hot rows, or probabilities that sum to one"
        )
    return np.asarray(y.argmax(1))


def data(
    x: Any, y: Any, input_shape: tuple[int, ...], nb_classes: int | None, where: str = "", box: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Samples with labels (index, one-hot, probabilities) or, with ``nb_classes=None``, regression targets.

    :class:`~artclip.pixels.Uint8Images` stay what they are.
    """
    x = inputs(x, input_shape, f"{where}x", box, keep_bytes=True)
    name = f"{where}y"
    y = array(name, y)
    if y.ndim == 0 or len(y) != len(x):
        given = f"{len(y)} label{'s' * (len(y) != 1)}" if y.ndim else f"is a single number, {y.item()!r}"
        raise ValueError(f"{where}x has {len(x)} samples, but {name} {'has ' * bool(y.ndim)}{given}; give one for each")
    _finite(name, y)
    if nb_classes is None:
        return x, y
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 1:
        low, high = y.min(), y.max()
        if low < 0 or high >= nb_classes:
            worst = low if low < 0 else high
            raise ValueError(
                f"{name} has the label {worst}, but the classifier has classes 0 to {nb_classes - 1} "
                f"(nb_classes={nb_classes})"
            )
        if y.dtype.kind == "f" and np.any(y != np.floor(y)):
            raise ValueError(f"{name} has fractional index labels, as {y[y != np.floor(y)][0]}")
        return x, y.astype(np.int64)
    if y.ndim != 2 or y.shape[1] != nb_classes:
        raise ValueError(f"{name} has shape {y.shape}; expected ({len(x)},) or ({len(x)}, {nb_classes})")
    if y.min() < 0:
        raise ValueError(f"{name} has negative class probabilities, as {y.min()}")
    return x, y
