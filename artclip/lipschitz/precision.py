"""How exactly a function can be had: the rounding of what it returns, and a copy in float64 that is the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from artclip.frameworks.base import Function

# Units of rounding that a copy may differ by, and times what rounding in one place changes: several layers add up.
_UNITS, _ROOM = 1000.0, 64.0
_MOST = 0.05  # share of the largest output that it may differ by, whatever the unit
_SAMPLES, _MORE = 2, 32
_SHORT, _BEND = 8.0, 0.01  # on a way of so many units of float32, slopes of what is in float64 differ by less


@dataclass(frozen=True)
class Precision:
    """How exactly a function can be had.

    Attributes:
        fine: the function in float64, or ``None``.
        unit: relative rounding of what ``predict`` returns; 0 where that is whole numbers alone.
        note: what keeps a copy from being used that computes something else, or ``None``.
    """

    fine: Function | None
    unit: float
    note: str | None = None


def precision_of(f: Function, x: np.ndarray, step: float) -> Precision:
    """What is known of the rounding of f, with its copy in float64 if that is the same function.

    Args:
        f: the function.
        x: data, shape (n, *input_shape).
        step: a small distance among the inputs, > 0.
    """
    if f.access != "backpropagation":
        return Precision(None, _unit_seen(f.predict(held(f, x[:_MORE]))))
    more = x[:: max(1, len(x) // _MORE)][:_MORE]
    x = held(f, x[:: max(1, len(x) // _SAMPLES)][:_SAMPLES])
    outputs = f.predict(x)
    unit = max(f.precision, _unit_of(outputs))
    fine = f.in_float64()
    if fine is None:
        return Precision(None, unit)
    try:
        with np.errstate(invalid="ignore", over="ignore"):  # numbers that are not finite are no copy
            apart, allowed = _difference(f, fine, x, outputs)
            straight = _is_straight(fine, x, step)
    except Exception:  # not every operation is there in float64, and some cast to float32
        return Precision(None, unit)
    if not apart <= max(allowed, min(_UNITS * unit, _MOST)):  # another function, or layers that compute in less
        with np.errstate(invalid="ignore", over="ignore"):
            more = held(f, more)
            apart = max(apart, _difference(f, fine, more, f.predict(more))[0])
        note = (
            f"a copy in float64 differs from predict by {apart:.2g} of the largest output; twice as much is taken "
            "for rounding of predict, and off the value"
        )
        return Precision(None, max(unit, 2 * apart if 2 * apart <= 1 else 1.0), note)  # there are worse inputs
    if straight:
        return Precision(fine, unit)
    return Precision(None, max(unit, float(np.finfo(np.float32).eps)))


def allowance(outputs: np.ndarray, moved: float | np.ndarray, precision: float) -> np.ndarray:
    """What margins are reduced by in a certificate, (n, 1): outputs come rounded.

    Args:
        outputs: shape (n, k).
        moved: how far rounding of each layer's outputs moves those of the model, about; one number, or (n, 1).
        precision: unit of rounding of the model.
    """
    return np.asarray(_ROOM * (moved + precision * np.abs(outputs).max(1, keepdims=True)))


def values(f: Function, x: np.ndarray) -> np.ndarray:
    """f(x) in float64, shape (n, k), by the function itself and not by an estimator's ``predict``."""
    return f.to_numpy([f.value(f.tensor(x))]).reshape(len(x), -1)


def has_gradient(f: Function, x: np.ndarray) -> bool:
    """Whether gradients can be had of f: not of what is detached, nor where an operation lacks them in a dtype."""
    try:
        outputs, pull = f.pullback(f.tensor(x[:1]))
        pull(outputs)
    except (RuntimeError, NotImplementedError, LookupError):
        return False
    except Exception as error:
        if type(error).__module__.partition(".")[0] == "tensorflow":
            return False
        raise
    return True


def held(f: Function, x: np.ndarray) -> np.ndarray:
    """Inputs as the model takes them, rounded to its dtype, in float64."""
    return f.to_numpy([f.tensor(x)]).reshape(x.shape)


def _difference(f: Function, fine: Function, x: np.ndarray, outputs: np.ndarray) -> tuple[float, float]:
    """Of the copy from predict, and what rounding of the inputs may do, as shares of the largest output."""
    rng = np.random.default_rng(0)
    copied = values(fine, x)
    nearby = values(fine, x * (1 + 8 * f.precision * rng.uniform(-1, 1, x.shape)))
    scale = float(np.abs(outputs).max()) or 1.0
    return float(np.abs(copied - outputs).max()) / scale, _ROOM * float(np.abs(nearby - copied).max()) / scale


def _is_straight(fine: Function, x: np.ndarray, step: float) -> bool:
    """Whether the copy computes in float64 throughout: what rounds to float32 inside goes in steps of that size."""
    rng = np.random.default_rng(1)
    start = x + step * rng.uniform(-1, 1, x.shape)
    along = _SHORT * float(np.finfo(np.float32).eps * np.abs(start).max()) * rng.uniform(-1, 1, x.shape)
    row = [values(fine, start + i * along) for i in range(3)]
    if all((t == t.astype(np.float32)).all() for t in row):
        return not np.ptp(np.concatenate(row), axis=0).any()
    rise = np.maximum(np.abs(row[1] - row[0]), np.abs(row[2] - row[1])).max(1)
    bend = np.abs(row[0] - 2 * row[1] + row[2]).max(1)
    return bool(np.median(bend - _BEND * rise) <= _ROOM * np.finfo(np.float64).eps * np.abs(row[0]).max())


def _unit_seen(outputs: np.ndarray) -> float:
    """That of numbers, by their kind: 16 bits, 32 or 64; whole numbers are not rounded."""
    if (outputs == np.rint(outputs)).all():
        return 0.0
    is_single = (outputs.astype(np.float32) == outputs).all()
    return max(_unit_of(outputs), float(np.finfo(np.float32 if is_single else np.float64).eps))


def _unit_of(outputs: np.ndarray) -> float:
    """2^-8 or 2^-11 where all outputs are numbers of 16 bits, and not just whole ones."""
    singles = outputs.astype(np.float32)
    if (singles != outputs).any() or (singles == np.rint(singles)).all():
        return 0.0
    if not (singles.view(np.uint32) & 0xFFFF).any():
        return 2.0**-8
    with np.errstate(over="ignore"):
        return 2.0**-11 if (singles.astype(np.float16) == singles).all() else 0.0
