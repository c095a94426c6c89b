"""Calls of PyTorch's operations in an exported graph: what they take and give, and what is said of refused ones."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from artclip import graph as G

BATCH = 3  # samples that the model is traced with

Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}
"""Overload of an operation, as ``conv2d.default`` -> what makes nodes of a call: a function of the call and of all
arguments in the operation's schema, by their names. One that a rule does not name is never passed over."""


def rule(*overloads: str) -> Callable[[Rule], Rule]:
    """Register a rule for overloads whose schemas have just the arguments that it names, or lack some with defaults."""

    def register(function: Rule) -> Rule:
        for overload in overloads:
            RULES[overload] = function
        return function

    return register


def arguments_of(function: Rule) -> dict[str, bool] | None:
    """The arguments that a rule takes into account, and whether all its overloads have them: those without a default.

    ``None`` where it runs the operation itself.
    """
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name: p.default is p.empty for p in parameters}


@dataclass(frozen=True)
class Held:
    """A tensor that depends on the input: the node that has it, and the shape of one sample.

    Entries of the node are those of the tensor, row by row.
    """

    place: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def index(self) -> np.ndarray:
        """Of each entry, in the tensor's shape."""
        return np.arange(self.size).reshape(self.shape)


@dataclass(frozen=True)
class Refused:
    """A result that has no Lipschitz constant, and why: an error for whoever uses it."""

    why: str


PLACES = Refused("it takes the places of the largest entries, which jump, so it is not Lipschitz")


class Call:
    """One call: its name in the model, the shapes of its results, and how nodes are put for it."""

    def __init__(self, node: Any, nodes: list[G.Node]) -> None:
        self.node, self.name, self.nodes = node, _layer_name(node), nodes
        value = node.meta.get("val")
        self.results = list(value) if isinstance(value, (list, tuple)) else [value]

    @property
    def operation(self) -> str:
        """What is called, as ``conv2d``."""
        return str(self.node.target).split("::")[-1].removeprefix("aten.").split(".")[0]

    def refused(self, why: str) -> ValueError:
        """What to raise."""
        return ValueError(f"layer {self.name}: {why}")

    def unknown(self, what: str) -> ValueError:
        """What to raise where there is no rule."""
        return self.refused(
            f"no rule for {what}, so there is no upper bound. Use lipschitz_lower_bound, or write the layer with "
            "operations that have one"
        )

    def shape(self, i: int = 0) -> tuple[int, ...]:
        """Of one sample of a result."""
        shape = tuple(self.results[i].shape)
        if shape[:1] != (BATCH,):
            raise self.refused(f"{self.operation} mixes samples: it gives {shape} for a batch of {BATCH}")
        return shape[1:]

    def put(self, operation: G.Operation, *parents: Held, shape: tuple[int, ...] | None = None, what: str = "") -> Held:
        """One more node; its shape is that of the result, if none is given."""
        shape = self.shape() if shape is None else shape
        name = f"{self.name} ({what})" if what else self.name
        if isinstance(operation, G.Gather) and operation is G.IDENTITY:
            return Held(parents[0].place, shape)
        self.nodes.append(G.Node(name, operation, tuple(p.place for p in parents), math.prod(shape)))
        return Held(len(self.nodes) - 1, shape)

    def gathered(self, x: Held, index: np.ndarray, what: str = "") -> Held:
        """The tensor that has in each place the entry of x at the index, -1 for 0."""
        entries = index.ravel()
        if len(entries) == x.size and np.array_equal(entries, np.arange(x.size)):
            return Held(x.place, index.shape)
        return self.put(G.Gather(entries), x, shape=index.shape, what=what)

    def joined(self, tensors: Sequence[Held], what: str) -> Held:
        """Tensors side by side, flattened."""
        if len(tensors) == 1:
            return Held(tensors[0].place, (tensors[0].size,))
        return self.put(G.Concat(), *tensors, shape=(sum(t.size for t in tensors),), what=what)

    def broadcast(self, x: Held, shape: tuple[int, ...]) -> Held:
        """The tensor in another shape, as arithmetic broadcasts it."""
        if x.shape == shape:
            return x
        if len(x.shape) != len(shape) and x.size != 1 and math.prod(x.shape) != math.prod(shape):
            # Axes are aligned from the right, so that the batch of x would meet another axis.
            raise self.refused(f"it broadcasts {(BATCH, *x.shape)} to {(BATCH, *shape)}, which mixes samples")
        if len(x.shape) != len(shape):
            raise self.refused(f"it joins shapes {(BATCH, *x.shape)} and {(BATCH, *shape)}, which mixes samples")
        return self.gathered(x, np.broadcast_to(x.index, shape), "broadcast")

    def axis(self, axis: int, rank: int) -> int:
        """An axis of a tensor as one of a sample, which has ``rank`` axes."""
        place = int(axis) % (rank + 1)
        if place == 0:
            raise self.refused(f"{self.operation} goes over the axis of the batch, so it mixes samples")
        return place - 1

    def axes(self, axes: Any, rank: int) -> list[int]:
        """Several of them; no list, or an empty one, stands for all."""
        if axes is None or (isinstance(axes, (list, tuple)) and not axes):
            raise self.refused(f"{self.operation} goes over all axes, the batch among them, so it mixes samples")
        return sorted(self.axis(a, rank) for a in (axes if isinstance(axes, (list, tuple)) else [axes]))

    def array(self, value: Any, what: str = "its weight") -> np.ndarray:
        """A constant as float64."""
        if isinstance(value, Held):
            raise self.refused(f"{what} depends on the input, so it is not globally Lipschitz")
        array = as_array(value) if isinstance(value, torch.Tensor) else np.asarray(value, dtype=np.float64)
        if not np.isfinite(array).all():
            raise self.refused(f"{what} has NaN or infinite entries, so there is no bound")
        return array

    def entries(self, value: Any, shape: tuple[int, ...], what: str = "a constant") -> np.ndarray:
        """A constant as one number for each entry of a sample."""
        whole = np.broadcast_to(self.array(value, what), (BATCH, *shape))
        if not (whole == whole[:1]).all():
            raise self.refused(f"{what} differs from sample to sample, so it mixes samples")
        return whole[0].ravel()


def _layer_name(node: Any) -> str:
    """Name of the module that the operation belongs to, as ``layer1.0.conv1``, and of the operation."""
    path = next((path for path, _ in reversed((node.meta.get("nn_module_stack") or {}).values()) if path), "")
    for prefix in ("model._model.", "model."):
        path = path.removeprefix(prefix)
    path = "" if path in ("model", "_model") else path
    name = re.sub(r"^_native_batch_norm_legit_no_training", "BatchNorm", str(node.name))
    return f"{path} ({re.sub(r'_[0-9]+$', '', name)})" if path else name


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A constant tensor in float64."""
    return tensor.detach().cpu().to(torch.float64).numpy()
