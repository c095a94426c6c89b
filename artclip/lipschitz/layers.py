"""A network as a graph of layers that no framework owns: float64 weights, and the Lipschitz factor of each layer.

Images are flattened channels first. Shapes are those of one sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from artclip import checks
from artclip.lipschitz import convolution

Live = Callable[[], Any]
"""Gives the framework's own tensor of a weight that is being trained, in the shape that the array has here."""

MOST_ELEMENTS = 1 << 24  # of a matrix that stands for a convolution
_EXACT = 1 << 22  # the same, where its norm is computed from it


class Operation(Protocol):
    """What a node of the graph does to its inputs."""

    def factor(self, p: float) -> float:
        """Upper bound of its Lipschitz constant from the p-norm to the p-norm; ``math.inf`` where it has none."""


class Linear(Operation, Protocol):
    """An operation that is a matrix and a shift."""

    @property
    def shift(self) -> np.ndarray | float:
        """What is added: one number for each output, or one for all."""

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        """Its matrix times ``matrix`` (``None``: the identity of ``size``), or ``None`` where that is too large."""


@dataclass(frozen=True)
class Node:
    """One operation of the graph.

    Attributes:
        name: of the layer, as the framework has it.
        operation: what it does.
        parents: indices of the nodes whose outputs it takes; -1 is the input of the network.
        size: number of its outputs.
    """

    name: str
    operation: Operation
    parents: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class Dense:
    """A matrix (outputs, inputs), applied to each of ``copies`` parts of the input; ``shift`` is added."""

    weight: np.ndarray
    copies: int = 1
    shift: np.ndarray | float = 0.0
    live: Live | None = field(default=None, compare=False, repr=False)

    def factor(self, p: float) -> float:
        return float(np.linalg.norm(self.weight, p))

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        rows, columns = self.weight.shape
        if matrix is None:
            if self.copies == 1:
                return self.weight
            return np.kron(np.eye(self.copies), self.weight) if rows * self.copies * size <= MOST_ELEMENTS else None
        parts = matrix.reshape(self.copies, columns, -1)
        return (self.weight @ parts).reshape(self.copies * rows, -1)


