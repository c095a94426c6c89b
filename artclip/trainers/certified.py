"""A bound of the Lipschitz constant from above, held down in training: what a certificate needs."""

from __future__ import annotations

from typing import Any

from artclip.frameworks.base import Tensor
from artclip.frameworks.trainable import LogitShift, Objective
from artclip.lipschitz.smooth_upper import Duals, SmoothBound
from artclip.trainers.pair_penalty import PairPenalty

REFRESH = 4  # steps for which the duals of the layers' norms are kept
RAMP = 0.5  # of the steps, in which certify_eps is reached


class BracketPenalty:
    """Pairs from below, a bound from above: what lies between is squeezed.

    The state is that of the pairs, and a dual for each layer's norm.

    Args:
        pairs: the penalty from below.
        bound: from above.
        weight: of the bound in the objective, >= 0.
        eps: radius that the loss asks for, >= 0.
        nb_steps: of the fit.
    """

    def __init__(self, pairs: PairPenalty, bound: SmoothBound, weight: float, eps: float, nb_steps: int) -> None:
        self._pairs, self._bound, self._weight, self._eps = pairs, bound, weight, eps
        self._ramp = max(1.0, RAMP * nb_steps)
        self.penalty_cap, self.records_as, self.every_step = pairs.penalty_cap, pairs.records_as, self
        self.state: Any = (pairs.state, bound.duals())
        self.interval, self.gradients, self.of_outputs = pairs.interval, pairs.gradients, pairs.of_outputs
        if eps > 0:
            bound.margins(self.state[1])  # so that a net without logits is refused before it is changed

    # the pairs
    def begin(self) -> None:
        """Settle the pairs."""
        self._pairs.begin()
        self.state = self._pairs.state, self.state[1]

    def advance(self, state: Any, x: Tensor, count: Any) -> tuple[Any, Tensor]:
        """Pairs that have climbed, with their ends."""
        pairs, points = self._pairs.advance(state[0], x, count)
        return (pairs, state[1]), points

    def penalty(self, state: Any, x: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """That of the pairs."""
        return self._pairs.penalty(state[0], x, points)

    # the bound
    def prepared(self, state: Any, step: Any) -> Any:
        """With new duals every few steps."""
        duals: Duals = self._bound.f.cond(step % REFRESH == 0, self._bound.duals, lambda: state[1])
        return state[0], duals

    def objectives(self, state: Any) -> list[Objective]:
        """The bound, with its weight."""
        return [lambda: (self._weight * self._bound.value(state[1]), ())] if self._weight > 0 else []

    def shift_logits(self, state: Any, step: Any) -> LogitShift | None:
        """Each other output rises by what it can gain on the right one within the radius that the sample has.

        That is min(ε, radius) times the bound of the margin, and the radius carries no gradient (EMMA: Hu, Zou, Wang,
        Leino, Fredrikson 2023, arXiv 2301.12549; with ε alone: Leino, Wang, Fredrikson 2021, arXiv 2102.08452).
        """
        if self._eps == 0:
            return None
        f, now = self._bound.f, self._eps * (step + 1) / self._ramp

        def raise_others(outputs: Tensor, one_hot: Tensor) -> Tensor:
            apart = f.matmul(one_hot, self._bound.margins(state[1]))
            right = f.matmul(outputs * one_hot, self._bound.ones)
            (radius,) = f.constants([(right - outputs) / apart])
            return outputs + f.clip(f.clip(radius, 0.0, now), 0.0, self._eps) * apart

        return raise_others
