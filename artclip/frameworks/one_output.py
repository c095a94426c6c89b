"""A classifier of two classes with one output, as log-odds or a probability: where class 1 begins, and two columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.frameworks.base import Function
from artclip.frameworks.check import is_regressor

_LOOKED_AT = 32  # samples


@dataclass(frozen=True)
class OneOutput:
    """How the one output of a classifier is read.

    Attributes:
        kind: ``"sigmoid"`` for probabilities of class 1, ``"logits"`` for numbers that no range limits.
        threshold: above it the class is 1, elsewhere 0.
        why: what tells.
    """

    kind: str
    threshold: float
    why: str

    def __str__(self) -> str:
        return f"The model has one output, of class 1 above {self.threshold:g}, {self.why}"

    def columns(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (n, 1) as (n, 2): probabilities (1 − p, p), or (0, z) of numbers z over the threshold."""
        first = 1 - outputs if self.kind == "sigmoid" else np.zeros_like(outputs)
        return np.concatenate([first, outputs if self.kind == "sigmoid" else outputs - self.threshold], axis=1)


def how_read(f: Function, x: np.ndarray, outputs: np.ndarray, guess: bool = True) -> OneOutput | None:
    """How the outputs of a classifier are read where there is one a sample; ``None`` where there are several.

    A sigmoid at the end tells, else the loss. Where neither is known, outputs that all lie in [0, 1] are taken for
    probabilities, since as log-odds all of them would say class 1; others are taken for log-odds.

    Args:
        f: its adapter.
        x: samples, shape (n, *input_shape).
        outputs: what the model says of them, shape (n, k).
        guess: whether outputs in [0, 1] may be taken for probabilities where nothing else tells.

    Raises:
        ValueError: a regressor; or where it would have to be guessed.
    """
    if outputs.shape[1] != 1:
        return None
    if is_regressor(f):
        raise ValueError(
            "the model has one output, and its estimator or its loss is that of a regressor; give a classifier: two "
            "outputs, or one that a binary cross-entropy trains"
        )
    from artclip.frameworks import output_activation_of  # of the package that this module is in

    end: Any = output_activation_of(f, x[:_LOOKED_AT].astype(np.float32))
    told = f.told_threshold
    if end is not None and end[0] == "sigmoid":
        but = ", though its loss takes log-odds" if told == 0 else ""
        return OneOutput("sigmoid", 0.5, f"since it ends in a sigmoid{but}")
    if told is not None:
        inside = bool(((outputs >= 0) & (outputs <= 1)).all())
        return OneOutput("sigmoid" if told and f.told_shares and inside else "logits", told, "as its loss tells")
    finite = outputs[np.isfinite(outputs)]
    if (finite < 0).any() or (finite > 1).any():
        return OneOutput("logits", 0.0, "as of log-odds, since outputs lie beyond [0, 1] and it ends in no sigmoid")
    if not guess:
        raise ValueError(
            "the model has one output, here within [0, 1], and nothing tells whether these are probabilities or "
            "log-odds: give the classifier its loss, as BCELoss or BCEWithLogitsLoss, or let it return two outputs"
        )
    return OneOutput("sigmoid", 0.5, "as of probabilities, since outputs lie in [0, 1]")
