"""The attacks of an evaluation, within one budget or several, from cheap to dear."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from artclip.evaluation.attacks import ATTACKS, NONE, AttackConfig
from artclip.evaluation.cache import Cache
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.nearest import Nearest, search_nearest
from artclip.evaluation.progress import Progress
from artclip.evaluation.runner import AttackRunner, Outcome, broken_within


@dataclass
class Attacked:
    """What attacks did.

    Attributes:
        outcomes: of each attack, within the largest budget.
        fell_at: the smallest budget within which each sample fell, shape (n,); inf for none.
        fell_below: which samples fell within smaller budgets, shape (n,).
        below: (eps, samples that fell within it, shape (n,)) of each smaller one; ``None`` where no attack ran.
        nearest: the nearest examples, where an attack looked for them.
    """

    outcomes: list[Outcome]
    fell_at: np.ndarray
    fell_below: np.ndarray
    below: list[tuple[float, np.ndarray | None]] = field(default_factory=list)
    nearest: Nearest | None = None

    @property
    def fallen(self) -> np.ndarray:
        """Which samples some attack within some budget broke, shape (n,)."""
        return np.isfinite(self.fell_at)


def attack(
    evaluated: EvaluatedModel,
    chosen: list[AttackConfig],
    norm: float,
    eps: list[float],
    seed: int,
    progress: Progress,
    full: bool = False,
    key: str = "",
    cache: Cache | None = None,
    nb_examples: int = 0,
) -> Attacked:
    """Run attacks, each on the samples that stand.

    An attack that looks for the nearest examples does so once, of all samples that the model gets right, whatever the
    budgets.

    Args:
        evaluated: the model and samples.
        chosen: the attacks.
        norm: of the budgets.
        eps: the budgets, rising.
        seed: of all randomness.
        progress: that its steps are shown by.
        full: whether each attack is run on all samples that the model gets right.
        key: hash of model and data, for the cache.
        cache: of outcomes.
        nb_examples: adversarial examples to keep of each attack.
    """
    cache, right = cache or Cache(None), evaluated.right
    n, below = len(right), list[tuple[float, np.ndarray | None]]()
    fell_at = np.full(n, np.inf)
    named = [c for c in chosen if c.attack.in_budget and c.given is None]
    seeking = [c for c in named if c.attack is ATTACKS["minimum-norm"]]
    by_distance = max(seeking, key=lambda c: c.options["max_iter"], default=None)
    total = n * (len(chosen) + len(named) * (len(eps) - 1))
    found = None
    progress.begin("attacks", total)
    if by_distance is not None:
        progress.say(by_distance.title)
        every, max_iter = np.flatnonzero(right), by_distance.options["max_iter"]
        try:
            found = search_nearest(evaluated, norm, every, max_iter, seed, cache, key)
        except Exception:  # it runs as the others do, then, which say what went wrong
            found = None
    for budget in eps:
        is_last, fell = budget == eps[-1], np.isfinite(fell_at)
        runner = evaluated.runner(norm, budget, seed, None, key, cache, nb_examples if is_last else 0)
        known: dict[str, Outcome] = {}
        if found is not None and by_distance is not None:
            known[by_distance.name] = found.within(by_distance, budget, n, runner.nb_examples)
        outcomes = _run(runner, chosen if is_last else named, right, fell, full and is_last, known, progress)
        broken = broken_within(outcomes, n)
        fell_at = np.where(broken, np.minimum(fell_at, budget), fell_at)
        if not is_last:
            below.append((budget, np.isfinite(fell_at) if any(o.in_budget for o in outcomes) else None))
    return Attacked(outcomes, fell_at, fell, below, found)


def _run(
    runner: AttackRunner,
    chosen: list[AttackConfig],
    right: np.ndarray,
    fell: np.ndarray,
    full: bool,
    known: dict[str, Outcome],
    progress: Progress,
) -> list[Outcome]:
    """Each attack on what stands; ``fell`` are samples that fell before, shape (n,)."""
    outcomes, remaining = [], right & ~fell
    for one in chosen:
        progress.say(one.title)
        if one.name in known:
            outcomes.append(known[one.name])
            progress.update(len(right))
        else:
            tried = np.ones_like(right) if one.attack.access == NONE else right if full or one.alone else remaining
            outcomes.append(runner.attack(one, tried, progress))
        if one.attack.in_budget:
            remaining = remaining & ~outcomes[-1].broken
    return outcomes
