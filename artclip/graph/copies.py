"""The same node on each of several parts of its input, that follow one another: layers applied to each step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from artclip.graph.activations import Activation
from artclip.graph.linear import Add, Concat, Convolution, Dense, Gather, Kronecker, Scale
from artclip.graph.nodes import Node, Operation
from artclip.graph.nonlinear import Maximum, Normalisation, Softmax, Sort


def repeated(node: Node, sizes: list[int], copies: int) -> list[tuple[Operation, int]]:
    """Operations that one after the other do what the node does, on each of ``copies`` parts; and their outputs.

    Their Lipschitz constants are those of the node's operation, parts being independent.

    Args:
        node: for one part.
        sizes: of its parents, for one part.
        copies: >= 1.

    Raises:
        TypeError: an operation that is not known here.
    """
    operation, whole = node.operation, node.size * copies

    def tiled(value: Any) -> Any:
        return np.tile(value, copies) if np.ndim(value) else value

    def moved(index: np.ndarray, size: int) -> np.ndarray:
        """The index in all parts; -1 stays."""
        starts = (np.arange(copies) * size).reshape(-1, *[1] * index.ndim)
        return np.where(index >= 0, index + starts, -1).reshape(-1, *index.shape[1:])

    if isinstance(operation, Concat):
        starts = np.cumsum([0, *sizes[:-1]]) * copies
        rows = [s + np.arange(n * copies).reshape(copies, n) for s, n in zip(starts, sizes, strict=True)]
        return [(operation, whole), (Gather(np.concatenate(rows, axis=1).ravel()), whole)]
    if isinstance(operation, Convolution):
        return _convolution(operation, sizes[0], node.size, copies)
    (size, *_) = sizes
    if isinstance(operation, Activation):
        function = operation.function
        operation = replace(operation, function=lambda x: function(x.reshape(-1, size)).reshape(len(x), -1))
    elif isinstance(operation, Dense):
        operation = replace(operation, copies=operation.copies * copies, shift=tiled(operation.shift))
    elif isinstance(operation, Kronecker):
        shape, matrices = (copies, *operation.shape), (None, *operation.matrices)
        operation = replace(operation, shape=shape, matrices=matrices, shift=tiled(operation.shift))
    elif isinstance(operation, Scale):
        operation = replace(operation, factors=tiled(operation.factors), shift=tiled(operation.shift))
    elif isinstance(operation, Gather):
        entries = None if operation.index is None else moved(operation.index, size)
        operation = replace(operation, index=entries, shift=tiled(operation.shift))
    elif isinstance(operation, Maximum):
        operation = replace(operation, copies=operation.copies * copies)
    elif isinstance(operation, (Sort, Softmax)):
        operation = replace(operation, index=moved(operation.index, size))
    elif isinstance(operation, Normalisation):
        scale, shift = tiled(operation.scale), tiled(operation.shift)
        operation = replace(operation, index=moved(operation.index, size), scale=scale, shift=shift)
    elif not isinstance(operation, Add):
        raise TypeError(f"a {type(operation).__name__} is not known on several parts")
    return [(operation, whole)]


def _convolution(operation: Convolution, inputs: int, outputs: int, copies: int) -> list[tuple[Operation, int]]:
    """The parts are one more spatial axis, along which the kernel has one entry."""
    narrow, wide = operation.kernel.shape[1] * operation.groups, len(operation.kernel)
    before, after = (wide, narrow) if operation.transposed else (narrow, wide)

    def swapped(first: int, second: int, size: int) -> Gather:
        index = np.arange(first * second * size).reshape(first, second, size)
        return Gather(index.swapaxes(0, 1).ravel())

    live, shift = operation.live, operation.shift
    if isinstance(shift, np.ndarray):
        pixels = outputs // after
        shift = np.broadcast_to(shift.reshape(after, 1, pixels), (after, copies, pixels)).ravel()
    along = replace(
        operation,
        kernel=operation.kernel[:, :, None],
        shape=(copies, *operation.shape),
        stride=(1, *operation.stride),
        padding=((0, 0), *operation.padding),
        dilation=(1, *operation.dilation),
        shift=shift,
        live=None if live is None else lambda: live()[:, :, None],
    )
    return [
        (swapped(copies, before, inputs // before), copies * inputs),
        (along, copies * outputs),
        (swapped(after, copies, outputs // after), copies * outputs),
    ]
