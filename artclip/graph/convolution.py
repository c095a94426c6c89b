"""Convolutions of images as they are: their matrices, what they do, their norms in L1 and Linf."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from artclip.graph.convolution_norm import Padding, Shape, dilated, spaced, spectral_norm
from artclip.graph.matrix_norms import largest_singular_values

__all__ = ["absolute_norm", "adjoint", "apply", "dilated", "largest_singular_values", "matrix", "spectral_norm"]


def absolute_norm(kernel: np.ndarray, stride: Shape, dilation: Shape, p: float, groups: int = 1) -> float:
    """An upper bound of the norm from L1 to L1 or from Linf to Linf, exact where the kernel fits into the image.

    Linf: the largest sum of sizes over an output's weights. L1: the largest over those that one input pixel has, which
    are of one phase of the stride.
    """
    sizes = np.abs(dilated(np.asarray(kernel, dtype=np.float64), dilation))
    if p == math.inf:
        return float(sizes.reshape(len(sizes), -1).sum(1).max())
    sizes = sizes.reshape(groups, len(sizes) // groups, *sizes.shape[1:])
    best = 0.0
    for phase in itertools.product(*(range(s) for s in stride)):
        taken = sizes[spaced((...,), phase, stride)]
        best = max(best, float(taken.sum(axis=(1, *range(3, taken.ndim))).max()))
    return best


def matrix(
    kernel: np.ndarray, shape: Shape, stride: Shape, padding: Padding, dilation: Shape, groups: int = 1
) -> np.ndarray:
    """The convolution as a dense matrix on flattened images, channels first; arguments as for :func:`spectral_norm`."""
    outputs, per_group, *sizes = kernel.shape
    inputs = per_group * groups
    reach = [(k - 1) * d + 1 for k, d in zip(sizes, dilation, strict=True)]
    out = [(n + sum(p) - r) // s + 1 for n, p, r, s in zip(shape, padding, reach, stride, strict=True)]
    dense = np.zeros((outputs, math.prod(out), inputs, math.prod(shape)))
    places = np.stack(np.meshgrid(*(np.arange(n) for n in out), indexing="ij")).reshape(len(out), -1)
    before = np.array([p[0] for p in padding])[:, None]
    for tap in itertools.product(*(range(k) for k in sizes)):
        where = places * np.array(stride)[:, None] + (np.array(tap) * np.array(dilation))[:, None] - before
        valid = ((where >= 0) & (where < np.array(shape)[:, None])).all(0)
        source = np.ravel_multi_index(tuple(where[:, valid]), shape)
        weights = kernel.reshape(outputs, per_group, -1)[..., np.ravel_multi_index(tap, tuple(sizes))]
        for g in range(groups):
            rows = np.arange(g * outputs // groups, (g + 1) * outputs // groups)
            columns = np.arange(g * per_group, (g + 1) * per_group)
            at_out = rows[:, None, None], np.flatnonzero(valid)[None, :, None]
            at = (*at_out, columns[None, None], source[None, :, None])
            dense[at] += weights[rows][:, None, :]
    return dense.reshape(outputs * math.prod(out), inputs * math.prod(shape))


def apply(
    x: np.ndarray, kernel: np.ndarray, shape: Shape, stride: Shape, padding: Padding, dilation: Shape, groups: int = 1
) -> np.ndarray:
    """The convolution of images x (n, inputs, ...); other arguments as for :func:`spectral_norm`."""
    kernel = np.asarray(kernel, dtype=np.float64)
    images = np.pad(x.reshape(len(x), -1, *shape), ((0, 0), (0, 0), *padding))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilation, strict=True))
    axes = tuple(range(2, images.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(images, reach, axes)
    windows = windows[spaced((slice(None), slice(None)), (0,) * 2 * len(shape), (*stride, *dilation))]
    joined = (1, *range(len(shape) + 2, windows.ndim)), tuple(range(1, kernel.ndim))
    parts = zip(np.split(windows, groups, axis=1), np.split(kernel, groups), strict=True)
    return np.concatenate([np.moveaxis(np.tensordot(w, k, axes=joined), -1, 1) for w, k in parts], axis=1)


def adjoint(
    y: np.ndarray, kernel: np.ndarray, shape: Shape, stride: Shape, padding: Padding, dilation: Shape, groups: int = 1
) -> np.ndarray:
    """The transposed convolution of y, to images (n, inputs, *shape); arguments as for :func:`apply`."""
    kernel = np.asarray(kernel, dtype=np.float64)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilation, strict=True)]
    padded = [n + sum(p) for n, p in zip(shape, padding, strict=True)]
    places = [(n - r) // s + 1 for n, r, s in zip(padded, reach, stride, strict=True)]
    y = y.reshape(len(y), len(kernel), *places)
    images = np.zeros((len(y), kernel.shape[1] * groups, *padded))
    every: tuple[Any, ...] = (slice(None), slice(None))
    inputs, sizes = kernel.shape[1], kernel.shape[2:]
    for g, (part, k) in enumerate(zip(np.split(y, groups, axis=1), np.split(kernel, groups), strict=True)):
        # What each output gives to each input of its window, (n, inputs, taps, places), by one product of matrices.
        given = k.reshape(len(k), -1).T @ part.reshape(len(y), len(k), -1)
        given = given.reshape(len(y), inputs, math.prod(sizes), *places)
        into = images[:, g * inputs : (g + 1) * inputs]
        for i, tap in enumerate(itertools.product(*map(range, sizes))):
            first = [t * d for t, d in zip(tap, dilation, strict=True)]
            at = tuple(slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(first, places, stride, strict=True))
            into[every + at] += given[:, :, i]
    return images[every + tuple(slice(a, a + n) for n, (a, _) in zip(shape, padding, strict=True))]
