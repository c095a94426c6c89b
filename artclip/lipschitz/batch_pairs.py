"""Pairs that start anew in each batch: some stay at a sample with one end, the others leave the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from artclip.frameworks.base import Tensor
from artclip.lipschitz.pair_rule import PairRule

ANCHORED = 2 / 3  # share of the pairs that stay at a sample: they make the net robust, the others keep it flat beyond
REACH = 2.0  # length of an anchored pair, in separations: that of the perturbations that one trains against
LEAST = 0.1  # shortest distance to divide by, in separations: the box may leave an anchored pair next to no room


@dataclass(frozen=True)
class FreshRule:
    """How fresh pairs are placed in a batch, climb, and are measured.

    Two thirds of them are *anchored*: u is a sample and stays, v climbs on the sphere of radius ``REACH``·h around it,
    cut off by the box. Their quotients are those that a perturbation of the sample meets. The others are pairs of
    :class:`PairRule`, a distance h apart, whose centres climb as well: they find what is steep between and beyond the
    samples, and need twice as many ascents for it.

    What anchored pairs climb is ‖f(v) - f(u)‖, or with three classes and more the output at v of the class that comes
    closest to that of u, less that of u: the way in which a prediction falls.

    Args:
        rule: of the others, with h, norms and box.
        nb_pairs: pairs P >= 1 in all, fewer where a batch is smaller.
    """

    rule: PairRule
    nb_pairs: int

    @property
    def nb_anchored(self) -> int:
        """Those of which u stays; at least one."""
        return math.ceil(ANCHORED * self.nb_pairs)

    @property
    def nb_moving(self) -> int:
        """Those whose centres climb."""
        return self.nb_pairs - self.nb_anchored

    def gradients(self, batch: int, steps: int) -> int:
        """Inputs through which gradients are taken: those that climb, then both ends of all pairs."""
        anchored, moving = min(self.nb_anchored, batch), min(self.nb_moving, batch)
        return _turns(steps) * anchored + 2 * steps * moving + 2 * (anchored + moving)

    def climb(self, x: Tensor, w: Tensor, steps: int) -> Tensor:
        """Both ends of all pairs, u above v, after some ascents on the current weights.

        Args:
            x: shape (n, *input_shape), n >= 1: the batch. The first u are its first samples.
            w: shape (P, *input_shape): directions for pairs between equal samples.
            steps: ascents, >= 0, of the pairs whose centres climb; anchored ones take part in the first half of them.
        """
        rule, f = self.rule, self.rule.f
        u = x[: self.nb_anchored]
        n = f.rows(u)
        starts, w = rule.start(f.concat([u, x[-self.nb_moving :]]) if self.nb_moving else u, w)
        state, w = (starts[n:], w[n:]), w[:n]
        m = f.rows(state[0])
        at_u = f.value(u) if steps else None
        for step in range(steps if self.nb_moving else _turns(steps)):
            away = [self._away(u, w)] if step < _turns(steps) else []
            sizes = [2 * m, n] if away else [2 * m]
            c, half = rule.inside(state)
            outputs, pull = f.pullback(f.concat([c - half, c + half, *away]))
            of_moving, *of_anchored = f.split(outputs, sizes)
            across = rule.across(of_moving, m)
            gradient = pull(f.concat([across, across, *(self._uphill(at_u, at_v) for at_v in of_anchored)]))
            of_u, of_v, *of_anchored = f.split(gradient, [m, m, *sizes[1:]])
            state = rule.moved((c, state[1]), of_u, of_v)
            w = rule.towards(of_anchored[0], w) if away else w
        c, half = rule.inside(state)
        return f.concat([u, c - half, self._away(u, w), c + half])

    def quotients_of(self, ends: Tensor, outputs: Tensor) -> Tensor:
        """Q of each pair, shape (P,); less than that where the box leaves a pair no room."""
        return self.rule.over(self.distances(ends), outputs)

    def distances(self, ends: Tensor) -> Tensor:
        """Those that differences of outputs are divided by, shape (P, 1)."""
        return self.rule.distances(ends, LEAST * self.rule.separation)

    def _uphill(self, at_u: Tensor, at_v: Tensor) -> Tensor:
        """The outputs' direction, at v, that anchored pairs climb."""
        f = self.rule.f
        # Of two classes the difference is the margin; of one output, or labels of their own, there is none.
        if (f.nb_classes or 0) < 3 or f.multi_label:
            return self.rule.slope(at_v - at_u)
        own = f.one_hot_argmax(at_u)
        return f.one_hot_argmax(at_v - own * (1 + 2 * f.norm(at_v, math.inf))) - own

    def _away(self, u: Tensor, w: Tensor) -> Tensor:
        """The other ends of anchored pairs."""
        v = u + w * (REACH * self.rule.separation)
        return v if self.rule.low is None else self.rule.f.clip(v, self.rule.low, self.rule.high)


def _turns(steps: int) -> int:
    """Ascents, of so many, in which anchored pairs take part."""
    return math.ceil(steps / 2)
