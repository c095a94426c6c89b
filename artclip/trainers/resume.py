"""Where a fit starts: anew, or at the point that a checkpoint holds, if that is one of this very training."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from artclip.frameworks import Trainable
from artclip.hashing.digests import digest
from artclip.trainers import resume_check
from artclip.trainers.batches import Batches
from artclip.trainers.loop import Epochs
from artclip.trainers.protocols import Sample, Training
from artclip.trainers.schedule import Schedule
from artclip.trainers.state import Arrays, TrainingState


class ResumePlan:
    """The start of a fit.

    Args:
        trainer: the trainer; it is left as it is until :meth:`resume`.
        checkpoint_state: arrays and record of a checkpoint, or ``None`` to start anew.

    Attributes:
        seed: of this fit. A second fit continues the training, so it gets an order of its own.
        first: number of epochs in the history before this fit.
        settings: what must be the same for a checkpoint to be taken up again.
        nb_steps: of this fit, as planned when it first started.

    Raises:
        ValueError: the trainer was given another seed.
    """

    def __init__(self, trainer: Training, checkpoint_state: tuple[Arrays, dict[str, Any]] | None) -> None:
        self._trainer = trainer
        self._arrays = {} if checkpoint_state is None else checkpoint_state[0]
        self._record = None if checkpoint_state is None else checkpoint_state[1]
        seed, self.first = trainer.seed, len(trainer.history)
        if self._record is not None:
            seed, self.first = self._record["seed"], self._record["first"]
            if trainer._has_own_seed and seed != trainer.seed:
                self._refuse("seed", seed, trainer.seed)
        self.seed = int(np.random.SeedSequence([seed, self.first]).generate_state(1)[0])
        self.nb_steps = 0
        self.settings: dict[str, Any] = {"trainer": type(trainer).__name__, **trainer.settings()}

    def plan(self, nb_steps: int) -> int:
        """The steps planned, by which a training schedules: those of the checkpoint, whatever is asked for now."""
        self.nb_steps = nb_steps if self._record is None else self._record.get("nb_steps", nb_steps)
        return self.nb_steps

    def of_fit(self, schedule: Schedule, validation: Sample | None) -> dict[str, Any]:
        """Settings of what else ``fit`` is given, as far as it decides how the training goes."""
        trainer = self._trainer
        decides = trainer.restore_best or trainer.target_accuracy is not None or schedule.wants_metric
        validated = digest(*validation) if decides and validation is not None else None
        return {"scheduler": resume_check.scheduler(schedule.given), "validation_data": validated}

    def check(self, f: Trainable, sample: Sample) -> None:
        """Refuse a checkpoint of another model, other data or other settings.

        Args:
            f: adapter of the classifier.
            sample: some (x, y) of the data, for :meth:`probe`.

        Raises:
            ValueError: it is one.
        """
        self._sample = sample
        arrays, _ = f.pack(f.snapshot())
        shapes = {name: f"{a.dtype}{list(a.shape)}" for name, a in arrays.items() if not name.startswith("optimizer.")}
        self.settings |= {"model": shapes, "optimizer": f.optimizer_name, **resume_check.classifier(f)}
        if self._trainer._first_optimizer is not None:
            self.settings["optimizer_settings"] = self._trainer._first_optimizer
        self.settings = json.loads(json.dumps(self.settings, default=lambda v: v.item()))  # as it will be read
        theirs = f.broadcast(self.settings)
        differing = [name for name in self.settings if theirs.get(name) != self.settings[name]]
        if differing:
            raise ValueError(
                f"this process and the first one were given different {', '.join(differing)}; all processes that train "
                "together need the same"
            )
        then = self.settings if self._record is None else self._record["settings"]
        for name in {**then, **self.settings}:
            difference = resume_check.difference(name, then.get(name), self.settings.get(name))
            if difference is not None:
                self._refuse(*difference)
        self._trainer._first_optimizer = self.settings["optimizer_settings"]

    def probe(self, f: Trainable) -> Arrays:
        """What the model as it is now, and its loss, say of a few samples."""
        return resume_check.probe(f, *self._sample)

    def _check_probe(self, f: Trainable, point: TrainingState) -> None:
        """Refuse a checkpoint from which model or loss compute something else than they did."""
        assert self._record is not None
        before = f.snapshot()
        try:
            f.restore(point.snapshot)
            what = resume_check.told_apart(f, self._arrays)
        finally:
            f.restore(before)
        if what:
            other = "with another loss" if what == "loss" else "for another model"
            now = "is not what it was" if what == "loss" else "are not what they were"
            raise ValueError(
                f"the checkpoint in {self._trainer.checkpoint} was made {other}: with the weights in it, the {what} of "
                f"this classifier on a few samples {now}; give the same forward pass, activations and loss as then, or "
                "another folder"
            )

    @property
    def schedule(self) -> Any:
        """State of the scheduler in the checkpoint, if there is one."""
        return None if self._record is None else self._record["outer"]["scheduler"]

    def point(self, f: Trainable, pairs: Any) -> TrainingState | None:
        """That of the checkpoint; ``None`` where the fit starts anew."""
        return None if self._record is None else TrainingState.unpacked(f, self._arrays, self._record, pairs)

    def resume(self, f: Trainable, epoch: Epochs, point: TrainingState, batches: Batches) -> None:
        """Put everything to the point.

        Raises:
            ValueError: model or loss are not those of the checkpoint; nothing is changed.
        """
        assert self._record is not None
        self._check_probe(f, point)
        outer = point.outer
        epoch.resume(point, self._trainer._controller)
        batches.order = outer["order"]
        self._trainer.seed, self._trainer.history = self._record["seed"], self._record["history"]

    def about(self, point: TrainingState) -> dict[str, Any]:
        """What a checkpoint at a point says of the training."""
        history = self._trainer.history[: point.outer["nb_history"]]
        fit = {"seed": self._trainer.seed, "first": self.first, "nb_steps": self.nb_steps}
        return {"settings": self.settings, **fit, "history": history}

    def _refuse(self, name: str, then: Any, now: Any) -> None:
        if name in ("data", "labels", "validation_data"):
            what = f"with other {name.replace('_', ' ')}"
        elif name.startswith(("model", "layers")):
            what = f"for another model: {name} was {then!r}, and now it is {now!r}"
        elif name.startswith("frozen"):
            then, now = (repr(value) if value else "no parameter" for value in (then, now))
            what = f"with {then} frozen, and now {now} is"
        else:
            what = f"with {name}={then!r}, and now it is {now!r}"
        raise ValueError(
            f"the checkpoint in {self._trainer.checkpoint} was made {what}; give the same as then, or another folder"
        )
