"""The pair that a lower bound is said of, and what is sure of its quotient, rounding taken off."""

from __future__ import annotations

import math

import numpy as np

from artclip.lipschitz.clock import Clock
from artclip.lipschitz.pair_rule import PairRule
from artclip.lipschitz.precision import Precision, held, values
from artclip.lipschitz.search import Pairs
from artclip.norms import column, lengths

_DOUBT = 4.0  # units of rounding that an output may be off by
_PLACES, _LINES, _MOVES = 16, 12, 16  # pairs that are stretched, stretched ones that are moved, and how often
_STRETCHES = 12  # by which power of 4 a pair is made longer at most
_CONFIRMED = 16  # pairs that are predicted by themselves, of the steepest and of the longest that are as steep
_TIE = 2e-5  # relative difference of quotients, within which the longer pair, of which predict rounds less, is better
_ROUNDS, _ENOUGH = 4, 4e-5  # times pairs are moved, unless the value is that close to the most that it can be
_STRETCHED = 0.92  # share of the time that is over before pairs are moved
_SAMPLES = 16  # inputs at which predict is compared with the copy
_ELEMENTS = 1 << 22  # numbers in the inputs that are looked at together
_EPS = float(np.finfo(np.float64).eps)

_Best = tuple[float, np.ndarray, np.ndarray]


