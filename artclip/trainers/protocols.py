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


class Regularizer(Protocol):
    """A penalty on the model: what differs from one trainer to the next."""

    state: Any
    """What is carried from step to step: tensors."""

    def interval(self, lamda: float) -> int:
        """Every how many steps to penalise, with weight ``lamda · interval``."""

    def begin(self) -> None:
        """Called once, before the first penalised step."""

    def advance(self, state: Any, x: Tensor, count: Any) -> tuple[Any, Tensor | None]:
        """Before the update, on batch x: the state to carry on, and points for :meth:`penalty`.

        ``count`` is the number of penalised steps so far.
        """

    def penalty(self, state: Any, x: Tensor, points: Tensor | None) -> tuple[Tensor, Tensor]:
        """The penalty on batch x as a scalar with a gradient in the parameters, and figures to record."""

    def gradients(self, batch: int) -> int:
        """Inputs, beyond the samples of the batch, through which a penalised step takes gradients."""

    @property
    def every_step(self) -> EveryStepTerm | None:
        """What there is to every step, if there is anything."""

    penalty_cap: float
    """Largest λ·interval·penalty that a step may carry for those that go without; its own λ it keeps."""
    records_as: str
    """Entry of the history for the mean of the figures: ``"lipschitz"`` or ``"penalty"``."""