@dataclass(frozen=True)
class Convolution:
    """A zero-padded convolution, or with ``transposed`` the adjoint of one: shape is then that of the output."""

    kernel: np.ndarray
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    shift: np.ndarray | float = 0.0
    live: Live | None = field(default=None, compare=False, repr=False)

    def _elements(self) -> int:
        """Of its matrix; of those of all groups, where it has several."""
        inputs = self.kernel.shape[1] * self.groups * math.prod(self.shape)
        sizes = zip(self.shape, self.kernel.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        return inputs * len(self.kernel) * math.prod((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in sizes)

    def _matrices(self) -> list[np.ndarray]:
        """One for each group."""
        kernels = np.split(self.kernel, self.groups)
        return [convolution.matrix(k, self.shape, self.stride, self.padding, self.dilation) for k in kernels]

    def factor(self, p: float) -> float:
        if p != 2:
            q = checks.dual_norm(p) if self.transposed else p
            return convolution.absolute_norm(self.kernel, self.stride, self.dilation, q, self.groups)
        if self._elements() <= _EXACT * self.groups:
            return float(max(convolution.largest_singular_values(m) for m in self._matrices()))
        return convolution.spectral_norm(self.kernel, self.shape, self.stride, self.padding, self.dilation, self.groups)

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        if self._elements() > MOST_ELEMENTS:
            return None
        dense = convolution.matrix(self.kernel, self.shape, self.stride, self.padding, self.dilation, self.groups)
        dense = dense.T if self.transposed else dense
        return dense if matrix is None else dense @ matrix


@dataclass(frozen=True)
class Scale:
    """Each entry times a number, plus a number: BatchNorm in eval mode, or ART's scaling."""

    factors: np.ndarray
    shift: np.ndarray | float = 0.0

    def factor(self, p: float) -> float:
        return float(np.abs(self.factors).max())

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        factors = np.broadcast_to(self.factors, (size,))
        if matrix is not None:
            return factors[:, None] * matrix
        return np.diag(factors) if size * size <= MOST_ELEMENTS else None


@dataclass(frozen=True)
class Reorder:
    """Entries in another order, or some of them; ``index`` is ``None`` where the order stays."""

    index: np.ndarray | None = None
    shift = 0.0

    def factor(self, p: float) -> float:
        return 1.0

    def after(self, matrix: np.ndarray | None, size: int) -> np.ndarray | None:
        if matrix is None:
            if size * size > MOST_ELEMENTS:
                return None
            matrix = np.eye(size)
        return matrix if self.index is None else matrix[self.index]


@dataclass(frozen=True)
class Activation:
    """A function of each entry alone, with slopes in [low, high].

    Attributes:
        low, high: the least and the largest slope.
        kinked: whether it is linear with slope ``low`` below 0 and ``high`` above, and 0 at 0.
    """

    low: float
    high: float
    kinked: bool = False

    def factor(self, p: float) -> float:
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Bounded:
    """An operation of which nothing is known but its Lipschitz factors in the norms 1, 2 and inf."""

    factors: dict[float, float] = field(hash=False)

    def factor(self, p: float) -> float:
        return self.factors[p]


@dataclass(frozen=True)
class Add:
    """Sum of its parents, each times a number."""

    weights: tuple[float, ...] = (1.0, 1.0)

    def factor(self, p: float) -> float:
        return 1.0  # the weights count where the parents are combined


@dataclass(frozen=True)
class Concat:
    """Outputs of its parents side by side."""

    def factor(self, p: float) -> float:
        return 1.0


def max_pool(overlap: int) -> Bounded:
    """Maximum over windows, of which an input is in ``overlap`` at most."""
    return Bounded({1: float(overlap), 2: math.sqrt(overlap), math.inf: 1.0})


def repeated(index: np.ndarray) -> Operation:
    """The entries at an index, some of them more than once, as an input is in several windows of a pool."""
    most = int(np.bincount(index).max())
    return Reorder(index) if most == 1 else max_pool(most)


def average_all(n: int) -> Bounded:
    """Mean over n entries, channel by channel."""
    return Bounded({1: 1 / n, 2: 1 / math.sqrt(n), math.inf: 1.0})


# Entries along an axis put into order, as by MaxMin and GroupSort: almost everywhere a permutation.
SORT = Bounded({1: 1.0, 2: 1.0, math.inf: 1.0})
# The Jacobian of softmax, diag(p) - p·pᵀ, has rows and columns of size 2·p·(1 - p) <= 1/2 in sum.
SOFTMAX = Bounded({1: 0.5, 2: 0.5, math.inf: 0.5})


def log_softmax(k: int) -> Bounded:
    """Of k outputs; the Jacobian is I - 1·pᵀ."""
    columns, rows = float(max(1, k - 1)), 2.0
    return Bounded({1: columns, 2: math.sqrt(columns * rows), math.inf: rows})


def leaky_relu(slope: float) -> Activation:
    """x above 0, ``slope``·x below; bounds alone where the slope exceeds 1."""
    return Activation(min(1.0, slope), max(1.0, slope), kinked=slope <= 1)


def behind(first: Node, nodes: list[Node]) -> list[Node]:
    """The graph of ``nodes`` with ``first`` before it."""
    return [first, *(replace(n, parents=tuple(p + 1 for p in n.parents)) for n in nodes)]


def through(nodes: list[Node], factors: list[Any], first: Any, side_by_side: Callable[[list[Any]], Any]) -> list[Any]:
    """A bound at each node: those of its parents combined, times its factor; numbers, or tensors that are.

    Args:
        factors: one for each node.
        first: the bound at the input.
        side_by_side: that of several outputs, of :class:`Concat`.
    """
    at: list[Any] = []
    for node, factor in zip(nodes, factors, strict=True):
        before = [first if parent < 0 else at[parent] for parent in node.parents]
        if isinstance(node.operation, Add):
            joined = sum(abs(w) * b for w, b in zip(node.operation.weights, before, strict=True))
        else:
            joined = side_by_side(before) if isinstance(node.operation, Concat) else before[0]
        at.append(joined if isinstance(factor, float) and factor == 1 else factor * joined)
    return at


# Activations without parameters, by their usual names.
ACTIVATIONS = {
    "relu": Activation(0.0, 1.0, kinked=True),
    "relu6": Activation(0.0, 1.0),
    "hardtanh": Activation(0.0, 1.0),
    "tanh": Activation(0.0, 1.0),
    "softplus": Activation(0.0, 1.0),
    "sigmoid": Activation(0.0, 0.25),
    "hardsigmoid": Activation(0.0, 1 / 6),
    "elu": Activation(0.0, 1.0),
    "selu": Activation(0.0, 1.7580993408473766),
    "softsign": Activation(0.0, 1.0),
    "gelu": Activation(-0.12905, 1.12905),
    "silu": Activation(-0.09985, 1.09985),
    "mish": Activation(-0.11310, 1.08859),
    "hardswish": Activation(-0.5, 1.5),
}
