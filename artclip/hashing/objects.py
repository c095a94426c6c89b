"""What objects hold, of any class: models and estimators of the frameworks, or as ``pickle`` takes them apart."""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

_TORCH, _ART = "torch.nn.modules.module.Module", "art.estimators.estimator.BaseEstimator"
_DEFENCE = "art.defences.preprocessor.preprocessor.Preprocessor"
_KERAS, _TF = "keras.src.layers.layer.Layer", "tensorflow.python.module.module.Module"
_ONNX = "onnxruntime.capi.onnxruntime_inference_collection.InferenceSession"
# Base class -> attributes that no prediction depends on: losses, optimizers, the mode that evaluation sets itself.
_OMITTED = {
    _TORCH: {"training", "_compiled_call_impl", "_is_full_backward_hook"},
    _ART: {
        *("_loss", "_loss_object", "_loss_fn", "_optimizer", "_train_step", "_learning_phase", "_loss_scale"),
        *("_reduce_labels", "_int_labels", "_probability_labels", "_layer_names", "_layer_idx_gradients"),
        *("_forward_pass", "_input", "_output", "_input_layer", "_output_layer", "_device", "_device_type"),
        *("_model_wrapper", "_opt_level", "_scheduler"),
    },
    _DEFENCE: {"_broadcastable_mean", "_broadcastable_std", "_device"},  # made at the first call
}
_KINDS: tuple[Any, ...] = (dict, list, tuple, set, frozenset, deque, str, int, float, bytes)


class NotHashable(TypeError):
    """What something computes cannot be told from what it holds; the message says why."""


def visit_object(walk: Any, x: Any, depth: int) -> None:
    """Put an object into a walk of :mod:`artclip.hashing.contents`: its class and what it holds."""
    bases = [f"{base.__module__}.{base.__qualname__}" for base in type(x).__mro__]
    walk.put("object")
    if hasattr(x, "python_function"):  # a tf.function
        return walk.visit(x.python_function, depth + 1)
    if isinstance(x, functools._lru_cache_wrapper):
        return walk.visit(x.__wrapped__, depth + 1)
    walk.visit(type(x), depth + 1)
    if "torch._dynamo.eval_frame.OptimizedModule" in bases:
        return walk.visit(x._orig_mod, depth + 1)
    if "torch.fx.graph_module.GraphModule" in bases:  # its code says what it does; the rest is how it was made
        walk.put(x.code)
        parts = {name: part for name, part in x._modules.items() if type(part).__name__ != "GuardsFn"}
        return walk.each((x._parameters, x._buffers, parts), depth)
    if _KERAS in bases:
        return _keras(walk, x, depth)
    if _ONNX in bases:  # its file, as it is now; what it answers counts besides
        return walk.each((x._model_bytes or Path(x._model_path).read_bytes(), x.get_providers()), depth)
    if "torch.jit._script.ScriptModule" in bases:
        raise NotHashable("it is a compiled program")
    known = [base for base in (_TORCH, _ART, _TF, _DEFENCE) if base in bases]
    if known:
        omitted = {name for base in known for name in _OMITTED.get(base, ())}
        return _attributes(walk, x, depth, omitted, "_self_" if _TF in bases else "\0")
    if not is_installed(type(x).__module__):
        _attributes(walk, x, depth)
        for kind in _KINDS:
            if isinstance(x, kind):
                walk.visit(kind(x), depth + 1)
        return None
    _reduced(walk, x, depth)
    return None


def _attributes(walk: Any, x: Any, depth: int, omitted: Iterable[str] = (), prefix: str = "\0") -> None:
    held = dict(getattr(x, "__dict__", {}))
    for base in type(x).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(x, name):
                held[name] = getattr(x, name)
    for name in sorted(held.keys() - set(omitted)):
        if not name.startswith(prefix):
            hooks = name.endswith("hooks") and isinstance(held[name], dict)  # their keys count all hooks ever made
            walk.name(name, walk.visit, list(held[name].values()) if hooks else held[name], depth + 1)


def _reduced(walk: Any, x: Any, depth: int) -> None:
    """An object of an installed class, as ``pickle`` would take it apart."""
    try:
        parts = x.__reduce_ex__(4)
    except Exception:
        raise NotHashable(f"nothing shows what a {type(x).__module__}.{type(x).__qualname__} holds") from None
    if isinstance(parts, str):
        return walk.put("global", type(x).__module__, parts)
    function, arguments, *rest = parts
    walk.each((function, arguments), depth)
    for part in rest:  # the state, then what it is filled with
        walk.visit(list(part) if hasattr(part, "__next__") else part, depth + 1)
    return None


def _keras(walk: Any, x: Any, depth: int) -> None:
    """A Keras layer or model: weights, and class, configuration and functions of each layer."""
    for w in x.weights:
        walk.array(np.asarray(w), depth)
    for layer in x._flatten_layers():
        walk.visit(type(layer), depth + 1)
        own, held = not is_installed(type(layer).__module__), vars(layer)
        if own:
            held = {name: value for name, value in held.items() if name not in _bare(type(layer).__mro__)}
        else:
            walk.container(layer.get_config(), depth)
        for name, value in sorted(held.items()):
            if own or isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
                walk.name(name, _kept, walk, value, depth)


def _kept(walk: Any, value: Any, depth: int) -> None:
    """What a layer holds under a name, its own layers and variables left out: they are met by themselves."""
    bases = {f"{base.__module__}.{base.__qualname__}" for base in type(value).__mro__}
    if _KERAS in bases or "keras.src.backend.common.variables.Variable" in bases:
        walk.put("part", getattr(value, "name", ""))
    elif isinstance(value, (list, tuple)):
        for member in value:
            _kept(walk, member, depth + 1)
    elif isinstance(value, dict):
        for key, member in value.items():
            walk.put(str(key))
            _kept(walk, member, depth + 1)
    else:
        walk.visit(value, depth + 1)


@functools.cache
def is_installed(module: str | None) -> bool:
    """Whether a module comes with Python, from a package that was installed, or is artclip's own."""
    root = (module or "").partition(".")[0]
    if root in sys.builtin_module_names or root in sys.stdlib_module_names or root in ("builtins", "artclip"):
        return True
    file = getattr(sys.modules.get(str(module)) or sys.modules.get(root), "__file__", None)
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    paths.add(site.getusersitepackages())
    return file is not None and any(os.path.realpath(file).startswith(os.path.realpath(p) + os.sep) for p in paths)


def version(module: str | None) -> str:
    """Of the package that a module belongs to, or ""."""
    return str(getattr(sys.modules.get((module or "").partition(".")[0]), "__version__", ""))


@functools.cache
def _bare(bases: tuple[type, ...]) -> frozenset[str]:
    """Attributes that Keras itself gives to a layer or model."""
    names: set[str] = set()
    for base in bases:
        if base.__module__.startswith("keras.src.") and base.__name__ in ("Layer", "Model"):
            names |= set(vars(base(name="bare")))
    return frozenset(names)
