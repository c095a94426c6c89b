"""What PyTorch's layers with weights, and products with constants, are as nodes of the graph of layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from artclip import graph as G
from artclip.frameworks.pytorch.calls import Call, Held, as_array, rule

_BASIS = 1 << 22  # entries of a matrix that is found by running an operation on unit vectors


@rule("linear.default")
def _linear(call: Call, /, input: Any, weight: Any, bias: Any) -> Held:
    copies = math.prod(input.shape[:-1])
    if not input.shape:
        raise call.refused("a dense layer on one number a sample takes the batch for features")
    shift = 0.0 if bias is None else np.tile(call.array(bias, "its bias"), copies)
    return call.put(G.Dense(call.array(weight), copies, shift, live(weight)), input)


def live(weight: Any) -> Any:
    """What gives the parameter itself, if it is one that is being trained."""
    return (lambda: weight) if weight.requires_grad and weight.is_leaf else None


@rule(
    *(f"conv{d}d.{kind}" for d in (1, 2, 3) for kind in ("default", "padding")),
    *("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input"),
)
def _convolution(
    call: Call,
    /,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    output_padding: Any = None,  # which is in the shape of the result
) -> Held:
    x, kernel, transposed = input, call.array(weight), "transpose" in call.operation
    d = kernel.ndim - 2
    if len(x.shape) != d + 1:
        raise call.refused(f"a convolution over {d} axes of samples of shape {x.shape}, which has no axis of the batch")
    stride, dilation, shape = G.each(stride, d), G.each(dilation, d), call.shape()
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise call.unknown(f"padding={padding!r}")
        total = [(k - 1) * s * (padding == "same") for k, s in zip(kernel.shape[2:], dilation, strict=True)]
        both = tuple((t // 2, t - t // 2) for t in total)
    else:
        both = tuple((p, p) for p in G.each(padding, d))
    spatial = shape[1:] if transposed else x.shape[1:]
    if transposed:
        both = _before_and_after(call, x.shape[1:], spatial, kernel.shape[2:], stride, both, dilation)
    shift = 0.0 if bias is None else np.repeat(call.array(bias, "its bias"), math.prod(shape[1:]))
    return call.put(
        G.Convolution(kernel, spatial, G.each(stride, d), both, dilation, int(groups), transposed, shift, live(weight)),
        x,
    )


def _before_and_after(
    call: Call, inputs: Any, outputs: Any, sizes: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[tuple[int, int], ...]:
    """Padding for which a kernel has as many places on the outputs of a transposed convolution as there are inputs."""
    paddings = []
    for m, n, k, s, (p, _), d in zip(inputs, outputs, sizes, stride, padding, dilation, strict=True):
        most = s * m + (k - 1) * d - n - p  # that after the image, with which there is no place for one more
        if most < 0:
            raise call.unknown("a transposed convolution whose output_padding is as large as padding and stride")
        paddings.append((p, min(p, most)))
    return tuple(paddings)


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


def _refuse_two(call: Call, factors: Sequence[Any]) -> None:
    if sum(isinstance(factor, Held) for factor in factors) > 1:
        raise call.refused("a product of two activations (as in attention) is not globally Lipschitz")


@rule("matmul.default")
def _matmul(call: Call, /, self: Any, other: Any) -> Held:
    _refuse_two(call, [self, other])
    if isinstance(self, Held) and not isinstance(other, Held) and other.ndim == 2 and self.shape:
        weight = call.array(other).T
        return call.put(G.Dense(weight, math.prod(self.shape[:-1])), self)
    if isinstance(self, Held):
        return _by_basis(call, self, lambda t: torch.matmul(t, _constant(call, other)))
    return _by_basis(call, other, lambda t: torch.matmul(_constant(call, self), t))


@rule("mm.default", "bmm.default")
def _mm(call: Call, /, self: Any, mat2: Any) -> Held:
    return _matmul(call, self, mat2)


@rule("addmm.default")
def _addmm(call: Call, /, self: Any, mat1: Any, mat2: Any, beta: Any, alpha: Any) -> Held:
    _refuse_two(call, [mat1, mat2])
    if not isinstance(mat1, Held) or isinstance(self, Held):
        raise call.unknown("an addmm whose first matrix is a constant, or whose summand depends on the input")
    shift = float(beta) * call.entries(self, call.shape(), "its bias")
    return call.put(G.Dense(float(alpha) * call.array(mat2).T, 1, shift), mat1)


@rule("einsum.default")
def _einsum(call: Call, /, equation: str, tensors: Any, path: Any) -> Held:
    _refuse_two(call, tensors)
    return _by_basis(
        call,
        next(t for t in tensors if isinstance(t, Held)),
        lambda t: torch.einsum(equation, *(t if isinstance(s, Held) else _constant(call, s) for s in tensors)),
    )


@rule("cumsum.default")
def _cumsum(call: Call, /, self: Any, dim: int, dtype: Any) -> Held:
    axis = call.axis(dim, len(self.shape))
    matrices = tuple(np.tril(np.ones((n, n))) if i == axis else None for i, n in enumerate(self.shape))
    return call.put(G.Kronecker(self.shape, matrices), self)


@rule("tril.default", "triu.default")
def _triangle(call: Call, /, self: Any, diagonal: int) -> Held:
    triangle = {"tril": np.tril, "triu": np.triu}[call.operation]
    return call.put(G.Scale(triangle(np.ones(self.shape), diagonal).ravel()), self)
