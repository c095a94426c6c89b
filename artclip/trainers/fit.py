"""One call of ``fit``: the epochs that are left, and all that belongs to each of them."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np

from artclip.frameworks import Trainable
from artclip.frameworks.check import out_of_memory
from artclip.trainers import checkpoint
from artclip.trainers.accuracy import DeployedAccuracy
from artclip.trainers.batches import Batches
from artclip.trainers.loop import Epochs
from artclip.trainers.protocols import Record, Regularizer, Training
from artclip.trainers.resume import ResumePlan
from artclip.trainers.schedule import Schedule

logger = logging.getLogger(__name__)


class Fit:
    """Epochs with history, validation, schedule, best model, checkpoints and callbacks.

    Args:
        trainer: whose classifier is trained, and whose history grows.
        trainable: adapter of the classifier.
        batches: of the training data.
        regularizer: the penalty.
        accuracy: that λ follows, or ``None`` where it follows none.
        validation: (x, y), checked, or ``None``.
        schedule: of the learning rate.
        start: where to start.
        progress: bar.
        chance_loss: what guessing costs.
    """

    def __init__(
        self,
        trainer: Training,
        trainable: Trainable,
        batches: Batches,
        regularizer: Regularizer,
        accuracy: DeployedAccuracy | None,
        validation: tuple[np.ndarray, np.ndarray] | None,
        schedule: Schedule,
        start: ResumePlan,
        progress: Any,
        chance_loss: float,
    ) -> None:
        self._trainer, self._f, self._batches, self._validation = trainer, trainable, batches, validation
        self._schedule, self._start, self._progress = schedule, start, progress
        self._accuracy = accuracy
        self._epochs = Epochs(trainable, batches, regularizer, progress, chance_loss, accuracy, schedule)
        self._point = start.point(trainable, regularizer.state)

    def run(self, nb_epochs: int) -> None:
        """Train; an interruption leaves the model as it was at the last check, on the disk too where asked for."""
        epochs, trainer = self._epochs, self._trainer
        if self._point is None:
            epochs.begin(trainer._controller, self._outer(0))
        else:
            self._start.resume(self._f, epochs, self._point, self._batches)
        outer = epochs.point.outer
        self._progress.update(outer["epoch"] * self._batches.nb_batches + epochs.point.within.batch)
        try:
            for index in range(outer["epoch"], 0 if outer["stopped"] else nb_epochs):
                self._progress.set_description(f"{type(trainer).__name__} epoch {index + 1}/{nb_epochs}")
                if self._epoch(index):
                    break
        except (KeyboardInterrupt, SystemExit):
            epochs.undo()
            self._save()
            raise
        except Exception as error:  # a bad batch of a generator, a model that rejects one, or a callback that fails
            epochs.undo()
            if out_of_memory(error):
                raise MemoryError(
                    f"a step needed more memory than there is ({str(error).splitlines()[0]}); the model is at its last "
                    "check. Give a smaller batch_size, or fewer nb_pairs"
                ) from error
            raise
        if epochs.point.best:
            self._f.restore(epochs.point.best[0])
        elif epochs.point.outer["epoch"]:
            self._f.finish()

    def _epoch(self, index: int) -> bool:
        """One epoch; whether a callback ends the training."""
        epochs, trainer = self._epochs, self._trainer
        record = epochs.run(trainer._controller, penalise=index >= trainer.warmup_epochs)
        record = {"epoch": len(trainer.history) + 1, **record, **self._validated()}
        if trainer.restore_best and self._accuracy is not None:
            record["deployed_accuracy"] = self._accuracy.now()
        trainer.history.append(record)
        logger.info("%s", record)
        self._schedule.after_epoch(index, record, self._f.optimizer)
        best = epochs.point.best
        if trainer.restore_best and (best is None or trainer._score(record) > best[1]):
            best = self._f.snapshot(), trainer._score(record)
        epochs.begin(trainer._controller, self._outer(index + 1), best)
        self._save()
        verdicts = [callback(trainer, record) for callback in trainer.callbacks]
        stopped = bool(self._f.broadcast(any(verdicts)))
        if stopped:
            epochs.begin(trainer._controller, self._outer(index + 1, stopped=True), best)
            self._save()
        return stopped

    def _validated(self) -> Record:
        if self._validation is None:
            return {"val_loss": None, "val_accuracy": None}
        loss, accuracy = self._f.evaluate(*self._validation, batch_size=1024)
        return {"val_loss": loss, "val_accuracy": None if math.isnan(accuracy) else accuracy}

    def _outer(self, index: int, stopped: bool = False) -> dict[str, Any]:
        """What a point says of the epochs: the one that begins, and what has been done before it."""
        done = {"nb_history": len(self._trainer.history), "order": self._batches.order}
        return {"epoch": index, "stopped": stopped, **done}

    def _save(self) -> None:
        if self._trainer.checkpoint is not None and self._f.is_main_process:
            arrays, record = self._epochs.point.packed(self._f)
            arrays |= self._start.probe(self._f)
            checkpoint.write(self._trainer.checkpoint, arrays, {**self._start.about(self._epochs.point), **record})
