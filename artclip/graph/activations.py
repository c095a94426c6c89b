"""Functions of each entry alone, with the slopes that they have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import erf, expit, log_expit

from artclip.graph.linear import IDENTITY, Gather, Scale

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Activation:
    """A function of each entry alone, with slopes in [low, high].

    Attributes:
        low, high: the least and the largest slope, rounded outwards.
        function: maps float64 arrays (n, size) to such arrays.
        kinked: whether it is linear with slope ``low`` below 0 and ``high`` above, and 0 at 0.
        kind: usual name and parameters of one that is known in products, as ``("clamp", 0.0, 6.0)``.
        curvature: what its second derivative is in size at most; infinite where it has none everywhere, or it is not
            known.
    """

    low: float
    high: float
    function: Function = field(compare=False, repr=False)
    kinked: bool = False
    kind: tuple[Any, ...] = ()
    curvature: float = math.inf

    def factor(self, p: float) -> float:
        return max(abs(self.low), abs(self.high))

    def apply(self, *inputs: np.ndarray) -> np.ndarray:
        return np.asarray(self.function(inputs[0]))

    def followed_by(self, other: Activation) -> Activation:
        """This one, then another: slopes multiply."""
        first, then = self.function, other.function
        products = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        if self.kinked and other.kinked and self.low >= 0 and self.high >= 0:  # signs stay, so kinks are one
            return Activation(self.low * other.low, self.high * other.high, lambda x: then(first(x)), kinked=True)
        return Activation(min(products), max(products), lambda x: then(first(x)))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def leaky_relu(slope: float) -> Activation | Gather:
    """x above 0, ``slope``·x below; with slope 1 the identity."""
    if slope == 1:
        return IDENTITY
    if slope < 1:
        return Activation(slope, 1.0, lambda x: np.where(x > 0, x, slope * x), kinked=True)
    return Activation(1.0, slope, lambda x: np.where(x > 0, x, slope * x))


def prelu(slopes: np.ndarray) -> Activation | Gather | Scale:
    """x above 0, slopes·x below: one slope for each entry, or one for all."""
    if (slopes == slopes.flat[0]).all():
        return leaky_relu(float(slopes.flat[0]))
    low, high = float(slopes.min()), float(slopes.max())
    return Activation(min(1.0, low), max(1.0, high), lambda x: np.where(x > 0, x, slopes * x))


def elu(alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0) -> Activation:
    """scale·x above 0, scale·alpha·(exp(inner·x) - 1) below; slopes jump at 0, the function does not.

    Raises:
        ValueError: inner < 0, for which it is not Lipschitz.
    """
    if inner < 0:
        raise ValueError(f"an ELU with input_scale {inner:g} < 0 grows exponentially, so it is not globally Lipschitz")
    slopes = (0.0, scale, scale * alpha * inner)

    def function(x: np.ndarray) -> np.ndarray:
        return scale * np.where(x > 0, x, alpha * np.expm1(inner * np.minimum(x, 0)))

    # Where its slopes do not jump, they change no faster than at 0.
    curvature = slopes[2] * inner if alpha * inner == 1 else math.inf
    return Activation(min(slopes), max(slopes), function, curvature=curvature)


def softplus(beta: float = 1.0) -> Activation:
    """log(1 + exp(beta·x)) / beta, beta > 0."""
    return Activation(0.0, 1.0, lambda x: _softplus(beta * x) / beta, kind=("softplus", beta), curvature=beta / 4)


def clamp(low: float = -math.inf, high: float = math.inf) -> Activation:
    """x limited to [low, high]."""
    return Activation(0.0, 1.0, lambda x: np.clip(x, low, high), kind=("clamp", low, high))


def soft_shrink(width: float) -> Activation:
    """x moved towards 0 by ``width`` >= 0."""
    return Activation(0.0, 1.0, lambda x: np.sign(x) * np.maximum(np.abs(x) - width, 0))


def limits(low: np.ndarray, high: np.ndarray) -> Activation:
    """x limited to [low, high], entry by entry; where low > high, to high."""
    return Activation(0.0, 1.0, lambda x: np.minimum(np.maximum(x, low), high))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x / 6 + 0.5, 0.0, 1.0)


def _squareplus(x: np.ndarray) -> np.ndarray:
    root = np.sqrt(x * x + 4)
    return np.where(x > 0, (x + root) / 2, 2 / (root - np.minimum(x, 0)))  # the other form would cancel


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

RELU = Activation(0.0, 1.0, lambda x: np.maximum(x, 0.0), kinked=True)
ABS = Activation(-1.0, 1.0, np.abs, kinked=True, kind=("abs",))
SIGMOID = Activation(0.0, 0.25, expit, kind=("sigmoid",), curvature=0.0962251)
SILU = Activation(-0.0998394, 1.0998394, lambda x: x * expit(x), curvature=0.5)
GELU = Activation(-0.1289042, 1.1289042, _gelu, curvature=0.7978846)
GELU_TANH = Activation(-0.1289931, 1.1289931, _gelu_tanh, curvature=0.80)
MISH = Activation(-0.1125262, 1.0884982, lambda x: x * np.tanh(_softplus(x)), curvature=0.65)
HARD_SIGMOID = Activation(0.0, 1 / 6, _hard_sigmoid, kind=("hardsigmoid",))
HARD_SWISH = Activation(-0.5, 1.5, lambda x: x * _hard_sigmoid(x))

# Activations without parameters, by their usual names.
ACTIVATIONS = {
    "relu": RELU,
    "abs": ABS,
    "relu6": clamp(0.0, 6.0),
    "hardtanh": clamp(-1.0, 1.0),
    "tanh": Activation(0.0, 1.0, np.tanh, kind=("tanh",), curvature=0.7698004),
    "softplus": softplus(),
    "sigmoid": SIGMOID,
    "logsigmoid": Activation(0.0, 1.0, log_expit, curvature=0.25),
    "hardsigmoid": HARD_SIGMOID,
    "elu": elu(),
    "selu": elu(SELU_ALPHA, SELU_SCALE),
    "softsign": Activation(0.0, 1.0, lambda x: x / (1 + np.abs(x)), curvature=2.0),
    "gelu": GELU,
    "gelu_tanh": GELU_TANH,
    "silu": SILU,
    "mish": MISH,
    "hardswish": HARD_SWISH,
    "tanhshrink": Activation(0.0, 1.0, lambda x: x - np.tanh(x), curvature=0.7698004),
    "squareplus": Activation(0.0, 1.0, _squareplus, curvature=0.25),
    "sparse_plus": Activation(
        0.0, 1.0, lambda x: np.where(x <= -1, 0.0, np.where(x < 1, (np.minimum(x, 1) + 1) ** 2 / 4, x))
    ),
    "sparse_sigmoid": Activation(0.0, 0.5, lambda x: np.clip(0.5 * (x + 1), 0.0, 1.0)),
    "sin": Activation(-1.0, 1.0, np.sin, curvature=1.0),
    "cos": Activation(-1.0, 1.0, np.cos, curvature=1.0),
    "atan": Activation(0.0, 1.0, np.arctan, curvature=0.6495191),
    "asinh": Activation(0.0, 1.0, np.arcsinh, curvature=0.3849002),
    "erf": Activation(0.0, 1.1283792, erf, kind=("erf",), curvature=0.9678829),
}
