"""Linear operations in a row are one linear operation, with a norm of its own."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from artclip.graph.convolution_norm import circular_norm_bounds
from artclip.graph.linear import Convolution, Dense, Gather, Kronecker, Scale, norm_bounds, product_bounds
from artclip.graph.matrix_norms import EPS, Bounds, last, product_of

_EXACT = 1 << 22  # of the matrix that is written out for its norm
_BETWEEN = 1 << 23  # of the matrices on the way to it
_MOST = 1 << 24  # of a matrix that stands for the operation
_MODERATE = 2.0**200  # sizes of numbers whose products neither overflow nor vanish

Part = Dense | Kronecker | Convolution | Scale | Gather


@dataclass(frozen=True)
class Composition:
    """Linear operations, one after the other.

    Attributes:
        parts: the operations.
        sizes: the number of inputs, and of the outputs of each.
    """

    parts: tuple[Part, ...]
    sizes: tuple[int, ...]

    @property
    def shift(self) -> np.ndarray | float:
        """What the last part makes of the shifts of all."""
        return self.apply(np.zeros((1, self.sizes[0])))[0]

    def factor(self, p: float) -> float:
        return last(self.bounds(p))

    def bounds(self, p: float) -> Bounds:
        """That of the matrix, where it is small; else the product of the parts' norms."""
        few = self.sizes[0] * self.sizes[-1] <= _EXACT and self.sizes[0] * max(self.sizes[1:]) <= _BETWEEN
        if not (few and self.is_moderate):
            yield from product_bounds(self._parts(p))
            return
        cheap = product_of(self._cheap(p))
        yield cheap, self.sizes[0] * sum(map(work, self.parts, self.sizes))
        matrix = self.after(None, self.sizes[0])
        assert matrix is not None
        for bound, cost in norm_bounds(matrix, p):
            yield min(cheap, bound + self.rounding(p)), cost

    @property
    def is_moderate(self) -> bool:
        """Whether the numbers in its matrix, and in those on the way to it, are far from the ends of floats."""
        norms = self._cheap(2)
        return all(1 / _MODERATE < product_of(norms[:i]) < _MODERATE for i in range(1, len(norms) + 1))

    def rounding(self, p: float) -> float:
        """How much of the norm of its matrix rounding may take: the cheap norms are those of the sizes of entries."""
        return 2 * (sum(self.sizes) + 8) * EPS * product_of(self._cheap(p))

    def _cheap(self, p: float) -> list[float]:
        return [next(part)[0] for part in self._parts(p)]

    def _parts(self, p: float) -> list[Bounds]:
        """Bounds of each part, or of two that are a convolution of images which go on where they begin."""
        found: list[Bounds] = []
        left = list(self.parts)
        while left:
            part, *left = left
            if left and is_circular(part, left[0]):
                found.append(_circular_bounds(left.pop(0), p))  # type: ignore[arg-type]
            else:
                found.append(part.bounds(p) if hasattr(part, "bounds") else iter([(part.factor(p), 0.0)]))
        return found

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        for part in self.parts:
            x = part.apply(x)
        return x

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        columns = size if matrix is None else matrix.shape[1]
        if columns * max(self.sizes[1:]) > _MOST:
            return None
        for part, before in zip(self.parts, self.sizes, strict=False):
            matrix = part.after(matrix, before)
            if matrix is None:
                return None
        return matrix


def work(operation: Any, size: int) -> float:
    """About how many floating-point operations a linear operation takes, of an input of some size."""
    if isinstance(operation, Composition):
        return sum(map(work, operation.parts, operation.sizes))
    if isinstance(operation, Dense):
        return 2.0 * operation.weight.size * operation.copies
    if isinstance(operation, Convolution):
        return 4.0 * operation.kernel.size * math.prod(operation.windows)
    if isinstance(operation, Kronecker):
        return 2.0 * size * sum(len(m) for m in operation.matrices if m is not None)
    return 2.0 * size


