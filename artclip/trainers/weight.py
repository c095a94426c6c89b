"""Weight regularisation, the baseline that CLIP is compared to: small weights instead of small quotients."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from artclip import checks
from artclip.arguments import taken
from artclip.frameworks import Trainable
from artclip.frameworks.base import Tensor
from artclip.trainers.base import RegularizedTrainer
from artclip.trainers.options import TrainingOptions
from artclip.trainers.protocols import Record, Regularizer, Sample

KINDS = ("l2", "spectral")


class PenaltyWithoutPairs:
    """What regularizers without pairs share: they act at every step, and no limit is set to them."""

    state: Any = ()
    records_as = "penalty"
    every_step = of_outputs = None
    penalty_cap = math.inf

    def __init__(self, trainable: Trainable) -> None:
        self._f = trainable

    def interval(self, lamda: float) -> int:
        """Every step."""
        return 1

    def gradients(self, batch: int) -> int:
        """None."""
        return 0

    def begin(self) -> None:
        """Nothing to do."""

    def advance(self, state: Any, x: Tensor | None, count: Any) -> tuple[Any, None]:
        """The state as it is."""
        return state, None


class _SquaredWeights(PenaltyWithoutPairs):
    """Sum of squared weights."""

    def penalty(self, state: tuple[()], x: Tensor, points: None) -> tuple[Tensor, Tensor]:
        squares = [self._f.mean(w * w) * (w.shape[0] * w.shape[1]) for w in self._f.weights()]
        total = sum(squares[1:], squares[0])
        return total, total


class SpectralProduct(PenaltyWithoutPairs):
    """Product of the spectral norms of the weight matrices, by power iteration carried from step to step."""

    def __init__(self, trainable: Trainable, seed: int) -> None:
        super().__init__(trainable)
        rng = np.random.default_rng(seed)
        self.state = [trainable.tensor(rng.standard_normal((1, w.shape[1]))) for w in trainable.weights()]
        for _ in range(20):  # a good start, so that the first steps see the true norms
            self.state = self.advance(self.state, None, 0)[0]

    def advance(self, state: list[Tensor], x: Tensor | None, count: Any) -> tuple[list[Tensor], None]:
        """Directions, one power iteration further."""
        f, directions = self._f, []
        for w, v in zip(f.constants(f.weights()), state, strict=True):
            image = f.matmul(f.matmul(v, w, transpose=True), w)  # (Wᵀ W v)ᵀ
            length = f.norm(image, 2)
            directions.append(f.where(length > 0, image / length, v))
        return directions, None

    def penalty(self, state: list[Tensor], x: Tensor | None, points: None) -> tuple[Tensor, Tensor]:
        """The product, twice: to be differentiated, and to be shown."""
        f = self._f
        norms = [f.mean(f.norm(f.matmul(v, w, transpose=True), 2)) for w, v in zip(f.weights(), state, strict=True)]
        product = norms[0]
        for n in norms[1:]:
            product = product * n
        return product, product


class WeightRegularizationTrainer(RegularizedTrainer):
    """Minimises loss + λ·R(weights), with the same λ control and loop as :class:`artclip.CLIPTrainer`.

    Args:
        classifier: ART estimator, as for :class:`artclip.CLIPTrainer`.
        lamda: λ >= 0, the weight of the penalty.
        kind: ``"l2"`` for the sum of squared weights; ``"spectral"`` for the product of the layers' spectral norms,
            where a convolution counts as its kernel flattened to (outputs, inputs·k·k), which is not the norm of the
            convolution (Miyato et al. 2018 do the same). Biases and normalisation layers are left alone.
        target_accuracy, lamda_increment, warmup_epochs: as for :class:`artclip.CLIPTrainer`.
        restore_best, checkpoint, callbacks, seed, verbose: as for :class:`artclip.CLIPTrainer`.
        target_metric, ema_decay: as for :class:`artclip.CLIPTrainer`.

    Attributes:
        history: as for :class:`artclip.CLIPTrainer`; ``lipschitz`` is ``None``, and ``penalty`` the mean
            of the penalty.

    Raises:
        TypeError, ValueError: as :class:`artclip.CLIPTrainer`; also for a model without weight matrices.
    """

    def __init__(
        self,
        classifier: Any,
        lamda: float = 1e-3,
        kind: str = "l2",
        target_accuracy: float | None = None,
        lamda_increment: float | None = None,
        warmup_epochs: int = 0,
        restore_best: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Iterable[Callable[[Any, Record], Any]] = (),
        seed: int | None = None,
        verbose: bool = False,
        target_metric: str = "accuracy",
        ema_decay: float = 0.0,
    ) -> None:
        given = dict(locals())
        checks.one_of("kind", kind, KINDS)
        self.kind = kind
        super().__init__(classifier, taken(TrainingOptions, given))

    def settings(self) -> dict[str, Any]:
        """What decides how it trains, but for what ``fit`` is given."""
        return {**super().settings(), "kind": self.kind}

    def _regularizer(self, trainable: Trainable, sample: Sample, seed: int, nb_steps: int) -> Regularizer:
        if not trainable.weights():
            raise ValueError("the model has no trainable weight matrix to regularise")
        return _SquaredWeights(trainable) if self.kind == "l2" else SpectralProduct(trainable, seed)
