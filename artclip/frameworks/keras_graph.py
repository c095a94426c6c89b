"""A Keras model as a graph of layers: its functional graph is run, on the places of tensors instead of values."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from artclip.frameworks.keras_nodes import Call, Tensor, array
from artclip.frameworks.keras_rules import JOINS, Rules
from artclip.frameworks.preprocessing import graph_with_scaling
from artclip import graph as G

# In eval mode these hand on their input.
_SAME = frozenset(
    (
        *("identity", "dropout", "spatialdropout1d", "spatialdropout2d", "spatialdropout3d", "alphadropout"),
        *("gaussiandropout", "gaussiannoise", "activityregularization", "stopgradient", "randomflip", "randomrotation"),
        *("randomtranslation", "randomzoom", "randomcontrast", "randombrightness"),
    )
)
# These move entries, drop or repeat some, and compute nothing.
_MOVES = frozenset(
    (
        *("flatten", "reshape", "permute", "repeatvector", "cropping1d", "cropping2d", "cropping3d", "upsampling1d"),
        *("upsampling2d", "upsampling3d", "transpose", "swapaxes", "moveaxis", "squeeze", "expanddims", "flip"),
        *("getitem",),
    )
)
# Activations without parameters, by the names of Keras and TensorFlow without underscores.
_PLAIN = {
    **{k: G.ACTIVATIONS[k] for k in ("relu6", "tanh", "softplus", "sigmoid", "hardtanh", "hardsigmoid", "selu")},
    **{k: G.ACTIVATIONS[k] for k in ("softsign", "gelu", "silu", "mish", "hardswish")},
    **{"swish": G.ACTIVATIONS["silu"], "hardsilu": G.ACTIVATIONS["hardswish"], "sparsesigmoid": G.Activation(0.0, 0.5)},
    **dict.fromkeys(("logsigmoid", "tanhshrink", "squareplus", "sparseplus"), G.Activation(0.0, 1.0)),
    **dict.fromkeys(("absolute", "abs"), G.Activation(-1.0, 1.0)),
}
_STEEP = ("exponential", "exp", "square", "log", "sqrt", "power", "reciprocal", "glu", "threshold", "hardshrink")


def read(model: Any, input_shape: tuple[int, ...]) -> tuple[list[G.Node], int]:
    """The nodes of the model in eval mode, each after its parents, and the number of inputs.

    Inputs and outputs are flattened in Keras's order.

    Raises:
        ValueError: a model that is no graph of layers, an operation for which there is no rule, or one that is not
            Lipschitz, with the layer's name.
    """
    return _Reader().nodes(model, Tensor(-1, tuple(input_shape))), math.prod(input_shape)


def of_estimator(f: Any) -> tuple[list[G.Node], int]:
    """The graph of an adapter of an ART estimator: raw inputs in, its scaling first."""
    return graph_with_scaling(f, read)


def _root(thing: Any) -> str:
    """The package that a class or a function comes from."""
    return str(getattr(thing, "__module__", None)).split(".")[0]


class _Reader(Rules):
    def __init__(self) -> None:
        super().__init__()
        self._inside: tuple[str, ...] = ()  # names of the models around the layer

    def nodes(self, model: Any, x: Tensor) -> list[G.Node]:
        """All nodes; the output is the last."""
        outputs = keras.tree.flatten(self._model(model, [x]))
        if len(outputs) != 1:
            raise ValueError(f"the model has {len(outputs)} outputs; only a model with one has an upper bound")
        output = self.laid(outputs[0], False)
        if output.place < 0 or output.place != len(self._nodes) - 1:
            self.put("output", G.Reorder(), (output,), output.shape)
        return self._nodes

    def _model(self, model: Any, inputs: list[Tensor]) -> Any:
        graph = model._functional if isinstance(model, keras.Sequential) else model
        calls = [getattr(type(model), name, None) for name in ("call", "__call__")]
        if not isinstance(graph, keras.Function) or any(_root(c) != "keras" for c in calls):
            name = "/".join((*self._inside, str(getattr(model, "name", "the model"))))
            raise ValueError(
                f"{name} is a {type(model).__module__}.{type(model).__qualname__}, not a graph of Keras layers, so "
                "there is no upper bound. Build it as keras.Sequential([...]) or as a functional "
                "keras.Model(inputs, outputs), or use lipschitz_lower_bound"
            )
        if len(inputs) != len(graph.inputs):
            raise ValueError(f"the model has {len(graph.inputs)} inputs; only a model with one has an upper bound")
        for x, like in zip(inputs, graph.inputs, strict=True):
            if len(x.shape) != len(like.shape) - 1 or not keras.backend.is_float_dtype(like.dtype):
                raise ValueError(
                    f"input {like.name} of the model has shape {like.shape} and type {like.dtype}; expected "
                    f"floating-point numbers of shape {(None, *x.shape)}"
                )
        return graph._run_through_graph(inputs, operation_fn=lambda op: functools.partial(self.apply, op))

    def apply(self, op: Any, *args: Any, **kwargs: Any) -> Any:
        call = Call(op, "/".join((*self._inside, op.name)), (args, kwargs))
        if isinstance(op, keras.Model):
            around, self._inside = self._inside, (*self._inside, op.name)
            outputs = self._model(op, call.tensors)
            self._inside = around
            return outputs
        if _root(type(op)) != "keras":  # whatever it derives from, it may do anything
            raise call.unknown()
        policy = getattr(op, "dtype_policy", None)
        if getattr(op, "quantization_mode", None) or getattr(policy, "quantization_mode", None):
            raise call.refused("it is quantized, and rounding is not Lipschitz")
        if not keras.backend.is_float_dtype(getattr(op, "compute_dtype", None) or "float32"):
            raise call.refused(f"it computes in {op.compute_dtype}, and rounding is not Lipschitz")
        kind = call.kind.lower()
        if kind not in JOINS and len(call.tensors) != 1:
            raise call.unknown(f"{call.kind!r} of {len(call.tensors)} tensors")
        if kind in _SAME:
            return call.x
        if kind in _MOVES:
            return self._moved(call)
        rule = getattr(self, f"rule_{kind}", None)
        return self._entrywise(call, kind, op, call.name) if rule is None else rule(call)

    def _moved(self, call: Call) -> Tensor:
        """An operation that moves entries, found by what it does to their indices, in two samples."""
        if getattr(call.op, "interpolation", "nearest") != "nearest":
            raise call.unknown(f"{call.kind!r} with interpolation {call.op.interpolation!r}")
        x = call.x
        batch = np.stack([x.index, x.index + x.size]).astype(np.int32)
        args, kwargs = keras.tree.map_structure(lambda a: batch if isinstance(a, Tensor) else a, call.arguments)
        moved = keras.ops.convert_to_numpy(call.op(*args, **kwargs))
        if moved.shape[:1] != (2,) or not np.array_equal(moved[1], moved[0] + x.size):
            raise call.refused("it moves entries between samples")
        return self.picked(call.name, x, moved[0], x.first and moved.ndim > 2)

    def activated(self, call: Call, x: Tensor) -> Tensor:
        function = call.op.activation
        if function in (None, keras.activations.linear):
            return x
        if isinstance(function, keras.Operation):  # a layer as an activation
            return self.apply(function, x)
        kind, call = getattr(function, "__name__", repr(function)), replace(call, arguments=x)
        if _root(function) not in ("keras", "tensorflow"):
            raise call.unknown(f"the activation {kind!r}")
        # TensorFlow has softmax_v2 and log_softmax_v2.
        return self._entrywise(call, kind.removesuffix("_v2").replace("_", ""), None, f"{call.name} ({kind})")

    def rule_activation(self, call: Call) -> Tensor:
        return self.activated(call, call.x)

    def rule_cast(self, call: Call) -> Tensor:
        if not keras.backend.is_float_dtype(call.op.dtype):
            raise call.refused(f"it rounds to {call.op.dtype}, which is not Lipschitz")
        return call.x

    def _entrywise(self, call: Call, kind: str, parameters: Any, name: str) -> Tensor:
        """An activation, which keeps shape and order."""
        operation = _activation(call, kind, parameters)
        if operation is None:
            raise call.unknown("" if parameters is call.op else repr(kind))
        return self.put(name, operation, (call.x,), call.x.shape, call.x.first)


def _activation(call: Call, kind: str, parameters: Any) -> G.Operation | None:
    """An activation with its parameters, ``None`` for Keras's defaults; ``None`` where there is no rule."""

    def of(name: str, default: float) -> float:
        return float(getattr(parameters, name, default))

    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _STEEP:
        raise call.refused(f"{kind} is not globally Lipschitz")
    if kind == "relu":
        slope = of("negative_slope", 0.0)
        if of("threshold", 0.0):
            raise call.refused("a ReLU with a threshold jumps there, so it is not Lipschitz")
        if getattr(parameters, "max_value", None) is None:
            return G.leaky_relu(float(np.float32(slope)))  # as TensorFlow takes it
        return G.Activation(min(0.0, slope), max(1.0, slope))
    if kind == "leakyrelu":
        return G.leaky_relu(float(np.float32(of("negative_slope", 0.2))))
    if kind == "prelu":
        slopes = array(parameters.alpha)
        low, high = float(slopes.min()), float(slopes.max())
        return G.leaky_relu(low) if low == high else G.Activation(min(1.0, low), max(1.0, high))
    if kind == "elu":
        alpha = of("alpha", 1.0)
        return G.Activation(min(0.0, alpha), max(1.0, alpha))
    if kind in ("softmax", "logsoftmax"):
        # Over some axes of several it is many of them side by side, whose norm is that of one.
        over = [call.axis(a) for a in keras.tree.flatten(getattr(parameters, "axis", -1))]
        return G.log_softmax(math.prod(call.x.shape[i] for i in over)) if kind == "logsoftmax" else G.SOFTMAX
    return None
