"""Keras's layers with kernels as nodes of the graph of layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from artclip import graph as G
from artclip.frameworks.keras.activations import activated
from artclip.frameworks.keras.calls import Call, rule
from artclip.frameworks.keras.nodes import Tensor

_CONVOLUTION = "kernel_size strides padding data_format dilation_rate activation use_bias"


@dataclass(frozen=True)
class Kernel:
    """Weights as the graph has them, and what makes them anew, with gradients, where they are trained."""

    array: np.ndarray
    live: G.Live | None = None

    @classmethod
    def of(cls, call: Call, variable: Any, arranged: Callable[[Any], Any]) -> Kernel:
        """A weight of Keras, arranged as the graph has it."""
        live = partial(arranged, variable)  # by whose argument the variable is known
        trained = getattr(variable, "trainable", False)  # a low-rank update gives a plain tensor, which lacks this
        return cls(call.array(live()), live if trained else None)


# Matrices


@rule("layers.Dense", "units activation use_bias lora_rank lora_alpha quantization_config")
def _dense(call: Call) -> Tensor:
    x, variable = call.x, call.op.kernel
    bias = None if call.op.bias is None else call.array(call.op.bias)
    if not x.first:
        return activated(call, _multiplied(call, x, Kernel.of(call, variable, keras.ops.transpose), bias))
    ones = [1] * len(x.spatial)

    def pointwise(kernel: Any) -> Any:
        return keras.ops.reshape(keras.ops.transpose(kernel), (*kernel.shape[::-1], *ones))

    kernel = Kernel.of(call, variable, pointwise)
    return activated(call, _convolved(call, x, kernel, still(len(ones)), bias=bias))


def _multiplied(call: Call, x: Tensor, kernel: Kernel, bias: np.ndarray | None = None) -> Tensor:
    """The last axis of a tensor in Keras's order times a matrix (outputs, inputs)."""
    copies = math.prod(x.shape[:-1])
    operation = G.Dense(kernel.array, copies, 0.0 if bias is None else np.tile(bias, copies), kernel.live)
    return call.put(operation, (x,), (*x.shape[:-1], len(kernel.array)))


@rule("ops.Matmul ops.Dot", "x2", tensors=None)
def _matmul(call: Call) -> Tensor:
    left, right = call.terms
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        raise call.refused("it multiplies activations with each other, which is not globally Lipschitz")
    constant = call.array(right if isinstance(left, Tensor) else left, "its constants")
    if not isinstance(left, Tensor) and call.kind == "ops.Dot":
        raise call.refused("it puts the axis of the samples behind another one")
    if isinstance(left, Tensor):
        if constant.ndim not in (1, 2) or not left.shape:
            raise call.unknown(f"{type(call.op).__name__!r} with a constant of shape {constant.shape}")
        matrix = np.atleast_2d(constant.T)
        y = _multiplied(call, call.net.laid(left, False), Kernel(matrix))
        return y if constant.ndim == 2 else y.without([len(y.shape) - 1])
    if constant.ndim != 2 or len(right.shape) < 2:
        raise call.refused(f"a constant of shape {constant.shape} before a tensor joins samples of a batch")
    return call.along({len(right.shape) - 2: constant}, x=right)


@rule(
    "layers.EinsumDense",
    "equation output_shape activation bias_axes lora_rank lora_alpha gptq_unpacked_column_size quantization_config",
)
def _einsum_dense(call: Call) -> Tensor:
    y = _einsum(call, call.op.equation, call.op.kernel)
    if call.op.bias is not None:
        bias = call.added(y, call.array(call.op.bias))
        y = call.put(G.Scale(np.ones(y.size), bias), (y,), what="bias")
    return activated(call, y)


