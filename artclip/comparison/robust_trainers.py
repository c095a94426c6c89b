"""Robust trainings of artclip's own as defences: adversarial examples, double backpropagation, smoothing."""

from __future__ import annotations

import math
from typing import Any

from artclip.comparison.training_config import TrainingConfig
from artclip.norms import change


def fgsm(
    classifier: Any,
    plan: TrainingConfig,
    *,
    eps: float | None = None,
    eps_step: float | None = None,
    start: float = 1.0,
) -> Any:
    """One step to each example, from a random start in the ball."""
    return _adversarial(classifier, plan, eps, eps_step=eps_step, start=start)


def n_fgsm(
    classifier: Any,
    plan: TrainingConfig,
    *,
    eps: float | None = None,
    eps_step: float | None = None,
    start: float = 2.0,
) -> Any:
    """One step from noise of twice the radius, and nothing projected back."""
    return _adversarial(classifier, plan, eps, eps_step=eps_step, start=start, project=False)


def grad_align(
    classifier: Any, plan: TrainingConfig, *, eps: float | None = None, start: float = 0.0, alignment: float = 0.2
) -> Any:
    """One step to each example, and gradients of the loss that point the same way within the ball."""
    return _adversarial(classifier, plan, eps, start=start, alignment=alignment)


def pgd(classifier: Any, plan: TrainingConfig, *, eps: float | None = None, max_iter: int = 7) -> Any:
    """Several steps to each example."""
    return _adversarial(classifier, plan, eps, max_iter=max_iter)


def trades(
    classifier: Any, plan: TrainingConfig, *, eps: float | None = None, max_iter: int = 7, beta: float = 6.0
) -> Any:
    """The loss at the samples, and how far predictions move within the ball."""
    return _adversarial(classifier, plan, eps, max_iter=max_iter, beta=beta)


def _adversarial(classifier: Any, plan: TrainingConfig, eps: float | None, **options: Any) -> Any:
    from artclip.trainers.robust import AdversarialLossTrainer

    eps = plan.eps if eps is None else eps
    return AdversarialLossTrainer(classifier, eps, plan.norm, **_common(plan), **options)


def gradient_norm(classifier: Any, plan: TrainingConfig, *, lamda: float = 1.0, eps: float | None = None) -> Any:
    """What the loss gains to first order within the ball."""
    return _gradients(
        classifier, plan, kind="gradient", lamda=lamda, eps=plan.eps if eps is None else eps, norm=plan.norm
    )


def jacobian(classifier: Any, plan: TrainingConfig, *, lamda: float = 0.1) -> Any:
    """The squared Frobenius norm of the Jacobian, by a random projection."""
    return _gradients(classifier, plan, kind="jacobian", lamda=lamda)


def _gradients(classifier: Any, plan: TrainingConfig, **options: Any) -> Any:
    from artclip.trainers.robust import GradientPenaltyTrainer

    return GradientPenaltyTrainer(classifier, **_common(plan), **options)


def smoothing(
    classifier: Any, plan: TrainingConfig, *, sigma: float | None = None, nb_draws: int = 1000, alpha: float = 1e-3
) -> Any:
    """Gaussian noise in training, and certificates of the smoothed classifier.

    ``sigma`` is half the L2 length of the longest perturbation of the budget, where it is not given.
    """
    from artclip.evaluation.smoothing import Smoothing
    from artclip.trainers.robust import NoiseTrainer

    size = math.prod(classifier.input_shape)
    sigma = plan.eps * change(size, plan.norm, 2) / 2 if sigma is None else sigma
    certified_by = Smoothing(sigma, nb_draws, alpha)
    trainer = NoiseTrainer(classifier, sigma, **_common(plan))
    trainer.smoothing = certified_by
    return trainer


def _common(plan: TrainingConfig) -> dict[str, Any]:
    return {"seed": plan.seed, "verbose": plan.verbose, "ema_decay": plan.ema_decay}
