"""Keras's sums, means, maxima and normalisation over axes as nodes of the graph of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from artclip import graph as G
from artclip.frameworks.keras.activations import limited
from artclip.frameworks.keras.calls import Call, rule
from artclip.frameworks.keras.nodes import Tensor, groups, parts

# Sums and means


def summed(call: Call, axes: Sequence[int], weights: dict[int, np.ndarray], keepdims: bool) -> Tensor:
    """Weighted sums along axes; without weights plain ones."""
    rows = {axis: weights.get(axis, np.ones(call.x.shape[axis])).reshape(1, -1) for axis in axes}
    y = call.along(rows) if rows else call.x
    return y if keepdims else y.without(axes)


def averaged(call: Call, axes: Sequence[int], keepdims: bool) -> Tensor:
    """Means along axes."""
    return summed(call, axes, {a: np.full(call.x.shape[a], 1 / call.x.shape[a]) for a in axes}, keepdims)


@rule("ops.Mean ops.Sum", "axis keepdims")
def _total(call: Call) -> Tensor:
    axes, keepdims = call.axes(call["axis"]), call["keepdims"]
    return averaged(call, axes, keepdims) if call.kind == "ops.Mean" else summed(call, axes, {}, keepdims)


@rule("ops.Average", "axis weights")
def _average(call: Call) -> Tensor:
    if call["weights"] is None:
        return averaged(call, call.axes(call["axis"]), False)
    weights, (axis,) = call.array(call["weights"], "its constants"), call.axes(call["axis"])
    if weights.ndim != 1:
        raise call.unknown(f"'Average' with weights of shape {weights.shape}")
    if weights.sum() == 0:
        raise call.refused("its weights have the sum 0")
    return summed(call, [axis], {axis: weights / weights.sum()}, False)


def _spatial(call: Call) -> range:
    """The axes of an image that are not those of the channels."""
    rank = len(call.x.shape)
    return range(rank - 1) if call["data_format"] == "channels_last" else range(1, rank)


@rule(
    "layers.GlobalAveragePooling1D layers.GlobalAveragePooling2D layers.GlobalAveragePooling3D", "data_format keepdims"
)
def _global_average(call: Call) -> Tensor:
    return averaged(call, _spatial(call), call["keepdims"])


# Maxima and order


def largest(call: Call, axes: Sequence[int], keepdims: bool, sign: int = 1) -> Tensor:
    """The largest entries along axes, or the least for sign -1."""
    windows, copies = parts(call.x, axes)
    shape = tuple(1 if i in axes else n for i, n in enumerate(call.x.shape))
    y = call.put(G.Maximum(windows, copies, sign), shape=shape) if axes else call.x
    return y if keepdims else y.without(axes)


@rule("layers.GlobalMaxPooling1D layers.GlobalMaxPooling2D layers.GlobalMaxPooling3D", "data_format keepdims")
def _global_maximum(call: Call) -> Tensor:
    return largest(call, _spatial(call), call["keepdims"])


@rule("ops.Amax ops.Amin", "axis keepdims")
def _extreme(call: Call) -> Tensor:
    return largest(call, call.axes(call["axis"]), call["keepdims"], -1 if call.kind == "ops.Amin" else 1)


@rule("ops.Max ops.Min", "axis keepdims initial")
def _extreme_from(call: Call) -> Tensor:
    least = call.kind == "ops.Min"
    y = largest(call, call.axes(call["axis"]), call["keepdims"], -1 if least else 1)
    if call["initial"] is None:
        return y
    initial = call.array(call["initial"], "its constants")
    return limited(call, -np.inf if least else initial, initial if least else np.inf, y)


@rule("ops.Sort", "axis")
def _sort(call: Call) -> Tensor:
    return call.put(G.Sort(groups(call.x, call.axes(call["axis"]))))


# Normalisation of each sample


def _normalised(call: Call, index: np.ndarray, scale: Any, shift: Any, centred: bool = True) -> Tensor:
    eps = call["epsilon"]
    eps = keras.backend.epsilon() if eps is None else float(eps)
    if not eps > 0:
        raise call.refused(
            f"with epsilon {eps:g} it is not globally Lipschitz: it divides by a deviation that may be 0"
        )
    return call.put(G.Normalisation(index, call.entries(scale), call.entries(shift), eps, centred))


@rule("layers.LayerNormalization", "axis epsilon center scale rms_scaling")
def _layer_normalization(call: Call) -> Tensor:
    layer, axes = call.op, call.axes(call["axis"])
    if call["rms_scaling"]:
        raise call.refused(
            "with rms_scaling it divides by the deviation without subtracting the mean, so its slope grows with the "
            "mean and it is not globally Lipschitz; use RMSNormalization"
        )
    shape = [1, *(n if i in axes else 1 for i, n in enumerate(call.x.shape))]
    scale = 1.0 if layer.gamma is None else call.array(layer.gamma).reshape(shape)
    shift = 0.0 if layer.beta is None else call.array(layer.beta).reshape(shape)
    return _normalised(call, groups(call.x, axes), scale, shift)


@rule("layers.RMSNormalization", "axis epsilon")
def _rms_normalization(call: Call) -> Tensor:
    scale = call.array(call.op.scale)  # broadcast from the last axis, whatever the axes are
    return _normalised(call, groups(call.x, call.axes(call["axis"])), scale, 0.0, centred=False)


@rule("layers.GroupNormalization", "groups axis epsilon center scale")
def _group_normalization(call: Call) -> Tensor:
    layer, axis = call.op, call.axis(call["axis"])
    shape = [1, *(n if i == axis else 1 for i, n in enumerate(call.x.shape))]
    scale = call.array(layer.gamma).reshape(shape) if layer.scale else 1.0
    shift = call.array(layer.beta).reshape(shape) if layer.center else 0.0
    index = np.moveaxis(call.x.index, axis, 0).reshape(layer.groups, -1)
    return _normalised(call, index, scale, shift)
