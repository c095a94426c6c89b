"""Operations on several entries together, with their Lipschitz constants in the norms 1, 2 and inf.

An index array says which entries go together: a row for each group.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, softmax

_HALVINGS = 40  # of an interval that holds an eigenvalue: its upper end is taken


def windows(sizes: Sequence[int], along: Sequence[np.ndarray]) -> np.ndarray:
    """Indices (groups, entries) of windows over an image of some sizes, -1 for nothing.

    Args:
        sizes: of the image.
        along: for each axis indices (places, entries) on it, -1 for nothing.
    """
    d = len(sizes)
    index: np.ndarray = np.zeros((1,) * (2 * d), np.int64)
    there: np.ndarray = np.ones((1,) * (2 * d), bool)
    for axis, (n, part) in enumerate(zip(sizes, along, strict=True)):
        shape = [1] * (2 * d)
        shape[axis], shape[d + axis] = part.shape
        part = part.reshape(shape)
        index, there = index * n + part, there & (part >= 0)
    return np.where(there, index, -1).reshape(math.prod(len(a) for a in along), -1)


def each(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """A number, or one for each of some axes, as one for each."""
    values = tuple(map(int, value if isinstance(value, (list, tuple)) else (value,)))
    return values * rank if len(values) == 1 else values


@dataclass(frozen=True)
class Maximum:
    """The largest, or the least, entry of each group: pools, maxima over axes or of two tensors.

    Attributes:
        windows: (groups, entries), of indices; -1 stands for nothing.
        copies: parts of the input that all have these groups.
        sign: 1 for the largest, -1 for the least entries.
    """

    windows: np.ndarray
    copies: int = 1
    sign: int = 1

    @functools.cached_property
    def _overlap(self) -> int:
        """Of how many groups an entry is, at most."""
        taken = self.windows[self.windows >= 0]
        return int(np.bincount(taken).max()) if len(taken) else 0

    def factor(self, p: float) -> float:
        # An entry may be the largest in all its groups, and a group's largest entry is one of its entries.
        return {1: float(self._overlap), 2: math.sqrt(self._overlap), math.inf: 1.0}[p]

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        parts = self.sign * inputs[0].reshape(len(inputs[0]) * self.copies, -1)
        best = np.where(self.windows >= 0, parts[:, self.windows], -np.inf).max(-1)
        return self.sign * best.reshape(len(inputs[0]), -1)


@dataclass(frozen=True)
class PowerNorm:
    """(Σ |x|ᵖ)^(1/p) over each group, p >= 1: pools of powers.

    Attributes:
        windows: (groups, entries), of indices; -1 stands for nothing.
        copies: parts of the input that all have these groups.
        p: the power.
    """

    windows: np.ndarray
    copies: int
    p: float

    def factor(self, p: float) -> float:
        # ‖d‖_p <= n^max(0, 1/p - 1/r)·‖d‖_r for n entries d of a group, which are in so many groups at most.
        share = self.windows.shape[1] ** max(0.0, 1 / self.p - 1 / p)
        return float(share * Maximum(self.windows, self.copies).factor(p))

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        parts = inputs[0].reshape(len(inputs[0]) * self.copies, -1)
        taken = np.where(self.windows >= 0, parts[:, self.windows], 0.0)
        return np.linalg.norm(taken, self.p, axis=-1).reshape(len(inputs[0]), -1)


@dataclass(frozen=True)
class Sort:
    """Entries of each group put into order, as by MaxMin and GroupSort: almost everywhere a permutation.

    Attributes:
        index: (groups, entries): where the entries are, and where the sorted ones go.
        descending: whether the largest comes first.
    """

    index: np.ndarray
    descending: bool = False

    def factor(self, p: float) -> float:
        return 1.0

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        ordered = np.sort(inputs[0][:, self.index], axis=-1)
        outputs = inputs[0].copy()
        outputs[:, self.index] = ordered[..., ::-1] if self.descending else ordered
        return outputs


@dataclass(frozen=True)
class Softmax:
    """Softmax, or its logarithm, over each group of an index (groups, entries)."""

    index: np.ndarray
    logarithm: bool = False

    def factor(self, p: float) -> float:
        if not self.logarithm:
            # The Jacobian diag(s) - s·sᵀ has rows and columns of size 2·s·(1 - s) <= 1/2 in sum.
            return 0.5 if self.index.shape[1] > 1 else 0.0
        # I - 1·sᵀ: rows of size 2 in sum at most, columns of size n - 1; in L2 ‖I - 1·sᵀ‖² <= their product.
        n = self.index.shape[1]
        columns, rows = float(max(n - 1, 1)), 2.0
        return 0.0 if n == 1 else {1: columns, 2: math.sqrt(columns * rows), math.inf: rows}[p]

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        outputs = inputs[0].copy()
        run = log_softmax if self.logarithm else softmax
        outputs[:, self.index] = run(inputs[0][:, self.index], axis=-1)
        return outputs


@dataclass(frozen=True)
class Normalisation:
    """(x - mean) / √(variance + eps) over each group, times a scale, plus a shift: LayerNorm, GroupNorm, InstanceNorm.

    It is globally Lipschitz for eps > 0. With n entries in a group, P = I - 1·1ᵀ/n, z = P·x / (√n·s) and
    s² = variance + eps its Jacobian is diag(scale)·(P - z·zᵀ) / s, where t = ‖z‖² = variance / s² < 1 and
    1 / s = √((1 - t) / eps). In L2 it is steepest at variance 0, with ‖diag(scale)·P‖ / √eps. The sums of its rows and
    columns are at most √((1 - t) / eps)·(a + b·t) with a = 2·(n - 1) / n, b = √(n - 1), since Σz = 0. Without the mean
    (RMSNorm) P is I, a = 1 and b = √(n - 1) / 2.

    Attributes:
        index: (groups, entries).
        scale, shift: one number for each entry of the input, or one for all.
        eps: > 0, in squared units of the input.
        centred: whether the mean is subtracted.
    """

    index: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    eps: float
    centred: bool = True

    def factor(self, p: float) -> float:
        n = self.index.shape[1]
        if self.centred and n == 1:
            return 0.0
        scale = np.abs(np.broadcast_to(self.scale, (self.index.size,))[self.index])
        if p == 2:
            return self._steepest(scale) / math.sqrt(self.eps)
        a, b = (2 * (n - 1) / n, math.sqrt(n - 1)) if self.centred else (1.0, math.sqrt(n - 1) / 2)
        t = min(1.0, max(0.0, (2 * b - a) / (3 * b))) if b else 0.0
        return float(scale.max()) * math.sqrt((1 - t) / self.eps) * (a + b * t)

    def _steepest(self, scale: np.ndarray) -> float:
        """Bound of ‖diag(scale)·P‖ over the groups.

        The eigenvalues of P·diag(d)·P but for 0 are the roots λ of Σ 1 / (λ - dᵢ) between the d, of which the largest
        lies between the two largest d.
        """
        if not self.centred:
            return float(scale.max())
        squares = -np.sort(-((scale / max(float(scale.max()), np.finfo(float).tiny)) ** 2), axis=1)
        low, high = squares[:, 1], squares[:, 0]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            with np.errstate(divide="ignore", invalid="ignore"):
                above = (1 / (middle[:, None] - squares)).sum(1) > 0  # the root lies above
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return float(np.sqrt(high.max()) * scale.max()) * (1 + 1e-9)

    def terms(self, x: np.ndarray) -> np.ndarray:
        """Sizes of scaled inputs, of which the scaled mean is subtracted where that is computed last, as by Keras."""
        taken, sizes = x[:, self.index], np.zeros_like(x)
        sizes[:, self.index] = np.abs(taken) / np.sqrt(taken.var(-1, keepdims=True) + self.eps)
        return np.asarray(sizes * np.abs(self.scale)) if self.centred else np.zeros_like(x)

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        x = inputs[0][:, self.index]
        if self.centred:
            x = x - x.mean(-1, keepdims=True)
        outputs = inputs[0].copy()
        outputs[:, self.index] = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)
        return outputs * self.scale + self.shift
