"""The training loop, written once: epochs, λ, history, best model, and what happens when numbers fail."""

from __future__ import annotations

import abc
import inspect
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from art.defences.trainer import Trainer
from tqdm.auto import tqdm

from artclip import checks
from artclip.frameworks import Trainable, trainable_of
from artclip.frameworks.base import Tensor
from artclip.trainers.batches import ArrayBatches, Batches, GeneratorBatches
from artclip.trainers.lamda import Controller, controller

logger = logging.getLogger(__name__)

Record = dict[str, Any]
CHECKS_PER_EPOCH, LEAST_STEPS_PER_CHECK, MOST_FAULTS = 10, 20, 8


class Regularizer(Protocol):
    """A penalty on the model: what differs from one trainer to the next."""

    state: Any
    """What is carried from step to step: tensors."""

    def interval(self, lamda: float) -> int:
        """Every how many steps to penalise, with weight ``lamda · interval``."""

    def advance(self, state: Any, x: Tensor, count: int) -> tuple[Any, Tensor | None]:
        """Before the update, on batch x: the state to carry on, and the points at which :meth:`penalty` wants f.

        ``count`` is the number of penalised steps so far.
        """

    def penalty(self, state: Any, points: Tensor | None, outputs: Tensor | None) -> tuple[Tensor, Tensor]:
        """The penalty as a scalar with a gradient in the parameters, and figures to record; outputs are f(points)."""

    records_as: str
    """Entry of the history for the mean of the figures: ``"lipschitz"`` or ``"penalty"``."""


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
        self.target_accuracy, self.warmup_epochs, self.restore_best = (
            target_accuracy,
            warmup_epochs,
            restore_best,
        )
        self.callbacks = tuple(callbacks)
        self.seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
        self.verbose = verbose
        self.history: list[Record] = []

    @property
    def lamda(self) -> float:
        """λ now."""
        return self._controller.value

    @abc.abstractmethod
    def _regularizer(self, trainable: Trainable, x: np.ndarray, seed: int) -> Regularizer:
        """The penalty for this model, given some inputs x."""

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
            scheduler: anything with a ``step()``, called once an epoch; one that asks for a metric gets the loss.
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
        batches = ArrayBatches(x, y, batch_size, bool(drop_last), self._fit_seed)
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
        batches = GeneratorBatches(generator, trainable)
        sample = next(iter(batches.epoch()))
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
        sample: tuple[np.ndarray, np.ndarray],
        validation_data: tuple[np.ndarray, np.ndarray] | None,
        nb_epochs: int,
        scheduler: Any,
        verbose: bool,
    ) -> None:
        checks.positive_integer("nb_epochs", nb_epochs, least=0)
        trainable.check_trainable()
        if scheduler is not None and not callable(getattr(scheduler, "step", None)):
            raise TypeError(f"scheduler is a {type(scheduler).__name__} without a step() method")
        if validation_data is not None:
            x_val, y_val = checks.data(*validation_data, trainable.input_shape, trainable.nb_classes, "validation ")
            validation_data = x_val, trainable.labels(y_val)
        _rehearse(trainable, *sample)
        regularizer = self._regularizer(trainable, sample[0], self._fit_seed)
        best, best_score = None, (-math.inf, -math.inf)
        progress = tqdm(total=nb_epochs * batches.nb_batches, disable=not verbose, unit="step")
        with progress, trainable.fitting(self._fit_seed):
            epoch = _Epoch(trainable, batches, regularizer, progress)
            for index in range(nb_epochs):
                progress.set_description(f"{type(self).__name__} epoch {index + 1}/{nb_epochs}")
                start = time.perf_counter()
                record = epoch.run(self._controller, penalise=index >= self.warmup_epochs)
                seconds = time.perf_counter() - start
                self._validate(trainable, validation_data, record)
                record = {"epoch": len(self.history) + 1, **record, "seconds": seconds}
                self.history.append(record)
                logger.info("%s", record)
                if scheduler is not None:
                    _step_scheduler(scheduler, record)
                if self.restore_best and (score := self._score(record)) > best_score:
                    best, best_score = trainable.snapshot(), score
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


