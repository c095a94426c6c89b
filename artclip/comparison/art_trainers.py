"""ART's own trainers as defences: one epoch at a time, from a seed, with time and gradients counted."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from art.data_generators import DataGenerator

from artclip.comparison.training_config import TrainingConfig
from artclip.evaluation.random_outputs import randomness
from artclip.evaluation.threat_model import projected_gradient
from artclip.frameworks import function_of, trainers_of
from artclip.frameworks.replaced import replaced
from artclip.trainers.augmented import Augmented


class EpochTrainer:
    """A trainer of ART, behind the verbs of :class:`artclip.CLIPTrainer`.

    ART's trainers draw from the global generators, ask for no seed, keep no history, and show bars that cannot be
    turned off. Here each epoch is a ``fit`` of its own, so that a scheduler steps between epochs whatever the trainer.

    Args:
        trainer: of ART, with ``fit(x, y, batch_size=..., nb_epochs=...)``.
        classifier: the model that it trains.
        plan: gives the seed.
        passes: gradients in the weights that a step takes, for each sample of the batch; those in the inputs are
            counted as they happen.
        whole: run all epochs as one ``fit``, for trainers that set their own learning rates.
        step: name of the trainer's method that is called once a step, where weights are to be averaged after it and not
            after that of the optimizer, because the trainer moves them around that.
    """

    lamda = None

    def __init__(
        self,
        trainer: Any,
        classifier: Any,
        plan: TrainingConfig,
        passes: float = 1,
        whole: bool = False,
        step: str | None = None,
    ) -> None:
        self._step = step
        self._trainer, self.classifier, self._plan, self._passes, self._whole = trainer, classifier, plan, passes, whole
        self.seed, self.ema_decay = plan.seed, plan.ema_decay
        self.history: list[dict[str, Any]] = []

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        batch_size: int,
        nb_epochs: int,
        scheduler: Any = None,
        augmentation: Any = None,
    ) -> None:
        """Train on x, shape (n, *input_shape), with class indices y, shape (n,).

        An augmentation, as of :meth:`artclip.CLIPTrainer.fit`, is applied anew before each epoch, or to each batch of
        a trainer that runs all epochs as one.

        Raises:
            ValueError: an augmentation, and a trainer that runs all epochs as one and takes no generator of batches.
        """
        if augmentation is not None and self._whole and not hasattr(self._trainer, "fit_generator"):
            raise ValueError(
                f"{type(self._trainer).__name__} runs all epochs as one, so its data cannot be augmented for each one; "
                "compare without augmentation, or give the trainer a fit_generator(generator, nb_epochs)"
            )
        if augmentation is not None:
            augmentation = Augmented(augmentation, self.classifier.clip_values)
        x = np.asarray(x)
        trained = self._trainer.get_classifier() if hasattr(self._trainer, "get_classifier") else self.classifier
        after = self._step and (self._trainer, self._step)
        averages = trainers_of(self._plan.framework).averaged(trained, self.ema_decay, after)
        with averages if self.ema_decay else contextlib.nullcontext():
            self._fit(x, y, batch_size, nb_epochs, scheduler, augmentation)

    def _fit(self, x: Any, y: Any, batch_size: int, nb_epochs: int, scheduler: Any, augmentation: Any) -> None:
        labels = np.eye(self.classifier.nb_classes, dtype=np.float32)[y]
        f, lengths = function_of(self.classifier), [nb_epochs] if self._whole else [1] * nb_epochs
        for index, length in enumerate(lengths):
            start, cpu = time.perf_counter(), time.process_time()
            around = trainers_of(self._plan.framework).training(self.classifier)
            seeded, quiet = randomness(f, (self._plan.seed, index)), _quiet(self._plan.verbose)
            with around, seeded, quiet, _counted(self._trainer) as count:
                if augmentation is not None and self._whole:
                    batches = AugmentedBatches(x, labels, batch_size, augmentation, self._plan.seed)
                    self._trainer.fit_generator(batches, nb_epochs=length)
                else:
                    seed = self._plan.seed, index
                    given = x if augmentation is None else _augmented(x, augmentation, batch_size, seed)
                    self._trainer.fit(given, labels, batch_size=batch_size, nb_epochs=length)
            cpu = time.process_time() - cpu
            seconds, gradients = time.perf_counter() - start, count[0] + self._passes * length * len(x)
            for _ in range(length):
                record: dict[str, Any] = dict.fromkeys(("loss", "accuracy", "lipschitz", "penalty", "lamda"))
                record |= {"epoch": len(self.history) + 1}
                record |= {"gradients": gradients / length, "seconds": seconds / length}
                record["cpu_seconds"] = cpu / length
                self.history.append(record)
            if scheduler is not None and not self._whole:
                scheduler.step()


class AugmentedBatches(DataGenerator):
    """All samples once an epoch, in an order of its own, each batch augmented anew; without an end.

    Args:
        x: shape (n, *input_shape).
        y: n labels.
        batch_size: >= 1; the last batch of an epoch may be shorter.
        augmentation: a function of (batch, generator).
        seed: >= 0, of the orders and of the augmentation.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, batch_size: int, augmentation: Any, seed: int) -> None:
        super().__init__(len(x), batch_size)
        self._x, self._y, self._augmentation = x, y, augmentation
        self._rng, self._order = np.random.default_rng(seed), np.empty(0, np.int64)

    def get_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch and its labels."""
        if not self._order.size:
            self._order = self._rng.permutation(len(self._x))
        rows, self._order = np.split(self._order, [self.batch_size])
        return self._augmentation(self._x[rows], self._rng), self._y[rows]


def _augmented(x: np.ndarray, augmentation: Any, batch_size: int, seed: tuple[int, int]) -> np.ndarray:
    """All of x augmented, so many samples at a time, from a seed."""
    parts, found = range(0, len(x), batch_size), np.empty_like(x)
    for start in parts:
        rows = slice(start, start + batch_size)
        found[rows] = augmentation(x[rows], np.random.default_rng([*seed, start]))
    return found


def adversarial(
    classifier: Any, plan: TrainingConfig, *, eps: float | None = None, max_iter: int = 7, ratio: float = 0.5
) -> EpochTrainer:
    """ART's ``AdversarialTrainer``: PGD examples take the place of a part of each batch."""
    from art.defences.trainer import AdversarialTrainer

    return EpochTrainer(AdversarialTrainer(classifier, pgd(classifier, plan, eps, max_iter), ratio), classifier, plan)


