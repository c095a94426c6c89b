"""Norms of convolutions, as upper bounds that hold whatever the rounding of an iteration: no power method."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np

_ELEMENTS = 1 << 24  # complex numbers in one batch of singular value decompositions


def spectral_norm(
    kernel: np.ndarray,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    groups: int = 1,
) -> float:
    """An upper bound of the L2 norm of a zero-padded convolution, within a few per cent of it for images well above the
    kernel's size.

    The convolution is a part of a circulant one on a torus, whose norm is the largest over all frequencies (Sedghi,
    Gupta, Long 2019). The torus need hold no more than the image and the wider padding: zeros before the image serve as
    zeros after it. What crosses the seam may be multiplied by a phase, which shifts the frequencies; the least of the
    bounds so had is taken. A stride becomes channels: pixels of one phase of the stride are one channel of a smaller
    image.

    Args:
        kernel: shape (outputs, inputs / groups, *sizes).
        shape: spatial shape of the input.
        stride, padding, dilation: per spatial axis; padding as (before, after), >= 0.
        groups: channels are split into so many independent convolutions, whose norms have a maximum.
    """
    kernel = dilated(np.asarray(kernel, dtype=np.float64), dilation)
    torus = []
    for size, k, s, (before, after) in zip(shape, kernel.shape[2:], stride, padding, strict=True):
        places = (size + before + after - k) // s + 1  # of outputs
        torus.append(1 if k <= s else max(math.ceil((size + max(before, after)) / s), math.ceil(k / s), places))
    phases = _phases(kernel, stride)
    parts = phases.reshape(groups, len(kernel) // groups, *phases.shape[1:])
    if math.prod(parts.shape[:3]) * math.prod(torus) > _ELEMENTS:  # one row of the torus after the other
        return max(_in_slabs(part, tuple(torus)) for part in parts)
    shifts = itertools.product(*((0.0, 0.5) if n > 1 else (0.0,) for n in torus))
    return float(np.min([_circulant_norms(parts, tuple(torus), shift) for shift in shifts], axis=0).max())


def _spaced(before: tuple[Any, ...], first: tuple[int, ...], steps: tuple[int, ...]) -> tuple[Any, ...]:
    """An index that takes every n-th entry of the last axes."""
    return before + tuple(slice(a, None, s) for a, s in zip(first, steps, strict=True))


def dilated(kernel: np.ndarray, dilation: tuple[int, ...]) -> np.ndarray:
    """The kernel with its zeros written out."""
    sizes = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilation, strict=True)]
    spread = np.zeros((*kernel.shape[:2], *sizes))
    spread[_spaced((slice(None), slice(None)), (0,) * len(dilation), dilation)] = kernel
    return spread


def _phases(kernel: np.ndarray, stride: tuple[int, ...]) -> np.ndarray:
    """A kernel of stride 1 on an image whose channels are the phases of the stride."""
    if all(s == 1 for s in stride):
        return kernel
    parts = []
    sizes = [math.ceil(k / s) for k, s in zip(kernel.shape[2:], stride, strict=True)]
    for phase in itertools.product(*(range(s) for s in stride)):
        taken = kernel[_spaced((slice(None), slice(None)), phase, stride)]
        part = np.zeros((*kernel.shape[:2], *sizes))
        part[tuple(slice(0, n) for n in taken.shape)] = taken
        parts.append(part)
    return np.concatenate(parts, axis=1)


def _circulant_norms(kernels: np.ndarray, torus: tuple[int, ...], shift: tuple[float, ...]) -> np.ndarray:
    """Norms on one torus of several kernels, shape (kernels, outputs, inputs, *sizes)."""
    axes = tuple(range(3, kernels.ndim))
    if not any(shift):
        spectrum = np.fft.rfftn(kernels, s=torus, axes=axes)  # real kernels: the other half are conjugates
    else:
        turns = (np.arange(k) * t / n for k, n, t in zip(kernels.shape[3:], torus, shift, strict=True))
        grid = functools.reduce(np.add.outer, turns)
        spectrum = np.fft.fftn(kernels * np.exp(-2j * np.pi * grid), s=torus, axes=axes)
    return _largest(spectrum.reshape(*kernels.shape[:3], -1))


def _in_slabs(kernel: np.ndarray, torus: tuple[int, ...]) -> float:
    first, rest = torus[0], torus[1:]
    angles = np.exp(-2j * np.pi * np.outer(np.arange(first // 2 + 1), np.arange(kernel.shape[2])) / first)
    best = 0.0
    for row in angles:
        slab = np.tensordot(kernel, row, axes=([2], [0]))
        spectrum = np.fft.fftn(slab, s=rest, axes=tuple(range(2, slab.ndim))) if rest else slab[..., None]
        best = max(best, float(_largest(spectrum.reshape(*kernel.shape[:2], -1))))
    return best


def _largest(spectrum: np.ndarray) -> np.ndarray:
    """Largest singular value of matrices over the last axis."""
    return largest_singular_values(np.moveaxis(spectrum, -1, -3)).max(-1)


def largest_singular_values(matrices: np.ndarray) -> np.ndarray:
    """Of matrices (..., m, n), from the smaller of the two Gram matrices."""
    adjoint = np.conj(np.swapaxes(matrices, -1, -2))
    gram = matrices @ adjoint if matrices.shape[-2] <= matrices.shape[-1] else adjoint @ matrices
    return np.sqrt(np.linalg.eigvalsh(gram)[..., -1].clip(0))


def absolute_norm(
    kernel: np.ndarray, stride: tuple[int, ...], dilation: tuple[int, ...], p: float, groups: int = 1
) -> float:
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
        taken = sizes[_spaced((...,), phase, stride)]
        best = max(best, float(taken.sum(axis=(1, *range(3, taken.ndim))).max()))
    return best


def matrix(
    kernel: np.ndarray,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    groups: int = 1,
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
    x: np.ndarray,
    kernel: np.ndarray,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    groups: int = 1,
) -> np.ndarray:
    """The convolution of images x (n, inputs, ...); other arguments as for :func:`spectral_norm`."""
    kernel = np.asarray(kernel, dtype=np.float64)
    images = np.pad(x.reshape(len(x), -1, *shape), ((0, 0), (0, 0), *padding))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilation, strict=True))
    axes = tuple(range(2, images.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(images, reach, axes)
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in (*stride, *dilation)))]
    joined = (1, *range(len(shape) + 2, windows.ndim)), tuple(range(1, kernel.ndim))
    parts = zip(np.split(windows, groups, axis=1), np.split(kernel, groups), strict=True)
    return np.concatenate([np.moveaxis(np.tensordot(w, k, axes=joined), -1, 1) for w, k in parts], axis=1)


def adjoint(
    y: np.ndarray,
    kernel: np.ndarray,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    groups: int = 1,
) -> np.ndarray:
    """The transposed convolution of y, to images (n, inputs, *shape); arguments as for :func:`apply`."""
    kernel = np.asarray(kernel, dtype=np.float64)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilation, strict=True)]
    padded = [n + sum(p) for n, p in zip(shape, padding, strict=True)]
    places = [(n - r) // s + 1 for n, r, s in zip(padded, reach, stride, strict=True)]
    y = y.reshape(len(y), len(kernel), *places)
    images = np.zeros((len(y), kernel.shape[1] * groups, *padded))
    parts = list(zip(np.split(y, groups, axis=1), np.split(kernel, groups), strict=True))
    for tap in itertools.product(*(range(k) for k in kernel.shape[2:])):
        first = [t * d for t, d in zip(tap, dilation, strict=True)]
        at = tuple(slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(first, places, stride, strict=True))
        terms = [np.moveaxis(np.tensordot(k[(..., *tap)], part, axes=(0, 1)), 0, 1) for part, k in parts]
        images[(slice(None), slice(None), *at)] += np.concatenate(terms, axis=1)
    inside = tuple(slice(a, a + n) for n, (a, _) in zip(shape, padding, strict=True))
    return images[(slice(None), slice(None), *inside)]
