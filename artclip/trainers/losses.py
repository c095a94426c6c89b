"""What a step descends besides penalties: the estimator's loss at the samples, or one that makes a model robust.

Each is one of :class:`~artclip.trainers.protocols.TrainingLoss`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.frameworks import Trainable
from artclip.frameworks.base import Tensor
from artclip.frameworks.trainable import LogitShift, Objective
from artclip.lipschitz.pair_rule import box_tensors
from artclip.norms import dual_norm
from artclip.trainers.adversarial_examples import AdversarialExamples

# Units of rounding of the mean length, that gradients no longer than have no direction: of samples that the model is as
# sure of as numbers can tell, they are noise.
LEAST_GRADIENT = 64


class EstimatorLoss:
    """The estimator's loss at the samples."""

    weight: float | None = None
    nb_gradients = 0
    is_estimators = True

    def __init__(self, f: Trainable) -> None:
        self._f = f

    def points(self, x: Tensor, y: Tensor, step: Any) -> Tensor:
        """The samples."""
        return x

    def objective(self, x: Tensor, y: Tensor, points: Tensor, step: Any, shift: LogitShift | None) -> Objective:
        """The loss at the points."""

        def objective() -> tuple[Tensor, tuple[Tensor, ...]]:
            loss, correct = self._f.loss(points, y, shift)
            return loss, (loss, correct)

        return objective


class NoiseLoss(EstimatorLoss):
    """The estimator's loss at the samples with Gaussian noise, inside the box of valid inputs or not."""

    def __init__(self, f: Trainable, sigma: float) -> None:
        super().__init__(f)
        self._sigma = sigma

    def points(self, x: Tensor, y: Tensor, step: Any) -> Tensor:
        """The samples with noise."""
        return x + self._f.noise(x, step, normal=True) * self._sigma


class AdversarialLoss(EstimatorLoss):
    """The estimator's loss at adversarial examples of the samples, which climb that very loss."""

    def __init__(self, f: Trainable, examples: AdversarialExamples) -> None:
        super().__init__(f)
        self.examples, self.nb_gradients, self._box = examples, examples.max_iter, None
        if f.clip_values is not None:
            self._box = box_tensors(f, *(np.broadcast_to(end, f.input_shape) for end in f.clip_values))

    def points(self, x: Tensor, y: Tensor, step: Any) -> Tensor:
        """The adversarial examples."""
        return self.examples.of(self._f, x, lambda points: self._f.deployed_loss(points, y)[0], step, self._box)


class TradesLoss(AdversarialLoss):
    """The loss at the samples, and how far predictions move at adversarial examples that climb just that.

    Loss + β·KL(p(x) ‖ p(x')), with p the softmax of the logits (Zhang et al. 2019, arXiv 1901.08573). Examples start
    in the ball of :class:`AdversarialExamples`, where the paper adds normal noise of 0.001.
    """

    is_estimators = False

    def __init__(self, f: Trainable, examples: AdversarialExamples, beta: float) -> None:
        super().__init__(f, examples)
        self.weight, self._beta, self.nb_gradients = beta, beta, examples.max_iter + 1

    def points(self, x: Tensor, y: Tensor, step: Any) -> Tensor:
        """The adversarial examples."""
        f = self._f
        at_x = f.log_softmax(f.value(x))
        return self.examples.of(f, x, lambda points: f.sum(self._divergences(at_x, f.forward(points))), step, self._box)

    def objective(self, x: Tensor, y: Tensor, points: Tensor, step: Any, shift: LogitShift | None) -> Objective:
        """Both terms, in train mode."""
        f = self._f

        def objective() -> tuple[Tensor, tuple[Tensor, ...]]:
            at_samples, at_points = _Outputs(shift), _Outputs()
            loss, correct = f.loss(x, y, at_samples)
            f.loss(points, y, at_points)
            apart = self._divergences(f.log_softmax(at_samples.outputs), at_points.outputs)
            apart = f.sum(apart) if f.sums_loss else f.mean(apart) * apart.shape[1]
            return loss + self._beta * apart, (loss, correct)

        return objective

    def _divergences(self, log_p: Tensor, outputs: Tensor) -> Tensor:
        """The terms of KL(p ‖ softmax(outputs)), shape (n, k)."""
        return math.e**log_p * (log_p - self._f.log_softmax(outputs))


