"""A PyTorch model as a graph of layers, read by ``torch.export``.

Read is what ART's ``predict`` runs, in functional form: operations in place count, whatever they write to. Each
operation has a rule that takes all its arguments, or the model is refused.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from artclip import graph as G
from artclip.frameworks.preprocessing import graph_with_scaling
from artclip.frameworks.pytorch import (  # noqa: F401  each registers its rules
    normalisations,
    reshaping,
    weights,
    windows,
)
from artclip.frameworks.pytorch.calls import BATCH, RULES, Call, Held, Refused, arguments_of, as_array
from artclip.frameworks.pytorch.rules import REASONS
from artclip.frameworks.pytorch.tracing import Outputs, traced, untouched

_CASTS = ("to.dtype", "to.dtype_layout", "to.device", "to.other", "_to_copy.default", "type_as.default")
_UNSET = ("empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided")


def read(module: nn.Module, input_shape: tuple[int, ...], wrapped: bool = False, halves: bool = False) -> G.LayerGraph:
    """The graph of a module in eval mode; the module stays as it is, its buffers and attributes included.

    Args:
        module: to be read.
        input_shape: of one input.
        wrapped: whether the module is ART's wrapper, which gives a list.
        halves: whether layers may compute in half precision, where only their weights are asked for.

    Raises:
        ValueError: an operation for which there is no rule, or one that is not Lipschitz, with the layer's name.
    """
    if any(isinstance(m, torch.jit.ScriptModule) for m in module.modules()):
        raise ValueError(
            "the model is a TorchScript program, whose layers cannot be read, so there is no upper bound; give the "
            "module itself, as mynet:Net --weights FILE, or use lipschitz_lower_bound"
        )
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    x = torch.zeros((BATCH, *input_shape), dtype=like.dtype, device=like.device)
    outputs = Outputs(module, wrapped)
    with untouched(module):
        program = traced(outputs, x)
        return _Reader(program, outputs, halves).graph(input_shape)


def of_estimator(f: Any, halves: bool = False) -> G.LayerGraph:
    """The graph of an adapter: raw inputs in, the scaling of an ART estimator first."""
    if not hasattr(f, "estimator"):
        return read(f.module, f.input_shape, halves=halves)
    return graph_with_scaling(f, lambda _, shape: read(f.module, shape, wrapped=True, halves=halves))


def _cast(call: Call, /, **values: Any) -> Held:
    held = next(v for v in values.values() if isinstance(v, Held))
    return Held(held.place, call.shape())


class _Reader:
    def __init__(self, program: Any, module: nn.Module, halves: bool) -> None:
        self._program, self._module, self._nodes = program, module, list[G.Node]()
        self._halves, self._precision = halves, 0.0
        self._values: dict[str, Any] = {}  # Held, Refused, constants, or lists of them
        signature = program.graph_signature
        changed = [*signature.buffers_to_mutate.values(), *getattr(signature, "parameters_to_mutate", {}).values()]
        if changed:
            raise ValueError(
                f"forward changes the buffer {changed[0].removeprefix('model.')!r}, so outputs depend on earlier calls "
                "and there is no bound; change it in train mode alone"
            )
        tensors = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        tensors |= getattr(signature, "inputs_to_lifted_tensor_constants", {})
        for node in program.graph.nodes:
            if node.op == "placeholder":
                if node.name in tensors:
                    name = tensors[node.name]
                    self._values[node.name] = program.state_dict.get(name, program.constants.get(name))
                else:
                    self._values[node.name] = Held(-1, tuple(node.meta["val"].shape[1:]))

    def graph(self, input_shape: tuple[int, ...]) -> G.LayerGraph:
        """All nodes, the output last."""
        size = Held(-1, input_shape).size
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                pool = self._power_pool(node)
                if pool is None:
                    self._values[node.name] = self._read(node)
                elif node is pool[1][-1]:
                    module, parts = pool
                    call, x = Call(node, self._nodes), self._values[parts[0].args[0].name]
                    taken = module.norm_type, module.kernel_size, module.stride, module.ceil_mode
                    self._values[node.name] = windows.power_pool(call, x, *taken)
            elif node.op == "output":
                output = self._output(node)
        if output.place != len(self._nodes) - 1 or not self._nodes:
            self._nodes.append(G.Node("output", G.Gather(), (output.place,), output.size))
        return G.LayerGraph(self._nodes, size, self._precision).pruned()

    def _power_pool(self, node: Any) -> tuple[Any, list[Any]] | None:
        """The module ``LPPool`` that an operation is a part of, and all operations of that call."""
        stack = list((node.meta.get("nn_module_stack") or {}).items())
        if not stack or "LPPool" not in str(stack[-1][1][1]):
            return None
        key, (path, _) = stack[-1]
        parts = [n for n in self._program.graph.nodes if key in (n.meta.get("nn_module_stack") or {})]
        return self._module.get_submodule(path), parts

    def _output(self, node: Any) -> Held:
        # What the graph gives besides are inputs that forward changed: predict hands in a copy.
        names = [s.arg.name for s in self._program.graph_signature.output_specs if s.kind.name == "USER_OUTPUT"]
        if len(names) != 1:
            raise ValueError(f"the model gives {len(names)} outputs; only a model that gives one tensor has a bound")
        output = self._values[names[0]]
        if isinstance(output, torch.Tensor) and len(output) == BATCH:  # the same for all inputs
            constant = as_array(output[:1]).ravel()
            self._nodes.append(G.Node("output", G.Gather(np.full(constant.size, -1), constant), (-1,), constant.size))
            return Held(len(self._nodes) - 1, tuple(output.shape[1:]))
        if not isinstance(output, Held):
            why = output.why if isinstance(output, Refused) else "they are no tensor that depends on the input"
            raise ValueError(f"the model's outputs have no bound: {why}")
        return output

    def _read(self, node: Any) -> Any:
        call = Call(node, self._nodes)
        if node.target is operator.getitem:
            return self._values[node.args[0].name][node.args[1]]
        if getattr(operator, getattr(node.target, "__name__", ""), None) is node.target:  # of sizes
            return self._constant(call, node)
        schema = getattr(node.target, "_schema", None)
        if schema is None or node.target.namespace not in ("aten", "prims"):
            what = "autocast" if "autocast" in str(node.target) else str(node.target)
            why = "rounds to half precision inside" if what == "autocast" else "has no rule"
            raise call.refused(f"{what} {why}, so there is no upper bound")
        if call.operation.startswith("_assert"):  # has no result
            return None
        if call.operation == "sym_size":  # of what a mask takes
            of, axis = self._values[node.args[0].name], node.args[1]
            return (BATCH, *of.shape)[axis] if isinstance(of, Held) else of.shape[axis]
        values = {a.name: a.default_value for a in schema.arguments}
        values |= {a.name: value for a, value in zip(schema.arguments, node.args, strict=False)} | dict(node.kwargs)
        values = pytree.tree_map_only(torch.fx.Node, lambda n: self._values[n.name], values)
        leaves = pytree.tree_leaves(values, is_leaf=lambda v: isinstance(v, (Held, Refused)))
        for value in leaves:
            if isinstance(value, Refused):
                raise call.refused(value.why)
        draws = torch.Tag.nondeterministic_seeded in node.target.tags
        if draws and str(node.target).removeprefix("aten.") not in RULES and call.operation not in REASONS:
            raise call.refused(f"{call.operation} draws random numbers, so outputs are random and have no bound")
        if not any(isinstance(value, Held) for value in leaves):
            return self._constant(call, node)
        kinds = {str(kind).rpartition(".")[2] for _, kind in (node.meta.get("nn_module_stack") or {}).values()}
        if "MultiheadAttention" in kinds:  # its first operations would be refused for lesser reasons
            raise call.refused(REASONS["scaled_dot_product_attention"])
        return self._by_rule(call, node, values)

    def _constant(self, call: Call, node: Any) -> Any:
        """What an operation makes of constants alone."""
        if call.operation in _UNSET:
            raise call.refused(f"{call.operation} gives whatever is in memory, so outputs are random")
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: self._values[n.name])
        with torch.no_grad():
            return node.target(*args, **kwargs)

    def _by_rule(self, call: Call, node: Any, values: dict[str, Any]) -> Any:
        overload = str(node.target).removeprefix("aten.")
        rule = _cast if overload in _CASTS else RULES.get(overload)
        if rule is None:
            why = REASONS.get(call.operation)
            raise call.unknown(repr(overload.removesuffix(".default"))) if why is None else call.refused(why)
        self._dtype(call)
        names = arguments_of(rule)
        if names is not None:
            strange = set(values) - set(names) or {name for name, needed in names.items() if needed} - set(values)
            if strange:
                raise call.unknown(f"{overload!r} with the argument {', '.join(sorted(strange))}")
        return rule(call, **values)

    def _dtype(self, call: Call) -> None:
        result = call.results[0]
        if not isinstance(result, torch.Tensor):
            raise call.unknown(f"{call.operation}, which gives no tensor")
        if result.dtype in (torch.float16, torch.bfloat16) and not self._halves:
            raise call.refused(
                f"it computes in {str(result.dtype).removeprefix('torch.')}, whose rounding is so coarse that a bound "
                "in real arithmetic says little of predict; use model.float()"
            )
        if not result.dtype.is_floating_point:
            raise call.refused(f"{call.operation} gives {result.dtype}: it rounds or compares, so it is not Lipschitz")
        self._precision = max(self._precision, torch.finfo(result.dtype).eps)
