"""What PyTorch's pools and resizing are as nodes of the graph of layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from artclip import graph as G
from artclip.frameworks.pytorch.calls import PLACES, Call, Held, as_array, rule

_aten = torch.ops.aten


def _axes(call: Call, x: Held, d: int) -> tuple[int, ...]:
    """Sizes of the last d axes of a sample, over which windows move; those before them are as good as channels."""
    if len(x.shape) < d:
        raise call.refused(
            f"{call.operation} over {d} axes of samples of shape {x.shape} goes over the axis of the batch, so it "
            "mixes samples"
        )
    return x.shape[len(x.shape) - d :]


def _by_axis(call: Call, x: Held, d: int, matrix: Callable[[int, int], np.ndarray]) -> Held:
    """A matrix (outputs, inputs) along each of the last d axes: of the axis, and its size."""
    sizes = _axes(call, x, d)
    matrices = [matrix(i, n) for i, n in enumerate(sizes)]
    nb_before = len(x.shape) - d
    return call.put(G.Kronecker(x.shape, (*[None] * nb_before, *matrices)), x)


def _columns(run: Callable[[torch.Tensor], torch.Tensor], n: int) -> np.ndarray:
    """The matrix of a linear operation on n numbers, which are the last axis of (n, 1, n)."""
    return as_array(run(torch.eye(n, dtype=torch.float64)[:, None])).reshape(n, -1).T


# --- averages


@rule("avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default")
def _avg_pool(
    call: Call,
    /,
    self: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: Any = None,
) -> Held:
    d = int(call.operation[-2])
    sizes, padding = G.each(kernel_size, d), G.each(padding, d)
    strides = G.each(stride, d) if stride else sizes

    def matrix(i: int, n: int) -> np.ndarray:
        k, s, p = sizes[i], strides[i], padding[i]
        if divisor_override is not None:  # sums
            # Sums over windows, padded or not, are those of ones: what a window lacks counts as 0.
            starts = np.arange(_outputs(n, k, s, p, ceil_mode)) * s - p
            inside = np.arange(n)[None] - starts[:, None]
            return ((inside >= 0) & (inside < k)) / k * (math.prod(sizes) / float(divisor_override)) ** (1 / d)
        return _columns(lambda t: _aten.avg_pool1d(t, [k], [s], [p], ceil_mode, count_include_pad), n)

    return _by_axis(call, self, d, matrix)


def _outputs(n: int, k: int, s: int, p: int, ceil: bool) -> int:
    places = -((n + 2 * p - k) // -s) if ceil else (n + 2 * p - k) // s
    return places + 1 - int(ceil and places * s >= n + p)  # a window has to begin inside


@rule(*(f"adaptive_avg_pool{d}d.default" for d in (1, 2, 3)), "_adaptive_avg_pool2d.default")
def _adaptive_avg_pool(call: Call, /, self: Any, output_size: Any) -> Held:
    d = int(call.operation[-2])
    outputs = call.shape()[-d:]
    return _by_axis(call, self, d, lambda i, n: _columns(lambda t: _aten.adaptive_avg_pool1d(t, [outputs[i]]), n))


# --- maxima


def _largest(call: Call, x: Held, windows: Sequence[np.ndarray]) -> Held:
    """Largest entries over windows: for each of the last axes indices (places, entries), -1 for none."""
    d = len(windows)
    sizes = _axes(call, x, d)
    copies = math.prod(x.shape[: len(x.shape) - d])
    return call.put(G.Maximum(G.windows(sizes, windows), copies), x)


@rule(*(f"max_pool{d}d.default" for d in (1, 2, 3)), *(f"max_pool{d}d_with_indices.default" for d in (2, 3)))
def _max_pool(
    call: Call, /, self: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Any:
    d = int(call.operation.removesuffix("_with_indices")[-2])
    sizes, shape = G.each(kernel_size, d), _axes(call, self, d)
    strides = G.each(stride, d) if stride else sizes
    places = call.shape()[-d:]
    windows = []
    for n, k, s, p, r, out in zip(shape, sizes, strides, G.each(padding, d), G.each(dilation, d), places, strict=True):
        index = (np.arange(out) * s - p)[:, None] + np.arange(k) * r
        windows.append(np.where((index >= 0) & (index < n), index, -1))
    largest = _largest(call, self, windows)
    return largest if len(call.results) == 1 else (largest, PLACES)


@rule(*(f"adaptive_max_pool{d}d.default" for d in (1, 2, 3)))
def _adaptive_max_pool(call: Call, /, self: Any, output_size: Any) -> Any:
    d = int(call.operation[-2])
    windows = []
    for n, out in zip(_axes(call, self, d), call.shape()[-d:], strict=True):
        first, last = np.arange(out) * n // out, -(-(np.arange(out) + 1) * n // out)
        index = first[:, None] + np.arange(int((last - first).max()))
        windows.append(np.where(index < last[:, None], index, -1))
    return _largest(call, self, windows), PLACES


def power_pool(call: Call, x: Held, p: float, size: Any, stride: Any, ceil_mode: bool) -> Held:
    """What a module ``LPPool`` computes by several operations, of which none alone is Lipschitz.

    Args:
        call: its last operation.
        x: its input.
        p: the power.
        size, stride, ceil_mode: of its windows.
    """
    d = len(x.shape) - 1
    if float(p) % 2:
        raise call.refused(f"a pool of powers with norm_type={p}: of an odd power of negative numbers it is no norm")
    windows = []
    for n, k, s, out in zip(x.shape[1:], G.each(size, d), G.each(stride or size, d), call.shape()[-d:], strict=True):
        if (out - 1) * s + k > n:
            raise call.unknown(f"a pool of powers with ceil_mode={ceil_mode}, whose last window is not whole")
        windows.append((np.arange(out) * s)[:, None] + np.arange(k))
    return call.put(G.PowerNorm(G.windows(x.shape[1:], windows), x.shape[0], float(p)), x)


# --- resizing


def _resized(call: Call, x: Held, align_corners: bool, scales: Sequence[Any]) -> Held:
    """Resizing that is linear in each axis: the operation itself, along one axis after the other."""
    base = call.operation
    d = next(int(n) for n in "123" if f"{n}d" in base)
    run, outputs = getattr(_aten, base).default, call.shape()[-d:]

    def matrix(i: int, n: int) -> np.ndarray:
        images = torch.eye(n, dtype=torch.float64).reshape(n, 1, *(n if j == i else 1 for j in range(d)))
        size = [outputs[j] if j == i else 1 for j in range(d)]
        along = [float(s) if j == i and s is not None else None for j, s in enumerate(scales)]
        return as_array(run(images, size, align_corners, *along)).reshape(n, -1).T

    return _by_axis(call, x, d, matrix)


_LINEAR = ("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d")


@rule(*(f"{name}.vec" for name in _LINEAR))
def _resize(call: Call, /, input: Any, output_size: Any, align_corners: bool, scale_factors: Any) -> Held:
    d = next(int(n) for n in "123" if f"{n}d" in call.operation)
    return _resized(call, input, align_corners, scale_factors or [None] * d)


@rule("upsample_linear1d.default")
def _resize_1d(call: Call, /, self: Any, output_size: Any, align_corners: bool, scales: Any) -> Held:
    return _resized(call, self, align_corners, [scales])


@rule(*(f"{name}.default" for name in ("upsample_bilinear2d", "upsample_bicubic2d")))
def _resize_2d(call: Call, /, self: Any, output_size: Any, align_corners: bool, scales_h: Any, scales_w: Any) -> Held:
    return _resized(call, self, align_corners, [scales_h, scales_w])
