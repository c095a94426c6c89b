"""A sign that a figure is not what it seems."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MaskingWarning:
    """A sign of gradient masking, or of an attack that is too weak.

    Attributes:
        name: which sign.
        finding: what was seen, with figures.
        advice: what to try.
        doubtful: whether the worst case of the evaluation itself may be too high; else it is about other figures.
        about: which figures it concerns.
    """

    name: str
    finding: str
    advice: str
    doubtful: bool = True
    about: str = "the worst case"

    def __str__(self) -> str:
        return f"{self.name}: {self.finding}. {self.advice}. It concerns {self.about}."
