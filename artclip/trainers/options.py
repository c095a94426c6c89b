"""The arguments of trainers, checked: those that all share, and those of pairs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import Function
from artclip.lipschitz.pair_rule import DOMAINS, INITS
from artclip.lipschitz.pairs import PairSet
from artclip.trainers import before_fit
from artclip.trainers.accuracy import METRICS
from artclip.trainers.controllers import controller
from artclip.trainers.protocols import Record

PENALTIES = ("squared", "linear")
REDUCTIONS = ("mean", "max")
# Every how many steps; but fresh pairs about 30 times a fit at least, since with fewer it ends steep
# (docs/results/cost.md#short-fits).
INTERVAL, LEAST_PENALISED = 12, 30


@dataclass(frozen=True)
class PairOptions:
    """The arguments that say how pairs are placed, climb and are penalised; see :class:`CLIPTrainer`.

    Raises:
        ValueError: one of them is out of its range.
    """

    nb_pairs: int
    pair_interval: int | None
    pair_steps: int
    pair_init: str
    norm: float | str
    output_norm: float | str
    penalty: str
    reduction: str
    domain: str
    separation: float | None

    def __post_init__(self) -> None:
        checks.positive_integer("nb_pairs", self.nb_pairs)
        if self.pair_interval is not None:
            checks.positive_integer("pair_interval", self.pair_interval)
        checks.positive_integer("pair_steps", self.pair_steps, least=0)
        checks.one_of("pair_init", self.pair_init, INITS)
        checks.norm("norm", self.norm)
        checks.norm("output_norm", self.output_norm)
        checks.one_of("penalty", self.penalty, PENALTIES)
        checks.one_of("reduction", self.reduction, REDUCTIONS)
        checks.one_of("domain", self.domain, DOMAINS)
        if self.separation is not None:
            checks.positive("separation", self.separation)

    def interval(self, nb_steps: int) -> int:
        """``pair_interval``, or what suits a fit of so many steps."""
        often = round(nb_steps / LEAST_PENALISED) if self.pair_init == "batch" else INTERVAL
        return self.pair_interval or max(1, min(INTERVAL, often))

    def pairs(self, f: Function, x: np.ndarray, seed: int | None) -> PairSet:
        """The first X_Lip, around points x of shape (n, *input_shape)."""
        options = {name: getattr(self, name) for name in ("norm", "output_norm", "domain", "separation")}
        return PairSet(f, x, self.nb_pairs, init=self.pair_init, seed=seed, **options)


@dataclass(frozen=True)
class TrainingOptions:
    """The arguments that all trainers share; :class:`CLIPTrainer` documents them.

    Raises:
        TypeError, ValueError: one of them is of a wrong kind, or out of its range.
    """

    lamda: float
    target_accuracy: float | None = None
    lamda_increment: float | None = None
    warmup_epochs: int = 0
    restore_best: bool = False
    checkpoint: str | os.PathLike[str] | None = None
    callbacks: Iterable[Callable[[Any, Record], Any]] = ()
    seed: int | None = None
    verbose: bool = False
    target_metric: str = "accuracy"
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        controller(self.lamda, self.target_accuracy, self.lamda_increment)
        checks.one_of("target_metric", self.target_metric, METRICS)
        checks.positive_integer("warmup_epochs", self.warmup_epochs, least=0)
        checks.switches(restore_best=self.restore_best, verbose=self.verbose)
        object.__setattr__(self, "callbacks", before_fit.functions(self.callbacks))
        checks.decay("ema_decay", self.ema_decay)
        checks.seed(self.seed)

    @property
    def decisive(self) -> dict[str, Any]:
        """Those that decide how it trains."""
        names = ("lamda", "lamda_increment", "target_accuracy", "target_metric", "warmup_epochs", "restore_best")
        averages = {"ema_decay": self.ema_decay} if self.ema_decay else {}
        return {**{name: getattr(self, name) for name in names}, **averages}
