"""The search for steep pairs: many points are looked at, pairs climb from the steepest, and the best look around."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from artclip.frameworks.base import Tensor
from artclip.lipschitz.clock import Clock
from artclip.lipschitz.pair_rule import PairRule
from artclip.norms import column, lengths, unit

# Distances to start from, in units of the default separation, and the distance to end at: far starts see over the
# flat spots of sigmoids and the kinks of ReLUs, close ends see the Jacobian.
STARTS, _END = (1.0, 3.0, 10.0), 0.02
_REACH = (0.01, 30.0)  # how near and far from the data candidates may lie on a free domain, in units of its width
_BEST = 8  # later climbs start around so many of the best pairs
_AROUND = (3.0, 10.0)  # how far from those pairs, and the distance to start from, in units of the default separation
_FINALISTS, _FINISH = 16, 30  # pairs that are finished by power iteration, and its steps
_APART, _FAR_APART, _SCREENED_APART = 0.3, 3.0, 1.0  # separations between pairs that count as different places
_CHILDREN = 4  # a place is compared with so many near it
STEPS_OF_A_GENERATION = 2 * _CHILDREN  # of one pair, for each place
_DOUBT = 4  # units of rounding that a quotient may be off by
_EXACT = 1e-12  # unit of rounding, below which it makes no difference to a search
_ELEMENTS = 1 << 23  # numbers that candidates may hold
MOMENTUM, _MEMORY = 0.9, 5  # of centres that climb: at most, and steps that it reaches back in short climbs
_STEPS = 40  # steps at least that fit into a limit of time: batches are made small enough

Moving = tuple[Tensor, Tensor, Tensor]
"""Centres, directions, and in which way centres have moved lately: each of shape (n, *input_shape)."""
Climber = Callable[..., tuple[Tensor, Tensor, Moving]]
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Quotients (n,), and inputs u and v of shape (n, *input_shape)."""


