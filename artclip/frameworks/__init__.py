"""The only rooms that import torch or TensorFlow; each adapter is imported when a model of its kind arrives."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from artclip.frameworks.base import Function, Trainable

__all__ = ["Function", "Trainable", "function_of", "trainable_of"]

# Qualified name of a base class of the model -> its adapter. Named, not imported: detection must not load a framework.
_ADAPTERS = {
    "art.estimators.classification.pytorch.PyTorchClassifier": ("artclip.frameworks.torch", "TorchEstimator"),
    "art.estimators.regression.pytorch.PyTorchRegressor": ("artclip.frameworks.torch", "TorchEstimator"),
    "torch.nn.modules.module.Module": ("artclip.frameworks.torch", "TorchFunction"),
}


def _adapter(model: Any) -> Any:
    for base in type(model).__mro__:
        found = _ADAPTERS.get(f"{base.__module__}.{base.__qualname__}")
        if found:
            return getattr(import_module(found[0]), found[1])
    return None


def function_of(model: Any) -> Function:
    """The adapter of an ART estimator or of a bare model (``torch.nn.Module``).

    Raises:
        TypeError: no adapter knows this kind of object.
    """
    adapter = _adapter(model)
    if adapter is None:
        raise TypeError(
            f"cannot work with a {type(model).__module__}.{type(model).__qualname__}; "
            "expected an ART PyTorchClassifier or PyTorchRegressor, or a torch.nn.Module"
        )
    return adapter(model)


def trainable_of(estimator: Any) -> Trainable:
    """The adapter of an ART estimator that can be trained.

    Raises:
        TypeError: the object is not such an estimator.
    """
    adapter = _adapter(estimator)
    if adapter is None or not issubclass(adapter, Trainable):
        hint = (
            "wrap the model first: art.estimators.classification.PyTorchClassifier(model, loss, input_shape, "
            "nb_classes, optimizer=...), or train it in a loop of your own with artclip.LipschitzPenalty"
            if adapter
            else "expected an ART PyTorchClassifier or PyTorchRegressor"
        )
        raise TypeError(
            f"classifier is a {type(estimator).__module__}.{type(estimator).__qualname__}, "
            f"which artclip cannot train; {hint}"
        )
    return adapter(estimator)