class _Epoch:
    """Runs epochs: steps in stretches, a look at the numbers after each stretch.

    Nothing waits for the device inside a stretch. If a loss, a figure or a parameter is not finite after it, the
    whole stretch is undone, and λ halved if it was at work.
    """

    def __init__(self, trainable: Trainable, batches: Batches, regularizer: Regularizer, progress: Any) -> None:
        self._f, self._batches, self._regularizer, self._progress = trainable, batches, regularizer, progress
        self._plain_step = trainable.compile(self._plain)
        self._penalised_step = trainable.compile(self._penalised)
        self._nb_steps = self._nb_penalised = self._faults = 0
        self._safe = trainable.snapshot(), regularizer.state

    def _plain(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        def objective() -> tuple[Tensor, tuple[Tensor, ...]]:
            loss, correct, _ = self._f.loss(x, y)
            return loss, (loss, correct)

        return self._f.update(objective)

    def _penalised(self, x: Tensor, y: Tensor, state: Any, points: Tensor | None, weight: float) -> tuple[Tensor, ...]:
        def objective() -> tuple[Tensor, tuple[Tensor, ...]]:
            loss, correct, outputs = self._f.loss(x, y, points)
            penalty, figures = self._regularizer.penalty(state, points, outputs)
            return loss + weight * penalty, (loss, correct, figures)

        return self._f.update(objective)

    def run(self, lamda: Controller, penalise: bool) -> Record:
        """One epoch; its record, less ``epoch``, ``seconds`` and validation."""
        per_check = max(LEAST_STEPS_PER_CHECK, math.ceil(self._batches.nb_batches / CHECKS_PER_EPOCH))
        sums, skipped = np.zeros(3), 0
        figures: list[np.ndarray] = []
        stretch: list[tuple[int, tuple[Tensor, ...]]] = []
        for index, (x, y) in enumerate(self._batches.epoch(), 1):
            stretch.append((len(x), self._step(x, y, lamda.value if penalise else 0.0)))
            if index % per_check and index < self._batches.nb_batches:
                continue
            new, new_figures = self._check(stretch, lamda)
            skipped += 0 if new is not None else len(stretch)
            self._progress.update(len(stretch))
            stretch = []
            if new is not None:
                sums, figures = sums + new, [*figures, new_figures]
                if penalise and lamda.each == "check":
                    lamda.update(new[2] / new[0])
            self._show(sums, figures, lamda)
        record = self._record(sums, figures)
        if penalise and lamda.each == "epoch" and record["accuracy"] is not None:
            lamda.update(record["accuracy"])
        return {**record, "lamda": lamda.value if penalise else 0.0, "skipped_steps": skipped}

    def _step(self, x: np.ndarray, y: np.ndarray, lamda: float) -> tuple[Tensor, ...]:
        xt, yt = self._f.batch(x, y)
        step, self._nb_steps = self._nb_steps, self._nb_steps + 1
        if lamda == 0 or step % (interval := self._regularizer.interval(lamda)):
            return self._plain_step(xt, yt)
        state, points = self._regularizer.advance(self._regularizer.state, xt, self._nb_penalised)
        self._regularizer.state, self._nb_penalised = state, self._nb_penalised + 1
        return self._penalised_step(xt, yt, state, points, lamda * interval)

    def _check(self, stretch: list, lamda: Controller) -> tuple[np.ndarray | None, np.ndarray]:
        """Sums (samples, loss, right) of the stretch and its figures; or no sums, and the stretch undone."""
        sizes = np.array([n for n, _ in stretch], dtype=float)
        losses = self._f.to_numpy([values[0] for _, values in stretch])
        correct = self._f.to_numpy([values[1] for _, values in stretch])
        figures = [values[2] for _, values in stretch if len(values) > 2]
        host_figures = self._f.to_numpy(figures) if figures else np.empty(0)
        if np.isfinite(losses).all() and np.isfinite(host_figures).all() and self._f.is_finite():
            self._safe, self._faults = (self._f.snapshot(), self._regularizer.state), 0
            return np.array([sizes.sum(), (losses * sizes).sum(), correct.sum()]), host_figures
        self._f.restore(self._safe[0])
        self._regularizer.state = self._safe[1]
        self._faults += 1
        cause = "loss" if not np.isfinite(losses).all() else "penalty" if figures else "gradient"
        if self._faults >= MOST_FAULTS:
            raise FloatingPointError(
                f"the {cause} was NaN or infinite {MOST_FAULTS} times in a row, the last time at λ = {lamda.value:g}; "
                "the model is at its last finite state. Lower the learning rate, or look for a layer that overflows"
            )
        advice = "a lower learning rate avoids this"
        if figures:
            lamda.value /= 2
            advice = f"λ is halved to {lamda.value:g}; a lower λ or learning rate avoids this"
        warnings.warn(f"NaN or infinite {cause}: {len(stretch)} steps undone; {advice}", RuntimeWarning, stacklevel=5)
        return None, host_figures

    def _record(self, sums: np.ndarray, figures: list[np.ndarray]) -> Record:
        nb_samples, loss, correct = sums.tolist()
        joined = np.concatenate(figures) if figures else np.empty(0)
        record: Record = dict.fromkeys(("loss", "accuracy", "lipschitz", "penalty"))
        if nb_samples:
            record["loss"] = loss / nb_samples
            record["accuracy"] = None if math.isnan(correct) else correct / nb_samples
        if joined.size:
            record[self._regularizer.records_as] = float(joined.mean())
        return record

    def _show(self, sums: np.ndarray, figures: list[np.ndarray], lamda: Controller) -> None:
        if not self._progress.disable:
            shown = {k: f"{v:.4g}" for k, v in self._record(sums, figures).items() if v is not None}
            self._progress.set_postfix({**shown, "lamda": f"{lamda.value:.3g}"})


def _rehearse(trainable: Trainable, x: np.ndarray, y: np.ndarray) -> None:
    """The loss of two samples, so that a model that does not fit its data fails before it is changed."""
    try:
        trainable.evaluate(x[:2], y[:2], 2)
    except Exception as error:
        raise ValueError(
            f"the classifier's loss fails on inputs of shape {x[:2].shape} with labels or targets of shape "
            f"{y[:2].shape}: {error}"
        ) from error


def _step_scheduler(scheduler: Any, record: Record) -> None:
    parameters = inspect.signature(scheduler.step).parameters.values()
    wants_metric = any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    loss = record["loss"] if record["val_loss"] is None else record["val_loss"]
    if not wants_metric:
        scheduler.step()
    elif loss is not None:
        scheduler.step(loss)
