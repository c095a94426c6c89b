"""Upper bounds: a proof over the layers of a network, whatever the input."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import graph_of
from artclip.lipschitz.estimate import LipschitzEstimate
from artclip.lipschitz.layers import Activation, Add, Concat, Node
from artclip.lipschitz.lipsdp import chain_bound

METHODS = ("auto", "product", "eclipse", "lipsdp")
_ROUNDING = 1e-9  # relative, added to factors computed in float64
_WIDEST = 1024  # outputs of a layer that LipSDP takes


def lipschitz_upper_bound(
    estimator: Any,
    norm: float | str = 2,
    output_norm: float | str = 2,
    method: str = "auto",
    max_iter: int = 300,
    max_seconds: float = 60.0,
) -> LipschitzEstimate:
    """An upper bound of the Lipschitz constant over all inputs, valid or not.

    The network is read as a graph of layers. Layers in a row multiply, parallel ones add, and stretches of dense layers
    (convolutions on small images among them) are bounded together by LipSDP, which is tighter than their product.

    Args:
        estimator: ART PyTorch or TensorFlow estimator.
        norm, output_norm: 1, 2 or inf, on flattened inputs and outputs.
        method: ``"product"`` of the layers' exact norms (for convolutions a bound within a few per cent);
            ``"eclipse"`` (ECLipsE-Fast, closed form) or ``"lipsdp"`` for stretches of dense layers; ``"auto"`` for the
            least of the three.
        max_iter: steps of the optimisation in LipSDP, >= 1; each is a bound, the best is taken.
        max_seconds: time for it, > 0; what was reached by then is a bound too.

    Returns:
        An estimate of kind ``"upper"``; ``layers`` holds the factors. It is rounded up.

    Raises:
        TypeError: an estimator whose layers cannot be read.
        ValueError: a layer without a rule or without a Lipschitz constant, by its name; or another bad argument.
    """
    checks.one_of("method", method, METHODS)
    checks.positive_integer("max_iter", max_iter)
    checks.positive("max_seconds", max_seconds)
    p, q = checks.norm("norm", norm), checks.norm("output_norm", output_norm)
    began = time.perf_counter()
    nodes, input_size = graph_of(estimator)
    candidates: list[_Bound] = []
    for r in dict.fromkeys((p, q, 2)):  # inside the network, another norm may be the tighter one
        factor = _change(input_size, p, r) * _change(nodes[-1].size, r, q)
        found = _bounds(nodes, input_size, r, method, max_iter, max_seconds)
        candidates += [replace(b, value=_up(factor * b.value)) for b in found]
    best = min(candidates, key=lambda b: b.value)
    return LipschitzEstimate(
        value=best.value,
        kind="upper",
        norm=p,
        output_norm=q,
        domain="free",
        method=best.method,
        seconds=time.perf_counter() - began,
        layers=best.layers,
        gram=next((b.gram for b in candidates if b.gram is not None), None) if p == q == 2 else None,
    )


Layers = list[tuple[str, float]]


@dataclass(frozen=True)
class Piece:
    """A part of a row of nodes: its bound, and for a dense one also M as in :class:`ChainBound`."""

    name: str
    value: float
    gram: np.ndarray | None = None


@dataclass(frozen=True)
class _Bound:
    value: float
    method: str
    layers: Layers
    gram: np.ndarray | None = None


def _change(size: int, p: float, r: float) -> float:
    """max ‖x‖_r over ‖x‖_p = 1 in ``size`` dimensions."""
    return float(size ** max(0.0, 1 / r - 1 / p))


def _bounds(
    nodes: list[Node], input_size: int, r: float, method: str, max_iter: int, max_seconds: float
) -> list[_Bound]:
    """Bounds from the r-norm to the r-norm by the methods asked for."""
    found: list[_Bound] = []
    if method in ("auto", "product") or r != 2:
        factors = [_up(node.operation.factor(r)) for node in nodes]
        layers = [(node.name, factor) for node, factor in zip(nodes, factors, strict=True)]
        found.append(_Bound(_through(nodes, factors, r), "product of layer norms", layers))
    if r == 2 and method != "product":
        steps = 0 if method == "eclipse" else max_iter
        name = "ECLipsE-Fast" if method == "eclipse" else "LipSDP"
        found.append(_by_chains(nodes, input_size, steps, time.perf_counter() + max_seconds, name))
    return found


def _up(value: float) -> float:
    return value * (1 + _ROUNDING)


def _through(nodes: list[Node], factors: list[float], r: float) -> float:
    """The bound at the output: parents combined, times the factor of what follows, node after node."""
    at: list[float] = []
    for node, factor in zip(nodes, factors, strict=True):
        before = [1.0 if parent < 0 else at[parent] for parent in node.parents]
        if isinstance(node.operation, Add):
            joined = sum(abs(w) * b for w, b in zip(node.operation.weights, before, strict=True))
        elif isinstance(node.operation, Concat):
            joined = float(np.linalg.norm(before, r))
        else:
            joined = before[0]
        at.append(factor * joined)
    return _up(at[-1])


def _by_chains(nodes: list[Node], input_size: int, steps: int, deadline: float, name: str) -> _Bound:
    """Nodes in a row, without a branch, by LipSDP where they are dense; the rest of the graph by factors."""
    rows: list[list[int]] = []
    for i, node in enumerate(nodes):
        only_child = node.parents == (i - 1,) and sum(i - 1 in other.parents for other in nodes) == 1
        if only_child and rows:
            rows[-1].append(i)
        else:
            rows.append([i])
    place: dict[int, int] = {-1: -1}
    merged: list[Node] = []
    factors: list[float] = []
    layers: Layers = []
    for row in rows:
        first = nodes[row[0]]
        place[row[-1]] = len(merged)
        merged.append(Node(first.name, first.operation, tuple(place[j] for j in first.parents), nodes[row[-1]].size))
        joins = len(first.parents) > 1
        parent = first.parents[0]
        size = first.size if joins else input_size if parent < 0 else nodes[parent].size
        pieces = _row([nodes[i] for i in row[joins:]], size, steps, deadline)
        layers += [(piece.name, piece.value) for piece in pieces]
        factors.append(math.prod(piece.value for piece in pieces))
    value = _through(merged, factors, 2)
    last = pieces[-1] if pieces else None
    gram = None
    if last is not None and last.gram is not None and last.value > 0:
        gram = last.gram * (value / last.value) ** 2  # all before it is a factor
    return _Bound(value, name, layers, gram)


def _row(nodes: list[Node], size: int, steps: int, deadline: float) -> list[Piece]:
    """Bounds of the pieces that a row of nodes is cut into; their product bounds the row."""
    pieces: list[Piece] = []
    chain = _Chain(size)
    for node in nodes:
        if chain.take(node):
            continue
        pieces += chain.close(steps, deadline)
        chain = _Chain(size)
        if not chain.take(node):
            pieces.append(Piece(node.name, _up(node.operation.factor(2))))
            chain = _Chain(node.size)
        size = node.size
    return pieces + chain.close(steps, deadline)


class _Chain:
    """Dense layers and activations in a row, as LipSDP takes them."""

    def __init__(self, size: int) -> None:
        self._size, self._names = size, list[str]()
        self._weights: list[np.ndarray] = []
        self._slopes: list[float] = []
        self._last: np.ndarray | None = None  # what follows the last activation

    def take(self, node: Node) -> bool:
        """Add the node, if it is of the kind and of the size."""
        operation = node.operation
        if isinstance(operation, Activation):
            if operation.low < 0 or operation.high <= 0 or self._last is None or len(self._last) > _WIDEST:
                return False
            self._weights.append(self._last)
            self._slopes.append(operation.high)
            self._last = None
        else:
            matrix = operation.after(self._last, self._size) if hasattr(operation, "after") else None
            if matrix is None:
                return False
            self._last = np.asarray(matrix, dtype=np.float64)
        self._names.append(node.name)
        self._size = node.size
        return True

    def close(self, steps: int, deadline: float) -> list[Piece]:
        """The bound of all that was taken."""
        if not self._names:
            return []
        weights = [*self._weights, np.eye(self._size) if self._last is None else self._last]
        found = chain_bound(weights, self._slopes, steps, deadline - time.perf_counter())
        first, last = self._names[0], self._names[-1]
        return [Piece(first if first == last else f"{first} to {last}", found.value, found.gram)]


def lipschitz_bracket(
    estimator: Any, x: np.ndarray, norm: float | str = 2, output_norm: float | str = 2, **options: Any
) -> tuple[LipschitzEstimate, LipschitzEstimate]:
    """A lower and an upper bound: the Lipschitz constant over all inputs lies between them.

    Args:
        estimator, x, norm, output_norm: as for :func:`lipschitz_lower_bound` and :func:`lipschitz_upper_bound`.
        options: other arguments of either.

    Raises:
        TypeError, ValueError: as those.
    """
    from artclip.lipschitz.lower import lipschitz_lower_bound

    names = ("method", "max_seconds")
    for_upper = {name: options.pop(name) for name in names if name in options}
    upper = lipschitz_upper_bound(estimator, norm, output_norm, **for_upper)
    return lipschitz_lower_bound(estimator, x, norm, output_norm, **options), upper
