"""Keras models made by others, wrapped as ART classifiers."""

from __future__ import annotations

from typing import Any

import keras
from art.estimators.classification import TensorFlowV2Classifier

from artclip.frameworks import keras_layers

KIND = keras.Model


def load(path: str, trust: bool) -> keras.Model:
    """A model from a ``.keras`` or ``.h5`` file; layers of pickled code only if it is trusted."""
    return keras.saving.load_model(path, compile=False, safe_mode=not trust)


def load_weights(model: keras.Model, path: str) -> None:
    """Read weights that ``model.save_weights`` wrote."""
    model.load_weights(path)


def wrap(
    model: keras.Model,
    input_shape: tuple[int, ...] | None,
    nb_classes: int | None,
    clip_values: Any,
    preprocessing: Any,
) -> TensorFlowV2Classifier:
    """The model as an ART classifier with cross-entropy, from logits where the last layer has no softmax."""
    input_shape = input_shape or keras_layers.input_shape(model)
    if not input_shape:
        raise ValueError("this model does not tell the shape of one input; give input_shape, as (28, 28, 1)")
    keras_layers.build(model, input_shape)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=keras_layers.outputs_are_linear(model))
    return TensorFlowV2Classifier(
        model,
        nb_classes or int(model.output_shape[-1]),
        input_shape,
        loss_object=loss,
        clip_values=clip_values,
        preprocessing=preprocessing,
    )
