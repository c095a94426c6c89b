"""Adversarial examples of a batch, as adversarial training makes them: a few steps up a scalar of the model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from artclip import checks
from artclip.frameworks import Trainable
from artclip.frameworks.base import Tensor
from artclip.lipschitz.pair_rule import steepest


@dataclass(frozen=True)
class AdversarialExamples:
    """How samples of a batch become adversarial examples.

    With ``max_iter=1`` this is FGSM from a random start (Wong, Rice, Kolter 2020, arXiv 2001.03994) in the norm given;
    with ``start=2`` and ``project=False`` N-FGSM (de Jorge et al. 2022, arXiv 2202.01181); with more steps PGD (Madry
    et al. 2018, arXiv 1706.06083).

    Args:
        eps: radius > 0 of the ball around a sample, in input units.
        norm: 1, 2 or inf, on flattened inputs.
        max_iter: gradient steps >= 1.
        eps_step: length > 0 of a step; ``None`` for 2.5·eps/max_iter, and for a single step 1.25·eps after a random
            start, and eps where that is none or is not projected back.
        start: radius >= 0 of the ball, in eps, from which the start is drawn uniformly.
        project: whether each step is brought back into the ball, along the line to the sample: that around the sample
            in the model's dtype. In 16 bits examples lie inside, in exact arithmetic; in float32 and float64 each
            number of an example may be off by its own rounding.

    Raises:
        ValueError: one of them is out of its range.
    """

    eps: float
    norm: float | str = 2
    max_iter: int = 1
    eps_step: float | None = None
    start: float = 1.0
    project: bool = True

    def __post_init__(self) -> None:
        checks.positive("eps", self.eps)
        object.__setattr__(self, "norm", checks.norm("norm", self.norm))
        checks.positive_integer("max_iter", self.max_iter)
        if self.eps_step is not None:
            checks.positive("eps_step", self.eps_step)
        checks.non_negative("start", self.start)
        checks.switches(project=self.project)

    @property
    def step_length(self) -> float:
        """``eps_step``, or the one that goes with the other settings."""
        if self.eps_step is not None:
            return self.eps_step
        if self.max_iter > 1:
            return 2.5 * self.eps / self.max_iter
        return self.eps * (1.25 if self.start and self.project else 1.0)

    def of(
        self, f: Trainable, x: Tensor, scalar: Callable[[Tensor], Tensor], step: Any, box: tuple[Any, Any] | None
    ) -> Tensor:
        """Adversarial examples of x, shape (n, *input_shape), without a gradient.

        Args:
            f: the model.
            scalar: what is climbed: a function of inputs like x, a sum over samples.
            step: of the fit, by which the start is drawn.
            box: (low, high) of valid inputs, or ``None``.
        """
        p = float(self.norm)
        points = self.inside(f, x + self.drawn(f, x, step, self.start), box) if self.start else x
        for _ in range(self.max_iter):
            uphill, length = steepest(f, f.gradient(points, scalar), p)
            points = points + uphill * (self.step_length / (length + f.tiny))
            points = self._projected(f, x, points) if self.project else points
            points = self.inside(f, points, box)
        return f.constants([points])[0]

    def drawn(self, f: Trainable, x: Tensor, step: Any, share: float) -> Tensor:
        """Perturbations like x, drawn uniformly from the ball of ``share`` times the radius.

        In L1 the direction is that of a normal distribution.
        """
        radius = share * self.eps
        if self.norm == math.inf:
            return f.noise(x, step) * radius
        direction = f.noise(x, step, normal=True)
        size = math.prod(x.shape[1:])
        first = f.reshape(x, (-1, size))[:, :1]
        share = abs(f.noise(first, step)) ** (1 / size)
        lengths = f.reshape(share, (-1, *[1] * (len(x.shape) - 1))) * radius
        return direction * (lengths / (f.norm(direction, float(self.norm)) + f.tiny))

    def _projected(self, f: Trainable, x: Tensor, points: Tensor) -> Tensor:
        """Points brought back into the ball around x.

        A length, a quotient and two products are each rounded by half of ``f.precision`` at most, for which the radius
        is lessened. Where numbers have 16 bits, the sum too would leave the ball: there it is rounded towards x.
        """
        away = points - x
        away = away * f.clip(self.eps * (1 - 2 * f.precision) / (f.norm(away, float(self.norm)) + f.tiny), 0.0, 1.0)
        points = x + away
        if f.precision < 1e-5:  # six more operations would cost a step of a small net a quarter
            return points
        beyond = abs(points - x) > abs(away)
        return f.where(beyond, x + (away - f.sign(away) * abs(points) * (f.precision / 2)), points)

    @staticmethod
    def inside(f: Trainable, points: Tensor, box: tuple[Any, Any] | None) -> Tensor:
        """Points moved into the box, if there is one."""
        return points if box is None else f.clip(points, *box)
