"""Lower bounds: the steepest pair that a search finds. Every pair is a proof, so more search only raises the bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import Function, function_of
from artclip.frameworks.check import check, give_range, refuse_defences
from artclip.lipschitz.clock import Clock
from artclip.lipschitz.estimate import LipschitzEstimate
from artclip.lipschitz.pair_rule import PairRule, make_rule
from artclip.lipschitz.precision import Precision, has_gradient, held, precision_of
from artclip.lipschitz.refine import Finish
from artclip.lipschitz.search import MOMENTUM, STARTS, STEPS_OF_A_GENERATION, Search, shortest
from artclip.norms import lengths, unit

_CANDIDATES, _NUMBERS = (16, 128), 1 << 14  # points looked at per restart, before the best climb, and their numbers
# Later climbs; of so many times the steps, and as many times fewer pairs: with few inputs, with more, and on images. In
# long climbs momentum finds steep places far off, of which there are few where inputs are few (measured: 72 and 784).
_MANY = 256  # inputs from which on centres have momentum
_ROUNDS, _VECTOR_ROUNDS, _IMAGE_ROUNDS = (6, 1), (3, 4), (2, 16)
_FEW = 64  # inputs that slivers can be found among by looking around, and that cost no more in float64
_GENERATIONS = 3  # of looking around, for each step of a climb
_SAMPLES = 2  # inputs that tell what kind of model it is
_COARSE = 0.02  # of a quotient, rounding beyond which the search has to be in float64
_SINGLE = 1e-6  # unit of rounding that float32 keeps below, and the types of 16 bits do not
_SCREEN, _CLIMBS, _SEARCH = 0.25, 0.7, 0.85  # shares of the time after the first look, the climbs, and all of a search
_LEAST = (4, 8)  # pairs that climb at least, and their steps, where time is short


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
    max_seconds: float | None = None,
    clip_values: Any = None,
) -> LipschitzEstimate:
    """A lower bound of the Lipschitz constant: the largest quotient that pair ascent finds, less what may be rounding.

    Many points, data and places far from it, are looked at with a few steps of the power iteration. From half of the
    restarts' worth of the steepest, and as many chosen by chance, pairs climb while their distance shrinks, from
    several distances (:class:`artclip.lipschitz.pair_rule.PairRule` is the step). Copies of the best, moved a little,
    climb again, a few times. The steepest are finished by power iteration on the Jacobian where they are. With up to 64
    inputs the best places then move on to steeper ones near them, nearer and nearer, into linear pieces that are as
    thin as inputs are rounded. A search on a free domain searches among valid inputs first. The search knows nothing
    of training.

    The value holds in real arithmetic for the weights as they are, and ``predict`` shows as much at the pair. PyTorch
    modules and Keras models built from layers are copied in float64 for it. Where that cannot be, an allowance for the
    rounding of ``predict`` is taken off the quotient; it is a rule of thumb, 4 units of rounding of each output.

    Args:
        estimator: ART PyTorch, TensorFlow, Keras or JAX estimator, or a bare ``torch.nn.Module`` or Keras model, with
            gradients by backpropagation; any other ART estimator, through its ``class_gradient``, or where it has
            none through differences of its predictions. f is what ``predict`` returns.
        x: shape (n, *input_shape): data to start from, inside ``clip_values`` unless the domain is free.
        norm, output_norm: 1, 2 or inf, on flattened inputs and outputs.
        domain: ``"clip_values"`` searches among valid inputs, ``"free"`` everywhere; without ``clip_values`` both do.
        nb_restarts: pairs per starting distance, >= 1.
        max_iter: ascents per pair, >= 1.
        batch_size: pairs that climb together, >= 1.
        seed: of the start, or ``None``.
        verbose: show a progress bar, on a terminal or in a notebook.
        max_seconds: time for it, > 0, or ``None`` for what it takes. With less time fewer pairs climb, and results
            depend on the speed of the machine.
        clip_values: range (low, high) of valid inputs of a bare model; ``None`` for none. An estimator has its own.

    Returns:
        An estimate of kind ``"lower"`` with the pair (u, v) that attains it; ``method`` says how gradients were had,
        and whether the search was cut short; ``notes`` say why it may be far too low, if that is known.

    Raises:
        TypeError, ValueError: bad input; a model whose outputs are not finite, or that is no function of its input.
    """
    from tqdm.auto import tqdm

    for name, number in (("nb_restarts", nb_restarts), ("max_iter", max_iter), ("batch_size", batch_size)):
        checks.positive_integer(name, number)
    if max_seconds is not None:
        checks.positive("max_seconds", max_seconds)
    seed = checks.seed(seed)
    clock = Clock(math.inf if max_seconds is None else max_seconds)
    f = function_of(estimator)
    give_range(f, clip_values)
    refuse_defences(f)
    x = checks.inputs(x, f.input_shape or None, box=None if domain == "free" else f.clip_values)
    rule, low, high = make_rule(f, x, norm, output_norm, domain, widen=True)
    check(f, x[:_SAMPLES])
    f.check_gradients()
    with f.unchanged():
        climbs = f.access != "backpropagation" or has_gradient(f, x)
    if not climbs:
        raise ValueError(
            "the model's outputs have no gradient in its inputs, as under no_grad, after detach or for whole numbers, "
            "so pairs cannot climb; wrap its predict in ART's BlackBoxClassifier, which is searched without"
        )
    effort = _Effort(f, x, nb_restarts, max_iter)
    rng = np.random.default_rng(seed)
    with f.seeded(0 if seed is None else seed), f.unchanged():
        precision = precision_of(f, x, rule.separation)
        source, unit_of_outputs = f, precision.unit
        if precision.fine is not None and _in_float64(rule, precision, x):
            source, unit_of_outputs = precision.fine, precision.fine.precision
        searches: list[Search] = []
        both = rule.low is None and f.clip_values is not None
        for part in ("clip_values", "free") if both else (domain,):
            own, *box = make_rule(source, x, norm, output_norm, part, rule.separation)
            own = replace(own, least=rule.least)
            given = (clock, f.precision, unit_of_outputs, effort.momentum)
            searches.append(Search(own, x, (box[0], box[1]), batch_size, rng, *given))
            searches[-1].share_with(searches[0])
        with tqdm(
            total=len(searches) * effort.parts, disable=None if verbose else True, desc="Lipschitz lower bound"
        ) as bar:
            for i, search in enumerate(searches):
                share = _SEARCH / len(searches)
                effort.spend(search, clock, i * share, (i + 1) * share, source is not f, bar.update)
        clock.until(1.0)
        finish = Finish(rule, (low, high), precision, searches[-1].batch_size, clock)
        value, u, v = finish.best_of(searches[-1].pairs())
    how = f"pair ascent by {f.access}, {nb_restarts}×{len(STARTS)} restarts, {max_iter} steps"
    return LipschitzEstimate(
        value=value,
        kind="lower",
        norm=rule.norm,
        output_norm=rule.output_norm,
        domain="free" if rule.low is None else "clip_values",
        method=f"{how}, cut short by max_seconds={max_seconds:g}" if clock.cut_short else how,
        seconds=clock.seconds(),
        seed=seed,
        u=u,
        v=v,
        history=searches[0].history,
        notes=[*f.notes(), *([precision.note] if precision.note else [])],
        cut_short=clock.cut_short,
    )


class _Effort:
    """How much is looked at, and how long pairs climb."""

    def __init__(self, f: Function, x: np.ndarray, nb_restarts: int, max_iter: int) -> None:
        size = int(np.prod(x.shape[1:]))
        cheap = f.access == "backpropagation"
        self._restarts, self._max_iter = nb_restarts, max_iter
        self._around = cheap and size <= _FEW
        candidates = _CANDIDATES[1] // 2 if self._around else int(np.clip(_NUMBERS / size, *_CANDIDATES))
        self._candidates, self._look = nb_restarts * (candidates if cheap else 2), 2 if self._around else 3
        rounds = _ROUNDS if size < _MANY else _IMAGE_ROUNDS if x.ndim > 3 else _VECTOR_ROUNDS
        self._rounds, self._longer = rounds if cheap else (1, 1)
        self.momentum = 0.0 if size < _MANY else MOMENTUM
        self.parts = len(STARTS) + self._rounds + self._around

    def spend(
        self, search: Search, clock: Clock, begin: float, end: float, fine: bool, report: Callable[[], Any]
    ) -> None:
        """All of a search, between two shares of the time that there is.

        Args:
            fine: whether it is in float64, so that pairs may be as short as inputs are rounded.
            report: called after each of :attr:`parts`.
        """
        clock.until(begin + _SCREEN * (end - begin))
        c, w = search.screen(self._candidates, self._restarts, self._look)
        clock.until(begin + (_CLIMBS if self._around else 1.0) * (end - begin))
        planned = self._restarts * (self._max_iter + 1) * (len(STARTS) + self._rounds)
        share = clock.fitting(planned) / planned
        restarts = max(min(_LEAST[0], len(c)), int(share * len(c)))
        max_iter = max(min(_LEAST[1], self._max_iter), int(self._max_iter * min(1.0, share * len(c) / restarts)))
        chosen = np.linspace(0, len(c) - 1, restarts).astype(int)
        climbs = [partial(search.climb, (c[chosen], w[chosen]), start, max_iter) for start in STARTS]
        fewer, longer = max(1, restarts // self._longer), self._longer * max_iter
        climbs += [partial(search.climb_around_the_best, fewer, i, longer) for i in range(self._rounds)]
        for climb in climbs:
            if not clock.over():
                climb()
            report()
        if not clock.over():
            search.finish()
        if self._around:
            clock.until(end)
            places = (self._restarts + 1) // 2
            generations = _GENERATIONS * self._max_iter
            fits = clock.fitting(generations * places * STEPS_OF_A_GENERATION) / (places * STEPS_OF_A_GENERATION)
            search.look_around(places, max(1, int(fits)), search.rule.least if fine else shortest(search.rule))
            report()


def _in_float64(rule: PairRule, precision: Precision, x: np.ndarray) -> bool:
    """Whether to search on the copy: where that costs no more, or where rounding would lead the search astray."""
    f, fine = rule.f, precision.fine
    if fine is None or fine is f or not has_gradient(fine, x):
        return False
    if np.prod(x.shape[1:]) <= _FEW or f.precision > _SINGLE:
        return True
    some, distance = held(f, x[:_SAMPLES]), shortest(rule)
    near = replace(rule, separation=distance, narrow=True)
    directions = unit(np.random.default_rng(0).standard_normal(some.shape), rule.norm)
    state = near.ascend((f.tensor(some), f.tensor(directions)))
    ends = near.ends(state)
    quotients = f.to_numpy([near.quotients_of(ends, f.value(ends))])
    noise = precision.unit * lengths(f.predict(some), rule.output_norm) / distance
    return bool(np.median(noise) > _COARSE * quotients.max())
