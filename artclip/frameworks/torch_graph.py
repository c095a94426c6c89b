"""A PyTorch module as a graph of layers, read by ``torch.export``."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from artclip.frameworks.preprocessing import graph_with_scaling
from artclip.lipschitz import layers as L

# Operations that hand on their first argument: in eval mode, entries and their order stay.
_SAME = frozenset(
    (
        *("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "clone"),
        *("alias", "detach", "dropout", "feature_dropout", "alpha_dropout", "to", "_to_copy", "lift_fresh_copy"),
    )
)
# Operations with two arguments, that are broadcast to one shape.
_ENTRYWISE = frozenset(("add", "sub", "rsub", "mul", "div"))
_BATCH = 3  # samples that the model is traced with


def read(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[list[L.Node], int]:
    """The nodes of the module in eval mode, each after its parents, and the number of inputs.

    Raises:
        ValueError: an operation for which there is no rule, or one that is not Lipschitz, with the layer's name.
    """
    like = next(module.parameters(), torch.zeros(()))
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            program = torch.export.export(
                module, (torch.zeros((_BATCH, *input_shape), dtype=like.dtype, device=like.device),), strict=False
            )
    except Exception as error:
        raise ValueError(f"the model cannot be read as a graph of layers: torch.export says {error}") from error
    finally:
        for m, mode in modes:
            m.training = mode
    return _Reader(program).nodes(), math.prod(input_shape)


def of_estimator(f: Any) -> tuple[list[L.Node], int]:
    """The graph of an adapter of an ART estimator: raw inputs in, its scaling first."""
    return graph_with_scaling(f, read)


class _Reader:
    def __init__(self, program: Any) -> None:
        self._program, self._nodes = program, list[L.Node]()
        self._place: dict[str, int] = {}
        self._constants: dict[str, Any] = {}
        signature = program.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        constants = getattr(signature, "inputs_to_lifted_tensor_constants", {})
        for node in program.graph.nodes:
            if node.op == "placeholder":
                if node.name in names:
                    self._constants[node.name] = program.state_dict.get(
                        names[node.name], program.constants.get(names[node.name])
                    )
                elif node.name in constants:
                    self._constants[node.name] = program.constants[constants[node.name]]
                else:
                    self._place[node.name] = -1

    def nodes(self) -> list[L.Node]:
        """All nodes; the output is the last."""
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                self._read(node)
            elif node.op == "output":
                outputs = [a for a in torch.utils._pytree.tree_leaves(node.args) if isinstance(a, torch.fx.Node)]
                last = self._place[outputs[-1].name]  # ART takes the last output
        if last != len(self._nodes) - 1:
            self._append("output", L.Reorder(), (last,), self._nodes[last].size)
        return self._nodes

    def _append(self, name: str, operation: L.Operation, parents: tuple[int, ...], size: int) -> int:
        self._nodes.append(L.Node(name, operation, parents, size))
        return len(self._nodes) - 1

    def _value(self, argument: Any) -> np.ndarray | None:
        """A parameter or constant as float64, or ``None`` for something that depends on the input."""
        if isinstance(argument, (int, float)):
            return np.asarray(float(argument))
        if isinstance(argument, torch.fx.Node) and argument.name in self._constants:
            return self._constants[argument.name].detach().cpu().to(torch.float64).numpy()
        return None

    def _read(self, node: Any) -> None:
        kind = str(node.target).split("::")[-1].split(".")[1 if str(node.target).startswith("aten") else 0].rstrip("_")
        name = _layer_name(node)
        if kind.startswith("_assert"):  # has no result
            return
        if node.target is operator.getitem:  # of a sort: its values, or the order, which is not Lipschitz
            if node.args[1] == 0:
                self._place[node.name] = self._place[node.args[0].name]
            elif node.users:
                raise ValueError(f"layer {name}: it takes the order of a sort, which jumps, so it is not Lipschitz")
            return
        inputs = [a for a in torch.utils._pytree.tree_leaves((node.args, node.kwargs)) if isinstance(a, torch.fx.Node)]
        parents = tuple(self._place[a.name] for a in inputs if a.name in self._place)
        if not parents:  # computed from constants alone
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda a: self._constants[a.name])
            with torch.no_grad():
                self._constants[node.name] = node.target(*args, **kwargs)
            return
        arguments, result = _arguments(node), node.meta["val"]
        result = result[0] if kind == "sort" else result
        shape = tuple(node.args[0].meta["val"].shape) if isinstance(node.args[0], torch.fx.Node) else ()
        if isinstance(result, torch.Tensor) and (result.shape[:1] != (_BATCH,) or not result.is_floating_point()):
            raise ValueError(f"layer {name}: {kind} mixes samples, or rounds, so it is not Lipschitz")
        if kind in _SAME:
            self._place[node.name] = parents[0]
            return
        if kind in _ENTRYWISE:
            parents = tuple(self._expanded(name, a, result.shape) for a in inputs if a.name in self._place)
        operation = self._operation(kind, name, arguments, shape, node, parents)
        place = self._append(name, operation, parents, math.prod(result.shape[1:]))
        if kind == "cat":  # the parents one after the other; then as they lie along the axis
            place = self._append(name, self._along(inputs, int(arguments["dim"])), (place,), self._nodes[place].size)
        self._place[node.name] = place

    def _expanded(self, name: str, argument: Any, shape: tuple[int, ...]) -> int:
        """The place of an argument as it is broadcast to a shape."""
        own, place = tuple(argument.meta["val"].shape), self._place[argument.name]
        if math.prod(own) == math.prod(shape):
            return place
        index = np.broadcast_to(np.arange(math.prod(own)).reshape(own), shape)[0].ravel()
        return self._append(f"{name} (broadcast)", L.repeated(index), (place,), len(index))

    def _along(self, inputs: list[Any], axis: int) -> L.Operation:
        shapes = [tuple(a.meta["val"].shape[1:]) for a in inputs]
        starts = np.cumsum([0, *map(math.prod, shapes)])
        index = [np.arange(math.prod(s)).reshape(1, *s) + a for s, a in zip(shapes, starts[:-1], strict=True)]
        return L.Reorder(np.concatenate(index, axis).ravel())

    def _operation(
        self, kind: str, name: str, a: dict[str, Any], shape: tuple[int, ...], node: Any, parents: tuple[int, ...]
    ) -> L.Operation:
        rule = getattr(self, f"rule_{kind}", None)
        if rule is None and kind in L.ACTIVATIONS:
            return L.ACTIVATIONS[kind]
        if rule is None:
            raise ValueError(
                f"layer {name}: no rule for {kind!r}, so there is no upper bound. Use lipschitz_lower_bound, or write "
                "the layer with operations that have one"
            )
        return rule(name, a, shape, node, parents)

    def rule_linear(self, name: str, a: dict[str, Any], shape: tuple[int, ...], *_: Any) -> L.Operation:
        copies = math.prod(shape[1:-1])
        bias = 0.0 if a["bias"] is None else np.tile(self._needed(a["bias"], name), copies)
        return L.Dense(self._needed(a["weight"], name), copies, bias, self._live(a["weight"]))

    def _live(self, argument: Any) -> L.Live | None:
        """The parameter itself, if it is one that is being trained."""
        parameter = self._constants[argument.name]
        return (lambda: parameter) if parameter.requires_grad else None

    def _needed(self, argument: Any, name: str) -> np.ndarray:
        value = self._value(argument)
        if value is None:
            raise ValueError(f"layer {name}: its weight depends on the input, so it is not globally Lipschitz")
        return value

    def _shift(self, a: dict[str, Any], name: str, repeats: int) -> np.ndarray | float:
        return 0.0 if a.get("bias") is None else np.repeat(self._needed(a["bias"], name), repeats)

    def _convolution_of(
        self, name: str, a: dict[str, Any], spatial: tuple[int, ...], node: Any, transposed: bool
    ) -> L.Operation:
        d = len(spatial)
        padding = a.get("padding", 0)
        kernel = self._needed(a["weight"], name)
        dilation = _each(a.get("dilation", 1), d)
        if isinstance(padding, str):
            total = [(k - 1) * s if padding == "same" else 0 for k, s in zip(kernel.shape[2:], dilation, strict=True)]
            both = tuple((t // 2, t - t // 2) for t in total)
        else:
            both = tuple((p, p) for p in _each(padding, d))
        stride, groups = _each(a.get("stride", 1), d), int(a.get("groups", 1))
        shift = self._shift(a, name, math.prod(node.meta["val"].shape[2:]))
        live = self._live(a["weight"])
        return L.Convolution(kernel, spatial, stride, both, dilation, groups, transposed, shift, live)

    def rule_conv2d(self, name: str, a: dict[str, Any], shape: tuple[int, ...], node: Any, *_: Any) -> L.Operation:
        return self._convolution_of(name, a, shape[2:], node, transposed=False)

    rule_conv1d = rule_conv3d = rule_conv2d

    def rule_conv_transpose2d(
        self, name: str, a: dict[str, Any], shape: tuple[int, ...], node: Any, *_: Any
    ) -> L.Operation:
        return self._convolution_of(name, a, tuple(node.meta["val"].shape[2:]), node, transposed=True)

    rule_conv_transpose1d = rule_conv_transpose3d = rule_conv_transpose2d

    def rule_batch_norm(self, name: str, a: dict[str, Any], shape: tuple[int, ...], *_: Any) -> L.Operation:
        if a.get("training"):
            raise ValueError(f"layer {name}: BatchNorm in train mode depends on the batch")
        variance = self._needed(a["running_var"], name)
        weight = np.ones_like(variance) if a["weight"] is None else self._needed(a["weight"], name)
        factors = weight / np.sqrt(variance + a["eps"])
        shift = (0.0 if a["bias"] is None else self._needed(a["bias"], name)) - factors * self._needed(
            a["running_mean"], name
        )
        return L.Scale(*(np.repeat(t, math.prod(shape[2:])) for t in (factors, shift)))

    def rule_leaky_relu(self, name: str, a: dict[str, Any], *_: Any) -> L.Operation:
        slope = float(a.get("negative_slope", 0.01))
        return L.leaky_relu(slope)

    def rule_elu(self, name: str, a: dict[str, Any], *_: Any) -> L.Operation:
        alpha, scale, inner = (float(a.get(k, 1)) for k in ("alpha", "scale", "input_scale"))
        return L.Activation(0.0, scale * max(1.0, alpha * inner))

    def rule_sort(self, name: str, a: dict[str, Any], shape: tuple[int, ...], *_: Any) -> L.Operation:
        if int(a.get("dim", -1)) % len(shape) == 0:
            raise ValueError(f"layer {name}: it sorts samples, so there is no upper bound")
        return L.SORT

    def rule_softmax(self, *_: Any) -> L.Operation:
        return L.SOFTMAX

    def rule_log_softmax(self, name: str, a: dict[str, Any], shape: tuple[int, ...], *_: Any) -> L.Operation:
        return L.log_softmax(shape[int(a["dim"])])

    def rule_max_pool2d(self, name: str, a: dict[str, Any], shape: tuple[int, ...], *_: Any) -> L.Operation:
        d = len(shape) - 2
        sizes = _each(a["kernel_size"], d)
        strides = _each(a.get("stride") or sizes, d)
        reach = [(k - 1) * s + 1 for k, s in zip(sizes, _each(a.get("dilation", 1), d), strict=True)]
        return L.max_pool(math.prod(math.ceil(k / s) for k, s in zip(reach, strides, strict=True)))

    rule_max_pool1d = rule_max_pool3d = rule_max_pool2d

    def rule_avg_pool2d(self, name: str, a: dict[str, Any], shape: tuple[int, ...], *_: Any) -> L.Operation:
        d, channels = len(shape) - 2, shape[1]
        sizes = _each(a["kernel_size"], d)
        if a.get("ceil_mode") or not a.get("count_include_pad", True) or a.get("divisor_override"):
            raise ValueError(f"layer {name}: no rule for average pooling with ceil_mode, or without its padding")
        kernel = np.full((channels, 1, *sizes), 1 / math.prod(sizes))
        both = tuple((p, p) for p in _each(a.get("padding", 0), d))
        return L.Convolution(kernel, shape[2:], _each(a.get("stride") or sizes, d), both, (1,) * d, channels)

    rule_avg_pool1d = rule_avg_pool3d = rule_avg_pool2d

    def rule_adaptive_avg_pool2d(self, name: str, a: dict[str, Any], shape: tuple[int, ...], *_: Any) -> L.Operation:
        size = _each(a["output_size"], len(shape) - 2)
        if any(s != 1 for s in size):
            raise ValueError(f"layer {name}: no rule for adaptive average pooling to {size}; only to 1")
        return L.average_all(math.prod(shape[2:]))

    rule_adaptive_avg_pool1d = rule_adaptive_avg_pool3d = rule_adaptive_avg_pool2d

    def rule_mean(self, name: str, a: dict[str, Any], shape: tuple[int, ...], *_: Any) -> L.Operation:
        axes = sorted(int(i) % len(shape) for i in a["dim"])
        if axes != list(range(2, len(shape))):
            raise ValueError(f"layer {name}: no rule for a mean over axes {axes}; only over the spatial ones")
        return L.average_all(math.prod(shape[2:]))

    def _permuted(self, shape: tuple[int, ...], move: Callable[[np.ndarray], np.ndarray]) -> L.Operation:
        index = np.arange(math.prod(shape[1:])).reshape(1, *shape[1:])
        return L.Reorder(move(index).ravel())

    def rule_permute(self, name: str, a: dict[str, Any], shape: tuple[int, ...], *_: Any) -> L.Operation:
        axes = [int(i) % len(shape) for i in a["dims"]]
        if axes[0] != 0:
            raise ValueError(f"layer {name}: it moves the axis of the batch")
        return self._permuted(shape, lambda t: t.transpose(axes))

    def rule_transpose(self, name: str, a: dict[str, Any], shape: tuple[int, ...], *_: Any) -> L.Operation:
        first, second = int(a["dim0"]) % len(shape), int(a["dim1"]) % len(shape)
        if 0 in (first, second):
            raise ValueError(f"layer {name}: it moves the axis of the batch")
        return self._permuted(shape, lambda t: t.swapaxes(first, second))

    def _sum(self, node: Any, first: float, second: float) -> L.Operation:
        """Two arguments, each times a number; one of them may be a constant."""
        a, b = (self._value(argument) for argument in node.args[:2])
        if a is not None:
            return self._scaled(node, np.asarray(second), first * a)
        return L.Add((first, second)) if b is None else self._scaled(node, np.asarray(first), second * b)

    def rule_add(self, name: str, a: dict[str, Any], shape: Any, node: Any, *_: Any) -> L.Operation:
        return self._sum(node, 1.0, float(a.get("alpha", 1)))

    def rule_sub(self, name: str, a: dict[str, Any], shape: Any, node: Any, *_: Any) -> L.Operation:
        return self._sum(node, 1.0, -float(a.get("alpha", 1)))

    def rule_rsub(self, name: str, a: dict[str, Any], shape: Any, node: Any, *_: Any) -> L.Operation:
        return self._sum(node, -float(a.get("alpha", 1)), 1.0)

    def rule_mul(self, name: str, a: dict[str, Any], shape: Any, node: Any, parents: tuple[int, ...]) -> L.Operation:
        if len(parents) == 2:
            raise ValueError(f"layer {name}: a product of two activations is not globally Lipschitz")
        return self._scaled(node, next(v for v in map(self._value, node.args) if v is not None))

    def rule_div(self, name: str, a: dict[str, Any], shape: Any, node: Any, parents: tuple[int, ...]) -> L.Operation:
        value = self._value(node.args[1])
        if value is None:
            raise ValueError(f"layer {name}: a division by an activation is not globally Lipschitz")
        return self._scaled(node, 1 / value)

    def rule_neg(self, name: str, a: dict[str, Any], shape: Any, node: Any, *_: Any) -> L.Operation:
        return self._scaled(node, np.asarray(-1.0))

    def _scaled(self, node: Any, factors: np.ndarray, shift: np.ndarray | float = 0.0) -> L.Operation:
        return L.Scale(*(np.broadcast_to(t, node.meta["val"].shape)[0].ravel() for t in (factors, shift)))

    def rule_cat(self, *_: Any) -> L.Operation:
        return L.Concat()


def _each(value: Any, d: int) -> tuple[int, ...]:
    values = tuple(int(v) for v in value) if isinstance(value, (list, tuple)) else (int(value),)
    return values * d if len(values) == 1 else values


def _arguments(node: Any) -> dict[str, Any]:
    """Arguments by the names of the operation's schema, defaults included."""
    found = {}
    for i, argument in enumerate(node.target._schema.arguments):
        default = argument.default_value
        found[argument.name] = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, default)
    return found


def _layer_name(node: Any) -> str:
    """Name of the module that the operation belongs to, as ``layer1.0.conv1``, and of the operation."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return f"{path} ({node.name})" if path else str(node.name)
