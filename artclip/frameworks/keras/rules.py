"""Arithmetic of Keras, and its layers that do the same to each entry, as nodes of the graph of layers."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from artclip import graph as G
from artclip.frameworks.keras.activations import limited
from artclip.frameworks.keras.calls import Call, rule
from artclip.frameworks.keras.nodes import Tensor
from artclip.graph import products

# Each entry times a number, plus a number


@rule(
    "layers.BatchNormalization",
    "axis momentum epsilon center scale renorm renorm_clipping renorm_momentum synchronized",
)
def _batch_normalization(call: Call) -> Tensor:
    layer = call.op  # averages over batches, renormalised or not, count in training alone
    mean, variance = call.array(layer.moving_mean), call.array(layer.moving_variance) + layer.epsilon
    if not (variance > 0).all():
        raise call.refused(f"its variance plus epsilon is {variance.min():g}, not > 0")
    factors = (call.array(layer.gamma) if layer.scale else 1.0) / np.sqrt(variance)
    shift = (call.array(layer.beta) if layer.center else 0.0) - factors * mean
    shape = [1] * (len(call.x.shape) + 1)
    shape[layer.axis] = -1
    return call.scaled(factors.reshape(shape), shift.reshape(shape))


@rule("layers.Normalization", "axis mean variance invert")
def _normalization(call: Call) -> Tensor:
    mean, variance = call.array(call["mean"]), call.array(call["variance"])  # one entry on axes without their own
    std = np.maximum(np.sqrt(variance), keras.backend.epsilon())
    return call.scaled(std, mean) if call["invert"] else call.scaled(1 / std, -mean / std)


@rule("layers.Rescaling", "scale offset")
def _rescaling(call: Call) -> Tensor:
    scale, offset = (call.array(keras.ops.cast(call[name], call.dtype)) for name in ("scale", "offset"))
    if scale.ndim and keras.config.image_data_format() == "channels_first":
        scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
    return call.scaled(scale, offset)


@rule("layers.LayerScale", "init_values projection_dim")
def _layer_scale(call: Call) -> Tensor:
    return call.scaled(call.array(call.op.gamma))


@rule("ops.Negative ops.ZerosLike ops.OnesLike")
def _plain(call: Call) -> Tensor:
    return call.scaled(*{"ops.Negative": (-1.0,), "ops.ZerosLike": (0.0,), "ops.OnesLike": (0.0, 1.0)}[call.kind])


def _split(call: Call) -> tuple[list[Tensor], list[np.ndarray]]:
    """The inputs, broadcast to one shape, and the constants."""
    constants = [call.array(a, "its constants") for a in call.terms if not isinstance(a, Tensor)]
    return call.alike(call.tensors, constants), constants


def _joined(call: Call, parents: list[Tensor], weights: list[float]) -> Tensor:
    """A weighted sum; of two functions of the entries of one tensor it is such a function."""
    x = parents[0]
    if len(parents) == 2:
        found = products.total(call.net.nodes, x.place, parents[1].place, (weights[0], weights[1]))
        if found is not None:
            return call.put(found[0], (Tensor(found[1], x.shape, x.first),))
    return call.put(G.Add(tuple(weights)), parents, x.shape, x.first)


def _misread(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether Keras's ``add`` takes the second of two tensors for a bias, and adds it along another axis.

    It does so where one axis of it alone, that of the samples among them, is longer than 1 and as long as the first or
    the last axis of a sample of the first tensor.
    """
    long = [i for i, n in enumerate(second) if n > 1]
    if first == second or len(first) != len(second) or len(long) > 1:
        return False
    if not long:  # as many samples as an axis is long
        return max(first[0], first[-1]) > 1
    (axis,) = long  # of one sample
    n = second[axis]
    return n in (first[0], first[-1]) and axis != (len(first) - 1 if first[-1] == n else 0)


def _check_order(call: Call) -> None:
    """Refuse sums whose axes depend on the number of samples."""
    so_far: tuple[int, ...] = ()
    for i, term in enumerate(call.terms):
        shape = term.shape if isinstance(term, Tensor) else np.shape(term)[1:]
        if i and isinstance(term, Tensor) and _misread(so_far, shape):
            raise call.refused(
                f"Keras's add takes the tensor of shape {(None, *shape)} for a bias when it gets some numbers of "
                "samples, and adds it along another axis then. Put the smaller tensor first"
            )
        so_far = tuple(np.broadcast_shapes(so_far, shape)) if i else shape