@rule("ops.Einsum", "subscripts", tensors=None)
def _einsum_of(call: Call) -> Tensor:
    terms = call.terms
    if len(terms) != 2 or len(call.tensors) != 1:
        raise call.refused("it multiplies activations with each other, which is not globally Lipschitz")
    before, _, after = call["subscripts"].replace(" ", "").partition("->")
    first, second = before.split(",")
    if isinstance(terms[1], Tensor):
        first, second, terms = second, first, terms[::-1]
    return _einsum(call, f"{first},{second}->{after}", call.array(terms[1], "its constants"))


def _einsum(call: Call, equation: str, constant: Any) -> Tensor:
    """A sum over axes of the input times a constant, as a matrix from those axes to new ones."""
    before, arrow, after = equation.replace(" ", "").partition("->")
    ours, theirs = before.split(",")
    rank = len(call.x.shape) + 1
    if "..." in ours:
        free = [c for c in map(chr, range(65, 91)) if c not in equation]
        rest = "".join(free[: rank - len(ours) + 3])
        ours, after = ours.replace("...", rest), after.replace("...", rest)
    shared = set(ours) & set(theirs) & set(after)
    summed = [c for c in ours if c not in after]
    added = [c for c in after if c not in ours]
    plain = len(ours) == rank and all(len(set(t)) == len(t) for t in (ours, theirs, after)) and "..." not in theirs
    if not arrow or not plain or shared or after[:1] != ours[0] or not set(summed) <= set(theirs) or not summed:
        raise call.unknown(f"the equation {equation!r} of a tensor and a constant")
    both = [c for c in after[1:] if c in ours]
    x = call.x
    x = call.net.picked(f"{call.name} (order)", x, x.index.transpose([ours.index(c) - 1 for c in both + summed]), False)
    sizes = dict(zip(theirs, constant.shape, strict=True))
    outputs = math.prod(sizes[c] for c in added)
    gone = [c for c in theirs if c not in added and c not in summed]  # summed over in the constant alone

    def arranged(weights: Any) -> Any:
        weights = keras.ops.sum(weights, [theirs.index(c) for c in gone]) if gone else weights
        left = [c for c in theirs if c not in gone]
        return keras.ops.reshape(keras.ops.transpose(weights, [left.index(c) for c in added + summed]), (outputs, -1))

    if isinstance(constant, np.ndarray):
        axes = tuple(theirs.index(c) for c in gone)
        left = [c for c in theirs if c not in gone]
        kernel = Kernel(constant.sum(axes).transpose([left.index(c) for c in added + summed]).reshape(outputs, -1))
    else:
        kernel = Kernel.of(call, constant, arranged)
    flat = Tensor(x.place, (*x.shape[: len(both)], math.prod(x.shape[len(both) :])))
    y = _multiplied(call, flat, kernel)
    y = Tensor(y.place, (*y.shape[:-1], *(sizes[c] for c in added)))
    order = [(both + added).index(c) for c in after[1:]]
    return call.net.picked(f"{call.name} (order)", y, y.index.transpose(order), False)


# Convolutions


def _channels_first(kernel: Any) -> Any:
    """A kernel as the graph has it: outputs, inputs, then the spatial axes."""
    return keras.ops.moveaxis(kernel, (-1, -2), (0, 1))


def still(rank: int) -> dict[str, Any]:
    """What a convolution without stride, padding and dilation is given."""
    one = (1,) * rank
    return {"stride": one, "padding": ((0, 0),) * rank, "dilation": one}


