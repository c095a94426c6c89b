"""Calls of Keras's layers and operations: rules for them, the arguments that rules know, and what is said of others."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np

from artclip import graph as G
from artclip.frameworks.keras.nodes import Nodes, Tensor, flat

# Arguments that change nothing of what a layer computes when it predicts. A mask has to be absent.
COMMON = frozenset(("name", "trainable", "dtype", "autocast", "activity_regularizer", "seed", "training", "mask"))
# What came of these is in the weights.
_HARMLESS = ("_initializer", "_regularizer", "_constraint")


class Refusal(ValueError):
    """What has no rule or no Lipschitz constant, by its name."""


class Rule(NamedTuple):
    """What makes nodes of a call, and the names of the arguments that it takes into account."""

    function: Callable[[Call], Any]
    takes: frozenset[str]
    tensors: int | None  # how many inputs it has; ``None``: any number


OWN: set[type] = set()
"""Layers of artclip itself that have a rule."""
RULES: dict[str, Rule] = {}
"""``layers.`` or ``ops.``, and the name of the class."""


def rule(kinds: str, takes: str = "", tensors: int | None = 1) -> Callable[[Any], Any]:
    """Register a rule.

    Args:
        kinds: names of classes, as ``layers.Conv2D``.
        takes: names of all arguments of the constructor and of ``call`` that are not common.
        tensors: how many inputs it has.
    """

    def register(function: Callable[[Call], Any]) -> Callable[[Call], Any]:
        for kind in kinds.split():
            RULES[kind] = Rule(function, frozenset(takes.split()), tensors)
        return function

    return register


def is_common(name: str) -> bool:
    """Whether an argument changes nothing of what a layer computes when it predicts."""
    return name in COMMON or name.endswith(_HARMLESS)


@functools.cache
def arguments_of(kind: type) -> frozenset[str]:
    """Names of the arguments of the constructor of a class and of its ``call``, the first input apart."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    init = list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
    call = list(inspect.signature(kind.call).parameters.values())[2:]  # type: ignore[attr-defined]
    return frozenset(p.name for p in (*init, *call) if p.kind in named)


class Net(Nodes):
    """The nodes so far, and what else a rule may ask of the reader.

    Attributes:
        dtypes: that layers compute in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[str] = set()

    def apply(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a layer or operation on tensors and constants."""
        raise NotImplementedError

    def apart(self) -> Net:
        """A reader for a network of its own inside this one."""
        raise NotImplementedError


