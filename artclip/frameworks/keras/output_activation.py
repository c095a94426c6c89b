"""The sigmoid, softmax or ReLU at the end of a Keras model, and the model without it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf

from artclip.frameworks.keras.function import TensorFlowFunction
from artclip.frameworks.replaced import replaced

_KINDS = {
    keras.activations.sigmoid: "sigmoid",
    keras.activations.softmax: "probabilities",
    keras.activations.relu: "rectified",
}
# Layers and the operations that a functional model is made of.
_LAYERS = {
    keras.layers.Softmax: "probabilities",
    keras.layers.ReLU: "rectified",
    keras.src.ops.nn.Sigmoid: "sigmoid",
    keras.src.ops.nn.Softmax: "probabilities",
    keras.src.ops.nn.Relu: "rectified",
}


_OPERATIONS = {"Sigmoid": "sigmoid", "Softmax": "probabilities", "Relu": "rectified"}
_SHAPES = ("Identity", "Reshape", "Squeeze", "Cast")  # that may stand behind them


def find(f: TensorFlowFunction, x: Any) -> tuple[str, Callable[[], AbstractContextManager[None]]] | None:
    """What the model ends in, and contexts in which it ends before that; ``None`` if no activation makes its outputs.

    Args:
        f: the model's adapter.
        x: a few inputs, shape (n, *input_shape).
    """
    layer = f.model
    while isinstance(layer, (keras.Sequential, keras.src.models.Functional)):
        if isinstance(layer, keras.Sequential):
            layer = layer.layers[-1]
        elif len(layer.outputs) == 1:
            layer = layer.outputs[0]._keras_history.operation
        else:
            return None
    kind = next((kind for of, kind in _LAYERS.items() if isinstance(layer, of)), None)
    if kind is not None:
        return kind, lambda: replaced([layer], "call", lambda _: lambda inputs, *_, **__: inputs)
    activation = getattr(layer, "activation", None)
    if callable(activation) and activation in _KINDS:
        return _KINDS[activation], lambda: replaced([layer], "activation", lambda _: keras.activations.linear)
    return None if layer is not f.model else _in_graph(f, x)


def _in_graph(f: TensorFlowFunction, x: Any) -> tuple[str, Callable[[], AbstractContextManager[None]]] | None:
    """The same of a model whose ``call`` is code of its own, by the operations that it traces to."""
    try:
        points = f.tensor(x)
        whole = tf.compat.v1.wrap_function(f._deployed, [tf.TensorSpec((None, *points.shape[1:]), points.dtype)])
        last = whole.outputs[0].op
        while last.type in _SHAPES:
            last = last.inputs[0].op
        if last.type not in _OPERATIONS:
            return None
        bare = whole.prune(whole.inputs[0], last.inputs[0])
        bare(points)
    except Exception:  # calls may do anything; the outputs are then attacked as they are
        return None
    return _OPERATIONS[last.type], lambda: replaced([f], "_deployed", lambda _: bare)
