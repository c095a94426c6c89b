"""One epoch: penalised and plain steps, and what happens when numbers fail."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from artclip.frameworks import Trainable
from artclip.frameworks.base import Tensor
from artclip.frameworks.trainable import LogitShift, Objective
from artclip.trainers.accuracy import CLOSE, DeployedAccuracy
from artclip.trainers.batches import Batches
from artclip.trainers.controllers import Controller
from artclip.trainers.protocols import OutputPenalty, Record, Regularizer, TrainingLoss
from artclip.trainers.schedule import Schedule
from artclip.trainers.state import EpochProgress, TrainingState

CHECKS_PER_EPOCH, LEAST_STEPS_PER_CHECK, MOST_FAULTS = 10, 20, 8
OWN_LAMBDA_FACTOR = (
    4.0  # so many times more may a step carry of its own λ: less, and λ would lose its hold on a steep net
)
EXPLODED = 1e6  # times the loss of the first step, or of guessing


class Epochs:
    """Runs one epoch after the other: steps in stretches, a look at the numbers after each stretch.

    Nothing waits for the device inside a stretch. If a loss, a figure or a parameter is not finite after it, or the
    loss is a million times what guessing costs (and what the first step had), the whole stretch is undone; and if that
    happens again within ten checks, λ is halved if it was at work.
    """

    def __init__(
        self,
        trainable: Trainable,
        batches: Batches,
        loss: TrainingLoss,
        regularizer: Regularizer,
        progress: Any,
        chance_loss: float = 1.0,
        accuracy: DeployedAccuracy | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self._guessing, self._accuracy, self._schedule = chance_loss, accuracy, schedule or Schedule(None)
        self._f, self._batches, self._loss, self._regularizer = trainable, batches, loss, regularizer
        self._progress = progress
        self._plain_step = trainable.compile(self._plain)
        self._penalised_step = trainable.compile(self._penalised)
        self._joins: bool | None = None
        self._nb_steps = self._nb_penalised = self._gradients = 0
        self._faults, self._good = 0, CHECKS_PER_EPOCH  # failed checks in a row, good ones since the last of them
        self._usual = 0.0  # what a loss is compared to, from the first check on
        self._lately = math.nan  # accuracy of the last third of the batches before a check
        self._warned: set[str] = set()
        self.point: Any = None
        """The :class:`TrainingState` to go back to: the last check at which all was well, or the start of the epoch."""

    def _plain(self, x: Tensor, y: Tensor, state: Any, step: Any) -> tuple[Any, tuple[Tensor, ...]]:
        state, at = self._prepared(state, step), self._loss.points(x, y, step)
        loss = self._loss.objective(x, y, at, step, self._shift(state, step))
        return state, self._f.update([*self._to_every_step(state), loss])

    def _penalised(
        self, x: Tensor, y: Tensor, state: Any, step: Any, count: Any, lamda: Any, max_step_weight: Any
    ) -> tuple[Any, tuple[Tensor, ...]]:
        at = self._loss.points(x, y, step)
        state, points = self._regularizer.advance(self._prepared(state, step), x, count)
        shift, of_outputs = self._shift(state, step), self._joint_penalty(at is x)

        def weighted(penalty: Tensor) -> Tensor:
            return self._weight(penalty, lamda, max_step_weight) * penalty

        if of_outputs is None:

            def apart() -> tuple[Tensor, tuple[Tensor, ...]]:
                penalty, figures = self._regularizer.penalty(state, x, points)
                return weighted(penalty), (figures,)

            # The penalty first: before BatchNorm moves its averages.
            loss = self._loss.objective(x, y, at, step, shift)
            return state, self._f.update([apart, *self._to_every_step(state), loss])

        distances, nb = of_outputs.distances(points), of_outputs.nb_shared(x) if at is x else 0
        points = self._f.concat([at, points[nb:]])  # in their own place, so that they are not held twice

        def joint() -> tuple[Tensor, tuple[Tensor, ...]]:
            loss, correct, of_batch, beside = self._f.joint_loss(points, y, shift)
            penalty, figures = of_outputs.penalty(distances, self._f.concat([of_batch[:nb], beside]))
            return loss + weighted(penalty), (loss, correct, figures)

        return state, self._f.update([*self._to_every_step(state), joint])

    def _joint_penalty(self, at_samples: bool) -> OutputPenalty | None:
        """The penalty as one of outputs, where it is to share a pass with the loss; that is looked for once."""
        penalty = self._regularizer.of_outputs if self._loss.is_estimators else None
        if self._joins is None:
            self._joins = penalty is not None and self._f.joins_passes(penalty.nb_beside(at_samples))
        return penalty if self._joins else None

    def _to_every_step(self, state: Any) -> list[Objective]:
        return self._regularizer.every_step.objectives(state) if self._regularizer.every_step else []

    def _shift(self, state: Any, step: Any) -> LogitShift | None:
        return self._regularizer.every_step.shift_logits(state, step) if self._regularizer.every_step else None

    def _prepared(self, state: Any, step: Any) -> Any:
        every_step = self._regularizer.every_step
        return state if every_step is None else every_step.prepared(state, step)

    def _weight(self, penalty: Tensor, lamda: Any, max_step_weight: Any) -> Tensor:
        """The weight of a step: λ·interval, but less where the penalty would outweigh its cap, and less than λ only
        where λ·penalty would outweigh it four times."""
        (value,) = self._f.constants([penalty])
        share = self._regularizer.penalty_cap / value
        whole, own = self._f.clip(share, 0.0, max_step_weight), self._f.clip(OWN_LAMBDA_FACTOR * share, 0.0, lamda)
        return self._f.maximum(whole, own)

    def begin(self, lamda: Controller, outer: dict[str, Any], best: Any = None) -> None:
        """Set the point to the start of an epoch, with what the loop needs to know of it."""
        self._mark(lamda, EpochProgress(), outer, best)

    def resume(self, point: TrainingState, lamda: Controller) -> None:
        """Set everything to a point of an earlier run."""
        self.point = point
        self.undo()
        self._f.set_randomness(point.randomness)
        self._nb_steps, self._nb_penalised, self._faults, self._good, self._usual = point.steps
        vars(lamda).update(point.lamda)

    def run(self, lamda: Controller, penalise: bool) -> Record:
        """The epoch that was begun or resumed; its record, less ``epoch`` and validation."""
        started, cpu, within = time.perf_counter(), time.process_time(), self.point.within
        sums, figures, skipped, self._gradients = within.sums, within.figures, within.skipped, within.gradients
        measured = within.measured
        per_check = max(LEAST_STEPS_PER_CHECK, math.ceil(self._batches.nb_batches / CHECKS_PER_EPOCH))
        stretch: list[tuple[int, tuple[Tensor, ...]]] = []
        for index, (x, y) in enumerate(self._batches.epoch(within.batch), within.batch + 1):
            stretch.append((self._f.total(x), self._step(x, y, lamda.value if penalise else 0.0)))
            self._schedule.after_step(self._nb_steps - 1)
            if self._accuracy is not None and self._accuracy.is_due(self._nb_steps):
                self._compare(self._accuracy, lamda, stretch)
            if index % per_check and index < self._batches.nb_batches:
                continue
            new, new_figures = self._check(stretch, lamda)
            skipped += 0 if new is not None else len(stretch)
            self._progress.update(len(stretch))
            stretch = []
            if new is not None:
                sums, figures = sums + new, (*figures, new_figures)
                if penalise and self._accuracy is not None:
                    measured = (*measured, self._accuracy.at(self._nb_steps, int(new[0])))
                    lamda.check(measured[-1], measured[-1] if self._accuracy.balanced else self._lately)
                seconds = within.seconds + time.perf_counter() - started
                so_far = EpochProgress(index, sums, figures, measured, skipped, self._gradients, seconds)
                self._mark(lamda, so_far, self.point.outer, self.point.best)
            self._show(sums, figures, lamda)
        record = self._record(sums, figures)
        record["deployed_accuracy"] = float(np.mean(measured)) if measured else None
        if measured:
            lamda.end_epoch(record["deployed_accuracy"])
        return {
            **record,
            "lamda": (lamda.value if penalise else 0.0) if self._loss.weight is None else self._loss.weight,
            "skipped_steps": skipped,
            "gradients": self._gradients,
            "seconds": within.seconds + time.perf_counter() - started,
            "cpu_seconds": None if within.batch else time.process_time() - cpu,  # unknown of an epoch that was resumed
        }

    def _mark(self, lamda: Controller, within: EpochProgress, outer: dict[str, Any], best: Any) -> None:
        f, steps = self._f, (self._nb_steps, self._nb_penalised, self._faults, self._good, self._usual)
        state, outer = self._regularizer.state, {**outer, "scheduler": self._schedule.state()}
        # One assignment, so that an interrupt finds either the old point or the new one.
        self.point = TrainingState(f.snapshot(), state, f.randomness(), steps, dict(vars(lamda)), within, outer, best)

    def _compare(self, accuracy: DeployedAccuracy, lamda: Controller, stretch: list) -> None:
        """Keep the model where none before it, in the last part of the fit, is closer to the target."""
        best, late = self.point.best, stretch[-accuracy.every :]
        if best is not None and not accuracy.is_late(best[1][1]):
            best = None  # of a fit that was to end earlier
        nearest = math.inf if best is None else max(-best[1][0], CLOSE)
        nb = sum(n for n, _ in late)
        about = self._f.to_numpy([values[1] for _, values in late]).sum() / nb + lamda.gap
        if not accuracy.balanced and not abs(about - accuracy.target) <= nearest + accuracy.deviation(nb):
            return
        off = abs(accuracy.now(nearest) - accuracy.target)
        if off <= nearest and self._f.is_finite():
            self.point = replace(self.point, best=(self._f.snapshot(), (-off, float(self._nb_steps))))

    def _step(self, x: Tensor, y: Tensor, lamda: float) -> tuple[Tensor, ...]:
        step, self._nb_steps = self._nb_steps, self._nb_steps + 1
        self._gradients += self._f.total(x) * (1 + self._loss.nb_gradients)
        if lamda == 0 or step % (interval := self._regularizer.interval(lamda)):
            self._regularizer.state, values = self._plain_step(x, y, self._regularizer.state, float(step))
            return values
        if self._nb_penalised == 0:
            self._regularizer.begin()
        count, self._nb_penalised = self._nb_penalised, self._nb_penalised + 1
        self._gradients += self._regularizer.gradients(self._f.total(x))
        self._regularizer.state, values = self._penalised_step(
            x, y, self._regularizer.state, float(step), count, lamda, lamda * interval
        )
        return values

    def _check(self, stretch: list, lamda: Controller) -> tuple[np.ndarray | None, np.ndarray]:
        """Sums (samples, loss, right) of the stretch and its figures; or no sums, and the stretch undone."""
        sizes = np.array([n for n, _ in stretch], dtype=float)
        losses = self._f.to_numpy([values[0] for _, values in stretch])
        correct = self._f.to_numpy([values[1] for _, values in stretch])
        figures = [values[2] for _, values in stretch if len(values) > 2]
        host_figures = self._f.to_numpy(figures) if figures else np.empty(0)
        self._usual = self._usual or max(self._guessing, losses[0] if np.isfinite(losses[0]) else 0.0)
        fine = np.isfinite(losses) & (losses <= (EXPLODED * self._usual or math.inf))
        if fine.all() and np.isfinite(host_figures).all() and self._f.is_finite():
            self._faults, self._good = 0, self._good + 1
            late = slice(-math.ceil(len(stretch) / 3), None)
            self._lately = float(correct[late].sum() / sizes[late].sum())
            whole = losses if self._f.sums_loss else losses * sizes
            return np.array([sizes.sum(), whole.sum(), correct.sum()]), host_figures
        self.undo()
        again, self._faults, self._good = self._good < CHECKS_PER_EPOCH, self._faults + 1, 0
        nb, first = len(stretch), int(np.argmin(fine))  # the first that is not fine, or 0
        if not fine[first]:
            cause = f"loss of {losses[first]:.3g} in step {self._nb_steps - nb + first + 1}"
        else:
            cause = "an infinite gradient" if np.isfinite(host_figures).all() else "an infinite quotient of the pairs"
        if self._faults >= MOST_FAULTS:
            raise FloatingPointError(
                f"numbers failed at {MOST_FAULTS} checks in a row (the last time: {cause}, λ = {lamda.value:g}); the "
                "model is at its last finite state. Lower the learning rate, or look for a layer that overflows"
            )
        self._warn_once(
            "undone",
            f"numbers failed ({cause}): {nb} steps are undone and counted in the history, as will be further ones; a "
            "lower learning rate avoids this",
        )
        if figures and again:
            lamda.value /= 2
            self._warn_once(
                "halved",
                f"numbers fail again and again: λ is halved, to {lamda.value:g}, each time; a lower λ or learning rate "
                "avoids this",
            )
        return None, host_figures

    def _warn_once(self, what: str, message: str) -> None:
        """Once a fit."""
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(message, RuntimeWarning, stacklevel=8)

    def undo(self) -> None:
        """Go back to the last check at which all was well."""
        self._regularizer.state = self.point.pairs
        self._f.restore(self.point.snapshot)
        self._schedule.load(self.point.outer["scheduler"])

    def _record(self, sums: np.ndarray, figures: tuple[np.ndarray, ...]) -> Record:
        nb_samples, loss, correct = sums.tolist()
        joined = np.concatenate(figures) if figures else np.empty(0)
        record: Record = dict.fromkeys(("loss", "accuracy", "lipschitz", "penalty"))
        if nb_samples:
            record["loss"] = loss / nb_samples
            record["accuracy"] = None if math.isnan(correct) else correct / nb_samples
        if joined.size:
            record[self._regularizer.records_as] = float(joined.mean())
        return record

    def _show(self, sums: np.ndarray, figures: tuple[np.ndarray, ...], lamda: Controller) -> None:
        if not self._progress.disable:
            shown = {k: f"{v:.4g}" for k, v in self._record(sums, figures).items() if v is not None}
            self._progress.set_postfix({**shown, "lamda": f"{lamda.value:.3g}"})
