"""A Keras model once more, in float64."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras.src.models import Functional
from keras.src.saving.serialization_lib import SafeModeScope

from artclip.frameworks import global_random
from artclip.frameworks.keras.layers import layers_of


def in_float64(model: Any, input_shape: tuple[int, ...]) -> Any:
    """A Sequential or functional model, or a layer, built anew from its configuration, with its weights.

    ``None`` where that fails. The model, all policies and generators of random numbers are left as they are.
    """
    if isinstance(model, keras.Model) and not isinstance(model, (keras.Sequential, Functional)):
        return None
    with global_random.kept():  # layers draw their seeds from them
        try:
            return _twin(model, input_shape)
        except Exception:  # custom layers raise all kinds of errors
            return None


def _twin(model: Any, input_shape: tuple[int, ...]) -> Any:
    with SafeModeScope(safe_mode=False):  # the functions of Lambda layers are already in this process
        twin = type(model).from_config(_widened(model.get_config()))
    if not twin.built:
        twin.build(model.input_shape if isinstance(model, keras.Model) else (None, *input_shape))
    twin.set_weights([np.asarray(w, dtype=np.float64) for w in model.get_weights()])
    for layer in layers_of(twin):
        if hasattr(layer, "finalize_state"):  # Normalization keeps what it computes with beside its weights
            layer.finalize_state()
    return twin


def _widened(config: Any) -> Any:
    """A configuration with every dtype of floats replaced."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": "float64"}}
        floats = [k for k, v in config.items() if k == "dtype" and isinstance(v, str) and "float" in v]
        return {k: "float64" if k in floats else _widened(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_widened(v) for v in config)
    return config
