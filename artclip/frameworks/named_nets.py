"""What nets by name have in common in all frameworks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from artclip import checks
from artclip.frameworks.stiefel import MOST_ANGLE

ORTHOGONAL = frozenset({"lipconvnet", "lipresnet"})
"""Nets by name whose matrices stay orthogonal: they are trained by ``StiefelMuon``."""
CONVOLUTIONS = (32, 128, 256)  # outputs, each of patches of 2×2 side by side
DENSE = (512, 512, 256)  # units of the layers behind them
RESIDUAL, NB_BLOCKS = 512, 4  # features of residual blocks in their place, and how many there are
_ANGLE = 50  # radians, for each unit of Adam's learning rate


def is_orthogonal(model: Any) -> bool:
    """Whether a model is the name of a net whose matrices stay orthogonal."""
    return isinstance(model, str) and model in ORTHOGONAL


def check_known(model: str, input_shape: tuple[int, ...], nets: Iterable[str]) -> None:
    """Raise ``ValueError`` for a name that is none of these nets, and for one that needs images and gets others."""
    checks.one_of("model", model, nets)
    if not model.startswith("mlp") and len(input_shape) != 3:
        raise ValueError(
            f"model={model!r} is a net for images, whose shape is three numbers, as (1, 28, 28); inputs have shape "
            f"{tuple(input_shape)}: use mlp, or reshape them"
        )


def own_activation(model: str, activation: str | None) -> str:
    """The activation that is asked for, or else the net's own."""
    return activation or ("maxmin" if is_orthogonal(model) else "relu")


def angle_of(learning_rate: float) -> float:
    """The angle by which matrices turn, in radians, for a learning rate of Adam.

    Raises:
        ValueError: it is too large.
    """
    if (angle := _ANGLE * learning_rate) > MOST_ANGLE:
        raise ValueError(
            f"learning_rate={learning_rate:g} is too large for a net whose matrices stay orthogonal: give one of "
            f"{MOST_ANGLE / _ANGLE:g} at most"
        )
    return angle
