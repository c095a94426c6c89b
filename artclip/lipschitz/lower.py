"""Lower bounds: the steepest pair that a search finds. Every pair is a proof, so more search only raises the bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import Function, function_of
from artclip.frameworks.base import Tensor
from artclip.lipschitz.estimate import LipschitzEstimate
from artclip.lipschitz.pairs import PairRule, State, lengths, make_rule, unit

# Distances to start from, in units of the default separation, and the distance to end at: far starts see over the
# flat spots of sigmoids and the kinks of ReLUs, close ends see the Jacobian.
_STARTS, _END = (1.0, 3.0, 10.0), 0.02
_CANDIDATES, _NUMBERS = (16, 256), 1 << 14  # points looked at per restart, before the best climb, and their numbers
_REACH = (0.01, 30.0)  # how near and far from the data they may lie on a free domain, in units of its width
_ROUNDS, _BEST = 6, 8  # later climbs, from around so many of the best pairs
_AROUND = (3.0, 10.0)  # how far from those pairs, and the distance to start from, in units of the default separation
_FINALISTS, _FINISH = 16, 30  # pairs that are finished by power iteration, and its steps
_APART = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # how much further apart the best pair is tried
_DOUBT = 4  # units of rounding that a quotient may be off by
_ELEMENTS = 1 << 23  # numbers that candidates may hold

Climber = Callable[..., tuple[Tensor, Tensor, State]]


def lipschitz_lower_bound(
    estimator: Any,
    x: np.ndarray,
    norm: float | str = 2,
    output_norm: float | str = 2,
    domain: str = "clip_values",
    nb_restarts: int = 64,
    max_iter: int = 60,
    batch_size: int = 128,
    seed: int | None = None,
    verbose: bool = False,
) -> LipschitzEstimate:
    """A lower bound of the Lipschitz constant: the largest quotient that pair ascent finds.

    Many points, data and places far from it, are looked at with a few steps of the power iteration. From half of the
    restarts' worth of the steepest, and as many chosen by chance, pairs climb while their distance shrinks, from
    several distances; :class:`artclip.lipschitz.pairs.PairRule` is the step. Copies of the best, moved a little, climb
    again, a few times. The steepest are finished by power iteration on the Jacobian where they are. A search on a free
    domain searches among valid inputs first. The search knows nothing of training.

    Args:
        estimator: ART PyTorch, TensorFlow, Keras or JAX estimator, or a bare ``torch.nn.Module`` or Keras model, with
            gradients by backpropagation; any other ART estimator, through its ``class_gradient``, or where it has
            none through differences of its predictions. f is what ``predict`` returns.
        x: shape (n, *input_shape): data to start from.
        norm, output_norm: 1, 2 or inf, on flattened inputs and outputs.
        domain: ``"clip_values"`` searches among valid inputs, ``"free"`` everywhere; without ``clip_values`` both do.
        nb_restarts: pairs per starting distance, >= 1.
        max_iter: ascents per pair, >= 1.
        batch_size: pairs that climb together, >= 1.
        seed: of the start, or ``None``.
        verbose: show a progress bar.

    Returns:
        An estimate of kind ``"lower"`` with the pair (u, v) that attains it; ``method`` says how gradients were had.

    Raises:
        TypeError, ValueError: bad input.
    """
    from tqdm.auto import tqdm

    for name, number in (("nb_restarts", nb_restarts), ("max_iter", max_iter), ("batch_size", batch_size)):
        checks.positive_integer(name, number)
    began, f = time.perf_counter(), function_of(estimator)
    x = checks.inputs(x, f.input_shape or None)
    rule, low, high = make_rule(f, x, norm, output_norm, domain)
    search = _Search(rule, x, (low, high), batch_size, np.random.default_rng(seed))
    candidates = int(np.clip(_NUMBERS / np.prod(x.shape[1:]), *_CANDIDATES))
    candidates, rounds = (candidates, _ROUNDS) if f.access == "backpropagation" else (2, 1)
    searches = [search.among(x, "clip_values"), search] if rule.low is None and f.clip_values is not None else [search]
    bar = tqdm(total=len(searches) * (len(_STARTS) + rounds), disable=not verbose, desc="Lipschitz lower bound")
    with f.seeded(0 if seed is None else seed), bar:
        for part in searches:
            pairs = part.screen(nb_restarts * candidates, nb_restarts)
            for start in _STARTS:
                part.climb(pairs, start, max_iter)
                bar.update()
            for i in range(rounds):
                part.climb(part.around_the_best(nb_restarts, _AROUND[i % len(_AROUND)]), _AROUND[0], max_iter)
                bar.update()
            part.finish()
        value, u, v = search.steepest()
    return LipschitzEstimate(
        value=value,
        kind="lower",
        norm=rule.norm,
        output_norm=rule.output_norm,
        domain="free" if rule.low is None else "clip_values",
        method=f"pair ascent by {f.access}, {nb_restarts}×{len(_STARTS)} restarts, {max_iter} steps",
        seconds=time.perf_counter() - began,
        seed=seed,
        u=u,
        v=v,
        history=search.history,
    )


class _Search:
    """The rounds of the search, and the best pairs so far, as numpy arrays."""

    def __init__(
        self,
        rule: PairRule,
        x: np.ndarray,
        box: tuple[np.ndarray, np.ndarray],
        batch_size: int,
        rng: np.random.Generator,
    ) -> None:
        self._rule, self._f, self._batch_size, self._rng = rule, rule.f, batch_size, rng
        self._x, (self._low, self._high) = x, box
        self._step = _step(rule)
        self._found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # quotients, u, v
        self._began = time.perf_counter()
        self.history: list[tuple[float, float]] = []  # seconds, best quotient so far

    def among(self, x: np.ndarray, domain: str) -> _Search:
        """A search of another domain, whose pairs are this one's too."""
        rule, low, high = make_rule(self._f, x, self._rule.norm, self._rule.output_norm, domain)
        other = _Search(rule, x, (low, high), self._batch_size, self._rng)
        other._found, other.history, other._began = self._found, self.history, self._began
        return other

    def around_the_best(self, nb_pairs: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Centres and directions of the best pairs that are apart, and of copies moved by some separations."""
        _, c, w = self._pairs()
        kept: list[int] = []
        for i in range(len(c)):
            if all(np.linalg.norm(np.ravel(c[i] - c[j])) > 0.3 * self._rule.separation for j in kept):
                kept.append(i)
            if len(kept) == _BEST:
                break
        copies = max(1, nb_pairs // len(kept))
        c, w = np.repeat(c[kept], copies, axis=0), np.repeat(w[kept], copies, axis=0)
        away = unit(self._rng.standard_normal(c.shape), 2)
        reach = self._rng.uniform(0, 2, (len(c), *[1] * (c.ndim - 1))) * scale * self._rule.separation
        reach[::copies] = 0
        return c + reach * away, unit(w, self._rule.norm)

    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Quotients, centres and differences of all pairs so far, the steepest first."""
        quotients, u, v = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        order = np.argsort(-quotients)
        return quotients[order], (u[order] + v[order]) / 2, v[order] - u[order]

    def screen(self, nb_candidates: int, nb_restarts: int) -> tuple[np.ndarray, np.ndarray]:
        """Centres and directions to climb from: half the steepest of the candidates, half by chance."""
        size = int(np.prod(self._x.shape[1:]))
        c = self._candidates(max(nb_restarts, min(nb_candidates, _ELEMENTS // size)))
        w = unit(self._rng.standard_normal(c.shape), 2)
        quotients, c, w = self._ascend(c, w, lambda i: (max(self._rule.least, self._rule.separation * _END), 0.0), 3)
        order = np.argsort(-quotients)
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
        if self._rule.low is not None:
            return data + share * (rng.uniform(self._low, self._high, (nb, *shape)) - data)
        width = float(np.linalg.norm(np.ravel(self._high - self._low))) or 1.0
        near, far = _REACH
        reach = np.where(share > 0, near * (far / near) ** share, 0) * width
        return data + reach * unit(rng.standard_normal((nb, *shape)), 2)

    def climb(self, pairs: tuple[np.ndarray, np.ndarray], start: float, max_iter: int) -> None:
        """All pairs climb from a distance of ``start`` separations down to the last one."""
        rule = self._rule

        def schedule(i: int) -> tuple[float, float]:
            progress = min(1.0, i / (0.7 * max_iter))
            distance = max(rule.least, rule.separation * start * (_END / start) ** progress)
            return distance, 0.5 * max(
                distance, 0.2 * rule.separation
            ) / distance  # centres move on when pairs are short

        self._ascend(*pairs, schedule, max_iter)

    def finish(self) -> None:
        """Power iteration on the Jacobian: the steepest pairs turn, but stay where they are."""
        _, c, w = (t[:_FINALISTS] for t in self._pairs())
        length = float(np.median(lengths(w, self._rule.norm)))
        self._ascend(c, unit(w, self._rule.norm), lambda i: (length, 0.0), _FINISH)

    def _ascend(
        self, c: np.ndarray, w: np.ndarray, schedule: Callable[[int], tuple[float, float]], nb_steps: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Climb in batches; keeps each pair's best ends, and returns best quotients, and centres and directions now."""
        f, results = self._f, []
        for first in range(0, len(c), self._batch_size):
            part = slice(first, first + self._batch_size)
            state: State = (f.tensor(c[part]), f.tensor(w[part]))
            best = best_ends = None
            for i in range(nb_steps + 1):
                ends, quotients, state = self._step(*state, *schedule(i))
                column = f.reshape(quotients, (-1, *[1] * (c.ndim - 1)))
                if best is None:
                    best, best_ends = column, ends
                else:
                    better = column > best
                    best_ends = f.where(f.concat([better, better]), ends, best_ends)
                    best = f.where(better, column, best)
            found, ends = f.to_numpy([best]), f.host(f.constants([best_ends])[0])
            top = np.argsort(-found)[:_FINALISTS]
            self._found.append((found[top], ends[: len(found)][top], ends[len(found) :][top]))
            best_so_far = max(float(found[top[0]]), self.history[-1][1] if self.history else 0.0)
            self.history.append((time.perf_counter() - self._began, best_so_far))
            results.append((found, *(f.host(t) for t in f.constants(list(state)))))
        joined = [np.concatenate(parts) for parts in zip(*results, strict=True)]
        return joined[0], joined[1], joined[2]

    def steepest(self) -> tuple[float, np.ndarray, np.ndarray]:
        """The best pair, and its quotient as one would have it by hand from ``predict``.

        Predictions are rounded, and a pair may be as steep further apart, where that counts for less; so it is put as
        far apart as its quotient allows.
        """
        rule, chosen = self._rule, None
        quotients, u, v = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        best = int(np.argmax(quotients))
        for factor in _APART:
            c, half = (u[best] + v[best]) / 2, factor * (v[best] - u[best]) / 2
            ends = (u[best], v[best]) if factor == 1 else (c - half, c + half)
            if rule.low is not None and any(np.any(e < self._low) or np.any(e > self._high) for e in ends):
                ends = (u[best], v[best])
            value = quotient_by_predict(self._f, *ends, rule.norm, rule.output_norm)
            if chosen is None or value >= chosen[0] * (1 - 1e-5):
                chosen = (value, *ends)
        assert chosen is not None
        return chosen


def _step(rule: PairRule) -> Climber:
    """One step of the search, compiled where that pays: ends, quotients less their doubt, next state."""
    f = rule.f

    def step(c: Tensor, w: Tensor, distance: Any, centre_step: Any) -> tuple[Tensor, Tensor, State]:
        now = replace(rule, separation=distance, centre_step=centre_step, narrow=True)
        ends = now.ends((c, w))
        # Outputs are rounded to about eps·Q·‖c‖. What of a quotient may be that does not count: far from the origin and
        # close together, rounding alone would win the search.
        doubt = _DOUBT * f.precision * f.reshape(f.norm(c, rule.norm), (-1,)) / distance
        quotients = now.quotients_of(ends, f.value(ends))  # with gradients each step's graph would be kept
        return ends, quotients * (1 - doubt), now.ascend((c, w))

    return rule.f.compile(step)


def quotient_by_predict(f: Function, u: np.ndarray, v: np.ndarray, norm: float, output_norm: float) -> float:
    """Q(u, v) of two inputs of shape input_shape, with differences and norms in float64."""
    outputs = f.predict(np.stack([u, v]))
    run = np.linalg.norm(np.ravel(v.astype(np.float64) - u), norm)
    return float(np.linalg.norm(outputs[1] - outputs[0], output_norm) / run)