def window(call: Call, shape: Sequence[int], sizes: Sequence[int]) -> dict[str, Any]:
    """Stride, padding and dilation of a layer on an image; with "same" TensorFlow puts the odd zero after."""
    rank = len(sizes)
    if len(shape) != rank:
        raise call.unknown(f"{type(call.op).__name__!r} of a tensor of shape {(None, *call.x.shape)}")
    stride = G.each(sizes if call["strides"] is None else call["strides"], rank)
    dilation = G.each(1 if call["dilation_rate"] is None else call["dilation_rate"], rank)
    padding = []
    for n, k, s, d in zip(shape, sizes, stride, dilation, strict=True):
        reach = (k - 1) * d
        same = max((math.ceil(n / s) - 1) * s + reach + 1 - n, 0)
        known = {"valid": (0, 0), "causal": (reach, 0), "same": (same // 2, same - same // 2)}
        if call["padding"] not in known or (call["padding"] == "causal" and rank != 1):
            raise call.unknown(f"{type(call.op).__name__!r} with padding {call['padding']!r}")
        padding.append(known[call["padding"]])
    return {"stride": stride, "padding": tuple(padding), "dilation": dilation}


def _shift(call: Call, x: Tensor, bias: Any) -> np.ndarray | float:
    """What the bias adds to each entry of an image."""
    if bias is None:
        return 0.0
    shape = [1] * (len(x.shape) + 1)
    shape[1 if call["data_format"] == "channels_first" else -1] = -1
    return call.added(x, call.array(bias).reshape(shape))


def _convolved(
    call: Call, x: Tensor, kernel: Kernel, window: dict[str, Any], groups: int = 1, bias: Any = None, what: str = ""
) -> Tensor:
    sizes = zip(x.spatial, kernel.array.shape[2:], *window.values(), strict=True)
    out = tuple((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in sizes)
    y = Tensor(-1, x.image(len(kernel.array), out), x.first)
    shift = _shift(call, y, bias)
    operation = G.Convolution(kernel.array, x.spatial, **window, groups=groups, shift=shift, live=kernel.live)
    return call.put(operation, (x,), y.shape, y.first, what)


@rule("layers.Conv1D layers.Conv2D layers.Conv3D", f"filters groups {_CONVOLUTION}")
def _convolution(call: Call) -> Tensor:
    layer, x = call.op, call.image()
    kernel = Kernel.of(call, layer.kernel, _channels_first)
    return activated(
        call, _convolved(call, x, kernel, window(call, x.spatial, layer.kernel_size), layer.groups, layer.bias)
    )


def _depthwise(call: Call, kernel: Any, bias: Any) -> Tensor:
    x, (*sizes, channels, _) = call.image(), kernel.shape

    def one_by_one(kernel: Any) -> Any:
        return keras.ops.reshape(keras.ops.moveaxis(kernel, (-2, -1), (0, 1)), (-1, 1, *sizes))

    return _convolved(call, x, Kernel.of(call, kernel, one_by_one), window(call, x.spatial, sizes), channels, bias)


@rule("layers.DepthwiseConv1D layers.DepthwiseConv2D", f"depth_multiplier {_CONVOLUTION}")
def _depthwise_convolution(call: Call) -> Tensor:
    return activated(call, _depthwise(call, call.op.kernel, call.op.bias))


@rule("layers.SeparableConv1D layers.SeparableConv2D", f"filters depth_multiplier {_CONVOLUTION}")
def _separable(call: Call) -> Tensor:
    x, kernel = _depthwise(call, call.op.depthwise_kernel, None), call.op.pointwise_kernel
    kernel = Kernel.of(call, kernel, _channels_first)
    return activated(call, _convolved(call, x, kernel, still(len(x.spatial)), bias=call.op.bias, what="pointwise"))


@rule(
    "layers.Conv1DTranspose layers.Conv2DTranspose layers.Conv3DTranspose",
    f"filters output_padding {_CONVOLUTION}",
)
def _transposed(call: Call) -> Tensor:
    """The adjoint of the convolution from its outputs to its inputs."""
    layer, x = call.op, call.image()
    y = Tensor(-1, tuple(layer.compute_output_shape((1, *x.shape))[1:]), x.first)
    around = window(call, y.spatial, layer.kernel_size)
    kernel = Kernel.of(call, layer.kernel, _channels_first)
    shift = _shift(call, y, layer.bias)
    operation = G.Convolution(kernel.array, y.spatial, **around, transposed=True, shift=shift, live=kernel.live)
    if operation.windows != x.spatial:
        raise call.unknown(f"'{type(layer).__name__}' with these strides, padding and output_padding")
    return activated(call, call.put(operation, (x,), y.shape, x.first))
