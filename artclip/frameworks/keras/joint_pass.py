"""Whether a batch and points beside it may go through a Keras model together, and whether that saves memory."""

from __future__ import annotations

import math
from typing import Any

import keras

from artclip.frameworks.keras.layers import layers_of

# Layers that see each sample by itself, and are the same function in training.
_LAYERS = (
    *(keras.layers.InputLayer, keras.layers.Dense, keras.layers.Flatten, keras.layers.Reshape, keras.layers.Permute),
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.DepthwiseConv2D),
    *(keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.SeparableConv2D),
    *(keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D),
    *(keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D),
    *(keras.layers.GlobalMaxPooling2D, keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D),
    *(keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU, keras.layers.Rescaling),
    *(keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.Add, keras.layers.Subtract),
)


def joins_passes(model: Any, rows: int) -> bool:
    """Whether a pass may take so many points beside the batch, and keeps less of them than the parameters have."""
    layers = list(layers_of(model))
    if not layers or not all(map(_sees_each_sample_alone, layers)):
        return False
    try:
        shapes = [layer.output.shape[1:] for layer in layers if not _is_container(layer)]
    except (AttributeError, ValueError):  # of a layer that is called at several places
        return False
    if any(None in shape for shape in shapes):
        return False
    return rows * sum(map(math.prod, shapes)) <= sum(math.prod(v.shape) for v in model.trainable_variables)


def _is_container(layer: Any) -> bool:
    kind = type(layer)
    return kind is keras.Sequential or (kind.__name__ == "Functional" and kind.__module__.startswith("keras."))


def _sees_each_sample_alone(layer: Any) -> bool:
    """Whether a layer, apart from those in it, is a function of each sample, and adds nothing to the loss."""
    if "call" in vars(layer) or getattr(layer, "activity_regularizer", None) is not None:
        return False
    if _is_container(layer):  # beside layers there may be operations, over any axis
        return all(isinstance(operation, keras.layers.Layer) for operation in getattr(layer, "operations", ()))
    activation = getattr(layer, "activation", None)
    return type(layer) in _LAYERS and (activation is None or _is_known(activation))


def _is_known(activation: Any) -> bool:
    """Whether it is one of Keras's own activations, which are along the last axis at most."""
    name = getattr(activation, "__name__", None)
    return name is not None and getattr(keras.activations, name, None) is activation
