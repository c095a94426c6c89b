"""The penalty of CLIP: quotients of the pairs X_Lip, as the training loop asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.frameworks import Trainable
from artclip.frameworks.base import Tensor
from artclip.lipschitz.batch_pairs import FreshRule
from artclip.lipschitz.pair_rule import PairRule, State
from artclip.lipschitz.pairs import PairSet
from artclip.trainers.options import PairOptions

# λ·interval up to which a penalised step was stable on ReLU nets at usual learning rates (benchmarks/pairs.py).
MAX_STEP_WEIGHT = 1.2
# Largest penalty of a lazy step, as a share of what guessing costs. It acts while a net is still steep: without it such
# a step could throw a ReLU net into a state from which it never returns.
PENALTY_CAP = 0.75
# Samples by which BatchNorm normalises in the penalty: 16 did as well as 128 (docs/development/research-log.md), and
# with so many the default pairs and they are no more than a usual batch, which bounds the memory.
NB_BATCHNORM_SAMPLES = 32
REFRESH_INTERVAL, REFRESH_SHARE = 12, 0.25  # in penalised steps


@dataclass(frozen=True)
class Units:
    """What makes λ a number without units: the same data in other units train to the same model.

    Attributes:
        side: length of the inputs that counts as one: the mean side of their box.
        spread: length of the outputs that counts as one: for a regressor the standard deviation of its targets.
        loss: what the loss counts in: for a regressor its loss at the mean of the targets; for a classifier's loss that
            is a sum over samples, those of a step.
    """

    side: float = 1.0
    spread: float = 1.0
    loss: float = 1.0

    @property
    def quotient(self) -> float:
        """What a quotient, or a bound of it, is multiplied by."""
        return self.side / self.spread

    @staticmethod
    def of(trainable: Trainable, side: float, y: np.ndarray) -> Units:
        """Those of a training on targets like y; a classifier's outputs have none, and its loss only where it is a sum.

        With a mean squared error, spread and loss cancel each other: the penalty is that of the raw outputs.
        """
        if trainable.nb_classes is not None:
            return Units(side, loss=trainable.batch_size if trainable.sums_loss else 1)
        spread, loss = float(np.sqrt(np.var(y, axis=0, dtype=np.float64).mean())), trainable.chance_loss(y)
        usable = math.isfinite(spread) and spread > 0 and math.isfinite(loss) and loss > 0
        return Units(side, spread, loss) if usable else Units(side)


class PairPenalty:
    """The penalty Q² (or Q) of X_Lip, as the training loop asks for it.

    With ``pair_init="batch"`` the pairs start anew in each batch; otherwise they are carried on, and the flattest
    quarter is given new places now and then.

    Args:
        pairs: at their start.
        options: how they climb and are penalised.
        units: of what is penalised.
        penalty_cap: see :class:`~artclip.trainers.protocols.Regularizer`.
        nb_steps: of the fit.
    """

    records_as = "lipschitz"
    every_step: Any = None

    def __init__(
        self,
        pairs: PairSet,
        options: PairOptions,
        units: Units | None = None,
        penalty_cap: float = math.inf,
        nb_steps: int = 1,
    ) -> None:
        self.penalty_cap, self._units = penalty_cap, units or Units(pairs.rule.side)
        self.rule: PairRule = pairs.rule
        self.state: State = pairs.state
        self._start, self._options, self._interval = pairs, options, options.interval(nb_steps)
        self._fresh = FreshRule(pairs.rule, options.nb_pairs) if options.pair_init == "batch" else None

    def interval(self, lamda: float) -> int:
        """That of the options, or less where a step would carry more weight than training bears."""
        return max(1, min(self._interval, math.floor(MAX_STEP_WEIGHT / lamda + 1e-9)))

    def gradients(self, batch: int) -> int:
        """Both ends of each pair in the penalty, some of the batch for BatchNorm, and what climbs in each ascent."""
        o = self._options
        beside = min(batch, NB_BATCHNORM_SAMPLES) if self.rule.f.has_batchnorm else 0
        if self._fresh:
            return beside + self._fresh.gradients(batch, o.pair_steps)
        return beside + 2 * o.nb_pairs * (o.pair_steps + 1)

    def begin(self) -> None:
        """Settle the pairs: not before the first penalised step, so that no pair work is done while λ = 0."""
        self.state = self._start.settle().state

    def advance(self, state: State, x: Tensor, count: Any) -> tuple[State, Tensor]:
        """Pairs that have climbed on the current weights, and their ends."""
        f, nb_pairs = self.rule.f, self._options.nb_pairs
        x = f.gathered(x)
        if self._fresh:
            return state, self._fresh.climb(x, state[1], self._options.pair_steps)
        due = (count > 0) & (count % REFRESH_INTERVAL == 0)

        def renewed() -> State:
            places = x[:nb_pairs]  # a short batch has none for the last pairs, which stay where they are
            return self.rule.refresh(state, f.concat([places, state[0][f.rows(places) :]]), REFRESH_SHARE)

        at = f.cond(due, renewed, lambda: state)
        for _ in range(self._options.pair_steps):
            at = self.rule.ascend(at)
        return at, self.rule.ends(at)

    def penalty(self, state: State, x: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty as a scalar, and Q of the pairs that climb it; BatchNorm normalises by samples of batch x.

        Anchored pairs climb a margin, over a longer way: what they meet is less than the net is steep.
        """
        return self._with_figures(self.quotients(x, points))

    def _with_figures(self, quotients: Tensor) -> tuple[Tensor, Tensor]:
        return self.value(quotients), quotients[-self._fresh.nb_moving :] if self._fresh else quotients

    @property
    def of_outputs(self) -> OfOutputs:
        """The same penalty, from outputs."""
        return OfOutputs(self.rule, self._fresh, self._options.nb_pairs, self._with_figures)

    def quotients(self, x: Tensor, points: Tensor) -> Tensor:
        """Q of each pair, with its gradient."""
        return (self._fresh or self.rule).quotients_of(
            points, self.rule.f.forward_with_batch_statistics(points, x[:NB_BATCHNORM_SAMPLES])
        )

    def value(self, quotients: Tensor) -> Tensor:
        """The penalty, as a scalar, in its units."""
        f, u = self.rule.f, self._units
        scaled = quotients if u.quotient == 1 else quotients * u.quotient
        values = scaled * scaled if self._options.penalty == "squared" else scaled
        value = f.mean(values) if self._options.reduction == "mean" else f.max(values)
        return value if u.loss == 1 else value * u.loss


@dataclass(frozen=True)
class OfOutputs:
    """The penalty from the outputs at the ends of its pairs, of a model without BatchNorm.

    Args:
        rule: of the pairs.
        fresh: of those that start anew in each batch, or ``None``.
        nb_pairs: pairs P >= 1.
        of_quotients: the penalty and its figures, from Q of each pair.
    """

    rule: PairRule
    fresh: FreshRule | None
    nb_pairs: int
    of_quotients: Callable[[Tensor], tuple[Tensor, Tensor]]

    def nb_beside(self, at_samples: bool) -> int:
        """Ends of the pairs; of anchored ones a batch of samples has one."""
        return 2 * self.nb_pairs - (self.fresh.nb_anchored if self.fresh and at_samples else 0)

    def nb_shared(self, x: Tensor) -> Any:
        """Ends that stay at samples."""
        return self.rule.f.rows(x[: self.fresh.nb_anchored]) if self.fresh else 0

    def distances(self, points: Tensor) -> Tensor:
        """Those between the ends of pairs."""
        return (self.fresh or self.rule).distances(points)

    def penalty(self, distances: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty, and Q of the pairs that climb it."""
        return self.of_quotients(self.rule.over(distances, outputs))
