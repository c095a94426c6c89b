"""The sigmoid, softmax or ReLU at the end of a Keras model, and the model without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import keras

from artclip.frameworks.tensorflow import TensorFlowFunction

_HEADS = (keras.activations.sigmoid, keras.activations.softmax, keras.activations.relu)


def find(f: TensorFlowFunction, x: Any) -> Callable[[], AbstractContextManager[None]] | None:
    """A context in which the model ends before its last activation; ``None`` if no layer makes its outputs.

    Args:
        f: the model's adapter.
        x: unused: a Keras graph tells its last layer.
    """
    layer = f.model
    while isinstance(layer, (keras.Sequential, keras.src.models.Functional)):
        last = layer.layers[-1]
        shown = len(layer.outputs) == 1 and getattr(last, "output", None) is layer.outputs[0]
        if not shown and not isinstance(layer, keras.Sequential):
            return None
        layer = last
    if isinstance(layer, keras.layers.Softmax):
        return lambda: _replaced(layer, "call", lambda inputs, *_, **__: inputs)
    if getattr(layer, "activation", None) in _HEADS:
        return lambda: _replaced(layer, "activation", keras.activations.linear)
    return None


@contextmanager
def _replaced(layer: Any, name: str, value: Any) -> Iterator[None]:
    found = layer.__dict__.get(name)
    object.__setattr__(layer, name, value)
    try:
        yield
    finally:
        if found is None:
            object.__delattr__(layer, name)
        else:
            object.__setattr__(layer, name, found)
