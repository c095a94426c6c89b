"""Products, quotients and sums of functions of one tensor, as x·sigmoid(x), are functions of each entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from artclip.graph.activations import Activation
from artclip.graph.linear import Gather, Scale
from artclip.graph.nodes import Node

# Range of act(z) + z·act'(z), the slope of x·act(b·x) for every b, rounded outwards: tanh(z) = 2·sigmoid(2·z) - 1.
_TIMES_X = {"sigmoid": (-0.0998394, 1.0998394), "tanh": (-1.1996788, 1.1996788), "erf": (-1.2578086, 1.2578086)}
_STEEPEST = {"sigmoid": 0.25, "tanh": 1.0, "erf": 1.1283792}
_MISH = (-0.1125262, 1.0884982)


@dataclass(frozen=True)
class _Chain:
    """a·act(b·x + c) + d, of the nodes at some places, the last first; without an activation a·x + d."""

    places: tuple[int, ...]
    activations: tuple[Activation, ...]
    a: float
    b: float
    c: float
    d: float


def product(nodes: list[Node], first: int, second: int) -> tuple[Activation, int] | None:
    """The product of the tensors at two places as one activation, and the place of what it is a function of.

    ``None`` where they are no functions of one tensor, or where nothing is known of the slopes.
    """
    root, chains = _of_one(nodes, first, second)
    straight, bent = sorted(chains, key=lambda c: len(c.activations)) if len(chains) == 2 else (None, None)
    if straight is None or bent is None or straight.activations or not bent.activations:
        return None
    slopes = _slopes(straight, bent)
    if slopes is None:
        return None
    f, g = _function(nodes, straight), _function(nodes, bent)
    return Activation(min(slopes), max(slopes), lambda x: f(x) * g(x)), root


def quotient(nodes: list[Node], first: int, second: int) -> tuple[Activation, int] | None:
    """As :func:`product`, of α·x / (a·|b·x| + d) with a, d > 0, whose slope is α·d / (a·|b·x| + d)²."""
    root, chains = _of_one(nodes, first, second)
    if len(chains) != 2 or chains[0].activations or [act.kind for act in chains[1].activations] != [("abs",)]:
        return None
    over, under = chains
    if over.d or under.c or under.a <= 0 or under.d <= 0:
        return None
    slopes = (0.0, over.a / under.d)
    f, g = _function(nodes, over), _function(nodes, under)
    return Activation(min(slopes), max(slopes), lambda x: f(x) / g(x)), root


def total(nodes: list[Node], first: int, second: int, weights: tuple[float, float]) -> tuple[Activation, int] | None:
    """As :func:`product`, of a weighted sum: slopes add."""
    root, chains = _of_one(nodes, first, second)
    if len(chains) != 2 or not any(c.activations for c in chains):
        return None
    intervals = [sorted(w * s for s in _interval(c)) for w, c in zip(weights, chains, strict=True)]
    low, high = (float(sum(ends)) for ends in zip(*intervals, strict=True))
    (v, w), (f, g) = weights, (_function(nodes, c) for c in chains)
    return Activation(low, high, lambda x: v * f(x) + w * g(x)), root


def _of_one(nodes: list[Node], first: int, second: int) -> tuple[int, list[_Chain]]:
    """What two places are functions of, and the functions; none where it is no one tensor."""
    ways = _ways(nodes, first), _ways(nodes, second)
    root = next((place for place in ways[0] if place in ways[1]), None)
    if root is None:
        return -1, []
    return root, [c for way in ways if (c := _chain(nodes, tuple(way[: way.index(root)])))]


def _function(nodes: list[Node], chain: _Chain) -> Callable[[np.ndarray], np.ndarray]:
    operations = [nodes[i].operation for i in reversed(chain.places)]

    def function(x: np.ndarray) -> np.ndarray:
        for operation in operations:
            x = operation.apply(x)
        return x

    return function


def _interval(chain: _Chain) -> tuple[float, float]:
    """Least and largest slope."""
    ends = [chain.a * (chain.b if chain.activations else 1.0)]
    for act in chain.activations:
        ends = [e * s for e in ends for s in (act.low, act.high)]
    return min(ends), max(ends)


def _ways(nodes: list[Node], place: int) -> list[int]:
    """The place and those before it, as long as each depends on one entry of the one before."""
    found = [place]
    while found[-1] >= 0:
        node = nodes[found[-1]]
        entrywise = isinstance(node.operation, (Scale, Activation)) or (
            isinstance(node.operation, Gather) and node.operation.index is None
        )
        if not entrywise or len(node.parents) != 1:
            break
        found.append(node.parents[0])
    return found


def _chain(nodes: list[Node], places: tuple[int, ...]) -> _Chain | None:
    """What the nodes at places do, the last first; ``None`` where numbers differ from entry to entry."""
    activations: list[Activation] = []
    a, b, c, d = 1.0, 1.0, 0.0, 0.0
    for place in reversed(places):
        operation = nodes[place].operation
        if isinstance(operation, Activation):
            if activations and (a, d) != (1.0, 0.0):
                return None
            if not activations:
                b, c, a, d = a, d, 1.0, 0.0
            activations.append(operation)
            continue
        factors = operation.factors if isinstance(operation, Scale) else np.ones(1)
        shift = np.asarray(operation.shift)  # type: ignore[attr-defined]
        if not (np.all(factors == factors.flat[0]) and np.all(shift == shift.flat[0])):
            return None
        factor = float(factors.flat[0])
        a, d = a * factor, d * factor + float(shift.flat[0])
    return _Chain(places, tuple(activations), a, b, c, d)


def _slopes(x: _Chain, g: _Chain) -> list[float] | None:
    """Bounds of the slopes of (α·x + β)·(a·act(b·x + c) + d)."""
    alpha, beta = x.a, x.d
    kinds = [act.kind for act in g.activations]
    if len(kinds) == 2 and kinds[0] == ("softplus", 1.0) and kinds[1] == ("tanh",):
        if (g.b, g.c, beta) != (1.0, 0.0, 0.0):
            return None
        return [alpha * g.a * s + alpha * g.d for s in _MISH]
    if len(kinds) != 1 or not kinds[0]:
        return None
    name, *limits = kinds[0]
    if name == "hardsigmoid":
        name, limits, g = "clamp", [0.0, 1.0], replace(g, b=g.b / 6, c=g.c / 6 + 0.5)
    if name == "clamp":
        low, high = limits
        if not (np.isfinite(low) and np.isfinite(high)) or g.b == 0:
            return None
        outside = [alpha * (g.a * limit + g.d) for limit in (low, high)]
        # Between the limits the slope is linear in x.
        ends = [(limit - g.c) / g.b for limit in (low, high)]
        inside = [alpha * (g.a * (g.b * e + g.c) + g.d) + (alpha * e + beta) * g.a * g.b for e in ends]
        return [*outside, *inside]
    if name not in _TIMES_X:
        return None
    # With z = b·x + c: α·a·(act(z) + z·act'(z)) + (β·b - α·c)·a·act'(z) + α·d.
    rest = (beta * g.b - alpha * g.c) * g.a
    return [alpha * g.a * s + rest * t + alpha * g.d for s in _TIMES_X[name] for t in (0.0, _STEEPEST[name])]
