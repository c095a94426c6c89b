"""Linear operations: matrices and shifts, written out only where they are small."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import numpy as np

from artclip.graph import convolution, convolution_norm
from artclip.graph.convolution_norm import Padding, Shape
from artclip.graph.matrix_norms import EPS, Bounds, last, product_of, spectral_bounds
from artclip.graph.nodes import Live
from artclip.norms import dual_norm

MOST_ELEMENTS = 1 << 24  # of a matrix that stands for an operation
_EXACT = 1 << 22  # of a matrix that is written out for its norm
_EXACT_COST = 4e10  # floating-point operations for the norms of the matrices of a convolution
_WINDOWS = 1 << 22  # numbers in the windows of the images that a convolution is applied to together


@dataclass(frozen=True)
class Dense:
    """A matrix (outputs, inputs), applied to each of ``copies`` parts of the input; ``shift`` is added."""

    weight: np.ndarray
    copies: int = 1
    shift: np.ndarray | float = 0.0
    live: Live | None = field(default=None, compare=False, repr=False)

    def factor(self, p: float) -> float:
        return last(self.bounds(p))

    def bounds(self, p: float) -> Bounds:
        return norm_bounds(self.weight, p)

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
        return last(self.bounds(p))

    def bounds(self, p: float) -> Bounds:
        return product_bounds([norm_bounds(m, p) for m in self.matrices if m is not None])

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
            if rows * size > MOST_ELEMENTS:
                return None
            matrix = np.ones((1, 1))
            for n, along in zip(self.shape, self.matrices, strict=True):
                matrix = np.kron(matrix, np.eye(n) if along is None else along)
            return matrix
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

    @property
    def _geometry(self) -> tuple[Shape, Shape, Padding, Shape]:
        return self.shape, self.stride, self.padding, self.dilation

    def _inputs(self) -> int:
        return self.kernel.shape[1] * self.groups * math.prod(self.shape)

    def _outputs(self) -> int:
        return len(self.kernel) * math.prod(self.windows)

    def factor(self, p: float) -> float:
        return last(self.bounds(p))

    def bounds(self, p: float) -> Bounds:
        if p != 2:
            q = dual_norm(p) if self.transposed else p
            yield convolution.absolute_norm(self.kernel, self.stride, self.dilation, q, self.groups), 0.0
            return
        absolute = (
            convolution.absolute_norm(self.kernel, self.stride, self.dilation, q, self.groups) for q in (1, math.inf)
        )
        cheap = math.prod(map(math.sqrt, absolute)) * (1 + 2 * self.kernel.size * EPS)
        small, large = sorted((self._inputs() // self.groups, self._outputs() // self.groups))
        exact = small * large <= _EXACT and self.groups * small**2 * (large + 8 * small) <= _EXACT_COST
        torus = convolution_norm.spectral_norm_bounds(self.kernel, *self._geometry, self.groups)
        for bound, cost in self._exact_bounds() if exact else torus:
            yield min(cheap, bound), cost

    def _exact_bounds(self) -> Bounds:
        """From the matrix of each group."""
        yield math.inf, float(self._inputs() * self._outputs())
        done = bound = 0.0
        for kernel in np.split(self.kernel, self.groups):
            matrix = convolution.matrix(kernel, *self._geometry)
            for bound, cost in spectral_bounds(matrix):  # noqa: B007
                yield math.inf, cost + 1.0
            done = max(done, bound)
        yield done, 0.0

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        return self._unshifted(inputs[0]) + self.shift

    def _unshifted(self, x: np.ndarray) -> np.ndarray:
        run = convolution.adjoint if self.transposed else convolution.apply
        step = max(1, _WINDOWS // max(1, math.prod(self.windows) * self.kernel[0].size * self.groups))
        parts = (x[i : i + step] for i in range(0, len(x), step))
        whole = np.concatenate([run(part, self.kernel, *self._geometry, self.groups) for part in parts])
        return whole.reshape(len(x), -1)

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        if matrix is not None:
            return self._unshifted(matrix.T).T
        if self._inputs() * self._outputs() > MOST_ELEMENTS:
            return None
        dense = convolution.matrix(self.kernel, *self._geometry, self.groups)
        return dense.T if self.transposed else dense


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
        index = np.arange(size) if self.index is None else self.index
        if matrix is not None:
            return matrix if self.index is None else np.where(index[:, None] >= 0, matrix[index], 0.0)
        if len(index) * size > MOST_ELEMENTS:
            return None
        ones = np.zeros((len(index), size))
        taken = np.flatnonzero(index >= 0)
        ones[taken, index[taken]] = 1.0
        return ones


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


def norm_bounds(matrix: np.ndarray, p: float) -> Bounds:
    """Of a matrix, from the p-norm to the p-norm, p = 1, 2 or inf."""
    if p == 2:
        return spectral_bounds(matrix)
    return iter([(float(np.linalg.norm(matrix, p)) * (1 + 2 * max(matrix.shape) * EPS) if matrix.size else 0.0, 0.0)])


def product_bounds(parts: list[Bounds]) -> Bounds:
    """The product of several norms, of which the one that is the cheapest to make finer is so next."""
    at = [next(part) for part in parts]
    while True:
        left = [i for i, (_, cost) in enumerate(at) if cost > 0]
        i = min(left, key=lambda i: at[i][1], default=-1)
        yield product_of(bound for bound, _ in at), at[i][1] if left else 0.0
        if not left:
            return
        at[i] = next(parts[i])
