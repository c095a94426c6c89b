"""What a Keras model and its loss tell: shapes, weight matrices, random seeds, classes or targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

# Losses of a regressor, without underscores; all others are losses of a classifier.
_REGRESSION = ("mse", "mae", "msle", "meansquared", "meanabsolute", "huber", "logcosh")


def loss_name(loss: Any) -> str:
    """Name of a loss, whether given as a string, a function or an object: ``meansquarederror``."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name.lower().replace("_", "")


def is_regression(loss: Any) -> bool:
    """Whether the loss measures a distance to targets."""
    return loss_name(loss).startswith(_REGRESSION)


def threshold_of(loss: Any) -> tuple[float | None, bool]:
    """Output above which the class of a single output is 1, and whether the loss takes it for a probability.

    ``None`` where the loss does not tell.
    """
    options, loss = getattr(loss, "keywords", {}), getattr(loss, "func", loss)  # of a functools.partial
    name = loss_name(loss)
    if getattr(loss, "from_logits", False) or options.get("from_logits") or "withlogits" in name:
        return 0.0, False
    if name.startswith("binary"):  # the cross-entropy, or the focal one
        return 0.5, True
    return (0.5, False) if is_regression(loss) else (None, False)


def input_shape(model: Any) -> tuple[int, ...]:
    """Shape of one input, or () where the model does not tell."""
    try:
        shape = model.input_shape
    except (AttributeError, ValueError):
        return ()
    return tuple(shape[1:]) if isinstance(shape, tuple) and None not in shape[1:] else ()


def build(model: Any, input_shape: tuple[int, ...]) -> None:
    """Give the model its variables, if it has none yet."""
    if not getattr(model, "built", True):
        model(tf.zeros((1, *input_shape)), training=False)


def layers_of(model: Any) -> Iterator[Any]:
    """The model and all its layers, nested ones included; nothing for a callable that is not Keras."""
    return iter(model._flatten_layers()) if isinstance(model, keras.layers.Layer) else iter(())


def outputs_are_linear(model: Any) -> bool:
    """Whether the last layer has no activation, so that outputs are no probabilities."""
    layers = [layer for layer in layers_of(model) if not layer._layers]
    if not layers or ".activations." in type(layers[-1]).__module__:  # as layers.Softmax
        return False
    return getattr(layers[-1], "activation", None) in (None, keras.activations.linear)


def seed_states(model: Any) -> list[Any]:
    """State variables of the random generators in the layers, as of Dropout."""
    return [g.state for layer in layers_of(model) for g in layer._seed_generators]


def matrices(model: Any) -> list[tf.Tensor]:
    """Trainable weights as matrices (outputs, inputs), without biases and normalisation."""
    kernels, trainable = [], {id(v) for v in model.trainable_variables}
    owners = [(w, type(layer).__name__) for layer in layers_of(model) for w in layer._trainable_variables]
    for weight, owner in owners or [(v, "") for v in model.trainable_variables]:
        if id(weight) not in trainable or len(weight.shape) < 2 or "bias" in weight.name:
            continue
        kernel = tf.convert_to_tensor(weight)
        if "Transpose" in owner:  # (..., outputs, inputs)
            kernel = tf.linalg.matrix_transpose(kernel)
        kernels.append(tf.transpose(tf.reshape(kernel, (-1, kernel.shape[-1]))))
    return kernels