@dataclass(frozen=True)
class Call:
    """A layer or operation of Keras, and what it is called with.

    Attributes:
        op: it.
        name: its name in the model.
        given: arguments of the call, by their names.
        dtype: of its result.
        net: the reader, where nodes are put.
    """

    op: Any
    name: str
    given: dict[str, Any]
    dtype: str
    net: Net

    @property
    def kind(self) -> str:
        """Name of the class, as in :data:`RULES`."""
        return f"{'layers' if isinstance(self.op, keras.Layer) else 'ops'}.{type(self.op).__name__}"

    @property
    def terms(self) -> list[Any]:
        """Tensors and constants that it is called with."""
        return [a for a in keras.tree.flatten(list(self.given.values())) if a is not None]

    @property
    def tensors(self) -> list[Tensor]:
        """Those that depend on the input."""
        return [a for a in self.terms if isinstance(a, Tensor)]

    @property
    def x(self) -> Tensor:
        """The input, or the first one."""
        return self.tensors[0]

    def __getitem__(self, name: str) -> Any:
        """An argument, of the call or of the constructor."""
        if name in self.given:
            return self.given[name]
        return getattr(self.op, name, None)

    def refused(self, why: str) -> Refusal:
        """What to raise."""
        return Refusal(f"layer {self.name}: {why}")

    def unknown(self, what: str = "") -> Refusal:
        """What to raise where there is no rule."""
        return self.refused(
            f"no rule for {what or repr(type(self.op).__name__)}, so there is no upper bound. Use "
            "lipschitz_lower_bound, or write the layer with operations that have one"
        )

    # Arguments

    def axis(self, axis: Any, rank: int | None = None) -> int:
        """An axis as Keras counts it, as one of a sample of ``rank`` axes; else of those of the input."""
        rank = len(self.x.shape) if rank is None else rank
        if axis is None or int(axis) % (rank + 1) == 0:
            raise self.refused("it joins samples of a batch")
        return int(axis) % (rank + 1) - 1

    def axes(self, axes: Any) -> list[int]:
        """One axis or several, in order; ``None`` stands for all, those of the batch among them."""
        return sorted({self.axis(a) for a in keras.tree.flatten(axes)} if axes is not None else {self.axis(None)})

    def array(self, value: Any, what: str = "its weights") -> np.ndarray:
        """A weight or a constant as float64, rounded as the layer rounds it."""
        if any(isinstance(a, Tensor) for a in keras.tree.flatten(value)):
            raise self.refused("it multiplies activations with each other, which is not globally Lipschitz")
        entries = np.asarray(keras.ops.convert_to_numpy(value))
        if np.issubdtype(entries.dtype, np.number):
            entries = entries.astype(self.dtype)
        if not np.isfinite(entries).all():
            raise self.refused(f"{what} have NaN or infinite entries, so there is no bound")
        return entries.astype(np.float64)

    def entries(self, constant: Any, x: Tensor | None = None) -> np.ndarray:
        """A constant as one number for each entry of a tensor, in the node's order; else of the input."""
        x = self.x if x is None else x
        shape = np.shape(constant)
        try:
            return flat(np.broadcast_to(constant, (1, *x.shape))[0], x.first)
        except ValueError:
            what = f"{type(self.op).__name__!r} of shape {x.shape} with a constant of shape {shape}"
            raise self.unknown(what) from None

    def added(self, x: Tensor, constant: Any) -> np.ndarray:
        """What Keras adds to each entry of a tensor, in the node's order.

        Keras's ``add`` takes a constant with one axis longer than 1 for a bias, of the last axis, if that fits, else of
        the first: not always as it would be broadcast.
        """
        zeros = keras.ops.zeros((2, *x.shape), self.dtype)
        sums = keras.ops.convert_to_numpy(keras.ops.add(zeros, keras.ops.cast(constant, self.dtype)))
        if sums.shape != (2, *x.shape) or not np.array_equal(sums[0], sums[1]):
            raise self.unknown(f"{type(self.op).__name__!r} of a tensor of shape {(None, *x.shape)} and constants")
        return flat(sums[0].astype(np.float64), x.first)

    # Nodes

    def put(
        self,
        operation: G.Operation,
        parents: Sequence[Tensor] = (),
        shape: tuple[int, ...] | None = None,
        first: bool | None = None,
        what: str = "",
    ) -> Tensor:
        """One more node; where nothing else is said, of the input, with its shape and order."""
        parents = parents or (self.x,)
        shape = parents[0].shape if shape is None else shape
        first = parents[0].first if first is None else first
        if operation is G.IDENTITY:
            return Tensor(parents[0].place, shape, first)
        return self.net.put(f"{self.name} ({what})" if what else self.name, operation, parents, shape, first)

    def along(
        self, matrices: dict[int, np.ndarray], shift: np.ndarray | float = 0.0, x: Tensor | None = None
    ) -> Tensor:
        """Matrices along some axes of the input."""
        return self.net.along(self.name, self.x if x is None else x, matrices, shift)

    def scaled(self, factors: Any, shift: Any = 0.0) -> Tensor:
        """Each entry times a number, plus a number."""
        return self.put(G.Scale(self.entries(factors), self.entries(shift)))

    def image(self) -> Tensor:
        """The input as an image that the node has with its channels first."""
        return self.net.laid(self.x, self["data_format"] != "channels_first")

    def broadcast(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A tensor with axes of one entry repeated."""
        if len(x.shape) < len(shape) and isinstance(self.op, keras.Layer):  # layers put the missing axes before
            x = Tensor(x.place, (1,) * (len(shape) - len(x.shape)) + x.shape, x.first)
        if x.shape == shape:
            return x
        if len(x.shape) != len(shape):
            raise self.refused(f"it joins shapes {(None, *x.shape)} and {(None, *shape)}, which mixes samples")
        ones = {i: np.ones((n, 1)) for i, (m, n) in enumerate(zip(x.shape, shape, strict=True)) if m != n}
        return self.net.along(f"{self.name} (broadcast)", x, ones)

    def alike(self, tensors: Sequence[Tensor], constants: Sequence[Any] = ()) -> list[Tensor]:
        """Tensors broadcast to one shape, with constants too, in one order."""
        try:
            whole = np.broadcast_shapes(*((1, *x.shape) for x in tensors), *(np.shape(c) for c in constants))
        except ValueError:
            whole = ()
        if len(whole) - 1 != max(len(x.shape) for x in tensors) or whole[0] != 1:
            shapes = ", ".join(str(np.shape(c) if not isinstance(c, Tensor) else (None, *c.shape)) for c in self.terms)
            raise self.unknown(f"{type(self.op).__name__!r} of shapes {shapes}")
        first = any(x.first for x in tensors)
        return [self.net.laid(self.broadcast(x, tuple(whole[1:])), first) for x in tensors]

    def of(self, x: Tensor) -> Call:
        """The same layer, but of another tensor: of its own result, for what comes after."""
        return replace(self, given={"x": x})