def compose(first: Any, second: Any, sizes: tuple[int, int, int]) -> Any:
    """The second of two linear operations after the first; sizes of the input, between them, and of the output.

    What scales channels goes into the weights beside it, and matrices along the same axes multiply.
    """
    *before, one = first.parts if isinstance(first, Composition) else (first,)
    other, *behind = second.parts if isinstance(second, Composition) else (second,)
    inner = first.sizes[:-1] if isinstance(first, Composition) else sizes[:1]
    outer = second.sizes[1:] if isinstance(second, Composition) else sizes[2:]
    if isinstance(one, Scale) and isinstance(other, Gather) and other.index is not None and (other.index >= 0).all():
        # Scaled behind, so that a convolution that follows, of images that are padded, may take it up.
        factors, shift = (
            np.broadcast_to(np.asarray(a, np.float64), (sizes[1],))[other.index] for a in (one.factors, one.shift)
        )
        one, other = replace(other, shift=0.0), Scale(factors, shift + other.shift)
        return Composition((*before, one, other, *behind), (*inner, len(factors), *outer))
    if isinstance(one, Kronecker) and isinstance(other, Gather) and (axes := _axes_in_order(one, other)):
        # Axes in another order first, so that a convolution that follows may take up the padding.
        sides = np.arange(math.prod(one.shape)).reshape(one.shape)
        moved = Kronecker(
            tuple(one.shape[a] for a in axes),
            tuple(one.matrices[a] for a in axes),
            other.apply(_shift(one, sizes[1]))[0],
        )
        parts = (*before, Gather(sides.transpose(axes).ravel()), moved, *behind)
        return Composition(parts, (*inner, inner[-1], *outer))
    joined = _joined(one, other, inner[-1], sizes[1], outer[0])
    if joined is None:
        return Composition((*before, one, other, *behind), (*inner, sizes[1], *outer))
    if not before and not behind:
        return joined
    return Composition((*before, joined, *behind), (*inner, *outer))


def _joined(first: Part, second: Part, size: int, between: int, outputs: int) -> Part | None:
    """One operation that does what two do, or ``None``."""
    if is_identity(first) and size == between:
        return second
    if isinstance(second, Gather) and second.index is None:
        moved = np.any(second.shift)
        return replace(first, shift=np.broadcast_to(first.shift + second.shift, (between,))) if moved else first
    joined: Part | None = None
    if isinstance(first, Scale) and isinstance(second, Scale):
        factors = np.asarray(first.factors) * second.factors
        joined = replace(second, factors=factors) if _fit(first.factors, second.factors) else None
    elif isinstance(first, Scale):
        joined = _scaled(second, np.broadcast_to(first.factors, (between,)), outputs, before=True)
    elif isinstance(second, Scale):
        joined = _scaled(first, np.broadcast_to(second.factors, (outputs,)), between, before=False)
    elif isinstance(first, Kronecker) and isinstance(second, Kronecker):
        joined = _along_axes(first, second)
    elif isinstance(first, Kronecker) and isinstance(second, Convolution):
        joined = _padded(first, second)
    if joined is None:
        return None
    shift = _shift(first, between)
    none = not np.any(shift) and not np.any(second.shift)
    return replace(joined, shift=0.0 if none else second.apply(shift)[0])


def _shift(operation: Part, size: int) -> np.ndarray:
    """What an operation adds, (1, size)."""
    return np.broadcast_to(np.asarray(operation.shift, dtype=np.float64), (size,))[None]


def _axes_in_order(first: Kronecker, second: Gather) -> tuple[int, ...] | None:
    """The order that axes are brought into behind matrices along them, or ``None``."""
    sides = [n if m is None else len(m) for n, m in zip(first.shape, first.matrices, strict=True)]
    if second.index is None or len(second.index) != math.prod(sides):
        return None
    image = np.arange(len(second.index)).reshape(sides)
    orders = itertools.permutations(range(len(sides)))
    return next((axes for axes in orders if np.array_equal(image.transpose(axes).ravel(), second.index)), None)


def _padded(pad: Kronecker, convolution: Convolution) -> Convolution | None:
    """The convolution that pads with zeros itself, where the matrices do nothing else."""
    channels = convolution.kernel.shape[1] * convolution.groups
    if channels == pad.shape[-1] == 1 and pad.matrices[-1] is None:  # first or last, one channel is the same
        pad = Kronecker((1, *pad.shape[:-1]), (None, *pad.matrices[:-1]), pad.shift)
    if convolution.transposed or pad.matrices[0] is not None or len(pad.shape) != 1 + len(convolution.shape):
        return None
    if pad.shape[0] != channels:
        return None
    padding = []
    for n, matrix, (before, behind) in zip(pad.shape[1:], pad.matrices[1:], convolution.padding, strict=True):
        zeros = 0 if matrix is None else int(np.argmax(matrix.any(1)))
        size = n if matrix is None else len(matrix)
        if matrix is not None and not np.array_equal(matrix, np.eye(size, n, -zeros)):
            return None
        padding.append((before + zeros, behind + size - n - zeros))
    if any(min(p) < 0 for p in padding):
        return None
    return replace(convolution, shape=tuple(pad.shape[1:]), padding=tuple(padding))