class AlignmentLoss(AdversarialLoss):
    """The loss at adversarial examples, and by how much the gradient of the loss turns within the ball.

    Loss + weight·mean(1 − cos(∇ₓ loss(x), ∇ₓ loss(x + η))), η drawn uniformly from the ball, and x + η
    moved into the box of valid inputs (Andriushchenko, Flammarion 2020, arXiv 2007.02617): where the two point the same
    way, a single step finds the worst case.
    """

    def __init__(self, f: Trainable, examples: AdversarialExamples, weight: float) -> None:
        super().__init__(f, examples)
        self.weight, self.nb_gradients = weight, examples.max_iter + 4

    def objective(self, x: Tensor, y: Tensor, points: Tensor, step: Any, shift: LogitShift | None) -> Objective:
        """Both terms, in train mode."""
        f, at_points = self._f, super().objective(x, y, points, step, shift)
        aside = self.examples.inside(f, x + self.examples.drawn(f, x, step, 1.0), self._box)
        (aside,) = f.constants([aside])

        def objective() -> tuple[Tensor, tuple[Tensor, ...]]:
            loss, reported = at_points()
            apart = self._direction(x, y) - self._direction(aside, y)
            turned = (f.sum if f.sums_loss else f.mean)(f.norm(apart, 2) ** 2) / 2  # 1 − cos of two unit vectors
            return loss + self.weight * turned, reported

        return objective

    def _direction(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradients of the loss in x, of unit length; shorter where one is rounding beside the others."""
        f = self._f
        gradient = f.gradient(x, lambda inputs: f.loss(inputs, y)[0], differentiable=True)
        length = f.norm(gradient, 2)
        least = LEAST_GRADIENT * f.precision * f.constants([f.mean(length)])[0]
        return gradient / (length + least + f.tiny)


class GradientNormLoss(EstimatorLoss):
    """The loss, and the mean norm of its gradient in the inputs (double backpropagation).

    Loss + weight·eps·mean ‖∇ₓ loss‖_q, q the dual of the norm: what the loss gains to first order within the ball
    (Rodríguez-Muñoz et al. 2024, arXiv 2409.20139, in L∞).
    """

    nb_gradients = 1
    is_estimators = False

    def __init__(self, f: Trainable, eps: float, norm: float, weight: float) -> None:
        super().__init__(f)
        self.weight, self._scale, self._dual = weight, weight * eps, dual_norm(norm)

    def objective(self, x: Tensor, y: Tensor, points: Tensor, step: Any, shift: LogitShift | None) -> Objective:
        """Both terms, in train mode."""
        f = self._f

        def objective() -> tuple[Tensor, tuple[Tensor, ...]]:
            reported: list[Tensor] = []

            def loss(inputs: Tensor) -> Tensor:
                reported[:] = f.loss(inputs, y, shift)
                return reported[0]

            # Of a mean over samples each gradient is a share, and their sum the mean.
            gained = f.sum(f.norm(f.gradient(x, loss, differentiable=True), self._dual)) * self._scale
            return reported[0] + gained, tuple(reported)

        return objective


class JacobianLoss(EstimatorLoss):
    """The loss, and the squared Frobenius norm of the Jacobian of the outputs (double backpropagation).

    Loss + weight/2·mean ‖J‖²_F, which a random projection on the unit sphere estimates (Hoffman, Roberts, Yaida 2019,
    arXiv 1908.02729). Inputs count in sides of their box.
    """

    nb_gradients = 1
    is_estimators = False

    def __init__(self, f: Trainable, weight: float, side: float) -> None:
        super().__init__(f)
        self.weight, self._half, self._side = weight, weight / 2, side

    def objective(self, x: Tensor, y: Tensor, points: Tensor, step: Any, shift: LogitShift | None) -> Objective:
        """Both terms, in train mode."""
        f = self._f

        def objective() -> tuple[Tensor, tuple[Tensor, ...]]:
            seen = _Outputs(shift)
            reported: list[Tensor] = []

            def projected(inputs: Tensor) -> Tensor:
                reported[:] = f.loss(inputs, y, seen)
                direction = f.noise(f.constants([seen.outputs])[0], step, normal=True)
                return f.sum(seen.outputs * (direction / (f.norm(direction, 2) + f.tiny)))

            lengths = f.norm(f.gradient(x, projected, differentiable=True), 2) * self._side
            square = (f.sum if f.sums_loss else f.mean)(lengths * lengths) * seen.outputs.shape[1]
            return reported[0] + self._half * square, tuple(reported)

        return objective


@dataclass
class _Outputs:
    """Passes on the outputs of a batch on their way to the loss, and keeps them."""

    shift: LogitShift | None = None
    outputs: Any = None

    def __call__(self, outputs: Tensor, one_hot: Tensor) -> Tensor:
        self.outputs = outputs
        return outputs if self.shift is None else self.shift(outputs, one_hot)
