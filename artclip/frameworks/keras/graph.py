"""A Keras model as a graph of layers: its functional graph is run, on the places of tensors instead of values."""

from __future__ import annotations

import inspect
import re
import warnings
from contextlib import suppress
from typing import Any

import keras
import numpy as np

from artclip import graph as G
from artclip.frameworks.keras import (  # noqa: F401  each registers its rules
    activations,
    convex_potential,
    convolutions,
    reshaping,
    rules,
    sums,
    windows,
    wrappers,
)
from artclip.frameworks.keras.activations import STEEP
from artclip.frameworks.keras.calls import OWN, RULES, Call, Net, Refusal, Rule, arguments_of, is_common
from artclip.frameworks.keras.nodes import Tensor
from artclip.frameworks.keras.refused import REASONS
from artclip.frameworks.preprocessing import graph_with_scaling

_FULL = ("float32", "float64")


def read(model: Any, input_shape: tuple[int, ...], halves: bool = False) -> G.LayerGraph:
    """The graph of layers of the model in eval mode.

    Inputs and outputs are flattened in Keras's order.

    Args:
        model: a functional or sequential model, or a layer.
        input_shape: of one sample.
        halves: whether layers may compute in half precision, where only their weights are asked for.

    Raises:
        ValueError: a model that is no graph of layers, an operation or an argument for which there is no rule, or a
            layer that is not Lipschitz, with the layer's name.
    """
    return _Reader(halves=halves).graph(model, Tensor(-1, tuple(int(n) for n in input_shape)))


def of_estimator(f: Any, halves: bool = False) -> G.LayerGraph:
    """The graph of an adapter: raw inputs in, the scaling of an ART estimator first."""
    if not hasattr(f, "estimator"):
        return read(f.model, f.input_shape, halves)
    return graph_with_scaling(f, lambda model, shape: read(model, shape, halves))


def _root(thing: Any) -> str:
    """The package that a class or a function comes from."""
    return str(getattr(thing, "__module__", None)).split(".")[0]


def _patched(op: Any) -> bool:
    """Whether what a layer does was replaced on the object."""
    return any(name in vars(op) for name in ("call", "__call__"))


def _agrees(shape: tuple[int, ...], like: tuple[int | None, ...]) -> bool:
    """Whether a shape is one that Keras has, where it is known."""
    return len(shape) == len(like) and all(m is None or m == n for n, m in zip(shape, like, strict=True))


