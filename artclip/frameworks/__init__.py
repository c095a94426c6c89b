"""The only rooms that import torch or TensorFlow; each adapter is imported when a model of its kind arrives."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from artclip.extras import how_to_install
from artclip.frameworks import global_random
from artclip.frameworks.base import Function
from artclip.frameworks.check import check, predicted, refuse_approximated, refuse_defences
from artclip.frameworks.single_layer import SingleLayer
from artclip.frameworks.trainable import Trainable
from artclip.frameworks.unwrap import unwrapped
from artclip.graph import LayerGraph, equivalence

# Framework -> name of its package, what a person calls it, and the room of its adapter.
FRAMEWORKS = {
    "torch": ("torch", "PyTorch", "artclip.frameworks.pytorch"),
    "tensorflow": ("tensorflow", "TensorFlow", "artclip.frameworks.keras"),
}

# Qualified name of a base class of the model -> its adapter. Named, not imported: detection must not load a framework.
_TORCH, _TENSORFLOW = "artclip.frameworks.pytorch.function", "artclip.frameworks.keras.function"
_TORCH_ESTIMATOR, _TENSORFLOW_ESTIMATOR = "artclip.frameworks.pytorch.estimator", "artclip.frameworks.keras.estimator"
_ADAPTERS = {
    "art.estimators.classification.pytorch.PyTorchClassifier": (_TORCH_ESTIMATOR, "TorchEstimator"),
    "art.estimators.regression.pytorch.PyTorchRegressor": (_TORCH_ESTIMATOR, "TorchEstimator"),
    "art.estimators.classification.tensorflow.TensorFlowV2Classifier": (_TENSORFLOW_ESTIMATOR, "TensorFlowEstimator"),
    "art.estimators.classification.keras.KerasClassifier": (_TENSORFLOW_ESTIMATOR, "TensorFlowEstimator"),
    "art.experimental.estimators.classification.jax.JaxClassifier": ("artclip.frameworks.jax", "JaxFunction"),
    "art.estimators.estimator.BaseEstimator": ("artclip.frameworks.numpy", "NumpyFunction"),  # any other
    "torch.nn.modules.module.Module": (_TORCH, "TorchFunction"),
    "keras.src.layers.layer.Layer": (_TENSORFLOW, "TensorFlowFunction"),
    "tensorflow.python.module.module.Module": (_TENSORFLOW, "TensorFlowFunction"),
}
# ART estimators that artclip cannot serve, or cannot train, and why.
_REFUSED = {
    "art.estimators.regression.keras.KerasRegressor": (
        "ART's KerasRegressor does not run with Keras 3; wrap the model as a TensorFlowV2Classifier or KerasClassifier "
        "with a mean squared error, which artclip takes for a regressor"
    ),
    "art.estimators.classification.tensorflow.TensorFlowClassifier": (
        "it is for TensorFlow 1; use TensorFlowV2Classifier"
    ),
    "art.experimental.estimators.classification.jax.JaxClassifier": (
        "its update_func makes the whole step, so there is no gradient that a penalty could be added to"
    ),
}
# What an error offers, of the frameworks that are there.
_ESTIMATORS = {
    "torch": "PyTorchClassifier or PyTorchRegressor",
    "tensorflow": "TensorFlowV2Classifier or KerasClassifier",
}
_BARE = {"torch": "torch.nn.Module", "tensorflow": "Keras model"}
_WRAP = {
    "torch": "PyTorchClassifier(model, loss, input_shape, nb_classes, optimizer=...)",
    "tensorflow": "TensorFlowV2Classifier(model, nb_classes, input_shape, loss_object=..., optimizer=...)",
}


def _installed(names: dict[str, str]) -> str:
    """The names of the frameworks that are there, joined by "or"."""
    there = [name for framework, name in names.items() if find_spec(FRAMEWORKS[framework][0]) is not None]
    return " or ".join(there or names.values())


def _bases(model: Any) -> list[str]:
    return [f"{base.__module__}.{base.__qualname__}" for base in type(model).__mro__]


def _adapter(model: Any) -> Any:
    module, name = next((_ADAPTERS[base] for base in _bases(model) if base in _ADAPTERS), (None, None))
    return None if module is None else getattr(import_module(module), str(name))


def function_of(model: Any) -> Function:
    """The adapter of an ART estimator or of a bare model (``torch.nn.Module``, Keras model, ``tf.Module``).

    An adapter is returned as it is.

    Raises:
        TypeError: no adapter knows this kind of object.
    """
    if isinstance(model, Function):
        return model
    adapter = _adapter(model)
    if adapter is None:
        raise TypeError(
            f"cannot work with a {_bases(model)[0]}; {_refusal(model)}expected an ART estimator, or a "
            f"bare {_installed(_BARE)}"
        )
    return adapter(model)


def function_in_loop(model: Any) -> Function:
    """:func:`function_of` a model as a training loop has it: without its wrappers, of its outputs the logits.

    Raises:
        TypeError: as there.
    """
    f = function_of(unwrapped(model))
    refuse_approximated(f)
    f.takes_logits = True
    return f


def checked(model: Any, x: Any = None) -> Function:
    """:func:`function_of`, if the model is a function of its input; x, shape (n, *input_shape), are data to try.

    Raises:
        TypeError: as there.
        ValueError: outputs that are no row of numbers a sample, are not finite, or depend on more than the sample.
    """
    f = function_of(model)
    check(f, x)
    return f


def layers_of(estimator: Any) -> LayerGraph:
    """:func:`graph_of` of a model in training: in whatever precision it computes, and not compared with ``predict``."""
    f = _readable(estimator)
    with f.full_precision():
        graph: LayerGraph = _in_room(f.name, "graph").of_estimator(f, halves=True)
    return graph


def _readable(estimator: Any) -> Function:
    if isinstance(estimator, Function):
        if estimator.name in FRAMEWORKS and estimator.input_shape:
            return estimator
        estimator = getattr(estimator, "estimator", estimator)
    adapter = _adapter(estimator)
    if adapter is None or not issubclass(adapter, Trainable):
        hint = f"expected an ART {_installed(_ESTIMATORS)}"
        if adapter is not None and adapter.name in _WRAP:
            hint = f"wrap it, as {_WRAP[adapter.name]} of art.estimators.classification"
        raise TypeError(
            f"cannot read the layers of {_bases(estimator)[0]}; {hint}. lipschitz_lower_bound takes any estimator"
        )
    found: Function = adapter(estimator)
    return found


def graph_of(estimator: Any, x: Any = None, max_seconds: float = math.inf) -> LayerGraph:
    """The layers of an ART estimator, ART's scaling included, as a graph that computes what ``predict`` computes.

    Args:
        estimator: ART PyTorch or TensorFlow estimator.
        x: data, shape (n, *input_shape), to compare the graph with ``predict`` on; ``None`` for random inputs alone.
        max_seconds: time for that comparison, > 0; one kind of inputs is always looked at.

    Raises:
        TypeError: an estimator whose layers cannot be read.
        ValueError: a layer without a rule, by its name; a model that is no function of its input; or a graph that does
            not compute what ``predict`` computes.
    """
    f = _readable(estimator)
    refuse_defences(f)
    with f.full_precision(), f.seeded(0), f.unchanged(), global_random.kept():
        predicted(f, np.zeros((1, *f.input_shape), np.float32))  # what is wrong with outputs, before layers
        graph: LayerGraph = _in_room(f.name, "graph").of_estimator(f)
        check(f, x)
        tried = equivalence.inputs_to_try(f.input_shape, f.clip_values, x)
        _, rounding = equivalence.check(graph, f.predict, tried, f.precision, max_seconds=max_seconds)
    return replace(graph, rounding=rounding)


def output_activation_of(f: Function, x: Any) -> Any:
    """What f ends in, and a maker of contexts in which f ends before it; ``None`` if it ends in no activation.

    The first is ``"sigmoid"``, ``"probabilities"`` (a softmax) or ``"rectified"`` (a ReLU).

    Args:
        f: an adapter, from :func:`function_of`.
        x: a few inputs, shape (n, *input_shape).
    """
    return _in_room(f.name, "output_activation").find(f, x) if f.name in FRAMEWORKS else None


def single_layers_of(f: Function, x: np.ndarray) -> list[SingleLayer]:
    """The layers of a model, each as a function of its own, in the order in which they are called.

    Args:
        f: an adapter, from :func:`function_of`.
        x: data, shape (n, *input_shape): what goes into layers is from these.
    """
    found: list[SingleLayer] = _in_room(f.name, "single_layers").single_layers(f, x) if f.name in FRAMEWORKS else []
    return found


def trainable_of(estimator: Any, distributed: bool = False) -> Trainable:
    """The adapter of an ART estimator that can be trained.

    Args:
        estimator: ART PyTorch or TensorFlow estimator.
        distributed: train it on all devices that work together, where there are several.

    Raises:
        TypeError: the object is not such an estimator.
    """
    adapter = _adapter(estimator)
    if adapter is None or not issubclass(adapter, Trainable):
        hint = f"{_refusal(estimator)}expected an ART {_installed(_ESTIMATORS)}"
        if adapter is not None and adapter.name in _WRAP and not _refusal(estimator):
            hint = (
                f"wrap the model first, as {_WRAP[adapter.name]} of art.estimators.classification, or train it in a "
                "loop of your own with artclip.LipschitzPenalty"
            )
        raise TypeError(f"classifier is a {_bases(estimator)[0]}, which artclip cannot train; {hint}")
    f: Trainable = adapter(estimator)
    refuse_approximated(f)
    if distributed:
        f = _in_room(f.name, "distributed").on_all_devices(f)
    return f


def _refusal(model: Any) -> str:
    return next((f"{_REFUSED[base]}; " for base in _bases(model) if base in _REFUSED), "")


def default_framework() -> str:
    """The framework that is installed; PyTorch where both are.

    Raises:
        ImportError: none is.
    """
    for name, (package, *_) in FRAMEWORKS.items():
        if find_spec(package) is not None:
            return name
    raise ImportError(
        f"neither PyTorch nor TensorFlow is installed; {how_to_install('torch', 'torch')} or 'tensorflow'"
    )


def require(framework: str) -> None:
    """Raise ``ImportError``, with what to install, if a framework of :data:`FRAMEWORKS` is not there."""
    package, title, _ = FRAMEWORKS[framework]
    if find_spec(package) is None:
        raise ImportError(f"{title} is not installed; {how_to_install(package, framework)}")


def models_of(framework: str) -> Any:
    """The module that reads and wraps models of ``"torch"`` or ``"tensorflow"``.

    Raises:
        ImportError: that framework is not installed.
    """
    return _in_room(framework, "loading")


def nets_of(framework: str) -> Any:
    """The module of nets by name for ``"torch"`` or ``"tensorflow"``: ``NETS``, ``ACTIVATIONS``, ``make_classifier``.

    Raises:
        ImportError: that framework is not installed.
    """
    return _in_room(framework, "nets")


def trainers_of(framework: str) -> Any:
    """What ART's trainers need of ``"torch"`` or ``"tensorflow"``: a module with ``training(classifier)``."""
    return _in_room(framework, "art_trainers")


def _in_room(framework: str, name: str) -> Any:
    """The module of a name, which both frameworks have."""
    require(framework)
    return import_module(f"{FRAMEWORKS[framework][2]}.{name}")