def madry(classifier: Any, plan: TrainingConfig, *, eps: float | None = None, max_iter: int = 7) -> EpochTrainer:
    """ART's ``AdversarialTrainerMadryPGD``: PGD examples alone. ART's is in Linf; here it is in the plan's norm."""
    from art.defences.trainer import AdversarialTrainerMadryPGD

    eps = plan.eps if eps is None else eps
    trainer = AdversarialTrainerMadryPGD(classifier, eps=eps, eps_step=2.5 * eps / max_iter, max_iter=max_iter)
    trainer.attack.set_params(norm=plan.norm, batch_size=plan.batch_size)
    return EpochTrainer(trainer, classifier, plan)


def trades(
    classifier: Any, plan: TrainingConfig, *, eps: float | None = None, max_iter: int = 7, beta: float = 6.0
) -> EpochTrainer:
    """ART's TRADES: cross-entropy of clean samples and how far the outputs move under PGD."""
    made = trainers_of(plan.framework)
    plain = made.plain(classifier)
    trainer = made.trades(plain, pgd(plain, plan, eps, max_iter), beta)
    return EpochTrainer(trainer, classifier, plan, passes=2)


def awp(
    classifier: Any,
    plan: TrainingConfig,
    *,
    eps: float | None = None,
    max_iter: int = 7,
    gamma: float = 0.01,
) -> EpochTrainer:
    """ART's adversarial weight perturbation, on PGD examples: the step is taken where the weights are worst."""
    made = trainers_of(plan.framework)
    plain = made.plain(classifier)
    trainer = made.awp(plain, pgd(plain, plan, eps, max_iter), gamma)
    return EpochTrainer(trainer, classifier, plan, passes=2, step="_batch_process")


def fbf(classifier: Any, plan: TrainingConfig, *, eps: float | None = None) -> EpochTrainer:
    """ART's "fast is better than free": one step in Linf from a random start, SGD with a cyclic learning rate.

    ``eps`` is in Linf; by default the widest cube that fits into the budget.
    """
    if eps is None:
        eps = plan.eps if plan.norm == math.inf else plan.eps / math.prod(classifier.input_shape) ** (1 / plan.norm)
    made = trainers_of(plan.framework)
    return EpochTrainer(made.fbf(made.plain(classifier, "SGD"), eps), classifier, plan, whole=True)


def gaussian(classifier: Any, plan: TrainingConfig, *, sigma: float | None = None, ratio: float = 1.0) -> EpochTrainer:
    """ART's ``GaussianAugmentation``, drawn anew in each epoch; ``ratio`` noisy samples for each clean one."""
    from art.defences.preprocessor import GaussianAugmentation

    noise = GaussianAugmentation(
        plan.noise if sigma is None else sigma, True, ratio, clip_values=tuple(map(float, classifier.clip_values))
    )
    return EpochTrainer(_Augmented(classifier, noise), classifier, plan, passes=1 + ratio)


class _Augmented:
    """Fits the classifier on what a preprocessor makes of the data."""

    def __init__(self, classifier: Any, preprocessor: Any) -> None:
        self._classifier, self._preprocessor = classifier, preprocessor

    def fit(self, x: np.ndarray, y: np.ndarray, batch_size: int, nb_epochs: int) -> None:
        x, y = self._preprocessor(x, y)
        self._classifier.fit(x.astype(np.float32), y, batch_size=batch_size, nb_epochs=nb_epochs)


def pgd(classifier: Any, plan: TrainingConfig, eps: float | None = None, max_iter: int = 7) -> Any:
    """ART's PGD in the norm of the plan, with a random start, in steps of 2.5·eps/max_iter."""
    from art.attacks.evasion import ProjectedGradientDescent

    eps = plan.eps if eps is None else eps
    return projected_gradient(ProjectedGradientDescent, classifier, plan.norm, eps, max_iter, plan.batch_size)


@contextlib.contextmanager
def _counted(trainer: Any) -> Iterator[list[int]]:
    """Counts the samples that ``loss_gradient`` of the classifier under training is asked for."""
    classifier, count = trainer.get_classifier() if hasattr(trainer, "get_classifier") else None, [0]
    if classifier is None:
        yield count
        return
    gradient = classifier.loss_gradient

    def counting(x: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        count[0] += len(x)
        return gradient(x, *args, **kwargs)

    with replaced([classifier], "loss_gradient", lambda _: counting):
        yield count


@contextlib.contextmanager
def _quiet(verbose: bool) -> Iterator[None]:
    """Without ART's progress bars, which have no switch."""
    if verbose:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield
