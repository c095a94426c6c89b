"""Where tensors of a Keras model are held in the graph of layers, and the calls of layers on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from artclip import graph as G


def array(value: Any) -> np.ndarray:
    """A weight or a constant as float64."""
    return np.asarray(keras.ops.convert_to_numpy(value), dtype=np.float64)


@dataclass(frozen=True)
class Tensor:
    """One sample of a tensor of the model, and the node that has it.

    Attributes:
        place: index of the node; -1 is the input.
        shape: as Keras has it.
        first: whether the node has the last axis, of the channels, first; else it has Keras's order.
    """

    place: int
    shape: tuple[int, ...]
    first: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Shape of an image whose channels the node has first."""
        return self.shape[:-1] if self.first else self.shape[1:]

    @property
    def index(self) -> np.ndarray:
        """Of each entry, in Keras's shape, where the node has it."""
        if not self.first:
            return np.arange(self.size).reshape(self.shape)
        return np.moveaxis(np.arange(self.size).reshape(self.shape[-1:] + self.shape[:-1]), 0, -1)

    def image(self, channels: int, spatial: Sequence[int]) -> tuple[int, ...]:
        """Keras's shape of another image, with its channels on the same axis."""
        return (*spatial, channels) if self.first else (channels, *spatial)


def flat(entries: np.ndarray, first: bool) -> np.ndarray:
    """Entries of one sample in the order of a node."""
    return (np.moveaxis(entries, -1, 0) if first else entries).ravel()


@dataclass(frozen=True)
class Call:
    """An operation of Keras, its name in the model, and its arguments: tensors and constants."""

    op: Any
    name: str
    arguments: Any

    @property
    def kind(self) -> str:
        return type(self.op).__name__

    @property
    def terms(self) -> list[Any]:
        return [a for a in keras.tree.flatten(self.arguments) if a is not None]

    @property
    def tensors(self) -> list[Tensor]:
        return [a for a in self.terms if isinstance(a, Tensor)]

    @property
    def constants(self) -> list[Any]:
        return [a for a in self.terms if not isinstance(a, Tensor)]

    @property
    def x(self) -> Tensor:
        return self.tensors[0]

    def axis(self, axis: int | None) -> int:
        """An axis as Keras counts it, of one sample."""
        if axis is None or axis % (len(self.x.shape) + 1) == 0:
            raise self.refused("it joins samples of a batch")
        return axis % (len(self.x.shape) + 1) - 1

    def refused(self, why: str) -> ValueError:
        """What to raise."""
        return ValueError(f"layer {self.name}: {why}")

    def unknown(self, what: str = "") -> ValueError:
        """What to raise where there is no rule."""
        return self.refused(
            f"no rule for {what or repr(self.kind)}, so there is no upper bound. Use lipschitz_lower_bound, or write "
            "the layer with operations that have one"
        )


class Nodes:
    """The nodes so far, and how one more is put there."""

    def __init__(self) -> None:
        self._nodes: list[G.Node] = []
        self._held: dict[Tensor, Tensor] = {}  # tensors in the other order

    def apply(self, op: Any, *args: Any, **kwargs: Any) -> Any:
        """The result of a layer or operation on tensors and constants."""
        raise NotImplementedError

    def activated(self, call: Call, x: Tensor) -> Tensor:
        """What the argument ``activation`` of a layer does to the layer's result."""
        raise NotImplementedError

    def put(
        self, name: str, operation: G.Operation, parents: Sequence[Tensor], shape: tuple[int, ...], first: bool = False
    ) -> Tensor:
        self._nodes.append(G.Node(name, operation, tuple(p.place for p in parents), math.prod(shape)))
        return Tensor(len(self._nodes) - 1, shape, first)

    def picked(self, name: str, x: Tensor, index: np.ndarray, first: bool) -> Tensor:
        """The tensor that has in each place, in Keras's shape, the entry of ``x`` at the index."""
        entries = flat(index, first)
        if np.array_equal(entries, np.arange(x.size)):
            return Tensor(x.place, index.shape, first)
        return self.put(name, G.repeated(entries), (x,), index.shape, first)

    def laid(self, x: Tensor, first: bool) -> Tensor:
        """The tensor in the order asked for."""
        if x.first == first:
            return x
        if x not in self._held:
            self._held[x] = self.picked("order", x, x.index, first)
        return self._held[x]
