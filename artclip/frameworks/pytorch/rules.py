"""What PyTorch's operations on entries are as nodes of the graph of layers, and why others have no constant."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from artclip import graph as G
from artclip.frameworks.pytorch.calls import Call, Held, Refused, rule
from artclip.graph import activations as A
from artclip.graph import products

# --- entry by entry


def _plain(name: str, activation: Any) -> None:
    @rule(f"{name}.default")
    def activated(call: Call, /, self: Any) -> Held:
        return call.put(activation, self)


for _name in ("relu", "relu6", "tanh", "sigmoid", "silu", "mish", "hardsigmoid", "hardswish", "selu", "abs", "sin"):
    _plain(_name, A.ACTIVATIONS[_name])
for _name in ("log_sigmoid", "cos", "atan", "asinh", "erf"):
    _plain(_name, A.ACTIVATIONS[_name.replace("_", "")])
_plain("neg", G.Scale(np.asarray(-1.0)))
_plain("positive", G.IDENTITY)


@rule("leaky_relu.default")
def _leaky_relu(call: Call, /, self: Any, negative_slope: float) -> Held:
    return call.put(A.leaky_relu(float(negative_slope)), self)


@rule("rrelu.default")
def _rrelu(call: Call, /, self: Any, lower: float, upper: float, training: bool, generator: Any) -> Held:
    if training:
        raise call.refused("a randomised ReLU in train mode draws random numbers")
    return call.put(A.leaky_relu((float(lower) + float(upper)) / 2), self)


@rule("prelu.default")
def _prelu(call: Call, /, self: Any, weight: Any) -> Held:
    slopes = call.array(weight)
    if slopes.size > 1:
        if not self.shape:
            raise call.refused("a PReLU of several slopes on one number a sample takes the batch for channels")
        slopes = np.repeat(slopes.ravel(), math.prod(self.shape[1:]))
    return call.put(A.prelu(slopes), self)


@rule("elu.default")
def _elu(call: Call, /, self: Any, alpha: float, scale: float, input_scale: float) -> Held:
    return call.put(_made(call, A.elu, float(alpha), float(scale), float(input_scale)), self)


def _made(call: Call, make: Any, *arguments: float) -> Any:
    try:
        return make(*arguments)
    except ValueError as error:
        raise call.refused(str(error)) from None


@rule("celu.default")
def _celu(call: Call, /, self: Any, alpha: float) -> Held:
    return call.put(_made(call, A.elu, float(alpha), 1.0, 1 / float(alpha)), self)


@rule("gelu.default")
def _gelu(call: Call, /, self: Any, approximate: str) -> Held:
    known = {"none": A.GELU, "tanh": A.GELU_TANH}
    if approximate not in known:
        raise call.unknown(f"a GELU with approximate={approximate!r}")
    return call.put(known[approximate], self)


@rule("softplus.default")
def _softplus(call: Call, /, self: Any, beta: float, threshold: float) -> Held:
    beta, threshold = float(beta), float(threshold)
    if beta <= 0:
        raise call.refused(f"a softplus with beta={beta:g}; expected > 0")
    # Above beta·x = threshold it is x: it jumps there, which counts unless the jump is below the rounding of x.
    jump = math.log1p(math.exp(-threshold))
    if jump > abs(threshold) * torch.finfo(call.results[0].dtype).eps:
        raise call.refused(
            f"a softplus with threshold={threshold:g} jumps by {jump / beta:.2g} there, so it is not Lipschitz; give a "
            "threshold where the jump is below rounding: 20 in float32, 40 in float64"
        )
    return call.put(A.softplus(beta), self)


@rule("hardtanh.default")
def _hardtanh(call: Call, /, self: Any, min_val: float, max_val: float) -> Held:
    return call.put(A.clamp(float(min_val), float(max_val)), self)


@rule("clamp.default", "clamp_min.default", "clamp_max.default")
def _clamp(call: Call, /, self: Any, min: Any = None, max: Any = None) -> Held:
    return call.put(A.clamp(-math.inf if min is None else float(min), math.inf if max is None else float(max)), self)


@rule("clamp.Tensor")
def _clamp_tensor(call: Call, /, self: Any, min: Any, max: Any) -> Held:
    low, high = (
        np.asarray(v) if t is None else call.entries(t, call.shape(), "a limit")
        for t, v in ((min, -math.inf), (max, math.inf))
    )
    return call.put(A.limits(low, high), call.broadcast(self, call.shape()))


@rule("threshold.default")
def _threshold(call: Call, /, self: Any, threshold: float, value: float) -> Held:
    if float(threshold) != float(value):
        raise call.refused(f"it jumps from {float(value):g} to {float(threshold):g}, so it is not Lipschitz")
    return call.put(A.clamp(low=float(value)), self)


@rule("softshrink.default")
def _softshrink(call: Call, /, self: Any, lambd: float) -> Held:
    if float(lambd) < 0:
        raise call.refused(f"a soft shrinkage by {float(lambd):g} < 0 jumps at 0, so it is not Lipschitz")
    return call.put(A.soft_shrink(float(lambd)), self)


@rule("hardshrink.default")
def _hardshrink(call: Call, /, self: Any, lambd: float) -> Held:
    if float(lambd) > 0:
        raise call.refused(f"a hard shrinkage jumps at {float(lambd):g}, so it is not Lipschitz")
    return call.put(G.IDENTITY, self)


@rule("dropout.default", "feature_dropout.default", "alpha_dropout.default", "feature_alpha_dropout.default")
def _dropout(call: Call, /, input: Any, p: float, train: bool) -> Held:
    if train:
        raise call.refused(
            f"{call.operation} is on in eval mode, so outputs are random; write F.dropout(x, p, self.training)"
        )
    return Held(input.place, input.shape)


@rule("native_dropout.default")
def _native_dropout(call: Call, /, input: Any, p: float, train: Any) -> Any:
    return _dropout(call, input, p, bool(train) and float(p) > 0), Refused("a mask of dropout")


# --- sums and products


def _scaled(call: Call, x: Held, factors: Any, shift: Any = 0.0) -> Held:
    shape = call.shape()
    x = call.broadcast(x, shape)
    return call.put(G.Scale(call.entries(factors, shape), call.entries(shift, shape)), x)


def _sum(call: Call, a: Any, b: Any, first: float, second: float) -> Held:
    """Two arguments, each times a number; one of them may be a constant."""
    if not isinstance(a, Held):
        return _scaled(call, b, second, first * call.array(a, "a constant"))
    if not isinstance(b, Held):
        return _scaled(call, a, first, second * call.array(b, "a constant"))
    shape = call.shape()
    if a.shape == b.shape and (found := products.total(call.nodes, a.place, b.place, (first, second))):
        return call.put(found[0], Held(found[1], a.shape))
    return call.put(G.Add((first, second)), call.broadcast(a, shape), call.broadcast(b, shape))


@rule(*(f"{name}.{kind}" for name in ("add", "sub", "rsub") for kind in ("Tensor", "Scalar")))
def _add(call: Call, /, self: Any, other: Any, alpha: Any) -> Held:
    factor = float(alpha)
    return _sum(
        call, self, other, *{"add": (1.0, factor), "sub": (1.0, -factor), "rsub": (-factor, 1.0)}[call.operation]
    )


@rule("mul.Tensor", "mul.Scalar")
def _mul(call: Call, /, self: Any, other: Any) -> Held:
    if not (isinstance(self, Held) and isinstance(other, Held)):
        x, constant = (self, other) if isinstance(self, Held) else (other, self)
        return _scaled(call, x, constant)
    if self.shape == other.shape and (found := products.product(call.nodes, self.place, other.place)):
        activation, place = found
        return call.put(activation, Held(place, self.shape))
    gate = "" if self.shape == other.shape else " (a gate, as in squeeze-and-excitation or attention)"
    raise call.refused(f"a product of two activations{gate} is not globally Lipschitz")


@rule("div.Tensor", "div.Scalar", "div.Tensor_mode", "div.Scalar_mode")
def _div(call: Call, /, self: Any, other: Any, rounding_mode: Any = None) -> Held:
    if rounding_mode is not None:
        raise call.refused(f"a division with rounding_mode={rounding_mode!r} jumps, so it is not Lipschitz")
    if isinstance(other, Held):
        alike = isinstance(self, Held) and self.shape == other.shape
        if alike and (found := products.quotient(call.nodes, self.place, other.place)):
            return call.put(found[0], Held(found[1], self.shape))
        raise call.refused("a division by an activation is not globally Lipschitz")
    with np.errstate(divide="ignore"):
        factors = 1 / call.array(other, "the divisor")
    if not np.isfinite(factors).all():
        raise call.refused("it divides by 0")
    return _scaled(call, self, factors)


# --- not Lipschitz, and why

_REASONS = {
    "a power is not globally Lipschitz": ("pow", "square"),
    "a product of activations is not globally Lipschitz": ("prod", "cumprod"),
    "it grows exponentially, so it is not globally Lipschitz": ("exp", "expm1", "exp2", "sinh", "cosh"),
    "its slope has no bound at 0, so it is not Lipschitz": (
        "sqrt",
        "rsqrt",
        "log",
        "log2",
        "log10",
        "log1p",
        "reciprocal",
    ),
    "a gate is a product of two activations, which is not globally Lipschitz": ("glu",),
    "attention is a product of activations, which is not globally Lipschitz": (
        "scaled_dot_product_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
    ),
    "a recurrent layer multiplies states by weights or gates at each step, and no rule bounds the steps": (
        *("lstm", "gru", "rnn_tanh", "rnn_relu"),
    ),
    "it jumps, so it is not Lipschitz": (
        *("round", "floor", "ceil", "trunc", "frac", "sign", "sgn", "heaviside", "remainder", "fmod", "floor_divide"),
        *("gt", "lt", "ge", "le", "eq", "ne", "argmax", "argmin", "argsort"),
    ),
    "it gives whatever is in memory, as a dropout that is on in eval mode does": ("empty_like", "new_empty"),
    "no rule bounds a variance, which is not globally Lipschitz, or a standard deviation": (
        "std",
        "var",
        "var_mean",
    ),
}
REASONS = {name: why for why, names in _REASONS.items() for name in names}
