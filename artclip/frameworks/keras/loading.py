"""Keras models and SavedModels made by others, wrapped as ART classifiers."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from art.estimators.classification import KerasClassifier, TensorFlowV2Classifier

from artclip import safety
from artclip.frameworks.keras import layers, settings
from artclip.frameworks.loaded import LoadedModel, said
from artclip.frameworks.preprocessing import fitted_box, fitted_scaling


class SavedModel(tf.Module):
    """A SavedModel as a callable of images.

    Args:
        path: of its folder.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.loaded = tf.saved_model.load(path)
        serve = self.loaded.signatures.get("serving_default")
        inputs = serve.structured_input_signature[1] if serve else {}
        outputs = serve.structured_outputs if serve else {}
        if len(inputs) != 1 or len(outputs) != 1:
            raise safety.ModelFileError(
                f"{path} has signatures {', '.join(self.loaded.signatures) or 'none'}, with {len(inputs)} inputs and "
                f"{len(outputs)} outputs in serving_default; expected it to take images and give logits: write it with "
                "model.export(FOLDER)"
            )
        ((self._input, spec),) = inputs.items()
        ((self._output, given),) = outputs.items()
        if spec.shape.rank is None or spec.shape[0] is not None or not spec.dtype.is_floating:
            raise safety.ModelFileError(
                f"{path} takes inputs of {spec.dtype.name}, shape {spec.shape}; export it for float images in batches "
                "of any size: the first dimension must be None"
            )
        self._serve, self._dtype = serve, spec.dtype
        self.input_shape, self.output_shape = tuple(spec.shape), tuple(given.shape)

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Outputs of the signature ``serving_default``; it has no train mode."""
        return self._serve(**{self._input: tf.cast(x, self._dtype)})[self._output]


KIND = (keras.Model, SavedModel)
FILE = "model.keras"  # that `save` writes


def load(path: str, trust: bool) -> LoadedModel:
    """A model from a ``.keras`` or ``.h5`` file; layers of pickled code only if it is trusted."""
    if not trust:
        safety.check_keras(Path(path), lambda name: keras.saving.get_registered_object(name) is not None)
    return LoadedModel(keras.saving.load_model(path, compile=False, safe_mode=not trust))


def save(model: keras.Model, path: str, input_shape: tuple[int, ...]) -> None:
    """Write the model as a Keras file."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"a {type(model).__name__} is no Keras model, so it cannot be written as one; give architecture"
        )
    model.save(path)


def load_saved(path: str, trust: bool) -> LoadedModel:
    """A SavedModel: a program of TensorFlow's operators, some of which read and write files."""
    if not trust:
        raise safety.Untrusted(path, "is a SavedModel, a program that may read and write files")
    return LoadedModel(SavedModel(path))


def load_weights(model: keras.Model, path: str) -> None:
    """Read weights that ``model.save_weights`` wrote."""
    if zipfile.is_zipfile(path):
        safety.archive(Path(path)).close()
    else:
        safety.check_hdf5(Path(path), path)
    model.load_weights(path)


def wrap(
    model: Any,
    input_shape: tuple[int, ...] | None,
    nb_classes: int | None,
    clip_values: Any,
    preprocessing: Any,
    kept: Mapping[str, Any],
) -> TensorFlowV2Classifier | KerasClassifier:
    """The model as an ART classifier with cross-entropy, from logits where it gives no probabilities.

    Args:
        kept: of one that was saved: ``loss``, a record of :func:`.settings.kept_loss`; and ``estimator``, with
            ``class``, ``channels_first`` and, for a ``KerasClassifier``, ``use_logits``.
    """
    input_shape = layers.input_shape(model) or input_shape
    if not input_shape:
        raise ValueError("this model does not tell the shape of one input; give input_shape, as (28, 28, 1)")
    layers.build(model, input_shape)
    outputs = _outputs(model, input_shape)
    nb_outputs = outputs.shape[1]
    classes = max(2, nb_outputs)  # one is the log-odds, or the probability, of the second of two classes
    if nb_classes not in (None, classes, nb_outputs):
        raise ValueError(f"nb_classes is {nb_classes}, but the model gives {nb_outputs} outputs")
    kind = kept.get("estimator") or {}
    channels_first = bool(kind.get("channels_first", False))
    options = {
        "clip_values": fitted_box(clip_values, tuple(input_shape), channels_first),
        "preprocessing": fitted_scaling(preprocessing, tuple(input_shape), channels_first),
        "channels_first": channels_first,
    }
    entropy = keras.losses.BinaryCrossentropy if nb_outputs == 1 else keras.losses.SparseCategoricalCrossentropy
    loss = settings.loss_of(kept["loss"]) if kept.get("loss") else entropy(from_logits=_gives_logits(model, outputs))
    if kind.get("class") == "KerasClassifier":
        model.compile(optimizer=None, loss=loss)
        return KerasClassifier(model, use_logits=bool(kind.get("use_logits")), **options)
    return TensorFlowV2Classifier(model, classes, tuple(input_shape), loss_object=loss, **options)


def _outputs(model: Any, input_shape: tuple[int, ...]) -> np.ndarray:
    try:
        outputs = model(tf.zeros((2, *input_shape)), training=False)
    except Exception as error:  # layers raise whatever they like
        raise ValueError(
            f"the model does not take inputs of shape {tuple(input_shape)}: {said(error)}; give its input_shape"
        ) from error
    if not tf.is_tensor(outputs) or outputs.shape.rank != 2:
        what = f"shape {tuple(outputs.shape)}" if tf.is_tensor(outputs) else f"a {type(outputs).__name__}"
        raise ValueError(f"the model gives {what} for 2 inputs; expected logits or probabilities, shape (2, classes)")
    return np.asarray(outputs)


def _gives_logits(model: Any, outputs: np.ndarray) -> bool:
    if isinstance(model, keras.Model):
        return layers.outputs_are_linear(model)
    if outputs.shape[1] == 1:
        return bool(outputs.min() < 0 or outputs.max() > 1)
    return bool(outputs.min() < 0 or np.abs(outputs.sum(1) - 1).max() > 1e-3)
