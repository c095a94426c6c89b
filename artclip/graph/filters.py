"""Linear operations on images that do the same at every place: filters, whatever operation they are written as.

Inputs and outputs are flattened images, channels first.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.graph.convolution import dilated
from artclip.graph.linear import Convolution, Gather, Kronecker, Scale


@dataclass(frozen=True)
class Images:
    """How outputs of a node are images.

    Attributes:
        channels: their number.
        sides: pixels along each axis.
    """

    channels: int
    sides: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers of one image."""
        return self.channels * math.prod(self.sides)


@dataclass(frozen=True)
class Filter:
    """y[o] = Σ_t kernel[:, :, t]·x[stride·o + t - before], where x is 0 outside the image.

    Attributes:
        kernel: shape (outputs, inputs, *sizes).
        stride, before: for each axis.
        given: the images that it takes.
        made: the images that it makes.
        is_inside: whether no window reaches out of the image.
    """

    kernel: np.ndarray
    stride: tuple[int, ...]
    before: tuple[int, ...]
    given: Images
    made: Images
    is_inside: bool

    @property
    def is_pointwise(self) -> bool:
        """Whether each pixel is made of the one at its place, but for the stride."""
        return math.prod(self.kernel.shape[2:]) == 1 and not any(self.before)

    @property
    def is_whole(self) -> bool:
        """Whether no pixel is left out at the far end of an axis."""
        axes = zip(self.made.sides, self.stride, self.given.sides, strict=True)
        return all(made * stride >= given for made, stride, given in axes)

    @property
    def reach(self) -> tuple[int, ...]:
        """How many zeros windows take in along each axis, before or behind the image, whichever are more."""
        found = []
        axes = zip(self.kernel.shape[2:], self.stride, self.before, self.given.sides, self.made.sides, strict=True)
        for k, s, before, side, places in axes:
            found.append(max(before, (places - 1) * s + k - before - side, 0))
        return tuple(found)


def filter_of(operation: Any, given: Images | None) -> Filter | None:
    """The filter that an operation is, or ``None``.

    Args:
        operation: a linear one.
        given: the images that it takes; ``None`` where nobody knows, and a convolution says it.
    """
    if isinstance(operation, Convolution):
        return _of_convolution(operation, given)
    if given is None:
        return None
    if isinstance(operation, Scale):
        factors = np.broadcast_to(np.asarray(operation.factors, np.float64), (given.size,)).reshape(given.channels, -1)
        return pointwise(np.diag(factors[:, 0]), given) if (factors == factors[:, :1]).all() else None
    if isinstance(operation, Gather):
        return _of_gather(operation.index, given)
    return _of_kronecker(operation, given) if isinstance(operation, Kronecker) else None


def pointwise(matrix: np.ndarray, given: Images) -> Filter:
    """The filter that makes a matrix (outputs, inputs) of the channels of each pixel."""
    ones = (1,) * len(given.sides)
    made = Images(len(matrix), given.sides)
    return Filter(matrix.reshape(*matrix.shape, *ones), ones, (0,) * len(ones), given, made, True)