class Search:
    """The rounds of a search, and the best pairs so far, as numpy arrays.

    Args:
        rule: how pairs climb, on the function that is searched.
        x: data, shape (n, *input_shape).
        box: what x or the domain spans.
        batch_size: pairs that climb together at most.
        rng: source of all chance.
        clock: the time it has. With little, batches are smaller and fewer pairs climb.
        grid: unit of rounding of the inputs that the model takes, relative.
        doubt: unit of rounding of the outputs that are searched, relative.
        momentum: of the centres in long climbs, in [0, 1).
    """

    def __init__(
        self,
        rule: PairRule,
        x: np.ndarray,
        box: tuple[np.ndarray, np.ndarray],
        batch_size: int,
        rng: np.random.Generator,
        clock: Clock,
        grid: float,
        doubt: float,
        momentum: float = MOMENTUM,
    ) -> None:
        self._momentum = momentum
        self.rule, self._f, self._x, (self._low, self._high) = rule, rule.f, x, box
        self._rng, self._clock = rng, clock
        self._most, self.batch_size = batch_size, batch_size if clock.max_seconds == math.inf else min(batch_size, 4)
        self._step = _step(rule, grid, doubt)
        self._found: list[Pairs] = []
        self.history: list[tuple[float, float]] = []  # seconds, best quotient so far

    def share_with(self, other: Search) -> None:
        """Put pairs where the other search puts its own."""
        self._found, self.history = other._found, other.history

    def pairs(self) -> Pairs:
        """All pairs so far, the steepest first."""
        quotients, u, v = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        order = np.argsort(-quotients, kind="stable")
        return quotients[order], u[order], v[order]

    def _apart(self, nb: int, pairs: Pairs, separations: float) -> Pairs:
        """Quotients, centres and directions of so many of the best pairs that are apart, or of all that are."""
        quotients, u, v = pairs
        c, chosen = (u + v) / 2, [0]
        for i in range(1, len(c)):
            if len(chosen) == nb:
                break
            if lengths(c[chosen] - c[i], 2).min() > separations * self.rule.separation:
                chosen.append(i)
        return quotients[chosen], c[chosen], unit((v - u)[chosen], self.rule.norm)

    def screen(self, nb_candidates: int, nb_restarts: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Centres and directions to climb from: half the steepest of the candidates, half by chance.

        Args:
            nb_candidates: points that are looked at.
            nb_restarts: points that are given back.
            steps: of the power iteration at each.
        """
        size = int(np.prod(self._x.shape[1:]))
        c = self._candidates(max(nb_restarts, min(nb_candidates, _ELEMENTS // size)))
        w = unit(self._rng.standard_normal(c.shape), 2)
        if self._clock.max_seconds < math.inf:  # those that there is no time for are left out, whichever they are
            order = self._rng.permutation(len(c))
            c, w = c[order], w[order]
        quotients, c, w = self._ascend(c, w, lambda i: (shortest(self.rule), 0.0), steps)
        order = np.argsort(-quotients, kind="stable")
        top = order[: 32 * nb_restarts]
        self._screened = quotients[top], c[top] - w[top], c[top] + w[top]
        best = order[: (nb_restarts + 1) // 2]
        others = self._rng.permutation(order[len(best) :])[: nb_restarts - len(best)]
        chosen = np.concatenate([best, others])
        return c[chosen], w[chosen]

    def _candidates(self, nb: int) -> np.ndarray:
        """Data, half of them or all there are; then points on the way to noise, or at any distance from data."""
        rng, x, shape = self._rng, self._x, self._x.shape[1:]
        data = x[np.resize(rng.permutation(len(x)), nb)].astype(np.float64)
        share = rng.uniform(size=(nb, *[1] * len(shape)))
        share[: min(nb // 2, len(x))] = 0
        if self.rule.low is not None:
            return data + share * (rng.uniform(self._low, self._high, (nb, *shape)) - data)
        width = float(np.linalg.norm(np.ravel(self._high - self._low))) or 1.0
        near, far = _REACH
        reach = np.where(share > 0, near * (far / near) ** share, 0) * width
        return data + reach * unit(rng.standard_normal((nb, *shape)), 2)

    def climb(self, pairs: tuple[np.ndarray, np.ndarray], start: float, max_iter: int) -> None:
        """All pairs climb from a distance of ``start`` separations down to the last one."""
        rule = self.rule

        def schedule(i: int) -> tuple[float, float]:
            progress = min(1.0, i / (0.7 * max_iter))
            distance = max(rule.least, rule.separation * start * (_END / start) ** progress)
            return distance, 0.5 * max(
                distance, 0.2 * rule.separation
            ) / distance  # centres move on when pairs are short

        self._ascend(*pairs, schedule, max_iter, min(self._momentum, max(0.0, 1 - _MEMORY / max_iter)))

    def climb_around_the_best(self, nb_pairs: int, which: int, max_iter: int) -> None:
        """Copies of the best pairs that are apart climb, all but the first of each moved by some separations.

        Args:
            nb_pairs: how many; with momentum, and no more of them than there are places, every second round moves all.
            which: of the rounds, from 0.
            max_iter: ascents.
        """
        _, c, w = self._apart(min(_BEST, nb_pairs), self.pairs(), _APART)
        copies, distance = max(1, nb_pairs // len(c)), _AROUND[which % len(_AROUND)]
        c, w = np.repeat(c, copies, axis=0), np.repeat(w, copies, axis=0)
        away = unit(self._rng.standard_normal(c.shape), 2)
        reach = self._rng.uniform(0, 2, (len(c), *[1] * (c.ndim - 1)))
        if copies > 1 or which % 2 == 0 or self._momentum == 0:
            reach[::copies] = 0
        c += reach * distance * self.rule.separation * away
        self.climb((c, w), _AROUND[0], max_iter)

    def finish(self) -> None:
        """Power iteration on the Jacobian: the steepest pairs turn, but stay where they are."""
        _, u, v = (t[:_FINALISTS] for t in self.pairs())
        length = float(np.median(lengths(v - u, self.rule.norm)))
        self._ascend((u + v) / 2, unit(v - u, self.rule.norm), lambda i: (length, 0.0), _FINISH)

    def look_around(self, nb_places: int, generations: int, distance: float) -> None:
        """The best places move to the steepest of some near them, ever nearer: into slivers, which gradients lead past.

        Each generation is an evolution strategy's (1 + 4) for each place, with the norm of the Jacobian, seen by two
        steps of the power iteration over a short distance, for its fitness. Half the places are the best of climbs,
        half of the candidates before them.

        Args:
            nb_places: how many.
            generations: >= 1.
            distance: of the pairs by which the norm is seen, > 0; the last moves are as short.
        """
        parts = (self.pairs(), _FAR_APART), (self._screened, _SCREENED_APART)
        places = [self._apart((nb_places + 1) // 2, pairs, apart) for pairs, apart in parts]
        quotients, c, w = (np.concatenate(part) for part in zip(*places, strict=True))
        widest = float(np.max(self._high - self._low)) or 1.0
        size = math.sqrt(c[0].size)
        for scale in np.geomspace(widest, min(widest, distance), generations):
            if self._clock.over():
                break
            away = self._rng.standard_normal((len(c), _CHILDREN, *c.shape[1:]))
            away *= self._rng.uniform(0, 2, (len(c), _CHILDREN, *[1] * (c.ndim - 1))) * scale / size
            children = (c[:, None] + away).reshape(-1, *c.shape[1:])
            norms, at, towards = self._ascend(children, np.repeat(w, _CHILDREN, axis=0), lambda i: (distance, 0.0), 1)
            if len(norms) < len(children):
                break
            best = norms.reshape(len(c), _CHILDREN).argmax(1) + np.arange(len(c)) * _CHILDREN
            better = norms[best] > quotients
            quotients = np.where(better, norms[best], quotients)
            c, w = (np.where(column(better, c), new[best], old) for new, old in ((at, c), (towards, w)))

    def _ascend(
        self,
        c: np.ndarray,
        w: np.ndarray,
        schedule: Callable[[int], tuple[float, float]],
        nb_steps: int,
        momentum: float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Climb in batches; keeps each pair's best ends, and returns best quotients, and centres and directions now.

        Pairs that there is no time for are left out; some are always looked at.
        """
        f, first = self._f, 0
        results: list[Pairs] = []
        while first < len(c) and not (results and self._clock.over()):
            part = slice(first, first + self.batch_size)
            first, began, steps = part.stop, time.perf_counter(), 0
            state: Moving = (f.tensor(c[part]), f.tensor(w[part]), f.tensor(np.zeros_like(c[part])))
            best = best_ends = None
            for i in range(nb_steps + 1):
                ends, quotients, state = self._step(*state, *schedule(i), momentum)
                quotients = f.reshape(quotients, (-1, *[1] * (c.ndim - 1)))
                if best is None:
                    best, best_ends = quotients, ends
                else:
                    better = quotients > best
                    best_ends = f.where(f.concat([better, better]), ends, best_ends)
                    best = f.where(better, quotients, best)
                steps += 1
                if self._clock.over():
                    break
            values, ends = f.to_numpy([best]), f.host(f.constants([best_ends])[0])
            self._measure(len(values), steps, time.perf_counter() - began)
            top = np.argsort(-values, kind="stable")[:_FINALISTS]
            self._found.append((values[top], ends[: len(values)][top], ends[len(values) :][top]))
            best_so_far = max(float(values[top[0]]), self.history[-1][1] if self.history else 0.0)
            self.history.append((self._clock.seconds(), best_so_far))
            results.append((values, *(f.host(t) for t in f.constants(list(state[:2])))))
        joined = [np.concatenate(parts) for parts in zip(*results, strict=True)]
        return joined[0], joined[1], joined[2]

    def _measure(self, nb_pairs: int, steps: int, seconds: float) -> None:
        """Keep batches so small that a step of one is a small part of the time there is."""
        if self._clock.max_seconds < math.inf:
            self._clock.rate = nb_pairs * steps / max(seconds, 1e-9)
            fitting = int(self._clock.rate * self._clock.max_seconds / _STEPS)
            self.batch_size = max(1, min(self._most, fitting, 4 * self.batch_size))


def shortest(rule: PairRule) -> float:
    """The distance of pairs at the end of a climb."""
    return max(rule.least, _END * rule.separation)


def _step(rule: PairRule, grid: float, unit_of_outputs: float) -> Climber:
    """One step of the search, compiled where that pays: ends, quotients less their doubt, next state.

    A quotient that is no number is -1, and gradients that are none count as 0.
    """
    f = rule.f

    def step(
        c: Tensor, w: Tensor, push: Tensor, distance: Any, centre_step: Any, momentum: Any
    ) -> tuple[Tensor, Tensor, Moving]:
        if rule.low is None:
            # Inputs are rounded to ``grid``: far from the origin pairs have to be longer for their directions to stay.
            least = f.norm(c, math.inf) * (16 * grid * math.prod(c.shape[1:]) ** (1 / rule.norm))
            distance = f.clip(least, distance, math.inf)
        now = replace(rule, separation=distance, centre_step=1.0, narrow=True)
        c, half = now.inside((c, w))
        ends, nb = f.concat([c - half, c + half]), f.rows(w)
        outputs, pull = f.pullback(ends)
        quotients = now.quotients_of(ends, outputs)
        if max(f.precision, unit_of_outputs) > _EXACT:
            # Outputs are rounded to about eps·Q·‖c‖ and eps·‖f‖. What of a quotient may be that does not count: far
            # from the origin and close together, or with large outputs, rounding alone would win the search.
            flat = distance if rule.low is not None else f.reshape(distance, (-1,))
            doubt = _DOUBT * max(f.precision, unit_of_outputs) * f.reshape(f.norm(c, rule.norm), (-1,)) / flat
            sizes = f.reshape(f.norm(outputs, rule.output_norm), (-1,))
            quotients = quotients * (1 - doubt) - _DOUBT * unit_of_outputs * (sizes[:nb] + sizes[nb:]) / flat
        quotients = f.where(abs(quotients) < math.inf, quotients, f.reshape(f.norm(half, 1), (-1,)) * 0 - 1)
        across = now.across(outputs, nb)
        gradient = pull(f.concat([across, across]))
        gradient = f.where(abs(gradient) < math.inf, gradient, ends * 0)
        moved, w = now.moved((c, w), *f.split(gradient, [nb, nb]))
        moved = moved - c
        # One step's direction is mostly noise where a net has many kinks; its length says how sure it is.
        push = push * momentum + moved / distance * (1 - momentum)
        along = push / (f.norm(push, rule.norm) + f.tiny)
        return ends, quotients, (c + along * (f.norm(moved, rule.norm) * centre_step), w, push)

    return f.compile(step, nb_resizable=3)  # as many pairs as are left
