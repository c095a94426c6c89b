"""How a pair of points climbs the difference quotient Q(u, v) = ‖f(u) - f(v)‖ / ‖u - v‖ (algorithm 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks.base import Function, Tensor
from artclip.norms import dual_norm, lengths

INITS = ("near", "data", "noise", "batch")
DOMAINS = ("clip_values", "free")
State = tuple[Tensor, Tensor]
"""Centres and directions, each of shape (P, *input_shape)."""
LEAST_BEND = 0.01  # relative difference of gradients at u and v that is well above the rounding of float32


@dataclass(frozen=True)
class PairRule:
    """How pairs are placed, climb, and are measured: functions of (c, w), without a state of their own.

    Args:
        f: the function whose quotient is climbed.
        norm, output_norm: 1, 2 or ``math.inf``, on flattened inputs and outputs.
        separation: distance h = ‖u - v‖ in ``norm``, > 0.
        least: separation below which quotients would be rounding noise.
        low, high: box that holds u and v, numbers or broadcastable to one input; ``None`` for no box.
        narrow: whether some side of the box may be shorter than h, so that h has to be limited to it.
        side: length > 0 that counts as one where quotients are penalised: the mean side of the box, in ``norm``.
        centre_step: how far a centre moves along its own gradient in one ascent, as a share of h, >= 0.
    """

    f: Function
    norm: float
    output_norm: float
    separation: float
    least: float = 0.0
    low: Tensor | None = None
    high: Tensor | None = None
    narrow: bool = False
    side: float = 1.0
    centre_step: float = 0.5

    def ends(self, state: State) -> Tensor:
        """u and v stacked, shape (2P, *input_shape), inside the box."""
        c, half = self.inside(state)
        return self.f.concat([c - half, c + half])

    def inside(self, state: State) -> State:
        """Centres and half differences of pairs whose ends lie in the box."""
        c, w = state
        half = w * (self.separation / 2)
        if self.low is None:
            return c, half
        if self.narrow:
            limit = (self.high - self.low) / 2
            half = self.f.clip(half, -limit, limit)
        margin = abs(half)
        starts_at_0 = isinstance(self.low, float) and self.low == 0
        return self.f.clip(c, margin if starts_at_0 else self.low + margin, self.high - margin), half

    def start(self, x: Tensor, w: Tensor) -> State:
        """Pairs anchored at x, each pointing to its neighbour in x, or along w (P or more) where that is equal."""
        neighbour = self.f.roll(x) - x
        length = self.f.norm(neighbour, self.norm)
        return x, self.f.where(length > 0, neighbour / (length + self.f.tiny), w[: self.f.rows(x)])

    def ascend(self, state: State) -> State:
        """One step of all pairs up their quotients. A pair in a flat spot keeps its direction."""
        f, nb_pairs = self.f, self.f.rows(state[1])
        c, half = self.inside(state)
        outputs, pull = f.pullback(f.concat([c - half, c + half]))
        across = self.across(outputs, nb_pairs)
        return self.moved((c, state[1]), *f.split(pull(f.concat([across, across])), [nb_pairs, nb_pairs]))

    def across(self, outputs: Tensor, nb_pairs: Any) -> Tensor:
        """What is pulled back at both ends: :meth:`slope` from u to v, given outputs at all u, and below them at v."""
        at_u, at_v = self.f.split(outputs, [nb_pairs, nb_pairs])
        return self.slope(at_v - at_u)

    def slope(self, difference: Tensor) -> Tensor:
        """Gradient of the output norm at differences (n, k), up to a factor, whatever the units of f."""
        return _norm_gradient(self.f, difference / (self.f.norm(difference, 2) + self.f.tiny), self.output_norm)

    def towards(self, gradient: Tensor, w: Tensor) -> Tensor:
        """Unit directions of steepest ascent; the old ones, as good as weightless, remain where the gradient is 0."""
        return self._towards(gradient, w)[0]

    def _towards(self, gradient: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`towards`, and how long the steepest direction was before."""
        direction, length = steepest(self.f, gradient + w * self.f.tiny, self.norm)
        return direction / length, length

    def moved(self, state: State, at_u: Tensor, at_v: Tensor) -> State:
        """Pairs after a step up ‖f(v) - f(u)‖, whose gradients are -at_u in u and at_v in v."""
        f, (c, w) = self.f, state
        bend, stretch = at_v - at_u, at_v + at_u
        direction, length = steepest(f, bend, self.norm)
        w, size_of_stretch = self._towards(stretch, w)
        way = self.centre_step * self.separation
        # Where f is straight between u and v, what the two gradients differ by is rounding: no place to go to.
        if self.norm == 2:  # the lengths are those of the gradients
            way = way / (length + size_of_stretch * LEAST_BEND + f.tiny)
        else:
            size = f.norm(bend, 2)
            sure = size / (size + f.norm(stretch, 2) * LEAST_BEND + f.tiny)
            way = sure * way / (length + f.tiny)
        return c + direction * way, w

    def quotients(self, state: State) -> Tensor:
        """Q of each pair, shape (P,); differentiable in the parameters."""
        ends = self.ends(state)
        return self.quotients_of(ends, self.f.forward(ends))

    def quotients_of(self, ends: Tensor, outputs: Tensor, least: float = 0.0) -> Tensor:
        """Q of each pair from :meth:`ends` and f of them, shape (P,), with distances of ``least`` at least."""
        return self.over(self.distances(ends, least), outputs)

    def distances(self, ends: Tensor, least: float = 0.0) -> Tensor:
        """‖u - v‖ of each pair, but at least ``least``, shape (P, 1)."""
        f, nb_pairs = self.f, self.f.rows(ends) // 2
        distance = f.reshape(f.norm(ends[nb_pairs:] - ends[:nb_pairs], self.norm), (-1, 1))
        return f.clip(distance, least, math.inf) if least else distance

    def over(self, distances: Tensor, outputs: Tensor) -> Tensor:
        """Q of each pair from its distance and f at :meth:`ends`, shape (P,)."""
        f, nb_pairs = self.f, self.f.rows(distances)
        at_u, at_v = f.split(outputs, [nb_pairs, nb_pairs])
        return f.reshape(f.norm(at_v - at_u, self.output_norm) / distances, (-1,))

    def refresh(self, state: State, x: Tensor, share: float) -> State:
        """The flattest share of the P pairs starts anew from x, shape (P, *input_shape)."""
        f, (c, w) = self.f, state
        quotients = self.quotients(state)
        threshold = f.sort(quotients)[max(1, math.ceil(share * w.shape[0])) - 1]
        flat = f.reshape(quotients <= threshold, (-1, *[1] * (len(w.shape) - 1)))
        fresh, towards = self.start(x, w)
        return f.where(flat, fresh, c), f.where(flat, towards, w)


