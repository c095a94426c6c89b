"""What is attacked and how far: the budget, and what keeps candidates within it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.evaluation.attack_classifier import AttackClassifier
from artclip.evaluation.images import image_shape
from artclip.evaluation.losses import LOSSES
from artclip.norms import column, lengths

Stage = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Adversarial candidates from samples x (n, *shape) and class indices y (n,)."""


@dataclass(frozen=True)
class Member:
    """A stage of an attack that is a set of several: where it fails, the other members go on.

    Attributes:
        member: name of the attack that it belongs to.
        stage: the stage itself.
    """

    member: str
    stage: Stage

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The stage's candidates."""
        return self.stage(x, y)


def members(name: str, stages: list[Stage]) -> list[Stage]:
    """The stages as those of one member of a set."""
    return [Member(name, stage) for stage in stages]


@dataclass(frozen=True)
class ThreatModel:
    """What is attacked, and how far the attacker may go: ‖x' − x‖ <= eps in the norm, within ``clip_values``."""

    classifier: AttackClassifier
    norm: float
    eps: float

    def labels(self, y: np.ndarray) -> np.ndarray:
        """One-hot labels of class indices (n,)."""
        return np.eye(self.classifier.nb_classes, dtype=np.float32)[y]

    def mask(self) -> dict[str, np.ndarray]:
        """The ``mask`` of ART's attacks, 1 where features may change; nothing where all may."""
        fixed = self.classifier.rules.fixed
        return {} if fixed is None else {"mask": (~fixed).astype(np.float32)}

    def wrong_classes(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The wrong classes of each sample from the likeliest on, shape (n, nb_classes - 1)."""
        logits = self.classifier.predict(x)
        logits[np.arange(len(y)), y] = np.inf
        return np.asarray(np.argsort(-logits, axis=1)[:, 1:])

    def wrong_class(self, x: np.ndarray, y: np.ndarray, rank: int) -> np.ndarray:
        """Per sample the wrong class that is the likeliest but rank - 1, shape (n,); rank from 1 to nb_classes - 1."""
        return self.wrong_classes(x, y)[:, rank - 1]

    def margins(self, x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Largest wrong logit minus the right one of inputs, shape (n,), and whether the label is right, by outputs.

        Args:
            x: shape (n, *shape).
            labels: one-hot, shape (n, nb_classes).
        """
        logits = self.classifier.predict(x)
        return LOSSES["margin"](logits.astype(np.float64), labels)[0], logits.argmax(1) == labels.argmax(1)

    def projected_gradient(self, kind: Any, estimator: Any, max_iter: int, **more: Any) -> Any:
        """:func:`projected_gradient` of the budget."""
        return projected_gradient(kind, estimator, self.norm, self.eps, max_iter, self.classifier.batch_size, **more)

    def into_ball(self, x: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """The candidates, those too far from x moved towards it until they lie in the ball."""
        difference = np.asarray(candidates, np.float64) - x
        scale = np.minimum(1, self.eps / np.maximum(lengths(difference, self.norm), 1e-30))
        return (x + difference * column(scale, x)).astype(np.float32)

    def into_range(self, candidates: np.ndarray) -> np.ndarray:
        """The candidates, clipped to ``clip_values``."""
        if self.classifier.clip_values is not None:
            candidates = np.clip(candidates, *self.classifier.clip_values)
        return candidates.astype(np.float32)

    def on_images(self, stage: Stage, least: int = 4) -> Stage:
        """The stage for inputs of the model's own shape, where it wants images of some pixels a side."""
        shape = image_shape(self.classifier.true_shape, self.classifier.channels_first)
        if shape is None or sorted(shape)[1] < least:
            raise ValueError(
                f"it needs images of {least}×{least} or more, not inputs of shape {self.classifier.true_shape}"
            )

        def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            self.classifier.as_shape(shape)
            try:
                return np.asarray(stage(x.reshape(-1, *shape), y)).reshape(x.shape)
            finally:
                self.classifier.as_shape(self.classifier.true_shape)

        return run


def numpy_pgd() -> Any:
    """ART's PGD that asks nothing of a framework."""
    from art.attacks.evasion.projected_gradient_descent import projected_gradient_descent_numpy as art_pgd

    return art_pgd.ProjectedGradientDescentNumpy


def projected_gradient(
    kind: Any,
    estimator: Any,
    norm: float,
    eps: float,
    max_iter: int,
    batch_size: int,
    num_random_init: int = 1,
    eps_step: float | None = None,
) -> Any:
    """A PGD of ART on an estimator, in steps of 2.5·eps/max_iter where none is given; ``kind`` is its class."""
    return kind(
        estimator,
        norm=norm,
        eps=eps,
        eps_step=2.5 * eps / max_iter if eps_step is None else eps_step,
        max_iter=max_iter,
        num_random_init=num_random_init,
        batch_size=batch_size,
        verbose=False,
    )
