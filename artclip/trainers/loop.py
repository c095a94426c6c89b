"""What all trainers share: ART's interface, checks, epochs, history, best model, checkpoints, callbacks."""

from __future__ import annotations

import abc
import inspect
import logging
import math
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from art.defences.trainer import Trainer
from tqdm.auto import tqdm

from artclip import checks
from artclip.frameworks import Trainable, trainable_of
from artclip.trainers import checkpoint as checkpoints
from artclip.trainers.batches import ArrayBatches, Batches, GeneratorBatches
from artclip.trainers.epochs import Epochs, Record, Regularizer, Sample
from artclip.trainers.lamda import Controller, controller

logger = logging.getLogger(__name__)


class RegularizedTrainer(Trainer, abc.ABC):
    """Trains a classifier on loss + λ·penalty; the penalty comes from a subclass.

    Args: see :class:`artclip.CLIPTrainer`, which documents those that all trainers share.
    """

    def __init__(
        self,
        classifier: Any,
        lamda: float,
        target_accuracy: float | None = None,
        lamda_increment: float | None = None,
        warmup_epochs: int = 0,
        restore_best: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Iterable[Callable[[Any, Record], Any]] = (),
        seed: int | None = None,
        verbose: bool = False,
    ) -> None:
        self._controller: Controller = controller(lamda, target_accuracy, lamda_increment)
        checks.positive_integer("warmup_epochs", warmup_epochs, least=0)
        if seed is not None:
            checks.positive_integer("seed", seed, least=0)
        trainable = trainable_of(classifier)
        trainable.check_trainable()
        if target_accuracy is not None and trainable.nb_classes is None:
            raise ValueError(f"target_accuracy={target_accuracy!r} needs a classifier: a regressor has no accuracy")
        super().__init__(classifier)
        self.target_accuracy = target_accuracy
        self.warmup_epochs = warmup_epochs
        self.restore_best = restore_best
        self.checkpoint = None if checkpoint is None else checkpoints.folder(checkpoint)
        self.callbacks = tuple(callbacks)
        self.seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
        self.verbose = verbose
        self.history: list[Record] = []

    @property
    def lamda(self) -> float:
        """λ now."""
        return self._controller.value

    @abc.abstractmethod
    def _regularizer(self, trainable: Trainable, sample: Sample, seed: int) -> Regularizer:
        """The penalty for this model, given some (x, y) of its training data."""

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        validation_data: tuple[np.ndarray, np.ndarray] | None = None,
        batch_size: int = 128,
        nb_epochs: int = 20,
        scheduler: Any = None,
        **kwargs: Any,
    ) -> None:
        """Train the classifier.

        Args:
            x: shape (n, *input_shape), in the units of the classifier's ``clip_values``.
            y: class indices of shape (n,), one-hot labels or probabilities of shape (n, nb_classes); for a regressor
                targets of shape (n,) or (n, k).
            validation_data: (x, y) in the same formats, for ``val_accuracy`` in the history and ``restore_best``.
            batch_size: samples a step, >= 1.
            nb_epochs: passes over the data, >= 0.
            scheduler: anything with a ``step()``, called once an epoch; one that asks for a metric gets the loss. Or,
                as in ART's TensorFlow classifiers, a function called with the epoch, from 0.
            kwargs: ``drop_last`` (bool) leaves out a short last batch; ``verbose`` (bool) shows progress.

        Raises:
            ValueError, TypeError: bad input; the model is as it was.
            FloatingPointError: the loss stays NaN or infinite; the model is at its last finite state.
        """
        checks.positive_integer("batch_size", batch_size)
        verbose, drop_last = self._fit_options(kwargs, ("verbose", "drop_last"))
        trainable = trainable_of(self._classifier)
        x, y = checks.data(x, y, trainable.input_shape, trainable.nb_classes)
        x, y = trainable.training_data(x, y)
        batches = ArrayBatches(trainable, x, y, batch_size, bool(drop_last), self._fit_seed)
        some = np.sort(np.random.default_rng(self._fit_seed).choice(len(x), min(len(x), 1024), replace=False))
        sample = x[some], y[some]
        self._train(trainable, batches, sample, validation_data, nb_epochs, scheduler, verbose)

    def fit_generator(
        self,
        generator: Any,
        validation_data: tuple[np.ndarray, np.ndarray] | None = None,
        nb_epochs: int = 20,
        scheduler: Any = None,
        **kwargs: Any,
    ) -> None:
        """Train the classifier on the batches of an ART ``DataGenerator``.

        Args:
            generator: yields (x, y) through ``get_batch()``, in the formats of :meth:`fit`.
            validation_data, nb_epochs, scheduler: as in :meth:`fit`.
            kwargs: ``verbose`` (bool) shows progress.

        Raises:
            ValueError, TypeError, FloatingPointError: as :meth:`fit`.
        """
        (verbose,) = self._fit_options(kwargs, ("verbose",))
        trainable = trainable_of(self._classifier)
        batches = GeneratorBatches(trainable, generator)
        sample = batches.get()
        self._train(trainable, batches, sample, validation_data, nb_epochs, scheduler, verbose)

    def predict(self, x: np.ndarray, **kwargs: Any) -> np.ndarray:
        """Predictions of the classifier, as ``classifier.predict(x, **kwargs)``."""
        return self._classifier.predict(x, **kwargs)

    @property
    def _fit_seed(self) -> int:
        """A second ``fit`` continues the training, so it gets an order of its own."""
        return int(np.random.SeedSequence([self.seed, len(self.history)]).generate_state(1)[0])

    def _fit_options(self, kwargs: dict[str, Any], known: tuple[str, ...]) -> list[Any]:
        unknown = sorted(set(kwargs) - set(known))
        if unknown:
            raise TypeError(
                f"fit got an unknown argument {unknown[0]!r}; besides those in its signature it knows {known}"
            )
        defaults = {"verbose": self.verbose, "drop_last": False}
        return [kwargs.get(name, defaults[name]) for name in known]

    def _train(
        self,
        trainable: Trainable,
        batches: Batches,
        sample: Sample,
        validation_data: tuple[np.ndarray, np.ndarray] | None,
        nb_epochs: int,
        scheduler: Any,
        verbose: bool,
    ) -> None:
        checks.positive_integer("nb_epochs", nb_epochs, least=0)
        trainable.check_trainable()
        if scheduler is not None and not callable(getattr(scheduler, "step", scheduler)):
            raise TypeError(
                f"scheduler is a {type(scheduler).__name__}, without a step() and not a function of the epoch"
            )
        if validation_data is not None:
            x_val, y_val = checks.data(*validation_data, trainable.input_shape, trainable.nb_classes, "validation ")
            validation_data = x_val, trainable.labels(y_val)
        _rehearse(trainable, *sample)
        regularizer = self._regularizer(trainable, sample, self._fit_seed)
        best, best_score = None, (-math.inf, -math.inf)
        progress = tqdm(total=nb_epochs * batches.nb_batches, disable=not verbose, unit="step")
        with progress, trainable.fitting(self._fit_seed):
            epoch = Epochs(trainable, batches, regularizer, progress)
            for index in range(nb_epochs):
                progress.set_description(f"{type(self).__name__} epoch {index + 1}/{nb_epochs}")
                start = time.perf_counter()
                try:
                    record = epoch.run(self._controller, penalise=index >= self.warmup_epochs)
                except Exception:  # a bad batch of a generator, or a model that rejects one
                    epoch.undo()
                    raise
                seconds = time.perf_counter() - start
                self._validate(trainable, validation_data, record)
                record = {"epoch": len(self.history) + 1, **record, "seconds": seconds}
                self.history.append(record)
                logger.info("%s", record)
                if scheduler is not None:
                    _step_scheduler(scheduler, record, index)
                if self.restore_best and (score := self._score(record)) > best_score:
                    best, best_score = trainable.snapshot(), score
                if self.checkpoint is not None:
                    checkpoints.write(self.checkpoint, self)
                verdicts = [callback(self, record) for callback in self.callbacks]
                if any(verdicts):
                    break
            if best is not None:
                trainable.restore(best)
        if nb_epochs and all(record["loss"] is None for record in self.history[-nb_epochs:]):
            raise FloatingPointError(
                "every step had a NaN or infinite loss or gradient and was undone, so the model is as it was. Lower "
                "the learning rate, or look for a layer that overflows"
            )

    def _validate(self, trainable: Trainable, data: Any, record: Record) -> None:
        record["val_loss"] = record["val_accuracy"] = None
        if data is not None:
            x, y = data
            loss, accuracy = trainable.evaluate(x, y, batch_size=1024)
            record["val_loss"], record["val_accuracy"] = loss, None if math.isnan(accuracy) else accuracy

    def _score(self, record: Record) -> tuple[float, float]:
        """Best is the flattest model that holds the target accuracy; without a target, the most accurate one."""
        accuracy = record["accuracy"] if record["val_accuracy"] is None else record["val_accuracy"]
        if accuracy is None:
            loss = record["loss"] if record["val_loss"] is None else record["val_loss"]
            return (-math.inf if loss is None else -loss), 0.0
        if self.target_accuracy is None:
            return accuracy, 0.0
        steepness = next((v for v in (record["lipschitz"], record["penalty"]) if v is not None), math.inf)
        return min(accuracy, self.target_accuracy), -steepness


def _rehearse(trainable: Trainable, x: np.ndarray, y: np.ndarray) -> None:
    """The loss of two samples, so that a model that does not fit its data fails before it is changed."""
    try:
        trainable.evaluate(x[:2], y[:2], 2)
    except Exception as error:
        raise ValueError(
            f"the classifier's loss fails on inputs of shape {x[:2].shape} with labels or targets of shape "
            f"{y[:2].shape}: {error}"
        ) from error


def _step_scheduler(scheduler: Any, record: Record, epoch: int) -> None:
    if not hasattr(scheduler, "step"):
        scheduler(epoch)
        return
    parameters = inspect.signature(scheduler.step).parameters.values()
    wants_metric = any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    loss = record["loss"] if record["val_loss"] is None else record["val_loss"]
    if not wants_metric:
        scheduler.step()
    elif loss is not None:
        scheduler.step(loss)
