"""What PyTorch's pools, resizing, normalisation and products with constants are as nodes of the graph of layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from artclip import graph as G
from artclip.frameworks.torch_calls import Call, Held, Refused, as_array, each, rule

_BASIS = 1 << 22  # entries of a matrix that is found by running an operation on unit vectors
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
    kept = len(x.shape) - d
    return call.put(G.Kronecker(x.shape, (*[None] * kept, *matrices)), x)


def _columns(run: Callable[[torch.Tensor], torch.Tensor], n: int) -> np.ndarray:
    """The matrix of a linear operation on n numbers, which are the last axis of (n, 1, n)."""
    return as_array(run(torch.eye(n, dtype=torch.float64)[:, None])).reshape(n, -1).T


# --- averages


@rule("avg_pool1d.default")
def _avg_pool1d(
    call: Call,
    /,
    self: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Held:
    return _average(call, self, 1, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def _average(
    call: Call, x: Held, d: int, size: Any, stride: Any, padding: Any, ceil: bool, count: bool, divisor: Any
) -> Held:
    sizes, padding = each(size, d), each(padding, d)
    strides = each(stride, d) if stride else sizes
    share = 1.0
    if divisor is not None:
        share = (math.prod(sizes) / float(divisor)) ** (1 / d)

    def matrix(i: int, n: int) -> np.ndarray:
        k, s, p = sizes[i], strides[i], padding[i]
        if divisor is not None:  # sums
            # Sums over windows, padded or not, are those of ones: what a window lacks counts as 0.
            starts = np.arange(_outputs(n, k, s, p, ceil)) * s - p
            inside = np.arange(n)[None] - starts[:, None]
            return ((inside >= 0) & (inside < k)) / k * share
        return _columns(lambda t: _aten.avg_pool1d(t, [k], [s], [p], ceil, count), n)

    return _by_axis(call, x, d, matrix)


def _outputs(n: int, k: int, s: int, p: int, ceil: bool) -> int:
    places = -((n + 2 * p - k) // -s) if ceil else (n + 2 * p - k) // s
    return places + 1 - int(ceil and places * s >= n + p)  # a window has to begin inside


@rule("avg_pool2d.default", "avg_pool3d.default")
def _avg_pool(
    call: Call,
    /,
    self: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: Any,
) -> Held:
    d = int(call.operation[-2])
    return _average(call, self, d, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


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


def _max_pool(
    call: Call, x: Held, size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Held:
    d = int(call.operation.removesuffix("_with_indices")[-2])
    sizes, shape = each(size, d), _axes(call, x, d)
    strides = each(stride, d) if stride else sizes
    places = call.shape()[-d:]
    windows = []
    for n, k, s, p, r, out in zip(shape, sizes, strides, each(padding, d), each(dilation, d), places, strict=True):
        index = (np.arange(out) * s - p)[:, None] + np.arange(k) * r
        windows.append(np.where((index >= 0) & (index < n), index, -1))
    return _largest(call, x, windows)


@rule(*(f"max_pool{d}d.default" for d in (1, 2, 3)))
def _max_pool_alone(
    call: Call, /, self: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Held:
    return _max_pool(call, self, kernel_size, stride, padding, dilation, ceil_mode)


_PLACES = Refused("it takes the places of the largest entries, which jump, so it is not Lipschitz")


@rule(*(f"max_pool{d}d_with_indices.default" for d in (2, 3)))
def _max_pool_with_places(
    call: Call, /, self: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Any:
    return _max_pool(call, self, kernel_size, stride, padding, dilation, ceil_mode), _PLACES


@rule(*(f"adaptive_max_pool{d}d.default" for d in (1, 2, 3)))
def _adaptive_max_pool(call: Call, /, self: Any, output_size: Any) -> Any:
    d = int(call.operation[-2])
    windows = []
    for n, out in zip(_axes(call, self, d), call.shape()[-d:], strict=True):
        first, last = np.arange(out) * n // out, -(-(np.arange(out) + 1) * n // out)
        index = first[:, None] + np.arange(int((last - first).max()))
        windows.append(np.where(index < last[:, None], index, -1))
    return _largest(call, self, windows), _PLACES


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
_SMOOTHED = ("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa")


@rule(*(f"{name}.vec" for name in (*_LINEAR, *_SMOOTHED)))
def _resize(call: Call, /, input: Any, output_size: Any, align_corners: bool, scale_factors: Any) -> Held:
    d = next(int(n) for n in "123" if f"{n}d" in call.operation)
    return _resized(call, input, align_corners, scale_factors or [None] * d)


@rule("upsample_linear1d.default")
def _resize_1d(call: Call, /, self: Any, output_size: Any, align_corners: bool, scales: Any) -> Held:
    return _resized(call, self, align_corners, [scales])


@rule(*(f"{name}.default" for name in ("upsample_bilinear2d", "upsample_bicubic2d", *_SMOOTHED)))
def _resize_2d(call: Call, /, self: Any, output_size: Any, align_corners: bool, scales_h: Any, scales_w: Any) -> Held:
    return _resized(call, self, align_corners, [scales_h, scales_w])


# --- normalisation


def _normalised(call: Call, x: Held, groups: int, scale: Any, shift: Any, eps: Any, centred: bool = True) -> Held:
    if eps is None or float(eps) <= 0:
        raise call.refused(f"its eps is {eps}; without one it is steep where the variance is small, with no bound")
    index = np.arange(x.size).reshape(groups, -1)
    return call.put(G.Normalisation(index, np.asarray(scale), np.asarray(shift), float(eps), centred), x)


def _weights(call: Call, weight: Any, bias: Any, spread: Callable[[np.ndarray], np.ndarray]) -> tuple[Any, Any]:
    scale = 1.0 if weight is None else spread(call.array(weight))
    return scale, 0.0 if bias is None else spread(call.array(bias, "its bias"))


def _over_last(call: Call, x: Held, normalized_shape: Any, weight: Any, bias: Any, eps: Any, centred: bool) -> Held:
    size = math.prod(normalized_shape)
    if len(normalized_shape) > len(x.shape):
        raise call.refused(f"it normalises over the axis of the batch: shape {tuple(normalized_shape)} of {x.shape}")
    scale, shift = _weights(call, weight, bias, lambda t: np.tile(t.ravel(), x.size // size))
    return _normalised(call, x, x.size // size, scale, shift, eps, centred)


@rule("layer_norm.default")
def _layer_norm(
    call: Call, /, input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float, cudnn_enable: bool
) -> Held:
    return _over_last(call, input, normalized_shape, weight, bias, eps, True)


@rule("rms_norm.default")
def _rms_norm(call: Call, /, input: Any, normalized_shape: Any, weight: Any, eps: Any) -> Held:
    # Without an eps PyTorch takes the machine epsilon of the dtype.
    eps = torch.finfo(call.results[0].dtype).eps if eps is None else eps
    return _over_last(call, input, normalized_shape, weight, None, eps, False)


@rule("group_norm.default")
def _group_norm(
    call: Call, /, input: Any, num_groups: int, weight: Any, bias: Any, eps: float, cudnn_enabled: bool
) -> Held:
    scale, shift = _weights(call, weight, bias, lambda t: np.repeat(t, math.prod(input.shape[1:])))
    return _normalised(call, input, int(num_groups), scale, shift, eps)


@rule("instance_norm.default")
def _instance_norm(
    call: Call,
    /,
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Held:
    if not use_input_stats:
        raise call.unknown("an instance_norm by running statistics")
    scale, shift = _weights(call, weight, bias, lambda t: np.repeat(t, math.prod(input.shape[1:])))
    return _normalised(call, input, input.shape[0], scale, shift, eps)


# --- products with constants


def _by_basis(call: Call, x: Held, run: Callable[[torch.Tensor], torch.Tensor]) -> Held:
    """A linear operation as the matrix that it is, found by running it on unit vectors."""
    size = math.prod(call.shape())
    if x.size * size > _BASIS:
        raise call.unknown(f"{call.operation} from {x.size} to {size} numbers with a constant")
    images = torch.eye(x.size, dtype=torch.float64).reshape(x.size, *x.shape)
    return call.put(G.Dense(as_array(run(images)).reshape(x.size, size).T), x)


def _constant(call: Call, value: Any) -> torch.Tensor:
    return torch.from_numpy(call.array(value, "a constant"))


def _two(call: Call, a: Any, b: Any) -> None:
    if isinstance(a, Held) and isinstance(b, Held):
        raise call.refused("a product of two activations (as in attention) is not globally Lipschitz")


@rule("matmul.default")
def _matmul(call: Call, /, self: Any, other: Any) -> Held:
    _two(call, self, other)
    if isinstance(self, Held) and not isinstance(other, Held) and other.ndim == 2 and self.shape:
        weight = call.array(other).T
        return call.put(G.Dense(weight, math.prod(self.shape[:-1])), self)
    if isinstance(self, Held):
        return _by_basis(call, self, lambda t: torch.matmul(t, _constant(call, other)))
    return _by_basis(call, other, lambda t: torch.matmul(_constant(call, self), t))


@rule("mm.default")
def _mm(call: Call, /, self: Any, mat2: Any) -> Held:
    return _matmul(call, self, mat2)


@rule("bmm.default")
def _bmm(call: Call, /, self: Any, mat2: Any) -> Held:
    return _matmul(call, self, mat2)


@rule("addmm.default")
def _addmm(call: Call, /, self: Any, mat1: Any, mat2: Any, beta: Any, alpha: Any) -> Held:
    _two(call, mat1, mat2)
    if not isinstance(mat1, Held) or isinstance(self, Held):
        raise call.unknown("an addmm whose first matrix is a constant, or whose summand depends on the input")
    shift = float(beta) * call.entries(self, call.shape(), "its bias")
    return call.put(G.Dense(float(alpha) * call.array(mat2).T, 1, shift), mat1)


@rule("einsum.default")
def _einsum(call: Call, /, equation: str, tensors: Any, path: Any) -> Held:
    held = [t for t in tensors if isinstance(t, Held)]
    if len(held) > 1:
        raise call.refused("a product of two activations (as in attention) is not globally Lipschitz")
    return _by_basis(
        call,
        held[0],
        lambda t: torch.einsum(equation, *(t if isinstance(s, Held) else _constant(call, s) for s in tensors)),
    )


@rule("cumsum.default")
def _cumsum(call: Call, /, self: Any, dim: int, dtype: Any) -> Held:
    axis = call.axis(dim, len(self.shape))
    matrices = tuple(np.tril(np.ones((n, n))) if i == axis else None for i, n in enumerate(self.shape))
    return call.put(G.Kronecker(self.shape, matrices), self)


@rule("tril.default")
def _tril(call: Call, /, self: Any, diagonal: int) -> Held:
    return call.put(G.Scale(np.tril(np.ones(self.shape), diagonal).ravel()), self)


@rule("triu.default")
def _triu(call: Call, /, self: Any, diagonal: int) -> Held:
    return call.put(G.Scale(np.triu(np.ones(self.shape), diagonal).ravel()), self)