class _Reader(Net):
    def __init__(self, inside: tuple[str, ...] = (), dtypes: set[str] | None = None, halves: bool = False) -> None:
        super().__init__()
        self._halves = halves
        self._inside = inside  # names of the models around the layer
        self.dtypes = set() if dtypes is None else dtypes

    def apart(self) -> _Reader:
        return _Reader(self._inside, self.dtypes, self._halves)

    def _within(self, name: str) -> _Reader:
        """The same nodes, for a model inside."""
        inner = _Reader((*self._inside, name), self.dtypes, self._halves)
        inner.nodes, inner._held = self.nodes, self._held
        return inner

    def _named(self, op: Any) -> str:
        return "/".join((*self._inside, str(getattr(op, "name", "the model"))))

    def graph(self, model: Any, x: Tensor) -> G.LayerGraph:
        """All nodes that count; the output is the last."""
        is_layer = isinstance(model, keras.Layer) and not isinstance(model, keras.Model)
        outputs = keras.tree.flatten(self.apply(model, (x,), {}) if is_layer else self._model(model, [x]))
        if len(outputs) != 1:
            raise Refusal(f"the model has {len(outputs)} outputs; only a model with one has an upper bound")
        output = self.laid(outputs[0], False)
        if output.place < 0:
            output = self.put("output", G.IDENTITY, (output,), output.shape)
        precision = max(float(np.finfo(dtype).eps) for dtype in self.dtypes)
        return G.LayerGraph(self.nodes[: output.place + 1], x.size, precision).pruned()

    def _model(self, model: Any, inputs: list[Tensor]) -> Any:
        graph = model._functional if isinstance(model, keras.Sequential) else model
        calls = [getattr(type(model), name, None) for name in ("call", "__call__")]
        overridden = any(_root(c) != "keras" for c in calls) or _patched(model)
        if not isinstance(graph, keras.Function) or overridden:
            raise Refusal(
                f"{self._named(model)} is a {type(model).__module__}.{type(model).__qualname__}, not a graph of Keras "
                "layers, so there is no upper bound. Build it as keras.Sequential([...]) or as a functional "
                "keras.Model(inputs, outputs), or use lipschitz_lower_bound"
            )
        self._check_precision(model)
        if len(inputs) != len(graph.inputs):
            raise Refusal(f"the model has {len(graph.inputs)} inputs; only a model with one has an upper bound")
        for x, like in zip(inputs, graph.inputs, strict=True):
            dtype = keras.backend.standardize_dtype(like.dtype)
            if not self._is_fine(dtype) or not _agrees(x.shape, tuple(like.shape[1:])):
                raise Refusal(
                    f"input {like.name} of the model has shape {like.shape} and type {dtype}; expected "
                    f"floating-point numbers of shape {(None, *x.shape)}, in float32 or float64"
                )
        return self._run(graph, inputs)

    def _run(self, graph: Any, inputs: list[Tensor]) -> Any:
        """Each operation of a functional graph, in Keras's order; see ``Function._run_through_graph``."""
        values = {id(like): x for like, x in zip(graph.inputs, inputs, strict=True)}
        samples = graph.inputs[0].shape[0]
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if node.is_input or not node.operation or any(id(x) not in values for x in node.input_tensors):
                    continue
                args, kwargs = node.arguments.fill_in(values)
                dtypes = [keras.backend.standardize_dtype(like.dtype) for like in node.outputs]
                results = keras.tree.flatten(self._called(node.operation, args, kwargs, dtypes[0]))
                for like, result, dtype in zip(node.outputs, results, dtypes, strict=True):
                    self._check_dtype(node.operation, dtype)
                    if like.shape[0] != samples or not _agrees(result.shape, tuple(like.shape[1:])):
                        raise Refusal(
                            f"layer {self._named(node.operation)}: its output has shape {like.shape} for {samples} "
                            f"samples, where {(samples, *result.shape)} was read"
                        )
                    values[id(like)] = result
        return keras.tree.pack_sequence_as(graph._outputs_struct, [values[id(x)] for x in graph.outputs])

    def apply(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._called(op, args, kwargs, getattr(op, "compute_dtype", None) or keras.config.floatx())

    def _called(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dtype: str) -> Any:
        if isinstance(op, keras.Model):
            tensors = [a for a in keras.tree.flatten((args, kwargs)) if isinstance(a, Tensor)]
            return self._within(op.name)._model(op, tensors)
        call = Call(op, self._named(op), {}, dtype if dtype in _FULL else "float32", self)
        # Whatever it derives from, it may do anything.
        if (_root(type(op)) != "keras" and type(op) not in OWN) or _patched(op):
            raise call.unknown()
        if any(getattr(of, "quantization_mode", None) for of in (op, getattr(op, "dtype_policy", None))):
            raise call.refused("it is quantized, and rounding is not Lipschitz")
        self._check_precision(op)
        rule = _rule_of(call)
        call.given.update(_bound(call, args, kwargs))
        if not call.tensors or rule.tensors not in (None, len(call.tensors)):
            raise call.unknown(f"{type(op).__name__!r} of {len(call.tensors)} tensors")
        try:
            return rule.function(call)
        except Refusal:
            raise
        except Exception as error:  # an argument that Keras takes and the rule does not expect
            message = re.sub(r"\{\{.*?\}\}", "", str(error)).strip().partition("\n")[0]
            raise call.unknown(f"{type(op).__name__!r} with these arguments ({message})") from error

    # Precision

    def _check_precision(self, op: Any) -> None:
        """Of a layer or a model: what it computes in, and what its numbers are stored in."""
        for dtype in (getattr(op, "compute_dtype", None), getattr(op, "variable_dtype", None)):
            if dtype is not None:
                self._check_dtype(op, dtype)

    def _is_fine(self, dtype: str) -> bool:
        return dtype in _FULL or (self._halves and dtype in ("float16", "bfloat16"))

    def _check_dtype(self, op: Any, dtype: str) -> None:
        if self._is_fine(dtype):
            self.dtypes.add(dtype if dtype in _FULL else "float32")
            return
        name = f"layer {self._named(op)}"
        if dtype in ("float16", "bfloat16") or dtype.startswith("float"):
            raise Refusal(
                f"{name}: it computes in {dtype}, whose rounding is far above that of float32, so that a bound in real "
                "arithmetic would not hold for what predict computes. Use float32, or lipschitz_lower_bound"
            )
        raise Refusal(f"{name}: it computes in {dtype}, and rounding is not Lipschitz")


def _rule_of(call: Call) -> Rule:
    """The rule for a call, if it knows each argument of the class.

    Raises:
        Refusal: there is none, or it does not.
    """
    name = type(call.op).__name__.lower()
    if call.kind in REASONS:
        raise call.refused(REASONS[call.kind])
    if call.kind.startswith("ops.") and name in STEEP:
        raise call.refused(f"{name} {STEEP[name]}")
    rule = RULES.get(call.kind)
    if rule is None:
        raise call.unknown()
    kind: type = type(call.op)
    names = arguments_of(kind)
    if isinstance(call.op, keras.Layer):  # some arguments are not in the signature
        # Nothing is saved, so a function that cannot be does no harm.
        with warnings.catch_warnings(), suppress(Exception):
            warnings.simplefilter("ignore")
            names = names | call.op.get_config().keys()
    for name in sorted(names):
        if name not in rule.takes and not is_common(name):
            raise call.unknown(f"the argument {name!r} of {type(call.op).__name__!r}")
    return rule


def _bound(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call by their names.

    Raises:
        Refusal: a mask, which no rule knows.
    """
    bound = inspect.signature(call.op.call).bind(*args, **kwargs)
    given: dict[str, Any] = {}
    for name, parameter in bound.signature.parameters.items():
        value = bound.arguments.get(name)
        if name not in bound.arguments or name == "training":  # the model predicts, whatever a layer was told
            continue
        if name.endswith("mask") and value is not None:
            raise call.unknown(f"{type(call.op).__name__!r} with a mask")
        if parameter.kind is parameter.VAR_KEYWORD and value:
            raise call.unknown(f"the argument {next(iter(value))!r} of {type(call.op).__name__!r}")
        if not name.endswith("mask"):
            given[name] = value
    return given