class Finish:
    """Chooses a pair of inputs that the model can take, and says what is sure of its quotient.

    In float64 a quotient is known but for a tiny part. ``predict`` rounds, and the pair has to show by it, too, what is
    said. So pairs along the steepest directions are made as long as their quotients allow, are moved a little, and one
    is taken of which both figures are large. Without a copy in float64, it is the quotient by ``predict`` less its
    doubt.

    Args:
        rule: how quotients are measured, and the function that is deployed.
        box: low and high, shape input_shape, of the domain or of what the data span.
        precision: how exactly the function can be had.
        batch_size: pairs that are looked at together.
        clock: the time there is.
    """

    def __init__(
        self, rule: PairRule, box: tuple[np.ndarray, np.ndarray], precision: Precision, batch_size: int, clock: Clock
    ) -> None:
        self._rule, self._f, self._fine, self._unit = rule, rule.f, precision.fine, precision.unit
        self._low, self._high = box
        self._clock, self._size = clock, int(np.prod(box[0].shape))
        self._rows = max(1, min(batch_size, _ELEMENTS // (2 * self._size)))
        self._room = max(_PLACES, _ELEMENTS // self._size)  # pairs that are held together
        self._off, self._any = 0.0, False  # how far predict was from the copy, and whether there was any quotient
        if rule.low is not None:  # the corners of the box may be no numbers of the model's dtype
            self._inner = [self._inwards(corner, sign) for corner, sign in zip(box, (1.0, -1.0), strict=True)]

    def _inwards(self, corner: np.ndarray, sign: float) -> np.ndarray:
        near, further = held(self._f, np.stack([corner, corner + sign * 1.5 * self._f.precision * np.abs(corner)]))
        return np.where(sign * near < sign * corner, further, near)

    def best_of(self, pairs: Pairs) -> _Best:
        """The value, u and v; the steepest of the pairs, which come in that order, or one along it.

        Raises:
            ValueError: outputs are not finite.
        """
        u, v = (t[: self._room].astype(np.float64) for t in pairs[1:])
        self._clock.until(_STRETCHED)
        lines = self._stretched((u + v) / 2, (v - u) / 2)
        self._clock.until(1.0)
        rng, best, most = np.random.default_rng(0), (-1.0, u[0], v[0]), -1.0
        for attempt in range(_ROUNDS):
            best, limit = self._better(*self._moved(*lines, rng, attempt == 0), best)
            most = max(most, limit)
            if best[0] >= most * (1 - _ENOUGH) or self._clock.over():
                break
        if not self._any:
            raise ValueError("the model's outputs are not finite at the inputs that were tried, so they have no slope")
        dtype = np.float64 if self._f.precision < np.finfo(np.float32).eps else np.float32
        return max(0.0, best[0]), best[1].astype(dtype), best[2].astype(dtype)

    def _stretched(self, c: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs in different places, as centres and halves: the best of those as long as they are up to the longest."""
        places = [0]
        for i in range(1, len(c)):
            if len(places) < _PLACES and lengths(c[places] - c[i], 2).min() > 0.01 * self._rule.separation:
                places.append(i)
        c, half = c[places], half[places]
        if self._rule.low is not None:
            room = np.full(half.shape, math.inf)
            np.divide(np.broadcast_to((self._high - self._low) / 2, half.shape), abs(half), out=room, where=half != 0)
            most = room.reshape(len(c), -1).min(1)
        else:
            most = 4 * max(float(np.linalg.norm(self._high - self._low)), self._rule.separation) / lengths(2 * half, 2)
        factors = np.minimum(4.0 ** np.arange(_STRETCHES)[:, None], most)
        factors = factors[: max(2, self._room // len(c))]
        factors[-1] = most
        centres = np.concatenate([c] * len(factors))
        halves = np.concatenate([column(by, half) * half for by in factors])
        quotients, noise = self._seen(*self._ends(centres, halves), by_copy=self._fine is not None)
        quiet = np.argsort(self._unit * noise - quotients, kind="stable")
        steep = np.argsort(-quotients, kind="stable")
        chosen = list(dict.fromkeys([*quiet[: 2 * _LINES // 3], *steep]))[:_LINES]
        return centres[chosen], halves[chosen]

    def _moved(
        self, c: np.ndarray, half: np.ndarray, rng: np.random.Generator, with_first: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends of copies of pairs, each moved and shortened a little at random; of the pairs, too, if asked for."""
        copies = max(2, min(_MOVES, self._room // len(c)))
        reach, shorter = 10.0 ** rng.uniform(-3, 0, copies) / math.sqrt(self._size), 2.0 ** rng.uniform(-1, 0, copies)
        if with_first:
            reach[0], shorter[0] = 0.0, 1.0
        away = column(reach, half) * rng.standard_normal((copies, *c.shape[1:]))
        moved = c + away[:, None] * column(lengths(half, 2), half)
        shortened = column(shorter, half)[:, None] * half
        return self._ends(moved.reshape(-1, *c.shape[1:]), shortened.reshape(-1, *c.shape[1:]))

    def _ends(self, c: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u and v as the model takes them, in the domain."""
        if self._rule.low is None:
            ends = held(self._f, np.concatenate([c - half, c + half]))
        else:
            c = np.clip(c, self._low + abs(half), self._high - abs(half))
            ends = np.clip(held(self._f, np.concatenate([c - half, c + half])), *self._inner)
        return ends[: len(c)], ends[len(c) :]

    def _better(self, u: np.ndarray, v: np.ndarray, best: _Best) -> tuple[_Best, float]:
        """The best pair by what is sure of it, and the most that any of them could have."""
        shown, noise = self._seen(u, v, by_copy=False)
        sure = limits = shown - self._doubt(u, v, shown, noise)
        if self._fine is not None:
            exact, noise = self._seen(u, v, by_copy=True)
            limits = exact - self._doubt(u, v, exact, noise)
            sure = np.minimum(shown, limits)
        run = lengths(v - u, self._rule.norm)
        steep = np.argsort(-sure, kind="stable")[:_CONFIRMED]
        long = [i for i in np.argsort(-run, kind="stable") if sure[i] >= sure[steep[0]] * (1 - _TIE)][:_CONFIRMED]
        for count, i in enumerate(dict.fromkeys([*long, *steep])):
            if count and self._clock.over():
                break
            pair = slice(i, i + 1)
            shown[pair], noise[pair] = self._seen(u[pair], v[pair], by_copy=False)  # it rounds otherwise in a batch
            value = shown[i] - self._doubt(u[pair], v[pair], shown[pair], noise[pair])[0]
            if self._fine is not None:
                value = min(shown[i] * (1 - 8 * _EPS), limits[i])  # the caller's own division may round otherwise
            if value > best[0] * (1 + (_TIE if run[i] < lengths((best[2] - best[1])[None], self._rule.norm)[0] else 0)):
                best = float(value), u[i], v[i]
        return best, float(limits.max())

    def _seen(self, u: np.ndarray, v: np.ndarray, by_copy: bool) -> tuple[np.ndarray, np.ndarray]:
        """Quotients (n,), -1 where there is none; and the norms of both outputs over the distance."""
        quotients, noise = np.full(len(u), -1.0), np.zeros(len(u))
        for i in range(0, len(u), self._rows):
            if i and self._clock.over():
                break
            part = slice(i, i + self._rows)
            run, nb = lengths(v[part] - u[part], self._rule.norm), len(u[part])
            # Batches of one size, filled up with the first pair: for other sizes a model may be compiled again.
            index = np.append(np.arange(i, i + nb), np.full(min(len(u), self._rows) - nb, i))
            both = np.concatenate([u[index], v[index]])
            outputs = values(self._fine, both) if by_copy and self._fine is not None else self._f.predict(both)
            if self._fine is not None and not by_copy and i == 0 < nb - 1:
                off = lengths(outputs[:_SAMPLES] - values(self._fine, both[:_SAMPLES]), self._rule.output_norm)
                self._off = max(self._off, float(off.max()))
            outputs = outputs[np.append(np.arange(nb), len(index) + np.arange(nb))]
            with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
                sizes = lengths(outputs, self._rule.output_norm)
                rise = lengths(outputs[nb:] - outputs[:nb], self._rule.output_norm) / run
                noise[part] = (sizes[:nb] + sizes[nb:]) / run
            quotients[part] = np.where((run > 0) & np.isfinite(rise), rise, -1.0)
            self._any |= not by_copy and bool((quotients[part] >= 0).any())
        return quotients, np.where(np.isfinite(noise), noise, 0.0)

    def _doubt(self, u: np.ndarray, v: np.ndarray, quotients: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """What rounding may have added to quotients, those of the copy if there is one."""
        run = np.maximum(lengths(v - u, self._rule.norm), np.finfo(np.float64).tiny)
        sums = (64 + self._size) * _EPS * quotients  # differences and norms
        if self._fine is None:
            size = lengths((u + v) / 2, self._rule.norm) / run
            return _DOUBT * self._unit * (size * quotients + noise) + sums
        # Inside, numbers may be larger than outputs: what predict is off by tells, for its own unit of rounding.
        inside = 2 * self._off * _EPS / self._f.precision / run
        return _DOUBT * (_EPS * noise + inside) + sums
