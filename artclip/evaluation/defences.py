"""Defences by name: ``standard``, ``clip@0.95`` (held at 95 % training accuracy), ``clip:lamda=0.03`` (fixed λ)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from artclip import checks


def _standard(classifier: Any, **options: Any) -> Any:
    from artclip.trainers.clip import CLIPTrainer

    return CLIPTrainer(classifier, **{**options, "lamda": 0.0, "target_accuracy": None})


def _clip(classifier: Any, **options: Any) -> Any:
    from artclip.trainers.clip import CLIPTrainer

    return CLIPTrainer(classifier, **options)


def _weight(kind: str) -> Callable[..., Any]:
    def trainer(classifier: Any, **options: Any) -> Any:
        from artclip.trainers.weight import WeightRegularizationTrainer

        return WeightRegularizationTrainer(classifier, kind=kind, **options)

    return trainer


# Name -> maker of a trainer from (classifier, **options). A defence more is a line more.
DEFENCES: dict[str, Callable[..., Any]] = {
    "standard": _standard,
    "weight": _weight("l2"),
    "spectral": _weight("spectral"),
    "clip": _clip,
}


def parse(defence: str) -> tuple[Callable[..., Any], dict[str, float]]:
    """Maker and options of a defence.

    Args:
        defence: ``NAME``, ``NAME@ACCURACY``, or ``NAME:lamda=VALUE``, with a name of :data:`DEFENCES`.

    Raises:
        ValueError: an unknown name, or a value that is no number or out of range.
    """
    name, at, target = defence.partition("@")
    name, colon, setting = name.partition(":")
    if name not in DEFENCES:
        raise ValueError(f"defence {defence!r} is not known; use one of {', '.join(DEFENCES)}, as in clip@0.95")
    if name == "standard" and (at or colon):
        raise ValueError(f"defence {defence!r}: standard training takes no setting")
    options: dict[str, float] = {}
    if at:
        options["target_accuracy"] = _number(defence, target)
        checks.share(f"target accuracy of {defence}", options["target_accuracy"])
    if colon:
        key, _, value = setting.partition("=")
        if key != "lamda":
            raise ValueError(f"defence {defence!r} has the setting {key!r}; known is lamda, as in {name}:lamda=0.03")
        options["lamda"] = _number(defence, value)
        checks.non_negative(f"lamda of {defence}", options["lamda"])
    return DEFENCES[name], options


def _number(defence: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"defence {defence!r}: {text!r} is not a number") from None
