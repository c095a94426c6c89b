"""CLIP: the steepest pairs found are penalised (algorithm 2)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from artclip import checks
from artclip.arguments import taken
from artclip.frameworks import Trainable
from artclip.frameworks.check import refuse_unconnected
from artclip.lipschitz.smooth_upper import SmoothBound
from artclip.trainers.adversarial_examples import AdversarialExamples
from artclip.trainers.base import RegularizedTrainer
from artclip.trainers.certified import BracketPenalty
from artclip.trainers.losses import AdversarialLoss
from artclip.trainers.options import PairOptions, TrainingOptions
from artclip.trainers.pair_penalty import PENALTY_CAP, PairPenalty, Units
from artclip.trainers.protocols import Record, Regularizer, Sample, TrainingLoss


class CLIPTrainer(RegularizedTrainer):
    """CLIP: cheap Lipschitz training (Bungert, Raab, Roith, Schwinn, Tenbrinck 2021, arXiv 2103.12531, algorithm 2).

    Minimises loss + λ·Q², where Q is the difference quotient ‖f(u) - f(v)‖ / ‖u - v‖ of pairs that gradient ascent
    keeps adversarial (algorithm 1), and f is the classifier as deployed: in eval mode, on raw inputs, ART's
    preprocessing included. In the penalty BatchNorm normalises by the batch, as it does in the loss.

    λ has no units: inputs count in sides of their box, the mean side of ``clip_values`` (without them, the range of
    the data), so pixels from 0 to 255 train to the same model as pixels from 0 to 1. A regressor's outputs count in
    standard deviations of its targets, and its loss in what guessing their mean costs.

    Args:
        classifier: ART ``PyTorchClassifier``, ``TensorFlowV2Classifier`` or ``KerasClassifier`` (logits preferred), or
            ``PyTorchRegressor``, with loss and optimizer. A TensorFlow or Keras classifier whose loss is a mean squared
            error and whose outputs are linear counts as a regressor.
        lamda: λ >= 0, the weight of the penalty; the first λ where ``target_accuracy`` is given.
        target_accuracy: accuracy in (0, 1] to hold by the discrepancy principle: λ rises while accuracy is above it
            and falls while below and not rising. It is that of the model as deployed, in eval mode: on the validation
            data where given, else on training data. ``fit`` ends with the model of its last two fifths that comes
            closest, and warns where the target is not held. ``None`` keeps λ fixed.
        lamda_increment: step > 0 of the paper's rule, which adds or subtracts it once an epoch. ``None`` for a rule
            that scales λ several times an epoch.
        warmup_epochs: epochs >= 0 with λ = 0, in which no pair work is done.
        nb_pairs: pairs P >= 1 in X_Lip; fresh pairs are fewer where a batch is smaller.
        pair_interval: penalise every k-th step, k >= 1, with weight λ·k; ``None`` for every 12th, or with fresh pairs
            in a ``fit`` of fewer than 350 steps so often that about 30 are penalised. Where λ·k would exceed 1.2, k is
            lowered; and where λ·k times the penalty would exceed three quarters of what guessing costs
            (log(nb_classes), or the loss at the mean target), the weight of that step is lowered, to λ; and further
            where λ times the penalty exceeds it four times.
        pair_steps: ascents >= 0 before each penalised step. Fresh pairs that stay at a sample take part in half of
            them; with three classes or more they climb the margin, the output of the closest other class less that of
            the predicted one, instead of the difference of the outputs.
        pair_init: ``"batch"`` starts from points of the current batch at every penalised step; ``"near"`` (around
            a data point, in a random direction), ``"data"`` (two data points) and ``"noise"`` are the paper's
            persistent set, of which the flattest quarter gets new places now and then: samples of a batch, as many as
            it has.
        norm, output_norm: 1, 2 or inf, on flattened inputs and outputs.
        penalty: ``"squared"`` for Q², ``"linear"`` for Q.
        reduction: ``"mean"`` over the pairs, or ``"max"`` for the steepest pair alone, as in the paper.
        domain: ``"clip_values"`` keeps pairs inside the classifier's ``clip_values``; ``"free"`` does not.
        restore_best: end with the best epoch's model instead of the last: the flattest that holds
            ``target_accuracy``, or without a target the most accurate (on validation data where given).
        checkpoint: folder in which the whole state of the training is written after each epoch, and when it is
            interrupted by Ctrl-C or SIGTERM; ``fit(..., resume=True)`` goes on from there. Two generations are kept;
            those of another trainer are not overwritten.
        callbacks: functions of (trainer, record), called after each epoch; one that returns true ends the training.
        seed: >= 0, for order of the data, pairs, and what is drawn from the global generators of the framework, NumPy
            and Python during ``fit``; ``None`` draws one, kept as ``trainer.seed``. They are left as found.
        verbose: show a progress bar.
        separation: distance h = ‖u - v‖ > 0 in ``norm``, of anchored fresh pairs 2h;
            ``None`` for 1/28 of the diagonal of ``clip_values`` (1.0
            for MNIST in L2), at most their widest side; without ``clip_values``, of the range of the data.
        upper_penalty: weight >= 0 of an upper bound of Lip(f), a product over the layers, added in every step: it
            brings the bound from above down to that from below.
        certify_eps: L2 radius >= 0, in input units, for which predictions are to be certified: the loss, in every
            step, sees each wrong output raised by what it can gain on the right one within that radius by the upper
            bound. It rises from 0 over the first half of the steps of a ``fit``. With MaxMin units and ``lamda=0`` it
            makes the best certificates. Both this and ``upper_penalty`` need layers that
            :func:`artclip.lipschitz_upper_bound` can read, and no BatchNorm.
        adversarial_eps: radius >= 0, in input units and in ``norm``, of adversarial training: where it is not 0, the
            loss is that at adversarial examples of the batch, one in place of each sample, beside the penalty.
        adversarial_steps: gradient steps >= 1 to an adversarial example, from a random start; 1 is FGSM, more are PGD.
        target_metric: what ``target_accuracy`` is: ``"accuracy"``, or ``"balanced_accuracy"``, the mean of the
            accuracies of the classes, for data in which some classes are rare. Where samples have several labels
            each, accuracy is the share of labels that are right.
        ema_decay: decay d in [0, 1) of an exponential moving average of the weights (and of BatchNorm's statistics),
            with which ``fit`` ends: after step t = 0, 1, … of a ``fit``, average ← d_t·average + (1 − d_t)·weights with
            d_t = min(d, (1 + t)/(10 + t)). 0 for none. Accuracies and losses in the history are those of the weights
            themselves. Not with ``target_accuracy`` or ``restore_best``, which end with the weights of one moment.

    Attributes:
        history: one dict an epoch: ``epoch``, ``loss``, ``accuracy``, ``lipschitz`` (mean quotient of the pairs that
            climb it: how steep the model is around the data, *not* its Lipschitz constant; ``None`` where λ = 0),
            ``penalty`` (``None`` here), ``lamda``, ``skipped_steps`` (undone because numbers failed), ``gradients``
            (inputs through which gradients were taken: the samples, and the pairs at each ascent and each penalty),
            ``val_loss``, ``val_accuracy``, ``seconds``, ``cpu_seconds`` (of the process, over all its threads; ``None``
            of an epoch that was resumed midway), and ``deployed_accuracy``: what ``target_accuracy`` is compared to, a
            mean over the epoch (``accuracy`` is that of the training batches, in train mode); ``None`` without a
            target.
        deployed_accuracy: that of the model with which the last ``fit`` ended, on up to 4096 samples; ``None`` without
            a target.
        notes: what keeps the target from being held, as sentences: λ at its bound, λ still moving. They are warnings
            too where the target is missed by more than two points, or λ is at its bound.

    Raises:
        TypeError: the classifier is not one that artclip can train.
        ValueError: an argument out of its range, or a classifier without optimizer or loss.
    """

    def __init__(
        self,
        classifier: Any,
        lamda: float = 0.1,
        target_accuracy: float | None = None,
        lamda_increment: float | None = None,
        warmup_epochs: int = 0,
        nb_pairs: int = 40,
        pair_interval: int | None = None,
        pair_steps: int = 2,
        pair_init: str = "batch",
        norm: float | str = 2,
        output_norm: float | str = 2,
        penalty: str = "squared",
        reduction: str = "mean",
        domain: str = "clip_values",
        restore_best: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Iterable[Callable[[Any, Record], Any]] = (),
        seed: int | None = None,
        verbose: bool = False,
        separation: float | None = None,
        upper_penalty: float = 0.0,
        certify_eps: float = 0.0,
        target_metric: str = "accuracy",
        adversarial_eps: float = 0.0,
        adversarial_steps: int = 1,
        ema_decay: float = 0.0,
    ) -> None:
        given = dict(locals())
        checks.non_negative("upper_penalty", upper_penalty)
        checks.non_negative("certify_eps", certify_eps)
        self.upper_penalty, self.certify_eps = upper_penalty, certify_eps
        checks.non_negative("adversarial_eps", adversarial_eps)
        checks.positive_integer("adversarial_steps", adversarial_steps)
        if adversarial_steps > 1 and adversarial_eps == 0:
            raise ValueError(
                f"adversarial_steps={adversarial_steps} does nothing without adversarial_eps; give a radius > 0"
            )
        self.adversarial_eps, self.adversarial_steps = adversarial_eps, adversarial_steps
        self.options = taken(PairOptions, given)
        super().__init__(classifier, taken(TrainingOptions, given))

    def settings(self) -> dict[str, Any]:
        """What decides how it trains, but for what ``fit`` is given."""
        bound = {"upper_penalty": self.upper_penalty, "certify_eps": self.certify_eps}
        examples = {"adversarial_eps": self.adversarial_eps, "adversarial_steps": self.adversarial_steps}
        return {**super().settings(), **asdict(self.options), **bound, **examples}

    def _loss(self, trainable: Trainable, sample: Sample) -> TrainingLoss:
        if self.adversarial_eps == 0:
            return super()._loss(trainable, sample)
        examples = AdversarialExamples(self.adversarial_eps, self.options.norm, self.adversarial_steps)
        return AdversarialLoss(trainable, examples)

    def _regularizer(self, trainable: Trainable, sample: Sample, seed: int, nb_steps: int) -> Regularizer:
        x, y = sample
        if self._options.lamda or self.target_accuracy is not None or self.adversarial_eps:
            refuse_unconnected(trainable, x)
        penalty_cap = PENALTY_CAP * trainable.chance_loss(y)
        penalty_cap = penalty_cap if penalty_cap > 0 else math.inf
        pairs = self.options.pairs(trainable, x, seed)
        units = Units.of(trainable, pairs.rule.side, y)
        penalty = PairPenalty(pairs, self.options, units, penalty_cap, nb_steps)
        if self.upper_penalty == self.certify_eps == 0:
            return penalty
        if self.certify_eps > 0 and trainable.nb_classes is None:
            raise ValueError(
                f"certify_eps={self.certify_eps:g} needs a classifier: a regressor has no labels to certify"
            )
        if self.certify_eps > 0 and trainable.multi_label:
            raise ValueError(f"certify_eps={self.certify_eps:g} needs one class a sample; these have several labels")
        bound = SmoothBound(trainable, self._classifier)
        weight = self.upper_penalty * units.quotient * units.loss
        return BracketPenalty(penalty, bound, weight, self.certify_eps, nb_steps)
