"""Where tensors of a Keras model are held in the graph of layers, and how nodes are put there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from artclip import graph as G

MOST = 1 << 22  # elements of a matrix along one axis


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
    def held(self) -> tuple[int, ...]:
        """Shape in the node's order."""
        return self.shape[-1:] + self.shape[:-1] if self.first else self.shape

    def held_axis(self, axis: int) -> int:
        """An axis >= 0 of the shape, as one of :attr:`held`."""
        return (axis + 1) % len(self.shape) if self.first else axis

    @property
    def spatial(self) -> tuple[int, ...]:
        """Shape of an image whose channels the node has first."""
        return self.held[1:]

    @property
    def index(self) -> np.ndarray:
        """Of each entry, in Keras's shape, where the node has it."""
        index = np.arange(self.size).reshape(self.held)
        return np.moveaxis(index, 0, -1) if self.first else index

    def image(self, channels: int, spatial: Sequence[int]) -> tuple[int, ...]:
        """Keras's shape of another image, with its channels on the same axis."""
        return (*spatial, channels) if self.first else (channels, *spatial)

    def without(self, axes: Iterable[int]) -> Tensor:
        """The tensor without axes of one entry."""
        axes, last = set(axes), len(self.shape) - 1
        shape = tuple(n for i, n in enumerate(self.shape) if i not in axes)
        return Tensor(self.place, shape, self.first and last not in axes and len(shape) > 1)


def flat(entries: np.ndarray, first: bool) -> np.ndarray:
    """Entries of one sample in the order of a node."""
    return (np.moveaxis(entries, -1, 0) if first else entries).ravel()


class Nodes:
    """The nodes so far, and how one more is put there."""

    def __init__(self) -> None:
        self.nodes: list[G.Node] = []
        self._held: dict[Tensor, Tensor] = {}  # tensors in the other order

    def put(
        self, name: str, operation: G.Operation, parents: Sequence[Tensor], shape: tuple[int, ...], first: bool = False
    ) -> Tensor:
        self.nodes.append(G.Node(name, operation, tuple(p.place for p in parents), math.prod(shape)))
        return Tensor(len(self.nodes) - 1, shape, first)

    def picked(self, name: str, x: Tensor, index: np.ndarray, first: bool, shift: np.ndarray | float = 0.0) -> Tensor:
        """The tensor that has in each place, in Keras's shape, the entry of ``x`` at the index, or 0 where it is -1.

        Args:
            shift: what is added, in Keras's shape.
        """
        entries = flat(index, first)
        if len(entries) == x.size and np.array_equal(entries, np.arange(x.size)) and not np.any(shift):
            return Tensor(x.place, index.shape, first)
        shift = flat(shift, first) if isinstance(shift, np.ndarray) else shift
        return self.put(name, G.Gather(entries, shift), (x,), index.shape, first)

    def laid(self, x: Tensor, first: bool) -> Tensor:
        """The tensor in the order asked for."""
        if x.first == first:
            return x
        if len(x.shape) < 2 or math.prod(x.shape[:-1]) == 1 or x.shape[-1] == 1:  # both orders are one
            return Tensor(x.place, x.shape, first)
        if x not in self._held:
            self._held[x] = self.picked("order", x, x.index, first)
        return self._held[x]

    def along(
        self, name: str, x: Tensor, matrices: Mapping[int, np.ndarray], shift: np.ndarray | float = 0.0
    ) -> Tensor:
        """Matrices (outputs, inputs) along axes of the tensor.

        Args:
            shift: what is added, in Keras's shape.
        """
        shape = list(x.shape)
        held: list[np.ndarray | None] = [None] * len(shape)
        for axis, matrix in matrices.items():
            shape[axis], held[x.held_axis(axis)] = len(matrix), matrix
        shift = flat(np.broadcast_to(shift, shape), x.first) if isinstance(shift, np.ndarray) else shift
        return self.put(name, G.Kronecker(x.held, tuple(held), shift), (x,), tuple(shape), x.first)

    def side_by_side(self, name: str, parents: Sequence[Tensor]) -> Tensor:
        """All entries of several tensors, one tensor after the other."""
        if len(parents) == 1:
            return Tensor(parents[0].place, (parents[0].size,))
        return self.put(name, G.Concat(), parents, (sum(p.size for p in parents),))


def groups(x: Tensor, axes: Sequence[int]) -> np.ndarray:
    """Where the node has the entries that share all indices but those of some axes: (groups, entries)."""
    held = sorted(axes)
    index = np.moveaxis(x.index, held, range(-len(held), 0))
    return index.reshape(-1, math.prod(x.shape[a] for a in held))


def parts(x: Tensor, axes: Sequence[int]) -> tuple[np.ndarray, int]:
    """The same for one part of the node, and how many parts with the same groups follow one another."""
    held = sorted(x.held_axis(a) for a in axes)
    copies = math.prod(x.held[: held[0]])
    rest = np.arange(math.prod(x.held[held[0] :])).reshape(x.held[held[0] :])
    index = np.moveaxis(rest, [a - held[0] for a in held], range(-len(held), 0))
    return index.reshape(-1, math.prod(x.held[a] for a in held)), copies