def _sum(call: Call, weights: Sequence[float], by_add: bool = True) -> Tensor:
    """Of terms, each times a number; some may be constants.

    Args:
        by_add: whether Keras's ``add`` does it, which has ways of its own.
    """
    of_tensors, of_constants = (
        [w for w, a in zip(weights, call.terms, strict=True) if isinstance(a, Tensor) == held] for held in (True, False)
    )
    parents, constants = _split(call)
    if by_add:
        _check_order(call)
    x = parents[0]
    if len(parents) > 1:
        x, of_tensors = _joined(call, parents, of_tensors), [1.0]
    if not constants and of_tensors == [1.0]:
        return x
    shift = np.zeros(x.size)
    for w, c in zip(of_constants, constants, strict=True):
        shift += w * (call.added(x, c) if by_add else call.entries(c, x))
    return call.put(G.Scale(np.full(x.size, of_tensors[0]), shift), (x,), what="constants" if len(parents) > 1 else "")


@rule("layers.Add", tensors=None)
@rule("ops.Add", "x2", tensors=None)
def _add(call: Call) -> Tensor:
    return _sum(call, [1.0] * len(call.terms))


@rule("layers.Subtract", tensors=None)
@rule("ops.Subtract", "x2", tensors=None)
def _subtract(call: Call) -> Tensor:
    return _sum(call, [1.0, -1.0], by_add=False)


@rule("layers.Average", tensors=None)
def _average_of_layers(call: Call) -> Tensor:
    return _sum(call, [1 / len(call.terms)] * len(call.terms))


@rule("layers.CustomScaleLayer", "scale", tensors=2)
def _scaled_sum(call: Call) -> Tensor:
    return _sum(call, [1.0, float(call["scale"])], by_add=False)


@rule("layers.Multiply", tensors=None)
@rule("ops.Multiply", "x2", tensors=None)
def _multiply(call: Call) -> Tensor:
    parents, constants = _split(call)
    x = parents[0]
    if len(parents) > 1:
        found = products.product(call.net.nodes, *(p.place for p in parents)) if len(parents) == 2 else None
        if found is None:
            raise call.refused(
                "a product of two activations is not globally Lipschitz: its slope grows with their size "
                "(squeeze-and-excite, gates and attention are such products)"
            )
        x = call.put(found[0], (Tensor(found[1], x.shape, x.first),))
    if not constants:
        return x
    factors = np.prod([call.entries(c, x) for c in constants], axis=0)
    return call.put(G.Scale(factors), (x,), what="constants" if len(parents) > 1 else "")


@rule("ops.Divide ops.TrueDivide", "x2", tensors=None)
def _divide(call: Call) -> Tensor:
    x, divisor = call.terms
    if len(call.tensors) == 2:
        x, divisor = call.alike(call.tensors)
        if found := products.quotient(call.net.nodes, x.place, divisor.place):
            return call.put(found[0], (Tensor(found[1], x.shape, x.first),))
    if isinstance(divisor, Tensor):
        raise call.refused("a division by an activation is not globally Lipschitz")
    divisor = call.array(divisor, "its constants")
    if not divisor.all():
        raise call.refused("a division by 0")
    (x,) = call.alike([x], [divisor])
    return call.put(G.Scale(call.entries(1 / divisor, x)), (x,))


@rule("layers.Maximum layers.Minimum", tensors=None)
@rule("ops.Maximum ops.Minimum", "x2", tensors=None)
def _extreme_of(call: Call) -> Tensor:
    (parents, constants), least = _split(call), type(call.op).__name__ == "Minimum"
    x = parents[0]
    if len(parents) > 1:
        both = call.net.side_by_side(f"{call.name} (inputs)", parents)
        windows = np.arange(both.size).reshape(len(parents), -1).T
        x = call.put(G.Maximum(windows, sign=-1 if least else 1), (both,), x.shape, x.first)
    for constant in constants:
        x = limited(call, -np.inf if least else constant, constant if least else np.inf, x)
    return x
