"""A PyTorch module as a program of operations, by ``torch.export``; the module stays as it is."""

from __future__ import annotations

import io
import logging
import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from artclip.frameworks.pytorch.function import buffers_kept

_SAME = 1e-5  # relative difference of weights from one call to the next: iterations go on from where they were


class Outputs(nn.Module):
    """A model as ART's ``predict`` calls it: its wrapper gives a list, of which the last counts."""

    def __init__(self, model: nn.Module, wrapped: bool) -> None:
        super().__init__()
        self.model, self._wrapped = model, wrapped

    def forward(self, x: torch.Tensor) -> Any:
        outputs = self.model(x)
        return outputs[-1] if self._wrapped else outputs


def traced(outputs: Outputs, x: torch.Tensor) -> Any:
    """The program that a model runs for a batch of inputs, in functional form.

    Weights that are computed from others, by ``torch.nn.utils.parametrize``, are a part of it. Where that cannot be
    traced, as where they are had by iterations, they are taken for the constants that they are for a net that predicts.

    Raises:
        ValueError: it cannot be had.
    """
    try:
        with untouched(outputs):  # what fails midway leaves tensors of its own behind
            return _program(outputs, x)
    except Exception as error:  # torch.export raises whatever it likes
        try:
            with _weights_as_they_are(outputs):
                return _program(outputs, x)
        except Exception:
            raise ValueError(
                f"the model cannot be read as a graph of layers, so there is no upper bound: {_why(error)}"
            ) from error


def _program(outputs: Outputs, x: torch.Tensor) -> Any:
    with torch.no_grad(), _silent():
        program = torch.export.export(outputs, (x,), strict=False)
        if any(_writes(node) for node in program.graph.nodes):
            _skip_dropout(program.graph)
            program = program.run_decompositions({})
    return program


@contextmanager
def _weights_as_they_are(module: nn.Module) -> Iterator[None]:
    """Inside, parametrised weights are computed no more.

    Raises:
        ValueError: there are none, or they change from one call to the next.
    """
    outside = [m for path, m in module.named_modules() if "parametrizations" not in path.split(".")]
    held = [(m, name) for m in outside if parametrize.is_parametrized(m) for name in m.parametrizations]
    with torch.no_grad():
        before = [getattr(m, name).clone() for m, name in held]
        off = [float((getattr(m, name) - w).norm() / w.norm()) for (m, name), w in zip(held, before, strict=True)]
        if not held or not max(off) < _SAME:
            raise ValueError("there are no such weights, or they change")
        with parametrize.cached():
            for m, name in held:
                getattr(m, name)
            yield


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Inside, the module is in eval mode; afterwards it has the modes, attributes and buffers that it had."""
    states = [(vars(m), dict(vars(m)), list(_containers(vars(m)))) for m in module.modules()]
    with buffers_kept(module):
        try:
            for m in module.modules():
                m.training = False
            yield
        finally:
            for attributes, before, containers in states:
                attributes.clear()
                attributes.update(before)
                for container, entries in containers:
                    container.clear()
                    fill = container.extend if isinstance(container, (list, deque)) else container.update
                    fill(entries)


def _containers(value: Any, depth: int = 3) -> Iterator[tuple[Any, Any]]:
    """The containers inside of a dict or a list, and what they hold: caches, parameters, hooks."""
    for inner in value.values() if isinstance(value, dict) else value:
        if type(inner) in (dict, OrderedDict, defaultdict, list, deque, set):
            yield inner, inner.copy()
            if depth and not isinstance(inner, set):
                yield from _containers(inner, depth - 1)


@contextmanager
def _silent() -> Iterator[None]:
    """Without what PyTorch logs and warns of before it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


_CAUSES = {
    "data-dependent": "forward asks for the value of a tensor, as in `if x.sum() > 0` or `x.item()`",
    "fake tensor": "forward goes around the record of operations, as x.data does; write x.detach()",
    "inference tensor": "its weights were made in torch.inference_mode(); make, or load, them outside of it",
    "__obj_flatten__": "it is quantised, and has no weights in floating point",
}


def _why(error: Exception) -> str:
    """What kept a model from being read, in words of its author, if it is known."""
    message = str(error).strip()
    known = next((cause for sign, cause in _CAUSES.items() if sign in message), None)
    return known or f"torch.export says {next(iter(message.splitlines()), type(error).__name__)}"


def _writes(node: Any) -> bool:
    """Whether the operation changes a tensor in place."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _skip_dropout(graph: Any) -> None:
    """Take a dropout that is off out of a graph: it gives the tensor that it takes, of which PyTorch would make a copy.

    What is written into one of the two is written into the other.
    """
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.dropout.default):
        x, p, train = node.args
        if p == 0 or not train:
            node.replace_all_uses_with(x, delete_user_cb=lambda user: user.op != "output")
