"""What CLIP is compared to: adversarial training, double backpropagation and noise, on PyTorch and TensorFlow alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np

from artclip import checks
from artclip.arguments import taken
from artclip.frameworks import Trainable, output_activation_of
from artclip.frameworks.base import Tensor
from artclip.frameworks.check import refuse_unconnected
from artclip.lipschitz.pair_rule import mean_side, spanned
from artclip.trainers.adversarial_examples import AdversarialExamples
from artclip.trainers.base import RegularizedTrainer
from artclip.trainers.losses import (
    AdversarialLoss,
    AlignmentLoss,
    GradientNormLoss,
    JacobianLoss,
    NoiseLoss,
    TradesLoss,
)
from artclip.trainers.options import TrainingOptions
from artclip.trainers.protocols import Record, Regularizer, Sample, TrainingLoss
from artclip.trainers.weight import PenaltyWithoutPairs

KINDS = ("gradient", "jacobian")


class _NoPenalty(PenaltyWithoutPairs):
    """λ is 0 from the first step to the last."""

    def penalty(self, state: Any, x: Tensor, points: Tensor | None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("λ is 0, so that no step is penalised")


class _RobustTrainer(RegularizedTrainer):
    """A trainer whose loss makes the model robust, without a penalty beside it."""

    def _regularizer(self, trainable: Trainable, sample: Sample, seed: int, nb_steps: int) -> Regularizer:
        return _NoPenalty(trainable)

    def _refuse_others(self, trainable: Trainable, what: str, sample: Sample) -> None:
        """Refuse a model without an output for each class, one class a sample."""
        outputs = trainable.predict(sample[0][:2])
        if trainable.nb_classes is None or trainable.multi_label or outputs.shape[1] < 2:
            kind = "a regressor" if trainable.nb_classes is None else f"a model of {outputs.shape[1]} outputs"
            raise ValueError(
                f"{what} needs a classifier with an output for each of two classes or more, and one class a sample; "
                f"this is {kind}. Of two classes, let it return two outputs and train it on a cross-entropy"
            )
        if trainable.computes_own_loss:
            raise ValueError(
                f"{what} changes the loss, which a train_step of your own computes; give the classifier loss_object "
                "and optimizer"
            )


class AdversarialLossTrainer(_RobustTrainer):
    """Adversarial training: the loss at adversarial examples of each batch, one in place of each sample.

    FGSM from a random start (``max_iter=1``; Wong, Rice, Kolter 2020, arXiv 2001.03994), N-FGSM (``start=2,
    project=False``; de Jorge et al. 2022, arXiv 2202.01181), FGSM with gradient alignment (``start=0, alignment=0.2``;
    Andriushchenko, Flammarion 2020, arXiv 2007.02617), PGD (``max_iter=7``; Madry et al. 2018, arXiv 1706.06083) and
    TRADES (``beta=6``; Zhang et al. 2019, arXiv 1901.08573). Examples are made of the model as deployed, in eval
    mode; the loss is taken in train mode.

    Args:
        classifier: ART estimator, as for :class:`artclip.CLIPTrainer`.
        eps: radius > 0 of the ball around each sample, in input units.
        norm: 1, 2 or inf, on flattened inputs.
        max_iter: gradient steps >= 1 to an example.
        eps_step: length > 0 of a step, in input units; ``None`` for 2.5·eps/max_iter, or for a single step 1.25·eps
            after a random start, and eps where there is none or ``project`` is false.
        start: radius >= 0, in eps, of the ball from which the start is drawn.
        project: whether each step is brought back into the ball of radius eps.
        beta: weight >= 0 of TRADES, whose loss is that at the samples plus beta times the Kullback-Leibler divergence
            of the predictions at the examples, which climb it; ``None`` for the loss at the examples alone. It needs
            logits.
        alignment: weight >= 0 of gradient alignment, alignment times the mean of 1 − cos(∇ₓ loss(x), ∇ₓ loss(x + η)) in
            train mode with η drawn uniformly from the ball, added to the loss at the examples; ``None`` for none. Not
            with ``beta``. It takes two gradients more, and the derivatives of both.
        restore_best, checkpoint, callbacks, seed, verbose, ema_decay: as for :class:`artclip.CLIPTrainer`.

    Attributes:
        history: as for :class:`artclip.CLIPTrainer`; ``accuracy`` is that at the points where the loss is taken;
            ``loss`` is without the divergence of TRADES and without alignment.

    Raises:
        TypeError, ValueError: as :class:`artclip.CLIPTrainer`.
    """

    def __init__(
        self,
        classifier: Any,
        eps: float,
        norm: float | str = 2,
        max_iter: int = 1,
        eps_step: float | None = None,
        start: float = 1.0,
        project: bool = True,
        beta: float | None = None,
        alignment: float | None = None,
        restore_best: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Iterable[Callable[[Any, Record], Any]] = (),
        seed: int | None = None,
        verbose: bool = False,
        ema_decay: float = 0.0,
    ) -> None:
        given = {**locals(), "lamda": 0.0}
        self.examples = taken(AdversarialExamples, given)
        for name, weight in (("beta", beta), ("alignment", alignment)):
            if weight is not None:
                checks.non_negative(name, weight)
        if beta is not None and alignment is not None:
            raise ValueError(f"beta={beta:g} and alignment={alignment:g}: give one of them, the other stays None")
        self.beta, self.alignment = beta, alignment
        super().__init__(classifier, taken(TrainingOptions, given))

    def settings(self) -> dict[str, Any]:
        """What decides how it trains, but for what ``fit`` is given."""
        examples = {name: getattr(self.examples, name) for name in ("eps", "max_iter", "eps_step", "start", "project")}
        weights = {"beta": self.beta, "alignment": self.alignment}
        return {**super().settings(), **examples, "norm": str(self.examples.norm), **weights}

    def _loss(self, trainable: Trainable, sample: Sample) -> TrainingLoss:
        refuse_unconnected(trainable, sample[0])
        if self.alignment is not None:
            if trainable.computes_own_loss:
                self._refuse_others(trainable, f"alignment={self.alignment:g}", sample)
            return AlignmentLoss(trainable, self.examples, self.alignment)
        if self.beta is None:
            return AdversarialLoss(trainable, self.examples)
        self._refuse_others(trainable, f"beta={self.beta:g}", sample)
        end = output_activation_of(trainable, sample[0][:2])
        if end is not None and end[0] == "probabilities":
            raise ValueError(
                f"beta={self.beta:g} needs logits, and the model ends in a softmax; leave it out, with a loss of logits"
            )
        return TradesLoss(trainable, self.examples, self.beta)


class GradientPenaltyTrainer(_RobustTrainer):
    """Minimises loss + a penalty of gradients in the inputs, by double backpropagation, in every step.

    Args:
        classifier: ART estimator, as for :class:`artclip.CLIPTrainer`.
        lamda: weight >= 0 of the penalty.
        kind: ``"gradient"`` for eps times the mean dual norm of the gradient of the loss, what a perturbation of that
            size gains to first order (Rodríguez-Muñoz et al. 2024, arXiv 2409.20139, in Linf); ``"jacobian"`` for half
            the mean squared Frobenius norm of the Jacobian of the outputs, by one random projection (Hoffman, Roberts,
            Yaida 2019, arXiv 1908.02729), with inputs in sides of their box, of a classifier with an
            output for each class. Smooth activations train better than ReLU.
        eps: radius > 0, in input units, of ``kind="gradient"``.
        norm: 1, 2 or inf, on flattened inputs, of ``kind="gradient"``.
        restore_best, checkpoint, callbacks, seed, verbose, ema_decay: as for :class:`artclip.CLIPTrainer`.

    Attributes:
        history: as for :class:`artclip.CLIPTrainer`; ``loss`` is without the penalty.

    Raises:
        TypeError, ValueError: as :class:`artclip.CLIPTrainer`.
    """

    def __init__(
        self,
        classifier: Any,
        lamda: float = 1.0,
        kind: str = "gradient",
        eps: float = 1.0,
        norm: float | str = 2,
        restore_best: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Iterable[Callable[[Any, Record], Any]] = (),
        seed: int | None = None,
        verbose: bool = False,
        ema_decay: float = 0.0,
    ) -> None:
        given = {**locals(), "lamda": 0.0}
        checks.non_negative("lamda", lamda)
        checks.one_of("kind", kind, KINDS)
        checks.positive("eps", eps)
        if kind == "jacobian" and (eps, checks.norm("norm", norm)) != (1.0, 2):
            raise ValueError(
                f"eps={eps!r} and norm={norm!r} are of kind='gradient'; leave them out, or choose that kind"
            )
        self.weight, self.kind, self.eps, self.norm = float(lamda), kind, float(eps), checks.norm("norm", norm)
        super().__init__(classifier, taken(TrainingOptions, given))

    @property
    def lamda(self) -> float:
        """The weight of the penalty."""
        return self.weight

    def settings(self) -> dict[str, Any]:
        """What decides how it trains, but for what ``fit`` is given."""
        penalty = {"lamda": self.weight, "kind": self.kind, "eps": self.eps, "norm": str(self.norm)}
        return {**super().settings(), **penalty}

    def _loss(self, trainable: Trainable, sample: Sample) -> TrainingLoss:
        refuse_unconnected(trainable, sample[0])
        if trainable.computes_own_loss or self.kind == "jacobian":
            self._refuse_others(trainable, f"kind={self.kind!r}", sample)
        if self.kind == "gradient":
            return GradientNormLoss(trainable, self.eps, self.norm, self.weight)
        side = mean_side(*spanned(trainable, np.asarray(sample[0])), 2)
        return JacobianLoss(trainable, self.weight, side)


class NoiseTrainer(_RobustTrainer):
    """The loss at samples with Gaussian noise, drawn anew in each step: training for randomised smoothing.

    Cohen, Rosenfeld, Kolter 2019, arXiv 1902.02918, section 3.3. Noise is added to inputs in their own units, and may
    leave ``clip_values``, as it does in :func:`artclip.smoothed_radius`.

    Args:
        classifier: ART estimator, as for :class:`artclip.CLIPTrainer`.
        sigma: standard deviation > 0 of the noise, in input units.
        restore_best, checkpoint, callbacks, seed, verbose, ema_decay: as for :class:`artclip.CLIPTrainer`.

    Attributes:
        history: as for :class:`artclip.CLIPTrainer`; ``loss`` and ``accuracy`` are those with noise.
        smoothing: by what :func:`artclip.compare` certifies the trained classifier, a
            :class:`~artclip.evaluation.smoothing.Smoothing`, or ``None``.

    Raises:
        TypeError, ValueError: as :class:`artclip.CLIPTrainer`.
    """

    def __init__(
        self,
        classifier: Any,
        sigma: float = 0.25,
        restore_best: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Iterable[Callable[[Any, Record], Any]] = (),
        seed: int | None = None,
        verbose: bool = False,
        ema_decay: float = 0.0,
    ) -> None:
        given = {**locals(), "lamda": 0.0}
        checks.positive("sigma", sigma)
        self.sigma, self.smoothing = float(sigma), cast(Any, None)
        super().__init__(classifier, taken(TrainingOptions, given))

    def settings(self) -> dict[str, Any]:
        """What decides how it trains, but for what ``fit`` is given."""
        return {**super().settings(), "sigma": self.sigma}

    def _loss(self, trainable: Trainable, sample: Sample) -> TrainingLoss:
        return NoiseLoss(trainable, self.sigma)
