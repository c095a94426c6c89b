"""Lower bounds: the steepest pair that a search finds. Every pair is a proof, so more search only raises the bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import function_of
from artclip.frameworks.base import Tensor
from artclip.lipschitz.estimate import LipschitzEstimate
from artclip.lipschitz.pairs import PairRule, PairSet, State

# Distances to start from, in units of the default separation, and the distance to end at: far starts see over the
# flat spots of sigmoids and the kinks of ReLUs, close ends see the Jacobian.
_STARTS, _END = (1.0, 3.0, 10.0), 0.02

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

    Pairs around points of x climb while their distance shrinks, from several distances; see
    :class:`artclip.lipschitz.pairs.PairRule` for the step. The search knows nothing of training: its pairs start anew.

    Args:
        estimator: ART PyTorch, TensorFlow or Keras estimator, or a bare ``torch.nn.Module`` or Keras model.
        x: shape (n, *input_shape): data to start from.
        norm, output_norm: 1, 2 or inf, on flattened inputs and outputs.
        domain: ``"clip_values"`` searches among valid inputs, ``"free"`` everywhere; without ``clip_values`` both do.
        nb_restarts: pairs per starting distance, >= 1.
        max_iter: ascents per pair, >= 1.
        batch_size: pairs that climb together, >= 1.
        seed: of the start, or ``None``.
        verbose: show a progress bar.

    Returns:
        An estimate of kind ``"lower"`` with the pair (u, v) that attains it.

    Raises:
        TypeError, ValueError: bad input.
    """
    from tqdm.auto import tqdm

    for name, value in (("nb_restarts", nb_restarts), ("max_iter", max_iter), ("batch_size", batch_size)):
        checks.positive_integer(name, value)
    began, f = time.perf_counter(), function_of(estimator)
    x = checks.inputs(x, f.input_shape or None)
    options: dict[str, Any] = {"norm": norm, "output_norm": output_norm, "domain": domain}
    sizes = [min(batch_size, nb_restarts - done) for done in range(0, nb_restarts, batch_size)]
    best, pair, bounded = -1.0, (x[0], x[0]), False
    climber: Climber | None = None
    rng = np.random.default_rng(seed)
    for start in tqdm(_STARTS, disable=not verbose, desc="Lipschitz lower bound"):
        for size in sizes:
            pairs = PairSet(f, x, size, seed=int(rng.integers(2**32)), **options)
            bounded = pairs.rule.low is not None
            climber = climber or _climber(pairs.rule)
            found, u, v = _climb(pairs, climber, start, max_iter)
            if found > best:
                best, pair = found, (u, v)
    return LipschitzEstimate(
        value=best,
        kind="lower",
        norm=checks.norm("norm", norm),
        output_norm=checks.norm("output_norm", output_norm),
        domain="clip_values" if bounded else "free",
        method=f"pair ascent, {nb_restarts}×{len(_STARTS)} restarts, {max_iter} steps",
        seconds=time.perf_counter() - began,
        seed=seed,
        u=pair[0],
        v=pair[1],
    )


def _climber(rule: PairRule) -> Climber:
    """One step of the search, compiled where the framework gains by it."""

    def step(c: Tensor, w: Tensor, distance: Any, centre_step: Any) -> tuple[Tensor, Tensor, State]:
        now = replace(rule, separation=distance, centre_step=centre_step, narrow=True)
        ends = now.ends((c, w))
        return ends, now.quotients_of(ends, now.f.forward(ends)), now.ascend((c, w))

    return rule.f.compile(step)


def _climb(pairs: PairSet, climber: Climber, start: float, max_iter: int) -> tuple[float, np.ndarray, np.ndarray]:
    """The best quotient of a set of pairs over all their steps, with its pair."""
    rule, state, f = pairs.rule, pairs.state, pairs.rule.f
    best = best_ends = None
    for i in range(max_iter + 1):
        progress = min(1.0, i / (0.7 * max_iter))
        distance = max(rule.least, rule.separation * start * (_END / start) ** progress)
        # Centres keep moving when the pair is already short.
        centre_step = 0.5 * max(distance, 0.2 * rule.separation) / distance
        ends, quotients, state = climber(*state, distance, centre_step)
        column = f.reshape(quotients, (-1, *[1] * (len(state[0].shape) - 1)))
        if best is None:
            best, best_ends = column, ends
        else:
            better = column > best
            best_ends = f.where(f.concat([better, better]), ends, best_ends)
            best = f.where(better, column, best)
    steepest = int(np.argmax(f.to_numpy([best])))
    ends = f.host(best_ends)
    u, v = ends[steepest], ends[len(ends) // 2 + steepest]
    return _quotient(f, u, v, rule.norm, rule.output_norm), u, v


def _quotient(f: Any, u: np.ndarray, v: np.ndarray, norm: float, output_norm: float) -> float:
    """Q(u, v) with differences and norms in float64, as one would by hand with ``predict``."""
    outputs = f.to_numpy([f.forward(f.tensor(np.stack([u, v])))]).reshape(2, -1)
    distance = np.linalg.norm(np.ravel(v.astype(np.float64) - u.astype(np.float64)), norm)
    return float(np.linalg.norm(outputs[1] - outputs[0], output_norm) / distance)
