"""Linear operations backwards: what a linear function of their outputs is of their inputs."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from artclip.graph import convolution
from artclip.graph.composition import Composition
from artclip.graph.linear import _WINDOWS, Add, Concat, Convolution, Dense, Gather, Kronecker, Scale


@functools.singledispatch
def adjoint(operation: Any, a: np.ndarray, size: int) -> np.ndarray:
    """Coefficients of the inputs, from those of the outputs: the transposed matrix, without the shift.

    Args:
        operation: a linear one.
        a: coefficients (n, outputs).
        size: number of inputs.

    Returns:
        Coefficients (n, size).
    """
    raise TypeError(f"{type(operation).__name__} is not known to be linear")


@adjoint.register
def _(operation: Dense, a: np.ndarray, size: int) -> np.ndarray:
    return (a.reshape(len(a), operation.copies, -1) @ operation.weight).reshape(len(a), size)


@adjoint.register
def _(operation: Kronecker, a: np.ndarray, size: int) -> np.ndarray:
    sides = [n if m is None else len(m) for n, m in zip(operation.shape, operation.matrices, strict=True)]
    a = a.reshape(len(a), *sides)
    for axis, matrix in enumerate(operation.matrices, 1):
        if matrix is not None:
            a = np.moveaxis(np.tensordot(matrix, a, axes=(0, axis)), 0, axis)
    return a.reshape(len(a), size)


@adjoint.register
def _(operation: Convolution, a: np.ndarray, size: int) -> np.ndarray:
    c = operation
    run = convolution.apply if c.transposed else convolution.adjoint
    step = max(1, _WINDOWS // max(1, math.prod(c.windows) * c.kernel[0].size * c.groups))
    parts = (a[i : i + step] for i in range(0, len(a), step))
    whole = [run(part, c.kernel, c.shape, c.stride, c.padding, c.dilation, c.groups) for part in parts]
    return np.concatenate(whole).reshape(len(a), size)


@adjoint.register
def _(operation: Scale, a: np.ndarray, size: int) -> np.ndarray:
    return a * operation.factors


@adjoint.register
def _(operation: Gather, a: np.ndarray, size: int) -> np.ndarray:
    index = operation.index
    if index is None:
        return a
    found = np.zeros((size, len(a)))
    there = index >= 0
    np.add.at(found, index[there], a.T[there])
    return found.T


@adjoint.register
def _(operation: Composition, a: np.ndarray, size: int) -> np.ndarray:
    for part, before in zip(reversed(operation.parts), reversed(operation.sizes[:-1]), strict=True):
        a = adjoint(part, a, before)
    return a


def adjoints(operation: Any, a: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Coefficients (n, size) of each parent, from those (n, outputs) of a linear operation, a sum, or side by side."""
    if isinstance(operation, Add):
        return [w * a for w in operation.weights]
    if isinstance(operation, Concat):
        return np.split(a, np.cumsum(sizes)[:-1], axis=1)
    return [adjoint(operation, a, *sizes)]


@functools.singledispatch
def in_size(operation: Any) -> Any:
    """The operation whose matrix has the sizes of the entries, or larger numbers; without the shift."""
    raise TypeError(f"{type(operation).__name__} is not known to be linear")


@in_size.register
def _(operation: Dense) -> Dense:
    return Dense(np.abs(operation.weight), operation.copies)


@in_size.register
def _(operation: Kronecker) -> Kronecker:
    return Kronecker(operation.shape, tuple(None if m is None else np.abs(m) for m in operation.matrices))


@in_size.register
def _(operation: Convolution) -> Convolution:
    return replace(operation, kernel=np.abs(operation.kernel), shift=0.0, live=None)


@in_size.register
def _(operation: Scale) -> Scale:
    return Scale(np.abs(operation.factors))


@in_size.register
def _(operation: Gather) -> Gather:
    return Gather(operation.index)


@in_size.register
def _(operation: Composition) -> Composition:
    return Composition(tuple(map(in_size, operation.parts)), operation.sizes)


@in_size.register
def _(operation: Add) -> Add:
    return Add(tuple(map(abs, operation.weights)))


@in_size.register
def _(operation: Concat) -> Concat:
    return operation
