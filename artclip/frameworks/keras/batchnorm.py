"""Keras's BatchNormalization in a penalty: normalised by the batch, as in the loss, whatever else is passed with it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from artclip.frameworks.keras.layers import layers_of as all_layers_of
from artclip.frameworks.keras.tracing import traced
from artclip.frameworks.replaced import replaced


def layers_of(model: Any) -> list[Any]:
    """The BatchNormalization layers of a model."""
    return [m for m in all_layers_of(model) if isinstance(m, keras.layers.BatchNormalization)]


def learning(model: Any, layers: list[Any], spec: tf.TensorSpec) -> list[Any]:
    """The layers that normalise by the batch where the model is called with ``training=True``.

    Frozen ones normalise by their averages, and so do those that a ``call`` of the user's own calls with
    ``training=False``. (Keras puts its own ``training`` in the place of one that is given in a functional model.)

    Args:
        model: the model.
        layers: its BatchNormalization layers.
        spec: of its inputs.
    """
    if all(type(layer).__module__.startswith("keras.") for layer in all_layers_of(model)):
        return layers
    called, by_batch = set(), set()

    def recorder(layer: Any) -> Any:
        def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
            called.add(layer)
            if training is not False and training is not None:
                by_batch.add(layer)
            return type(layer).call(layer, inputs, training=False)

        return call

    with tf.init_scope(), replaced(layers, "call", recorder):  # traced, and not run
        traced(lambda x: model(x, training=True), [spec])
    return [layer for layer in layers if layer in by_batch or layer not in called]


def normalised_by(layers: list[Any], rows: Any, total: Any) -> AbstractContextManager[None]:
    """Inside, trainable layers normalise by the first rows of what they are given.

    Mean and variance carry gradients; the moving averages stay as they are.

    Args:
        layers: those of the model.
        rows: of the batch that goes first.
        total: rows in all. A layer may see a multiple of both.
    """
    unfrozen = [layer for layer in layers if layer.trainable]  # others normalise by their averages in training too

    def stand_in(layer: Any) -> Any:
        def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
            wide = ops.cast(inputs, layer.variable_dtype)
            axes = [i for i in range(len(inputs.shape)) if i != layer.axis % len(inputs.shape)]
            mean, variance = ops.moments(wide[: ops.shape(inputs)[0] * rows // total], axes)
            outputs = ops.batch_normalization(
                wide, mean, variance, axis=layer.axis, offset=layer.beta, scale=layer.gamma, epsilon=layer.epsilon
            )
            return ops.cast(outputs, layer.compute_dtype)

        return call

    return replaced(unfrozen, "call", stand_in)
