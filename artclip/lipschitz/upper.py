"""Upper bounds: a proof over the layers of a network, whatever the input."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import graph_of
from artclip.lipschitz import exact
from artclip.lipschitz.chain import Chain, split
from artclip.lipschitz.estimate import LipschitzEstimate
from artclip.graph import Dense, LayerGraph, Node, through
from artclip.lipschitz.lipsdp import ChainBound, chain_bound

METHODS = ("auto", "product", "eclipse", "lipsdp", "exact")
_ROUNDING = 1e-9  # relative, added to factors computed in float64
_CHEAP = 10.0  # seconds of enumeration that "auto" spends

Layers = list[tuple[str, float]]


def lipschitz_upper_bound(
    estimator: Any,
    norm: float | str = 2,
    output_norm: float | str = 2,
    method: str = "auto",
    max_iter: int = 300,
    max_seconds: float = 60.0,
    verbose: bool = False,
) -> LipschitzEstimate:
    """An upper bound of the Lipschitz constant over all inputs, valid or not; the constant itself for tiny ReLU nets.

    The network is read as a graph of layers. Layers in a row multiply, parallel ones add, and stretches of dense layers
    (convolutions on small images among them) are bounded together by LipSDP, which is tighter than their product.

    Args:
        estimator: ART PyTorch or TensorFlow estimator.
        norm, output_norm: 1, 2 or inf, on flattened inputs and outputs.
        method: ``"product"`` of the layers' norms (for large convolutions a bound within a few per cent);
            ``"eclipse"`` (ECLipsE-Fast, closed form) or ``"lipsdp"`` for stretches of dense layers; ``"exact"``, the
            steepest linear piece of a network of ReLUs with 16 units at most, by enumeration; ``"auto"`` for the
            constant where that takes seconds, else for the least of the bounds.
        max_iter: steps of the optimisation in LipSDP, >= 1; each is a bound, the best is taken.
        max_seconds: time for it, > 0; what was reached by then is a bound too.
        verbose: show a progress bar.

    Returns:
        An estimate of kind ``"upper"`` or ``"exact"``; ``layers`` holds the factors. It is rounded up.

    Raises:
        TypeError: an estimator whose layers cannot be read.
        ValueError: a layer without a rule or without a Lipschitz constant, by its name; a network too large for
            ``method="exact"``; or another bad argument.
    """
    checks.one_of("method", method, METHODS)
    checks.positive_integer("max_iter", max_iter)
    checks.positive("max_seconds", max_seconds)
    p, q = checks.norm("norm", norm), checks.norm("output_norm", output_norm)
    graph = _Graph(graph_of(estimator))
    if method == "exact":
        best = graph.exact(p, q, max_seconds)
    else:
        best = graph.least(p, q, method, max_iter, max_seconds, verbose)
        if method == "auto" and (constant := graph.cheap(p, q, max_seconds)):
            best = replace(constant, gram=best.gram)
    return LipschitzEstimate(
        value=best.value,
        kind=best.kind,
        norm=p,
        output_norm=q,
        domain="free",
        method=best.method,
        seconds=graph.seconds(),
        layers=best.layers,
        gram=best.gram if p == q == 2 else None,
        history=best.history,
    )


@dataclass(frozen=True)
class _Bound:
    value: float
    method: str
    layers: Layers
    gram: np.ndarray | None = None
    history: list[tuple[float, float]] = field(default_factory=list)
    kind: str = "upper"


class _Graph:
    """A graph of layers, and its bounds."""

    def __init__(self, graph: LayerGraph) -> None:
        self._began, (self._nodes, self._inputs) = time.perf_counter(), graph

    def seconds(self) -> float:
        """Since it was made."""
        return time.perf_counter() - self._began

    @cached_property
    def _rows(self) -> _Rows:
        return _Rows(self._nodes, self._inputs)

    def exact(self, p: float, q: float, max_seconds: float) -> _Bound:
        """The constant by enumeration."""
        rows = self._rows
        chain = rows.parts[0][0] if len(rows.parts) == 1 and len(rows.parts[0]) == 1 else None
        try:
            if not isinstance(chain, Chain):
                raise exact.Undecided("the network is not one row of dense layers and activations")
            found = exact.exact_constant(chain, p, q, max_seconds)
        except exact.Undecided as reason:
            raise ValueError(f"no exact constant: {reason}; method='auto' gives a bound") from None
        name, value = f"enumeration of {found.patterns} activation patterns", _up(found.value)
        return _Bound(value, name, [(chain.name, value)], history=[(self.seconds(), value)], kind="exact")

    def cheap(self, p: float, q: float, max_seconds: float) -> _Bound | None:
        """The constant, if it is to be had in seconds."""
        try:
            return self.exact(p, q, min(max_seconds, _CHEAP))
        except ValueError:
            return None

    def least(self, p: float, q: float, method: str, max_iter: int, max_seconds: float, verbose: bool) -> _Bound:
        """The least of the bounds asked for; inside the network, another norm may be the tighter one."""
        found: list[_Bound] = []
        for r in dict.fromkeys((p, q, 2)):
            factor = _change(self._inputs, p, r) * _change(self._nodes[-1].size, r, q)
            bounds = []
            if r != 2 or method in ("auto", "product"):
                bounds.append(self._product(r))
            if r == 2 and method != "product":
                bounds.append(self._chains(0 if method == "eclipse" else max_iter, max_seconds, verbose))
            found += [
                replace(b, value=_up(factor * b.value), history=[(s, factor * v) for s, v in b.history]) for b in bounds
            ]
        best = min(found, key=lambda b: b.value)
        return replace(best, gram=min((b.gram for b in found if b.gram is not None), key=np.trace, default=None))

    def _product(self, r: float) -> _Bound:
        factors = [_up(node.operation.factor(r)) for node in self._nodes]
        layers = [(node.name, factor) for node, factor in zip(self._nodes, factors, strict=True)]
        value = _through(self._nodes, factors, r)
        gram = self._last_gram(factors) if r == 2 else None
        return _Bound(value, "product of layer norms", layers, gram, [(self.seconds(), value)])

    def _last_gram(self, factors: list[float]) -> np.ndarray | None:
        """That of the last layer, if it is a dense one: all before it is a factor."""
        *before, last = self._nodes
        if not (isinstance(last.operation, Dense) and last.operation.copies == 1):
            return None
        parent = last.parents[0]
        factor = _through(before[: parent + 1], factors[: parent + 1], 2) if parent >= 0 else 1.0
        return last.operation.weight @ last.operation.weight.T * _up(factor) ** 2

    def _chains(self, max_iter: int, max_seconds: float, verbose: bool) -> _Bound:
        """Nodes in a row by LipSDP where they are dense; the rest of the graph by factors."""
        from tqdm.auto import tqdm

        rows = self._rows
        rows.bound_chains(lambda chain, report: chain_bound(*_matrices(chain), 0))
        history = [(self.seconds(), rows.value())]
        if max_iter:
            deadline, left = time.perf_counter() + max_seconds, sum(len(c.activations) > 0 for c in rows.chains())
            with tqdm(total=left * max_iter, disable=not verbose, desc="Lipschitz upper bound") as bar:

                def optimise(chain: Chain, report: Callable[[float], None]) -> ChainBound:
                    def shown(value: float) -> None:
                        report(value)
                        history.append((self.seconds(), rows.value()))
                        bar.update()
                        bar.set_postfix_str(f"{history[-1][1]:.4g}")

                    nonlocal left
                    share, left = (deadline - time.perf_counter()) / max(left, 1), left - bool(chain.activations)
                    return chain_bound(*_matrices(chain), max_iter, share, report=shown)

                rows.bound_chains(optimise)
        name = "LipSDP" if max_iter else "ECLipsE-Fast"
        return _Bound(rows.value(), name, rows.layers(), rows.gram(), history)


def _matrices(chain: Chain) -> tuple[list[np.ndarray], list[tuple[float, float]]]:
    return chain.weights, [(a.low, a.high) for a in chain.activations]


def _change(size: int, p: float, r: float) -> float:
    """max ‖x‖_r over ‖x‖_p = 1 in ``size`` dimensions."""
    return float(size ** max(0.0, 1 / r - 1 / p))


def _up(value: float) -> float:
    return value * (1 + _ROUNDING)


def _through(nodes: list[Node], factors: list[float], r: float) -> float:
    """The bound at the output: parents combined, times the factor of what follows, node after node."""
    at = through(nodes, factors, 1.0, lambda before: float(np.linalg.norm(before, r)))
    return _up(at[-1])


class _Rows:
    """The graph as rows of nodes without a branch, each cut into chains and what lies between them."""

    def __init__(self, nodes: list[Node], inputs: int) -> None:
        rows: list[list[int]] = []
        for i, node in enumerate(nodes):
            only_child = node.parents == (i - 1,) and sum(i - 1 in other.parents for other in nodes) == 1
            if only_child and rows:
                rows[-1].append(i)
            else:
                rows.append([i])
        place = {-1: -1} | {row[-1]: at for at, row in enumerate(rows)}
        self._merged: list[Node] = []
        self.parts: list[list[Chain | Node]] = []
        for row in rows:
            first = nodes[row[0]]
            parents = tuple(place[j] for j in first.parents)
            self._merged.append(Node(first.name, first.operation, parents, nodes[row[-1]].size))
            joins = len(parents) > 1
            before = first.parents[0]
            size = first.size if joins else inputs if before < 0 else nodes[before].size
            self.parts.append(split([nodes[i] for i in row[joins:]], size))
        self._values = [
            [math.inf if isinstance(part, Chain) else _up(part.operation.factor(2)) for part in parts]
            for parts in self.parts
        ]
        self._gram: np.ndarray | None = None

    def chains(self) -> list[Chain]:
        """All chains."""
        return [part for parts in self.parts for part in parts if isinstance(part, Chain)]

    def bound_chains(self, bound: Callable[[Chain, Callable[[float], None]], ChainBound]) -> None:
        """Bound one chain after the other; the second argument of ``bound`` takes better values on the way."""
        for parts, values in zip(self.parts, self._values, strict=True):
            for i, part in enumerate(parts):
                if isinstance(part, Chain):

                    def report(value: float, i: int = i, values: list[float] = values) -> None:
                        values[i] = min(values[i], value)

                    found = bound(part, report)
                    values[i] = found.value
                    self._gram = found.gram if self.parts[-1] and part is self.parts[-1][-1] else None

    def value(self) -> float:
        """The bound of the whole."""
        return _through(self._merged, [math.prod(values) for values in self._values], 2)

    def layers(self) -> Layers:
        """Name and factor of each part."""
        both = zip(self.parts, self._values, strict=True)
        return [(part.name, v) for parts, values in both for part, v in zip(parts, values, strict=True)]

    def gram(self) -> np.ndarray | None:
        """As in :class:`LipschitzEstimate`, where the last part is a chain: all before it is a factor."""
        if self._gram is None or not self.parts[-1] or self._values[-1][-1] <= 0:
            return None
        return self._gram * (self.value() / self._values[-1][-1]) ** 2


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
