"""The layers of a Keras model, each as a function of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from artclip.frameworks.keras.function import TensorFlowFunction
from artclip.frameworks.keras.layers import layers_of
from artclip.frameworks.single_layer import SingleLayer, samples_to_run, scaling


class _Alone(TensorFlowFunction):
    """A layer inside a model: in the dtype of the model, also where it has no weights."""

    def __init__(self, layer: Any, like: TensorFlowFunction, input_shape: tuple[int, ...]) -> None:
        super().__init__(layer, input_shape)
        self.dtype = self.dtype if layer.trainable_variables else like.dtype


def single_layers(f: TensorFlowFunction, x: np.ndarray) -> list[SingleLayer]:
    """The layers that are called for the data x, shape (n, *input_shape), in their order, blocks before their parts.

    A layer that is called several times is one function, of all that goes into it where shapes agree.
    """
    x = samples_to_run(x)
    calls: dict[int, list[tf.Tensor]] = {}
    refused: dict[int, str] = {}
    layers = {id(layer): layer for layer in layers_of(f.model) if layer is not f.model}
    with ExitStack() as stack:
        for layer in layers.values():
            if not isinstance(layer, keras.layers.InputLayer) and "call" not in vars(layer):
                vars(layer)["call"] = _watched(layer, calls, refused, len(x))
                stack.callback(vars(layer).pop, "call")
        stack.enter_context(f.seeded(0))
        stack.enter_context(f.unchanged())
        f.value(f.tensor(x))
    return scaling(f) + [_single(f, layers[key], calls[key], refused.get(key, "")) for key in calls]


def _single(f: TensorFlowFunction, layer: Any, calls: list[tf.Tensor], why: str) -> SingleLayer:
    kind = type(layer).__name__
    if why:
        return SingleLayer(layer.name, kind, why=why)
    inputs = tf.concat([t for t in calls if t.shape[1:] == calls[0].shape[1:]], 0)
    array = np.asarray(tf.cast(inputs, tf.float64 if inputs.dtype == tf.float64 else tf.float32))
    return SingleLayer(layer.name, kind, _Alone(layer, f, tuple(array.shape[1:])), array)


def _watched(layer: Any, calls: dict[int, list[tf.Tensor]], refused: dict[int, str], nb: int) -> Callable[..., Any]:
    """What a layer does in ``call``, and besides writes down what it is called with for so many samples."""
    own = layer.call

    @wraps(own)
    def call(*args: Any, **kwargs: Any) -> Any:
        of = calls.setdefault(id(layer), [])
        tensors = [a for a in keras.tree.flatten((args, kwargs)) if tf.is_tensor(a)]
        x = args[0] if args else next(iter(kwargs.values()), None)
        outputs = own(*args, **kwargs)
        if len(tensors) != 1 or tensors[0] is not x:
            refused.setdefault(id(layer), f"it is called with {len(tensors)} tensors")
        elif not x.dtype.is_floating or x.shape[0] != nb:
            refused.setdefault(id(layer), f"it is called with a tensor of {x.dtype.name} and shape {tuple(x.shape)}")
        elif not tf.is_tensor(outputs) or outputs.shape[0] != nb:
            refused.setdefault(id(layer), "it does not give one tensor with a row for each sample")
        else:
            of.append(x)
        return outputs

    return call
