"""Keras models and SavedModels made by others, wrapped as ART classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from art.estimators.classification import TensorFlowV2Classifier

from artclip import safety
from artclip.frameworks import keras_layers


class SavedModel(tf.Module):
    """A SavedModel as a callable of images.

    Args:
        path: of its folder.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.loaded = tf.saved_model.load(path)
        serve = self.loaded.signatures.get("serving_default")
        if serve is None:
            found = ", ".join(self.loaded.signatures) or "none"
            raise ValueError(f"it has no signature serving_default; its signatures: {found}")
        ((self._input, spec),) = serve.structured_input_signature[1].items()
        ((self._output, outputs),) = serve.structured_outputs.items()
        self._serve, self._dtype = serve, spec.dtype
        self.input_shape, self.output_shape = tuple(spec.shape), tuple(outputs.shape)

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Outputs of the signature ``serving_default``; it has no train mode."""
        return self._serve(**{self._input: tf.cast(x, self._dtype)})[self._output]


KIND = (keras.Model, SavedModel)


def load(path: str, trust: bool) -> keras.Model:
    """A model from a ``.keras`` or ``.h5`` file; layers of pickled code only if it is trusted."""
    if not trust:
        safety.check_keras(Path(path))
    return keras.saving.load_model(path, compile=False, safe_mode=not trust)


def load_saved(path: str, trust: bool) -> SavedModel:
    """A SavedModel: a program of TensorFlow's operators, some of which read and write files."""
    if not trust:
        raise safety.Untrusted(path, "is a SavedModel, a program that may read and write files")
    return SavedModel(path)


def load_weights(model: keras.Model, path: str) -> None:
    """Read weights that ``model.save_weights`` wrote."""
    model.load_weights(path)


def wrap(
    model: Any,
    input_shape: tuple[int, ...] | None,
    nb_classes: int | None,
    clip_values: Any,
    preprocessing: Any,
) -> TensorFlowV2Classifier:
    """The model as an ART classifier with cross-entropy, from logits where it gives no probabilities."""
    input_shape = input_shape or keras_layers.input_shape(model)
    if not input_shape:
        raise ValueError("this model does not tell the shape of one input; give input_shape, as (28, 28, 1)")
    keras_layers.build(model, input_shape)
    linear = _gives_logits(model, input_shape)
    return TensorFlowV2Classifier(
        model,
        nb_classes or int(model.output_shape[-1]),
        input_shape,
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=linear),
        clip_values=clip_values,
        preprocessing=preprocessing,
    )


def _gives_logits(model: Any, input_shape: tuple[int, ...]) -> bool:
    if isinstance(model, keras.Model):
        return keras_layers.outputs_are_linear(model)
    outputs = np.asarray(model(tf.zeros((1, *input_shape))))
    return bool(outputs.min() < 0 or abs(outputs.sum() - 1) > 1e-3)