def steepest(f: Function, gradient: Tensor, norm: float) -> tuple[Tensor, Tensor]:
    """Direction of steepest ascent in a norm (the gradient of the dual norm), and its length, shape (n, 1, ...)."""
    direction = _norm_gradient(f, gradient, dual_norm(norm))
    return direction, f.norm(direction, norm)


def _norm_gradient(f: Function, t: Tensor, p: float) -> Tensor:
    """Gradient of the p-norm, per sample, up to a positive factor."""
    if p == 2:
        return t
    if p == 1:
        return f.sign(t)
    return f.where(abs(t) >= f.norm(t, p), f.sign(t), t * 0)


def box_tensors(f: Function, low: np.ndarray, high: np.ndarray) -> tuple[Any, Any]:
    """The ends of a box as ``f.clip`` takes them: two numbers where all sides are alike, else two tensors.

    Frameworks clip to numbers several times faster, and PyTorch to no number and a tensor.
    """
    if (low == low.flat[0]).all() and (high == high.flat[0]).all():
        return float(low.flat[0]), float(high.flat[0])
    return f.tensor(low), f.tensor(high)


def spanned(f: Function, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The box (low, high), each of the shape of one input, of ``clip_values`` or, without them, of data x."""
    bounds = f.clip_values if f.clip_values is not None else (np.float64(x.min()), np.float64(x.max()))
    low, high = (np.broadcast_to(b, x.shape[1:]).astype(np.float64) for b in bounds)
    return low, high


def mean_side(low: np.ndarray, high: np.ndarray, p: float) -> float:
    """The side of the cube whose diagonal, in the p-norm, is that of the box; 1 for a single point."""
    return _diagonal(np.maximum(high - low, 0), p) / _diagonal(np.ones_like(low), p) or 1.0


def _diagonal(sides: np.ndarray, p: float) -> float:
    return float(lengths(sides[None], p)[0])


def make_rule(
    f: Function,
    x: np.ndarray,
    norm: float | str = 2,
    output_norm: float | str = 2,
    domain: str = "clip_values",
    separation: float | None = None,
    widen: bool = False,
) -> tuple[PairRule, np.ndarray, np.ndarray]:
    """A :class:`PairRule` for data like x, and the box (low, high) that x or the domain spans.

    Args are those of :class:`PairSet`, and ``widen``: whether the default separation is made as large as rounding asks
    for, up to half the diagonal. Raises ``ValueError`` as :class:`PairSet` does.
    """
    p, q = checks.norm("norm", norm), checks.norm("output_norm", output_norm)
    checks.one_of("domain", domain, DOMAINS)
    x = np.asarray(x)
    bounded = domain == "clip_values" and f.clip_values is not None
    low, high = spanned(f, x)
    given = separation is not None
    width = np.maximum(high - low, 0)
    diagonal, ones = (_diagonal(sides, p) or 1.0 for sides in (width, np.ones(x.shape[1:])))
    if separation is None:
        separation = min(diagonal / 28, float(width.max()) or 1.0)
    checks.positive("separation", separation)
    # Outputs are rounded to about eps·‖x‖, times the slope; a difference over h must stand well above that.
    scale = max(float(np.abs(low).max()), float(np.abs(high).max()), 1e-30)
    least = 16 * f.precision * scale * ones
    if widen and not given and separation < least <= diagonal / 2:
        separation = least
    if separation < least:
        if not given:
            raise ValueError(
                f"inputs from {low.min():g} to {high.max():g} lie so close together, for the rounding of a model whose "
                f"dtype has {f.precision:.1g} for its unit, that quotients would be noise; give more digits "
                "(model.float(), model.double()), or inputs less their mean"
            )
        raise ValueError(
            f"separation={separation:g} is so small that quotients would be rounding noise; use at least {least:.2g}, "
            "or a model in float64"
        )
    side = mean_side(low, high, p)
    if not bounded:
        return PairRule(f, p, q, separation, least, side=side), low, high
    least_in, most_in = box_tensors(f, low, high)
    narrow = separation > float((high - low).min())
    return PairRule(f, p, q, separation, least, least_in, most_in, narrow, side), low, high
