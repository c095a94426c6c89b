"""Features that an attacker may not change, and such as take whole numbers alone: tabular data have both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.reporting.text import counted

_MOST_WHOLE = 2.0**24  # whole numbers beyond are not all there in float32
_WHOLE = 1e-4  # by which a step of a whole number may fall short of it, by rounding


@dataclass(frozen=True)
class FeatureRules:
    """What an attacker may do to each feature; without masks anything.

    Attributes:
        fixed: features that stay as they are, bool, of the inputs' shape; or ``None``.
        integers: features that move by whole numbers alone, likewise.
    """

    fixed: np.ndarray | None = None
    integers: np.ndarray | None = None

    @classmethod
    def of(cls, shape: tuple[int, ...], fixed: Any, integers: Any, x: np.ndarray) -> FeatureRules:
        """Rules as a user gives them, for samples x (n, *shape).

        Raises:
            TypeError, ValueError: no masks and no indices of such inputs; or samples that are no whole numbers where
                they should be.
        """
        rules = cls(_mask("fixed", fixed, shape), _mask("integers", integers, shape))
        if rules.integers is not None:
            off = np.abs(x - np.round(x))[:, rules.integers] > _WHOLE
            if off.any():
                sample, number = (int(i) for i in np.argwhere(off)[0])
                at = tuple(int(i) for i in np.argwhere(rules.integers)[number])
                place, value = at[0] if len(at) == 1 else at, float(x[sample][at])
                raise ValueError(
                    f"integers names feature {place}, which is {value:g} in a sample: give inputs in units in which it "
                    "takes whole numbers, and put their scaling into the model (preprocessing=(mean, std))"
                )
            most = float(np.abs(x[:, rules.integers]).max())
            if most >= _MOST_WHOLE:
                raise ValueError(
                    f"integers names a feature of up to {most:g}, and float32, which attacks work in, holds whole "
                    f"numbers up to {_MOST_WHOLE:,.0f} alone: take an offset off the inputs, and put it into the model"
                )
        if rules.fixed is not None and rules.fixed.all():
            raise ValueError("fixed names all features: nothing is left that an attack may change")
        return rules

    def __bool__(self) -> bool:
        return self.fixed is not None or self.integers is not None

    def __str__(self) -> str:
        nb = [0 if mask is None else int(mask.sum()) for mask in (self.fixed, self.integers)]
        parts = [f"{counted(nb[0], 'feature')} stay{'s' * (nb[0] == 1)} unchanged"] * (nb[0] > 0)
        parts += [f"{counted(nb[1], 'feature')} move{'s' * (nb[1] == 1)} by whole numbers alone"] * (nb[1] > 0)
        return (
            f"In attacks {', '.join(parts)}: so the worst case and distances are of what is left. Certificates and "
            "Lipschitz bounds are of all changes, and hold for these too"
        )

    def limits(self, x: np.ndarray, low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
        """The range of each sample, (n, *shape) each, not to be written to."""
        low, high = (np.broadcast_to(np.asarray(end, x.dtype), x.shape) for end in (low, high))
        if self.fixed is None:
            return low, high
        return np.where(self.fixed, x, low), np.where(self.fixed, x, high)

    def allowed(self, x: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Points (n, *shape), moved back towards their samples as far as the rules ask."""
        return (x + self.steps(points - x)).astype(points.dtype) if self else points

    def steps(self, steps: np.ndarray) -> np.ndarray:
        """Steps (n, *shape) from samples, shortened as far as the rules ask."""
        if self.integers is not None:
            whole = np.sign(steps) * np.floor(np.abs(steps) + _WHOLE)
            steps = np.where(self.integers, whole, steps).astype(steps.dtype)
        return steps if self.fixed is None else np.where(self.fixed, 0, steps).astype(steps.dtype)

    def settings(self) -> dict[str, list[Any] | None]:
        """Indices of the features, for records."""

        def listed(mask: np.ndarray | None) -> list[Any] | None:
            if mask is None:
                return None
            return (np.flatnonzero(mask) if mask.ndim == 1 else np.argwhere(mask)).tolist()

        return {"fixed": listed(self.fixed), "integers": listed(self.integers)}


def _mask(name: str, given: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """A mask of the inputs' shape from a mask or from indices; ``None`` for none."""
    values = np.asarray(sorted(given) if isinstance(given, (set, frozenset)) else given)
    if given is None or (values.dtype != bool and values.ndim == 1 and not values.size):
        return None
    if values.dtype == bool:
        if values.shape != shape:
            raise ValueError(f"{name} is a mask of shape {values.shape}, but inputs have the shape {shape}")
        return values.copy() if values.any() else None
    if values.dtype.kind not in "iu" or values.ndim != 1:
        example = f"[{given}]" if values.ndim == 0 and values.dtype.kind in "iu" else "[0, 3]"
        raise TypeError(
            f"{name}={given!r} is neither a list of indices, as {example}, nor a bool array of the inputs' shape "
            f"{shape}"
        )
    if len(shape) != 1:
        raise ValueError(f"{name} gives indices, but inputs have the shape {shape}; give a bool array of that shape")
    wrong = values[(values < -shape[0]) | (values >= shape[0])]
    if len(wrong):
        raise ValueError(f"{name} names feature {wrong[0]}, but inputs have {shape[0]}, from 0 to {shape[0] - 1}")
    mask, places = np.zeros(shape, bool), values % shape[0]
    if len(set(places)) < len(places):
        twice = next(place for place in places if (places == place).sum() > 1)
        mask_of = f"; for a mask of 0 and 1, give np.array({name}, bool)" * (set(values) <= {0, 1})
        raise ValueError(f"{name} names feature {twice} twice{mask_of}")
    mask[places] = True
    return mask
