"""Keras's BatchNormalization in a penalty: normalised by the batch, as in the loss, whatever else is passed with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from artclip.frameworks import keras_layers


def layers_of(model: Any) -> list[Any]:
    """The BatchNormalization layers of a model."""
    return [m for m in keras_layers.layers_of(model) if isinstance(m, keras.layers.BatchNormalization)]


@contextmanager
def normalised_by(layers: list[Any], rows: Any, total: Any) -> Iterator[None]:
    """Inside, trainable layers normalise by the first rows of what they are given.

    Mean and variance carry gradients; the moving averages stay as they are.

    Args:
        layers: those of the model.
        rows: of the batch that goes first.
        total: rows in all. A layer may see a multiple of both.
    """
    learning = [layer for layer in layers if layer.trainable]  # frozen ones normalise by their averages in training too

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

    for layer in learning:
        vars(layer)["call"] = stand_in(layer)
    try:
        yield
    finally:
        for layer in learning:
            vars(layer).pop("call")
