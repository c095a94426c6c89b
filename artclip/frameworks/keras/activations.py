"""Activations of Keras and TensorFlow, with all their parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from artclip import graph as G
from artclip.frameworks.keras.calls import RULES, Call, Rule, rule
from artclip.frameworks.keras.nodes import Tensor, groups
from artclip.graph import activations as A

_GROWS = "is not globally Lipschitz: its slope has no limit"
_JUMPS = "is not Lipschitz: it jumps"
# Names in small letters, without underscores.
STEEP = {
    **dict.fromkeys(("exponential", "exp", "exp2", "expm1", "square", "power", "sinh", "cosh", "erfinv"), _GROWS),
    **dict.fromkeys(("log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "cbrt", "tan"), _GROWS),
    **dict.fromkeys(("arcsin", "arccos", "arccosh", "arctanh", "prod", "cumprod"), _GROWS),
    **dict.fromkeys(("threshold", "hardshrink", "sign", "round", "floor", "ceil", "trunc", "heaviside"), _JUMPS),
    **dict.fromkeys(("floordivide", "mod", "nantonum"), _JUMPS),
    "glu": "is not globally Lipschitz: it multiplies activations with each other",
}


def _limited(negative_slope: float, max_value: float | None, threshold: float) -> G.Operation:
    if threshold:
        raise ValueError("a ReLU with a threshold jumps there, so it is not Lipschitz")
    if max_value is None:
        return _leaky_relu(negative_slope)
    if max_value < 0:
        raise ValueError(f"a ReLU with max_value {max_value:g} < 0 is no function that Keras documents")
    if not negative_slope:
        return A.clamp(0.0, max_value)

    def function(x: np.ndarray) -> np.ndarray:
        return np.clip(x, 0.0, max_value) + negative_slope * np.minimum(x, 0.0)

    return G.Activation(min(0.0, negative_slope), max(1.0, negative_slope), function)


def _leaky_relu(negative_slope: float) -> G.Operation:
    return A.leaky_relu(float(np.float32(negative_slope)))  # as TensorFlow takes it


def _celu(alpha: float) -> G.Operation:
    if not alpha > 0:
        raise ValueError(f"a CELU with alpha {alpha:g} <= 0 grows exponentially, so it is not globally Lipschitz")
    return A.elu(alpha, inner=1 / alpha)


def _gelu(approximate: bool) -> G.Operation:
    return G.ACTIVATIONS["gelu_tanh" if approximate else "gelu"]


def _soft_shrink(threshold: float) -> G.Operation:
    if threshold < 0:
        raise ValueError(f"a soft shrinkage with threshold {threshold:g} < 0 jumps, so it is not Lipschitz")
    return A.soft_shrink(threshold)


def _squareplus(b: float) -> G.Operation:
    """(x + √(x² + b)) / 2 has slopes (1 + x / √(x² + b)) / 2."""
    if b < 0:
        raise ValueError(f"squareplus with b = {b:g} < 0 is no number near 0")
    return G.Activation(0.0, 1.0, lambda x: (x + np.sqrt(x * x + b)) / 2)


def _swish(beta: float) -> G.Operation:
    """x·sigmoid(beta·x) has the slopes of x·sigmoid(x), met at other places."""
    return G.Activation(A.SILU.low, A.SILU.high, lambda x: x * A.SIGMOID.apply(beta * x))


def _elu(alpha: float = 1.0) -> G.Operation:
    return A.elu(alpha)


def _plain(name: str) -> Callable[[], G.Operation]:
    return lambda: G.ACTIVATIONS[name]


# Class, or ``tf.`` and a function -> what makes the operation of just the parameters that it has.
FACTORIES: dict[str, Callable[..., G.Operation]] = {
    **{f"ops.{kind}": _plain(kind.lower()) for kind in ("Relu", "Relu6", "Tanh", "Softplus", "Sigmoid", "Selu")},
    **{f"ops.{kind}": _plain(kind.lower()) for kind in ("Softsign", "Silu", "Mish", "HardTanh", "HardSigmoid")},
    **{f"ops.{kind}": _plain(kind.lower()) for kind in ("LogSigmoid", "TanhShrink", "Abs", "Sin", "Cos", "Erf")},
    **{"ops.HardSilu": _plain("hardswish"), "ops.Absolute": _plain("abs"), "ops.SparsePlus": _plain("sparse_plus")},
    **{"ops.SparseSigmoid": _plain("sparse_sigmoid"), "ops.Arctan": _plain("atan"), "ops.Arcsinh": _plain("asinh")},
    **{"ops.Elu": _elu, "ops.Celu": _celu, "ops.Gelu": _gelu, "ops.SoftShrink": _soft_shrink},
    **{"ops.Squareplus": _squareplus, "ops.LeakyRelu": _leaky_relu, "ops.ReLU": _limited},
    **{"layers.ReLU": _limited, "layers.LeakyReLU": _leaky_relu, "layers.ELU": _elu},
    **{"tf.elu": _plain("elu"), "tf.swish": _swish, "tf.leakyrelu": lambda alpha: _leaky_relu(alpha)},
}


def _made(call: Call, factory: Callable[..., G.Operation], parameters: dict[str, Any]) -> G.Operation:
    """The operation of parameters as the layer rounds them."""
    if factory is _gelu:
        call.net.dtypes.add("float32")  # to which TensorFlow rounds its constants, whatever it is given
    rounded = {k: float(np.dtype(call.dtype).type(v)) if isinstance(v, float) else v for k, v in parameters.items()}
    try:
        return factory(**rounded)
    except ValueError as error:
        raise call.refused(str(error)) from None


def _entrywise(factory: Callable[..., G.Operation]) -> Rule:
    names = list(inspect.signature(factory).parameters)
    return Rule(lambda call: call.put(_made(call, factory, {n: call[n] for n in names})), frozenset(names), 1)


RULES.update({kind: _entrywise(make) for kind, make in FACTORIES.items() if not kind.startswith("tf.")})


def activated(call: Call, x: Tensor) -> Tensor:
    """What the argument ``activation`` of a layer does to a tensor."""
    function = call["activation"]
    if function in (None, keras.activations.linear):
        return x
    if isinstance(function, keras.Operation):  # a layer as an activation
        return call.net.apply(function, (x,), {})
    name = getattr(function, "__name__", repr(function))
    root = str(getattr(function, "__module__", None)).split(".")[0]
    if root not in ("keras", "tensorflow"):
        raise call.unknown(f"the activation {name!r}")
    kind, call = name.removesuffix("_v2").replace("_", ""), call.of(x)
    if kind in STEEP:
        raise call.refused(f"{name} {STEEP[kind]}")
    defaults = {p.name: p.default for p in list(inspect.signature(function).parameters.values())[1:]}
    defaults.pop("name", None)
    if kind in ("softmax", "logsoftmax") and defaults.keys() == {"axis"}:
        axis = -1 if defaults["axis"] is None and root == "tensorflow" else defaults["axis"]
        return softmax(call, axis, kind == "logsoftmax", name)
    for other, factory in FACTORIES.items():
        where, _, known = other.partition(".")
        fits = where == "ops" or (where == "tf" and root == "tensorflow")
        if fits and known.lower() == kind and inspect.signature(factory).parameters.keys() == defaults.keys():
            return call.put(_made(call, factory, defaults), what=name)
    raise call.unknown(repr(name))


@rule("layers.Activation", "activation")
def _activation(call: Call) -> Tensor:
    return activated(call, call.x)


def softmax(call: Call, axis: Any, logarithm: bool = False, what: str = "") -> Tensor:
    """Over some axes of the input: of many groups side by side."""
    return call.put(G.Softmax(groups(call.x, call.axes(axis)), logarithm), what=what)


@rule("layers.Softmax ops.Softmax ops.LogSoftmax", "axis")
def _softmax(call: Call) -> Tensor:
    return softmax(call, call["axis"], call.kind == "ops.LogSoftmax")


@rule("layers.PReLU", "shared_axes")
def _prelu(call: Call) -> Tensor:
    slopes = call.entries(call.array(call.op.alpha))  # the shared axes have one entry
    return call.put(A.prelu(slopes))


@rule("ops.Clip", "x_min x_max")
def _clip(call: Call) -> Tensor:
    low, high = (np.asarray(call[name], dtype=np.float64) for name in ("x_min", "x_max"))
    if not np.all(low <= high):
        raise call.refused(f"clip needs x_min <= x_max, got {call['x_min']} and {call['x_max']}")
    return limited(call, low, high)


def limited(call: Call, low: Any, high: Any, x: Tensor | None = None) -> Tensor:
    """Entries limited to numbers, or to arrays that broadcast to them; infinite ones are no limit."""
    x = call.x if x is None else x
    if np.size(low) == np.size(high) == 1:
        return call.put(A.clamp(float(np.ravel(low)[0]), float(np.ravel(high)[0])), (x,))
    return call.put(A.limits(call.entries(low, x), call.entries(high, x)), (x,))
