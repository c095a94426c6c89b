"""What trainers, their penalties and the loop expect of each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from artclip.frameworks.base import Tensor
from artclip.frameworks.trainable import LogitShift, Objective
from artclip.trainers.controllers import Controller

Record = dict[str, Any]
Sample = tuple[np.ndarray, np.ndarray]


class Training(Protocol):
    """What a fit reads of the trainer that it belongs to, and what it leaves there: history, seed, first settings."""

    history: list[Record]
    seed: int
    checkpoint: Path | None
    callbacks: tuple[Callable[[Any, Record], Any], ...]
    warmup_epochs: int
    restore_best: bool
    target_accuracy: float | None
    _controller: Controller
    _has_own_seed: bool
    _first_optimizer: Any

    def settings(self) -> dict[str, Any]:
        """What decides how it trains, but for what ``fit`` is given."""

    def _score(self, record: Record) -> tuple[float, float]:
        """The larger, the better the model of an epoch."""


class EveryStepTerm(Protocol):
    """What a regularizer does in every step, whatever λ is; it shares the regularizer's state."""

    def prepared(self, state: Any, step: Any) -> Any:
        """The state before step ``step`` of the fit, a float from 0."""

    def objectives(self, state: Any) -> list[Objective]:
        """Scalars to descend besides the loss, without values to report; none or one."""

    def shift_logits(self, state: Any, step: Any) -> LogitShift | None:
        """What the outputs pass through before they meet the loss; ``None`` for nothing."""


class OutputPenalty(Protocol):
    """A penalty on the outputs at its points, wherever they come from: from the pass of the batch, too."""

    def nb_beside(self, at_samples: bool) -> int:
        """Points, at most, that are to be passed beside a batch: of samples, or of other points in their place."""

    def nb_shared(self, x: Tensor) -> Any:
        """How many of the points, the first ones, are the first samples of batch x."""

    def distances(self, points: Tensor) -> Tensor:
        """What has to be known of the points."""

    def penalty(self, distances: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`Regularizer.penalty`, from the outputs (n, k) at the points."""


class Regularizer(Protocol):
    """A penalty on the model: what differs from one trainer to the next."""

    state: Any
    """What is carried from step to step: tensors."""

    def interval(self, lamda: float) -> int:
        """Every how many steps to penalise, with weight ``lamda · interval``."""

    def begin(self) -> None:
        """Called once, before the first penalised step."""

    def advance(self, state: Any, x: Tensor, count: Any) -> tuple[Any, Any]:
        """Before the update, on batch x: the state to carry on, and points for :meth:`penalty`, or ``None``.

        ``count`` is the number of penalised steps so far.
        """

    def penalty(self, state: Any, x: Tensor, points: Tensor | None) -> tuple[Tensor, Tensor]:
        """The penalty on batch x as a scalar with a gradient in the parameters, and figures to record."""

    def gradients(self, batch: int) -> int:
        """Inputs, beyond the samples of the batch, through which a penalised step takes gradients."""

    @property
    def every_step(self) -> EveryStepTerm | None:
        """What there is to every step, if there is anything."""

    @property
    def of_outputs(self) -> OutputPenalty | None:
        """The same penalty from outputs, where it needs no more of the model than those at its points."""

    penalty_cap: float
    """Largest λ·interval·penalty that a step may carry for those that go without; its own λ it keeps."""
    records_as: str
    """Entry of the history for the mean of the figures: ``"lipschitz"`` or ``"penalty"``."""


class TrainingLoss(Protocol):
    """What a step descends besides penalties."""

    nb_gradients: int
    """Gradients in the inputs that a step takes, for each sample of the batch."""
    weight: float | None
    """Of a term that it adds to the estimator's loss, for the history; ``None`` where it adds none."""
    is_estimators: bool
    """Whether :meth:`objective` is the estimator's loss at the points and nothing else."""

    def points(self, x: Tensor, y: Tensor, step: Any) -> Tensor:
        """Before the update: where the loss is taken, as adversarial examples of the batch x, without a gradient.

        ``step`` is that of the fit, a float from 0.
        """

    def objective(self, x: Tensor, y: Tensor, points: Tensor, step: Any, shift: LogitShift | None) -> Objective:
        """The scalar to descend; it reports the loss and the number of right predictions."""
