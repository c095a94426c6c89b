"""Upper bounds of a graph of layers, over all inputs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from artclip.graph import Activation, LayerGraph
from artclip.graph.matrix_norms import product_of
from artclip.lipschitz import exact, lipsdp
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.chain import Chain, is_linear, matrices, name_of, stretches, whole
from artclip.lipschitz.listing import Listing, listing
from artclip.lipschitz.local.kinks import NotPiecewise, in_lines
from artclip.lipschitz.product import Norms, bounds_at
from artclip.lipschitz.slope_constants import WIDEST, SlopeConstants, all_slopes
from artclip.lipschitz.torus.search import RegionBound, Regions, contracted
from artclip.norms import change

READING = 0.2  # share of the time in which the layers are compared with predict
_CHEAP = 10.0  # seconds of enumeration that "auto" spends
_NUMBERS = 1e8  # that LipSDP may hold at a time: 0.8 GB
_WORK, _FEWEST = 1.2e11, 40  # floating-point operations of a chain that "auto" spends on LipSDP, and steps at least
_FEW = 4.0  # iterations of LipSDP on all layers that there has to be time for
_AS_SMALL = 1.01  # times what is added to the branch of a block: LipSDP on the branch then changes nothing
_FAR = 2.0  # of the product of norms, from which further iterations of LipSDP on all layers do not lead below it
_WIDEST = 4096  # outputs of which a constant for each pair is kept


@dataclass(frozen=True)
class GraphBound:
    """A bound, how it was found, and what it is made of."""

    value: float
    method: str
    listing: Listing
    gram: np.ndarray | None = None
    history: list[tuple[float, float]] = field(default_factory=list)
    kind: str = "upper"
    notes: list[str] = field(default_factory=list)


class GraphBounds:
    """The bounds of a graph of layers, within a budget of time; a bar shows how far they are."""

    def __init__(self, graph: LayerGraph, budget: Budget, bar: Any) -> None:
        self._graph, self._nodes, self._budget, self._bar = graph, graph.nodes, budget, bar
        self._norms = Norms(graph.nodes, budget, bar.update)
        self._regions: list[RegionBound] = []

    def exact(self, p: float, q: float, max_seconds: float = math.inf) -> GraphBound:
        """The constant by enumeration."""
        self._bar.set_description("Lipschitz constant: activation patterns")
        try:
            chain = whole(self._graph, exact.MOST_UNITS)
            if not isinstance(chain, Chain):
                raise exact.Undecided(f"it is no row of dense layers and ReLUs with {exact.MOST_UNITS} units at most")
            steepest = exact.exact_constant(chain, p, q, min(max_seconds, max(self._budget.left(), 1e-9)))
        except exact.Undecided as reason:
            raise ValueError(f"no exact constant: {reason}; method='auto' gives a bound") from None
        name = f"enumeration of {steepest.patterns} activation patterns"
        layers = Listing([(chain.name, steepest.value)])
        return GraphBound(steepest.value, name, layers, history=[(self._budget.used(), steepest.value)], kind="exact")

    def least(self, p: float, q: float, method: str, max_iter: int) -> GraphBound:
        """The least of the bounds asked for; inside the network, another norm may be the tighter one."""
        norms = list(dict.fromkeys((p, q, 2)))
        self._bar.reset(total=len(norms) * len(self._nodes))
        self._bar.set_description("Lipschitz upper bound: norms")
        candidates: list[GraphBound] = []
        for r in norms:
            factor = change(self._graph.inputs, p, r) * change(self._nodes[-1].size, r, q)
            bounds = [self._product(r)]
            if r == 2 and method in ("auto", "lipsdp"):
                bounds += self._on_torus(max_iter)
            if r == 2 and method != "product":
                bounds += self._chains(0 if method == "eclipse" else max_iter, method == "auto")
            if r == 2 and method in ("auto", "lipsdp"):
                bounds += self._joined(max_iter, bounds[0].value)
            candidates += [
                replace(b, value=factor * b.value, history=[(s, factor * v) for s, v in b.history]) for b in bounds
            ]
        best = min(candidates, key=lambda b: b.value)
        best = replace(best, gram=min((b.gram for b in candidates if b.gram is not None), key=_of_pairs, default=None))
        notes = list(dict.fromkeys(note for b in candidates for note in b.notes))
        if method == "auto":
            try:
                best = replace(self.exact(p, q, _CHEAP), gram=best.gram)
                notes = []
            except ValueError:
                pass
        return replace(best, notes=notes)

    def _product(self, r: float) -> GraphBound:
        factors = self._norms.of(r)
        blocks = self._norms.blocks(r)
        value = bounds_at(self._nodes, factors, r, blocks)[-1]
        layers = listing(self._nodes, factors, {i: node.name for i, node in enumerate(self._nodes)}, r, blocks)
        gram = self._gram_of_last(factors) if r == 2 else None
        history = [(self._budget.used(), value)]
        return GraphBound(value, "product of layer norms", layers, gram, history, notes=self._norms.notes())

    def _before(self, i: int, factors: list[float]) -> float:
        """The bound of what a node takes in."""
        parent = self._nodes[i].parents[0]
        if parent < 0:
            return 1.0
        return bounds_at(self._nodes[: parent + 1], factors[: parent + 1], 2, self._norms.blocks(2))[-1]

    def _gram_of_last(self, factors: list[float]) -> np.ndarray | None:
        """That of the last layer, if it is a matrix: all before it is a factor."""
        last, parent = self._nodes[-1], self._nodes[-1].parents[0]
        inputs = self._graph.size_of(parent)
        if not is_linear(last) or last.size > _WIDEST or not self._budget.affords(2.0 * inputs * last.size**2):
            return None
        matrix = last.operation.after(None, inputs)  # type: ignore[attr-defined]
        if matrix is None:
            return None
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            matrix = matrix * self._before(len(self._nodes) - 1, factors)
            return _if_moderate(matrix @ matrix.T)

    def _chains(self, max_iter: int, auto: bool) -> list[GraphBound]:
        """Nodes in a row by LipSDP where they are dense; the rest of the graph by norms."""
        notes: list[str] = []
        chains = stretches(self._graph, lambda sizes: lipsdp.elements(sizes) <= _NUMBERS, notes)
        chains = [chain for chain in chains if not self._is_in_block(chain)]
        if auto:
            chains = [chain for chain in chains if not self._is_slow(chain)]
        if not chains:
            return []
        factors, gram, history = list(self._norms.of(2)), None, list[tuple[float, float]]()
        steps = {chain[0]: self._steps(chain, max_iter, auto) for chain in chains}
        self._bar.reset(total=sum(steps.values()) + len(chains))
        self._bar.set_description("Lipschitz upper bound: dense layers together")
        names, blocks = {i: node.name for i, node in enumerate(self._nodes)}, self._norms.blocks(2)
        used = False
        for nb, chain in enumerate(chains):
            name = name_of(self._nodes[chain[0]].name, self._nodes[chain[-1]].name)
            # As one: the product, until something better is found.
            value = product_of(factors[i] for i in chain)
            for i in chain:
                factors[i] = 1.0

            def report(bound: float, chain: list[int] = chain, value: float = value) -> None:
                factors[chain[-1]] = min(value, factors[chain[-1]], bound)
                history.append((self._budget.used(), bounds_at(self._nodes, factors, 2, blocks)[-1]))
                self._bar.update()
                self._bar.set_postfix_str(f"{history[-1][1]:.4g}")

            factors[chain[-1]] = value
            share = self._budget.left() / (len(chains) - nb)
            bound_of_chain = self._bound(chain, steps[chain[0]], share, report)
            if isinstance(bound_of_chain, str):
                notes.append(f"{name} by their norms alone: {bound_of_chain}")
            else:
                used = True
                value = min(value, bound_of_chain.value)
                if chain[-1] == len(self._nodes) - 1:
                    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                        gram = _if_moderate(bound_of_chain.gram * self._before(chain[0], factors) ** 2)
            factors[chain[-1]] = value
            for i in chain:
                del names[i]
            names[chain[-1]] = name
        value = bounds_at(self._nodes, factors, 2, blocks)[-1]
        name = ("LipSDP" if max_iter else "ECLipsE-Fast") if used else "product of layer norms"
        history.append((self._budget.used(), value))
        return [GraphBound(value, name, listing(self._nodes, factors, names, 2, blocks), gram, history, notes=notes)]

    def _is_in_block(self, chain: list[int]) -> bool:
        """Whether nodes in a row are the branch of a residual block whose bound is as small as that of its skip."""
        start, end = self._nodes[chain[0]].parents[0], chain[-1]
        for i, (parent, factor) in self._norms.blocks(2).items():
            node = self._nodes[i]
            if start == parent and end in node.parents:
                return factor <= _AS_SMALL * abs(node.operation.weights[node.parents.index(parent)])  # type: ignore[attr-defined]
        return False

    def _joined(self, max_iter: int, product: float) -> list[GraphBound]:
        """The whole graph by LipSDP, where it is more than dense layers in a row and narrow enough."""
        in_a_row = all(is_linear(node) or isinstance(node.operation, Activation) for node in self._nodes)
        if in_a_row or max(node.size for node in self._nodes) > WIDEST:
            return []
        try:
            graph = in_lines(self._graph)
        except NotPiecewise:
            return []
        constants = SlopeConstants(graph)
        if not constants.is_possible or not self._budget.affords(_FEW * constants.cost):
            return []
        self._bar.set_description("Lipschitz upper bound: all layers together")
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            value, gram = constants.all(all_slopes(graph), max_iter, self._budget, _FAR * product)
            if not math.isfinite(value):
                return []
            kept = _if_moderate(gram) if len(gram) <= _WIDEST else None
        layers = Listing([(name_of(self._nodes[0].name, self._nodes[-1].name), value)])
        return [GraphBound(value, "LipSDP of all layers together", layers, kept, [(self._budget.used(), value)])]

    def _on_torus(self, max_iter: int) -> list[GraphBound]:
        """Convolutions in a row by LipSDP on a torus, with dense layers behind them; the rest of the graph by norms."""
        factors, blocks = self._norms.of(2), self._norms.blocks(2)
        known = bounds_at(self._nodes, factors, 2, blocks)
        self._bar.set_description("Lipschitz upper bound: convolutions together")
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            self._regions = found = Regions(self._graph, self._budget, max_iter).bounds(known)
        if not found:
            return []
        regions = {region.end: (region.start, region.value) for region in found}
        value = bounds_at(self._nodes, factors, 2, blocks | regions)[-1]
        gram = None
        if found[-1].end == len(self._nodes) - 1 and found[-1].gram is not None:
            start = found[-1].start
            before = bounds_at(self._nodes, factors, 2, blocks | regions)[start] if start >= 0 else 1.0
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                gram = _if_moderate(found[-1].gram * before**2) if len(found[-1].gram) <= _WIDEST else None
        history = [(self._budget.used(), value)]
        layers = listing(*contracted(self._nodes, factors, found, blocks))
        return [GraphBound(value, "LipSDP of convolutions on a torus", layers, gram, history)]

    def _sizes(self, chain: list[int]) -> list[int]:
        parent = self._nodes[chain[0]].parents[0]
        inputs = self._graph.size_of(parent)
        return [inputs, *(self._nodes[i].size for i in chain if is_linear(self._nodes[i]))]

    def _is_slow(self, chain: list[int]) -> bool:
        """Whether nodes in a row are bounded on a torus already, and fewer steps than count would take long."""
        known = any(region.start < chain[0] and chain[-1] <= region.end for region in self._regions)
        return known and _WORK / lipsdp.cost(self._sizes(chain)) < _FEWEST

    def _steps(self, chain: list[int], max_iter: int, auto: bool) -> int:
        fewer = int(_WORK / lipsdp.cost(self._sizes(chain)))
        return min(max_iter, max(_FEWEST, fewer)) if auto else max_iter

    def _bound(self, chain: list[int], steps: int, seconds: float, report: Any) -> lipsdp.ChainBound | str:
        """The bound of a chain, or why there is none."""
        sizes = self._sizes(chain)
        if not self._budget.affords(2 * lipsdp.cost(sizes) + 2.0 * sizes[0] * sizes[1] ** 2):
            return "no time"
        began = time.perf_counter()
        found = matrices([self._nodes[i] for i in chain], sizes[0])
        if found is None:
            return "their matrices cannot be written out"
        left = seconds - (time.perf_counter() - began)
        return lipsdp.chain_bound(*found, steps, max(left, 1e-9), report)


def _of_pairs(gram: np.ndarray) -> float:
    """The mean constant of the difference of two outputs, by which certificates go; of one output its own."""
    own = gram.diagonal()
    return float(np.sqrt(np.maximum(own[:, None] + own - 2 * gram, 0)).mean()) if len(own) > 1 else float(own[0])


def _if_moderate(gram: np.ndarray) -> np.ndarray | None:
    """The matrix, unless its entries are so small or large that some were lost."""
    return gram if gram.size and np.isfinite(gram).all() and 1e-200 < gram.diagonal().max() < 1e200 else None