def is_circular(pad: Any, convolution: Any) -> bool:
    """Whether the two convolve images that go on where they begin: all inputs of its windows are there once."""
    if not (isinstance(pad, Gather) and isinstance(convolution, Convolution)) or pad.index is None:
        return False
    if convolution.transposed or any(sum(p) for p in convolution.padding):
        return False
    channels = convolution.kernel.shape[1] * convolution.groups
    sides = [n * s for n, s in zip(convolution.windows, convolution.stride, strict=True)]
    if len(pad.index) != channels * math.prod(convolution.shape) or pad.index[0] < 0:
        return False
    first = np.unravel_index(pad.index[0] % math.prod(sides), sides)
    along = [(a + np.arange(n)) % side for a, n, side in zip(first, convolution.shape, sides, strict=True)]
    image = np.ravel_multi_index(np.meshgrid(*along, indexing="ij"), tuple(sides)).ravel()
    return bool(
        np.array_equal(pad.index.reshape(channels, -1), np.arange(channels)[:, None] * math.prod(sides) + image)
    )


def _circular_bounds(convolution: Convolution, p: float) -> Bounds:
    """Of a convolution of images that go on where they begin."""
    cheap, _ = next(convolution.bounds(p))
    yield cheap, 0.0 if p != 2 else 1.0
    if p == 2:
        c, sides = convolution, tuple(n * s for n, s in zip(convolution.windows, convolution.stride, strict=True))
        for bound, cost in circular_norm_bounds(c.kernel, sides, c.stride, c.dilation, c.groups):
            yield min(cheap, bound), cost


def is_identity(operation: Any) -> bool:
    """Whether it gives out what it takes in."""
    return isinstance(operation, Gather) and operation.index is None and not np.any(operation.shift)


def _fit(*arrays: np.ndarray) -> bool:
    """Whether products of their largest entries are far from the ends of what floats can say."""
    most = [float(np.abs(a).max()) for a in arrays]
    return all(m == 0 or 1 / _MODERATE < m < _MODERATE for m in most)


def _scaled(operation: Part, factors: np.ndarray, size: int, before: bool) -> Part | None:
    """The operation on inputs, or with outputs, that are multiplied, if its weights can take that up.

    Args:
        operation: any but :class:`Scale`.
        factors: one for each input, or output.
        size: of the other side.
        before: whether it is the inputs.
    """
    if isinstance(operation, Dense) and operation.copies == 1:
        weight = operation.weight
        found: Part = replace(operation, weight=weight * factors if before else factors[:, None] * weight, live=None)
        return found if _fit(factors, weight) else None
    if not isinstance(operation, Convolution):
        return None
    outputs, per_group, *sizes = operation.kernel.shape
    first = before == operation.transposed  # the axis of the kernel: that of its outputs, or of its inputs
    channels = outputs if first else per_group * operation.groups
    parts = factors.reshape(channels, -1)
    if (parts != parts[:, :1]).any() or not _fit(factors, operation.kernel):
        return None
    shape = (outputs, 1) if first else (operation.groups, 1, per_group)
    kernel = operation.kernel.reshape(*(() if first else (operation.groups,)), -1, per_group, *sizes)
    kernel = kernel * parts[:, 0].reshape(*shape, *(1 for _ in sizes))
    return replace(operation, kernel=kernel.reshape(operation.kernel.shape), live=None)


def _along_axes(first: Kronecker, second: Kronecker) -> Kronecker | None:
    pairs = list(zip(first.matrices, second.matrices, strict=False))
    shape = tuple(n if m is None else len(m) for n, m in zip(first.shape, first.matrices, strict=True))
    if shape != second.shape or not _fit(*(m for pair in pairs for m in pair if m is not None)):
        return None
    matrices = tuple(b if a is None else a if b is None else b @ a for a, b in pairs)
    return replace(second, shape=first.shape, matrices=matrices)
