"""What all trainers share: ART's interface, checks, epochs, history, best model, checkpoints, callbacks."""

from __future__ import annotations

import abc
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from art.defences.trainer import Trainer
from tqdm.auto import tqdm

from artclip import checks
from artclip.frameworks import Trainable, trainable_of
from artclip.hashing.digests import digest
from artclip.trainers import before_fit
from artclip.trainers import checkpoint as checkpoints
from artclip.trainers.accuracy import DeployedAccuracy, faults, is_held
from artclip.trainers.augmented import Augmented
from artclip.trainers.batches import ArrayBatches, Batches, GeneratorBatches
from artclip.trainers.controllers import Controller, controller
from artclip.trainers.fit import Fit
from artclip.trainers.losses import EstimatorLoss
from artclip.trainers.options import TrainingOptions
from artclip.trainers.protocols import Record, Regularizer, Sample, TrainingLoss
from artclip.trainers.resume import ResumePlan
from artclip.trainers.schedule import Schedule


class RegularizedTrainer(Trainer, abc.ABC):
    """Trains a classifier on loss + λ·penalty; the penalty comes from a subclass.

    Args: see :class:`artclip.CLIPTrainer`, which documents those that all trainers share.
    """

    def __init__(self, classifier: Any, options: TrainingOptions) -> None:
        trainable = trainable_of(classifier)
        trainable.check_trainable()
        o = self._options = options
        if o.target_accuracy is not None and trainable.nb_classes is None:
            raise ValueError(f"target_accuracy={o.target_accuracy!r} needs a classifier: a regressor has no accuracy")
        super().__init__(classifier)
        self._controller: Controller = controller(o.lamda, o.target_accuracy, o.lamda_increment)
        self.target_accuracy, self.target_metric = o.target_accuracy, o.target_metric
        self.ema_decay = float(o.ema_decay)
        self.warmup_epochs, self.restore_best, self.verbose = o.warmup_epochs, o.restore_best, o.verbose
        self.checkpoint = None if o.checkpoint is None else checks.folder(o.checkpoint, "checkpoint")
        self.callbacks = tuple(o.callbacks)
        self.seed, self._has_own_seed = checks.seed_or_drawn(o.seed), o.seed is not None
        self.history: list[Record] = []
        self.deployed_accuracy: float | None = None
        self.notes: list[str] = []
        self._owns_checkpoint = False
        self._first_optimizer: Any = None  # its settings before the first fit, as schedulers move them

    @property
    def lamda(self) -> float:
        """λ now."""
        return self._controller.value

    @property
    def missed_target(self) -> bool:
        """Whether the last ``fit`` ended more than two points above or below ``target_accuracy``."""
        target, accuracy = self.target_accuracy, self.deployed_accuracy
        return target is not None and accuracy is not None and not is_held(target, accuracy)

    def settings(self) -> dict[str, Any]:
        """What decides how it trains, but for what ``fit`` is given."""
        return self._options.decisive

    @abc.abstractmethod
    def _regularizer(self, trainable: Trainable, sample: Sample, seed: int, nb_steps: int) -> Regularizer:
        """The penalty for this model, given some (x, y) of its training data, and the steps of the fit."""

    def _loss(self, trainable: Trainable, sample: Sample) -> TrainingLoss:
        """What is descended besides the penalty, given some (x, y) of the training data."""
        return EstimatorLoss(trainable)

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        validation_data: tuple[np.ndarray, np.ndarray] | None = None,
        batch_size: int = 128,
        nb_epochs: int = 20,
        scheduler: Any = None,
        scheduler_interval: str | None = None,
        max_grad_norm: float | None = None,
        augmentation: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
        **kwargs: Any,
    ) -> None:
        """Train the classifier.

        Args:
            x: shape (n, *input_shape), inside the classifier's ``clip_values``.
            y: class indices of shape (n,), one-hot labels or probabilities of shape (n, nb_classes); for a regressor
                targets of shape (n,) or (n, k).
            validation_data: (x, y) in the same formats, for ``val_accuracy`` in the history, ``restore_best`` and
                ``target_accuracy``.
            batch_size: samples a step, >= 1.
            nb_epochs: passes over the data, >= 0.
            scheduler: anything with a ``step()``. One that asks for a metric gets the loss, or with ``mode="max"`` the
                accuracy, on validation data where given. Or, as in ART's TensorFlow classifiers, a function called
                with the epoch, from 0.
            scheduler_interval: ``"epoch"`` or ``"step"``: what the scheduler is called after. ``None`` for each step
                with ``OneCycleLR``, ``CyclicLR`` and the schedules of transformers, each epoch with all others. Steps
                that are undone because numbers failed are undone in the schedule too.
            max_grad_norm: L2 norm > 0 to which the gradient of loss and penalty together, over all parameters, is
                scaled down where it is longer, before each step; ``None`` for no limit.
            augmentation: function of (batch, generator), as :class:`artclip.data.RandomCropFlip`, that gives another
                batch of the same shape inside ``clip_values``; it is applied to each batch before the step. The
                generator is NumPy's, with a seed that the trainer's seed and the step decide. Accuracies that
                ``target_accuracy`` and the history's ``val_accuracy`` speak of are of data without it.
            kwargs: ``drop_last`` (bool) leaves out a short last batch; ``verbose`` (bool) shows progress; ``resume``
                (bool) goes on from the last state in the folder ``checkpoint``, if there is one, to the weights and the
                history that a training without interruption has (on the same machine, with as many threads). Without
                it, a folder that holds the checkpoint of another trainer is refused. Give all else as before;
                ``nb_epochs`` counts from the first start, and may be larger: what is scheduled by the length of a fit,
                ``pair_interval=None`` and the rise of ``certify_eps``, stays as it first was.

        Raises:
            ValueError, TypeError: bad input, or a checkpoint of something else; the model is as it was.
            FloatingPointError: the loss stays NaN or infinite; the model is at its last finite state.
        """
        checks.positive_integer("batch_size", batch_size)
        verbose, drop_last, resume = self._fit_options("fit", kwargs, ("verbose", "drop_last", "resume"))
        trainable = trainable_of(self._classifier, distributed=True)
        schedule = self._prepared(trainable, scheduler, scheduler_interval, max_grad_norm)
        start = self._start(trainable, resume)
        x, y = checks.data(x, y, trainable.input_shape, trainable.nb_classes, box=trainable.clip_values)
        augmented = None if augmentation is None else Augmented(augmentation, trainable.clip_values)
        batches = ArrayBatches(trainable, x, y, batch_size, bool(drop_last), start.seed, augmented)
        sample = batches.some(start.seed)
        if augmented is not None:
            with trainable.seeded(0):
                augmented.try_on(sample[0][:2])
            start.settings["augmentation"] = str(augmented)
        start.settings |= {"nb_samples": len(x), "batch_size": batch_size, "drop_last": bool(drop_last)}
        start.settings |= {"data": digest(sample[0]), "labels": digest(trainable.labels(y))}
        self._train(trainable, batches, sample, validation_data, nb_epochs, schedule, verbose, start)

    def fit_generator(
        self,
        generator: Any,
        validation_data: tuple[np.ndarray, np.ndarray] | None = None,
        nb_epochs: int = 20,
        scheduler: Any = None,
        scheduler_interval: str | None = None,
        max_grad_norm: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Train the classifier on the batches of an ART ``DataGenerator``.

        Args:
            generator: yields (x, y) through ``get_batch()``, in the formats of :meth:`fit`. Data that end, as a finite
                ``tf.data.Dataset``, start anew; an epoch is as many batches as cover its ``size``.
            validation_data, nb_epochs, scheduler, scheduler_interval, max_grad_norm: as in :meth:`fit`.
            kwargs: ``verbose`` (bool) shows progress; ``resume`` (bool) as in :meth:`fit`, but for the order of the
                batches, which is the generator's: an epoch goes on with as many as it lacked. What the generator draws
                from global generators, as ART's ``NumpyDataGenerator`` does to shuffle, the trainer's seed decides.

        Raises:
            ValueError, TypeError, FloatingPointError: as :meth:`fit`.
        """
        verbose, resume = self._fit_options("fit_generator", kwargs, ("verbose", "resume"))
        trainable = trainable_of(self._classifier, distributed=True)
        schedule = self._prepared(trainable, scheduler, scheduler_interval, max_grad_norm)
        start = self._start(trainable, resume)
        batches = GeneratorBatches(trainable, generator, start.seed, keep=self.target_accuracy is not None)
        sample = batches.peek()
        start.settings["nb_batches"] = batches.nb_batches
        self._train(trainable, batches, sample, validation_data, nb_epochs, schedule, verbose, start)

    def predict(self, x: np.ndarray, **kwargs: Any) -> np.ndarray:
        """Predictions of the classifier, as ``classifier.predict(x, **kwargs)``."""
        return self._classifier.predict(x, **kwargs)

    def _start(self, trainable: Trainable, resume: bool) -> ResumePlan:
        """Where this fit starts: anew, or from a checkpoint."""
        if resume and self.checkpoint is None:
            raise ValueError(f"resume=True needs a folder: {type(self).__name__}(..., checkpoint=FOLDER)")
        anew = self.checkpoint is not None and not (resume or self._owns_checkpoint)
        if anew and trainable.broadcast(checkpoints.exists(self.checkpoint)):
            raise ValueError(
                f"the folder {self.checkpoint} holds the checkpoint of a training, which this fit would overwrite; "
                "write fit(..., resume=True) to go on with that one, give another folder, or remove this one"
            )
        self.seed = trainable.broadcast(self.seed)
        folder = self.checkpoint if resume and trainable.is_main_process else None
        return ResumePlan(self, trainable.broadcast(None if folder is None else checkpoints.read(folder)))

    @staticmethod
    def _prepared(trainable: Trainable, scheduler: Any, interval: str | None, max_grad_norm: float | None) -> Schedule:
        """The schedule, and the limit of gradients told to the adapter."""
        if max_grad_norm is not None:
            checks.positive("max_grad_norm", max_grad_norm)
        trainable.max_grad_norm = None if max_grad_norm is None else float(max_grad_norm)
        return Schedule(scheduler, interval)

    def _fit_options(self, function: str, kwargs: dict[str, Any], known: tuple[str, ...]) -> list[Any]:
        unknown = sorted(set(kwargs) - set(known))
        if unknown:
            raise TypeError(
                f"{function} got an unknown argument {unknown[0]!r}; besides those in its signature it knows {known}"
            )
        defaults = {"verbose": self.verbose, "drop_last": False, "resume": False}
        options = {name: kwargs.get(name, defaults[name]) for name in known}
        checks.switches(**options)
        return list(options.values())

    def _train(
        self,
        trainable: Trainable,
        batches: Batches,
        sample: Sample,
        validation_data: tuple[np.ndarray, np.ndarray] | None,
        nb_epochs: int,
        schedule: Schedule,
        verbose: bool,
        start: ResumePlan,
    ) -> None:
        checks.positive_integer("nb_epochs", nb_epochs, least=0)
        trainable.ema_decay = self.ema_decay
        trainable.check_gradients()
        trainable.check_trainable()
        if trainable.averages_weights and (self.restore_best or self.target_accuracy is not None):
            what = "restore_best" if self.restore_best else "target_accuracy"
            averages = f"ema_decay={self.ema_decay:g}" if self.ema_decay else "use_ema=True of the optimizer"
            raise ValueError(f"{what} ends with the weights of one moment, and {averages} with averages; choose one")
        if validation_data is not None:
            validation_data = before_fit.validation(trainable, validation_data)
        nb_steps, is_classifier = nb_epochs * batches.nb_batches, trainable.nb_classes is not None
        before_fit.dry_run(trainable, *sample)
        remarks = before_fit.remarks(trainable, sample[0], self.checkpoint is not None)
        start.settings |= start.of_fit(schedule, validation_data)
        start.settings |= {"scheduler_interval": schedule.interval, "max_grad_norm": trainable.max_grad_norm}
        start.check(trainable, sample)
        schedule.check(trainable.optimizer, nb_epochs, nb_steps, is_classifier, start.schedule)
        trainable.batch_size = batches.batch_size
        regularizer = self._regularizer(trainable, sample, start.seed, start.plan(nb_steps))
        loss = self._loss(trainable, sample)
        chance_loss = trainable.chance_loss(sample[1])
        accuracy = self._deployed_accuracy(trainable, batches, validation_data, start.seed, nb_steps)
        self._owns_checkpoint = self.checkpoint is not None
        for remark in remarks if trainable.is_main_process else ():
            warnings.warn(remark, RuntimeWarning, stacklevel=3)
        progress = tqdm(total=nb_steps, disable=not (verbose and trainable.is_main_process), unit="step")
        with progress, checkpoints.terminable(self.checkpoint is not None), trainable.fitting(start.seed):
            terms, follows = (loss, regularizer), (accuracy, validation_data)
            Fit(self, trainable, batches, *terms, *follows, schedule, start, progress, chance_loss).run(nb_epochs)
        if nb_epochs and self.lamda > 0 and self.warmup_epochs >= nb_epochs:
            warnings.warn(
                f"warmup_epochs={self.warmup_epochs} is no less than nb_epochs={nb_epochs}: no step was penalised",
                RuntimeWarning,
                stacklevel=3,
            )
        if accuracy is not None and nb_epochs:
            self._say_how_it_ended(accuracy, self.history[start.first :], trainable.is_main_process)
        if nb_epochs and all(record["loss"] is None for record in self.history[start.first :]):
            raise FloatingPointError(
                "every step had a NaN or infinite loss or gradient and was undone, so the model is as it was. Lower "
                "the learning rate, or look for a layer that overflows"
            )

    def _deployed_accuracy(
        self, trainable: Trainable, batches: Batches, validation: Any, seed: int, nb_steps: int
    ) -> DeployedAccuracy | None:
        """What λ follows, if it follows anything."""
        if self.target_accuracy is None:
            return None
        if trainable.multi_label and self.target_metric != "accuracy":
            raise ValueError(
                f"target_metric={self.target_metric!r} needs one class a sample; these have several labels"
            )
        source = batches.deployed if validation is None else lambda: validation
        fit = nb_steps, batches.batch_size, not self.restore_best
        return DeployedAccuracy(trainable, self.target_metric, self.target_accuracy, seed, source, *fit)

    def _say_how_it_ended(self, accuracy: DeployedAccuracy, history: list[Record], is_main_process: bool) -> None:
        self.deployed_accuracy = accuracy.now()
        self.notes = faults(self._controller, self.deployed_accuracy, history)
        # That λ still moves is no fault of a model that holds the target.
        missed = self._controller.at_bound or self.missed_target
        for note in self.notes if missed and is_main_process else ():
            warnings.warn(note, RuntimeWarning, stacklevel=4)

    def _score(self, record: Record) -> tuple[float, float]:
        """Best is the flattest model that holds the target accuracy; without a target, the most accurate one."""
        figures = (record["val_accuracy"], record["deployed_accuracy"], record["accuracy"])
        accuracy = next((a for a in figures if a is not None), None)
        if accuracy is None:
            loss = record["loss"] if record["val_loss"] is None else record["val_loss"]
            return (-math.inf if loss is None else -loss), 0.0
        if self.target_accuracy is None:
            return accuracy, 0.0
        steepness = next((v for v in (record["lipschitz"], record["penalty"]) if v is not None), math.inf)
        return min(accuracy, self.target_accuracy), -steepness
