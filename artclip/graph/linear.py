"""Linear operations: matrices and shifts, written out only where they are small."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import numpy as np

from artclip import checks
from artclip.graph import convolution
from artclip.graph.nodes import Live

MOST_ELEMENTS = 1 << 24  # of a matrix that stands for an operation
_EXACT = 1 << 22  # of a convolution's matrix, where its norm is computed from it


@dataclass(frozen=True)
class Dense:
    """A matrix (outputs, inputs), applied to each of ``copies`` parts of the input; ``shift`` is added."""

    weight: np.ndarray
    copies: int = 1
    shift: np.ndarray | float = 0.0
    live: Live | None = field(default=None, compare=False, repr=False)

    def factor(self, p: float) -> float:
        return operator_norm(self.weight, p)

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        parts = x.reshape(len(x), self.copies, -1) @ self.weight.T
        return parts.reshape(len(x), -1) + self.shift

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        rows, columns = self.weight.shape
        if matrix is None:
            if self.copies == 1:
                return self.weight
            return np.kron(np.eye(self.copies), self.weight) if rows * self.copies * size <= MOST_ELEMENTS else None
        parts = matrix.reshape(self.copies, columns, -1)
        return (self.weight @ parts).reshape(self.copies * rows, -1)


@dataclass(frozen=True)
class Kronecker:
    """Matrices along the axes of an input of some shape, one after the other: sums, pads, average pools, resizing.

    Together they are a Kronecker product, whose norm is the product of theirs.

    Attributes:
        shape: of one input.
        matrices: one (outputs, inputs) for each axis, or ``None`` where the axis stays.
        shift: what is added.
    """

    shape: tuple[int, ...]
    matrices: tuple[np.ndarray | None, ...]
    shift: np.ndarray | float = 0.0

    def factor(self, p: float) -> float:
        return math.prod(operator_norm(m, p) for m in self.matrices if m is not None)

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        return self._product(x.reshape(len(x), *self.shape), 1).reshape(len(x), -1) + self.shift

    def _product(self, x: np.ndarray, first: int) -> np.ndarray:
        for axis, matrix in enumerate(self.matrices, first):
            if matrix is not None:
                x = np.moveaxis(np.tensordot(matrix, x, axes=(1, axis)), 0, axis)
        return x

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        rows = math.prod(n if m is None else len(m) for n, m in zip(self.shape, self.matrices, strict=True))
        if matrix is None:
            if max(rows, size) * size > MOST_ELEMENTS:
                return None
            matrix = np.eye(size)
        return self._product(matrix.reshape(*self.shape, -1), 0).reshape(rows, -1)


@dataclass(frozen=True)
class Convolution:
    """A zero-padded convolution, or with ``transposed`` the adjoint of one: shape is then that of the output."""

    kernel: np.ndarray
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    shift: np.ndarray | float = 0.0
    live: Live | None = field(default=None, compare=False, repr=False)

    @property
    def windows(self) -> tuple[int, ...]:
        """How many places the kernel has along each axis."""
        sizes = zip(self.shape, self.kernel.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in sizes)

    def _elements(self) -> int:
        """Of its matrix; of those of all groups, where it has several."""
        inputs = self.kernel.shape[1] * self.groups * math.prod(self.shape)
        return inputs * len(self.kernel) * math.prod(self.windows)

    def _matrices(self) -> list[np.ndarray]:
        """One for each group."""
        kernels = np.split(self.kernel, self.groups)
        return [convolution.matrix(k, self.shape, self.stride, self.padding, self.dilation) for k in kernels]

    def factor(self, p: float) -> float:
        if p != 2:
            q = checks.dual_norm(p) if self.transposed else p
            return convolution.absolute_norm(self.kernel, self.stride, self.dilation, q, self.groups)
        if self._elements() <= _EXACT * self.groups:
            return float(max(convolution.largest_singular_values(m) for m in self._matrices()))
        return convolution.spectral_norm(self.kernel, self.shape, self.stride, self.padding, self.dilation, self.groups)

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        run = convolution.adjoint if self.transposed else convolution.apply
        parts = [
            run(t[None], self.kernel, self.shape, self.stride, self.padding, self.dilation, self.groups) for t in x
        ]
        return np.concatenate(parts).reshape(len(x), -1) + self.shift

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        if self._elements() > MOST_ELEMENTS:
            return None
        dense = convolution.matrix(self.kernel, self.shape, self.stride, self.padding, self.dilation, self.groups)
        dense = dense.T if self.transposed else dense
        return dense if matrix is None else dense @ matrix


@dataclass(frozen=True)
class Scale:
    """Each entry times a number, plus a number: BatchNorm in eval mode, or ART's scaling."""

    factors: np.ndarray
    shift: np.ndarray | float = 0.0

    def factor(self, p: float) -> float:
        return float(np.abs(self.factors).max())

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0] * self.factors + self.shift

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        factors = np.broadcast_to(self.factors, (size,))
        if matrix is not None:
            return factors[:, None] * matrix
        return np.diag(factors) if size * size <= MOST_ELEMENTS else None


@dataclass(frozen=True)
class Gather:
    """Entries of the input at an index, in any order and any number of times; where the index is -1, 0.

    Without an index it is the identity.
    """

    index: np.ndarray | None = None
    shift: np.ndarray | float = 0.0

    @functools.cached_property
    def _most(self) -> int:
        """How often the most frequent entry is taken."""
        taken = self.index[self.index >= 0] if self.index is not None else np.zeros(1, int)
        return int(np.bincount(taken).max()) if len(taken) else 0

    def factor(self, p: float) -> float:
        return {1: float(self._most), 2: math.sqrt(self._most), math.inf: float(self._most > 0)}[p]

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        if self.index is None:
            return x + self.shift
        return np.where(self.index >= 0, x[:, self.index], 0.0) + self.shift

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        if matrix is None:
            if max(size, size if self.index is None else len(self.index)) * size > MOST_ELEMENTS:
                return None
            matrix = np.eye(size)
        return matrix if self.index is None else np.where(self.index[:, None] >= 0, matrix[self.index], 0.0)


@dataclass(frozen=True)
class Add:
    """Sum of its parents, each times a number."""

    weights: tuple[float, ...] = (1.0, 1.0)

    def factor(self, p: float) -> float:
        return 1.0  # the weights count where the parents are combined

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        return np.asarray(sum(w * x for w, x in zip(self.weights, inputs, strict=True)))


@dataclass(frozen=True)
class Concat:
    """Outputs of its parents side by side."""

    def factor(self, p: float) -> float:
        return 1.0

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        return np.concatenate(inputs, axis=1)


IDENTITY = Gather()


def operator_norm(matrix: np.ndarray, p: float) -> float:
    """Of a matrix, from the p-norm to the p-norm, p = 1, 2 or inf."""
    if matrix.size == 0:
        return 0.0
    return float(convolution.largest_singular_values(matrix) if p == 2 else np.linalg.norm(matrix, p))