def _of_convolution(c: Convolution, given: Images | None) -> Filter | None:
    outputs, per_group, *sizes = c.kernel.shape
    images = Images(per_group * c.groups, tuple(c.shape))
    if c.transposed or (given is not None and given != images):
        return None
    kernel = np.zeros((outputs, images.channels, *sizes))
    for g in range(c.groups):
        rows = slice(g * outputs // c.groups, (g + 1) * outputs // c.groups)
        kernel[rows, g * per_group : (g + 1) * per_group] = c.kernel[rows]
    made, before = Images(outputs, c.windows), tuple(p[0] for p in c.padding)
    inside = not any(map(sum, c.padding))
    return Filter(dilated(kernel, c.dilation), tuple(c.stride), before, images, made, inside)


def _of_kronecker(operation: Kronecker, given: Images) -> Filter | None:
    """Means or sums over windows, the same for all channels."""
    if tuple(operation.shape) != (given.channels, *given.sides) or operation.matrices[0] is not None:
        return None
    taps, stride, sides = np.eye(given.channels), [], []
    for matrix, side in zip(operation.matrices[1:], given.sides, strict=True):
        found = (np.ones(1), 1, side) if matrix is None else _along(matrix)
        if found is None:
            return None
        taps = taps[..., None] * found[0]
        stride.append(found[1])
        sides.append(found[2])
    made = Images(given.channels, tuple(sides))
    return Filter(taps, tuple(stride), (0,) * len(sides), given, made, True)


def _along(matrix: np.ndarray) -> tuple[np.ndarray, int, int] | None:
    """Taps, stride and places of a matrix whose rows are the first one, moved on."""
    used = np.flatnonzero(matrix[0])
    if len(matrix) < 2 or not len(used):
        return None
    taps, second = matrix[0, : used[-1] + 1], np.flatnonzero(matrix[1])
    stride = int(second[0] - used[0]) if len(second) else 0
    if stride < 1:
        return None
    moved = np.zeros_like(matrix)
    for i in range(len(matrix)):
        if i * stride + len(taps) > matrix.shape[1]:
            return None
        moved[i, i * stride : i * stride + len(taps)] = taps
    return (taps, stride, len(matrix)) if np.array_equal(moved, matrix) else None


def _of_gather(index: np.ndarray | None, given: Images) -> Filter | None:
    """Channels, or every n-th pixel of them."""
    if index is None:
        return pointwise(np.eye(given.channels), given)
    if not len(index) or index.min() < 0:
        return None
    channel, *places = np.unravel_index(index, (given.channels, *given.sides))
    one = int(np.argmax(channel != channel[0])) or len(index)  # pixels of the first image that is made
    sides: list[int] = []
    for p in reversed(places):
        along = p[: one : math.prod(sides)]
        back = np.flatnonzero(np.diff(along) <= 0)  # where the next row begins
        sides.insert(0, int(back[0]) + 1 if len(back) else len(along))
    if math.prod(sides) != one or len(index) % one:
        return None
    steps = [math.prod(sides[axis + 1 :]) for axis in range(len(sides))]
    stride = [int(p[step] - p[0]) if n > 1 else 1 for p, step, n in zip(places, steps, sides, strict=True)]
    first = [int(p[0]) for p in places]
    if min(stride) < 1 or any(n == 1 < side for n, side in zip(sides, given.sides, strict=True)):
        return None
    channels = channel[::one]
    pixels = np.meshgrid(*(a + s * np.arange(n) for a, s, n in zip(first, stride, sides, strict=True)), indexing="ij")
    if any((p >= n).any() for p, n in zip(pixels, given.sides, strict=True)):
        return None
    pixel = np.ravel_multi_index([p.ravel() for p in pixels], given.sides)
    if not np.array_equal((channels[:, None] * math.prod(given.sides) + pixel).ravel(), index):
        return None
    kernel = np.zeros((len(channels), given.channels, *(a + 1 for a in first)))
    for row, taken in enumerate(channels):
        kernel[row, taken].flat[-1] = 1.0  # the tap at ``first``
    made = Images(len(channels), tuple(sides))
    return Filter(kernel, tuple(stride), (0,) * len(sides), given, made, True)


def taps_at_phases(
    kernel: np.ndarray, stride: tuple[int, ...], before: tuple[int, ...], given: tuple[int, ...], made: tuple[int, ...]
) -> dict[tuple[int, ...], np.ndarray]:
    """A filter between images whose phases are channels: matrices by how many of their pixels they reach ahead.

    With so many phases a pixel p of an image is that of phase p mod n at p div n. Channels and phases are in the order
    (channel, *phases).

    Args:
        kernel, stride, before: of the filter.
        given, made: phases of inputs and outputs along each axis; given = stride·made.
    """
    outputs, inputs, *sizes = kernel.shape
    found: dict[tuple[int, ...], np.ndarray] = {}
    for tap in itertools.product(*map(range, sizes)):
        weights = kernel.reshape(outputs, inputs, -1)[..., np.ravel_multi_index(tap, tuple(sizes))]
        if not weights.any():
            continue
        for phase in itertools.product(*map(range, made)):
            at = [s * f + t - a for s, f, t, a in zip(stride, phase, tap, before, strict=True)]
            ahead = tuple(p // n for p, n in zip(at, given, strict=True))
            where = tuple(p % n for p, n in zip(at, given, strict=True))
            matrix = found.setdefault(ahead, np.zeros((outputs, math.prod(made), inputs, math.prod(given))))
            matrix[:, np.ravel_multi_index(phase, made), :, np.ravel_multi_index(where, given)] += weights
    return {ahead: m.reshape(outputs * math.prod(made), inputs * math.prod(given)) for ahead, m in found.items()}
