"""What an audit found, in words and in records."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from artclip.lipschitz.estimate import LipschitzEstimate
from artclip.reporting.records import as_json
from artclip.reporting.text import cell, norm_name, shortened, table, wrapped

_LONGEST = 40  # letters of a layer's name
_CLOSE = 1e-3  # relative distance of two bounds that need no more search


@dataclass(frozen=True)
class AuditedLayer:
    """A layer, or a block of layers, by itself, on all inputs.

    Attributes:
        name: in the model.
        kind: name of its class.
        lower: from below, with its pair; ``None`` where it was not searched.
        upper: from above, or ``None``.
        constant: where it is known without a search, as of ART's scaling.
        why: it was not searched; "" where it was.
        no_upper: why there is no upper bound; "" where there is one.
    """

    name: str
    kind: str
    lower: LipschitzEstimate | None = None
    upper: LipschitzEstimate | None = None
    constant: float | None = None
    why: str = ""
    no_upper: str = ""

    @property
    def at_least(self) -> float | None:
        """The largest quotient found."""
        return self.lower.value if self.lower is not None else self.constant

    @property
    def at_most(self) -> float | None:
        """What is proved."""
        return self.upper.value if self.upper is not None else self.constant

    @property
    def cut_short(self) -> bool:
        """Whether there was no time for all of the search, and the two bounds are apart."""
        if self.lower is None or not self.lower.cut_short:
            return False
        return self.at_most is None or self.lower.value < (1 - _CLOSE) * self.at_most

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, for JSON."""
        reasons = {"why": self.why, "no_upper": self.no_upper}
        figures: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "at_least": self.at_least,
            "at_most": self.at_most,
        }
        figures["cut_short"] = self.cut_short
        return {**figures, **{name: text for name, text in reasons.items() if text}}


@dataclass(frozen=True, repr=False)
class Audit:
    """A claimed Lipschitz constant, and what speaks for and against it.

    Attributes:
        claimed: that f is said to have at most.
        tolerance: a claim is broken by more than this share of it.
        claimed_layers: that each layer is said to have at most, or ``None``.
        lower: the steepest pair found, as evidence.
        upper: what is proved, or ``None``.
        domain: of the claim: ``"free"`` for all inputs, ``"clip_values"`` for valid ones. A pair of valid inputs that
            breaks it is shown before a steeper one of others.
        no_upper: why nothing is proved; "" where something is.
        layers: each layer by itself, in the order of calls.
        valid: whether both inputs of the pair are valid; ``None`` where no range of valid inputs is known.
        seconds: in all.
    """

    claimed: float
    tolerance: float
    claimed_layers: float | None
    lower: LipschitzEstimate
    upper: LipschitzEstimate | None
    domain: str = "free"
    no_upper: str = ""
    layers: list[AuditedLayer] = field(default_factory=list)
    valid: bool | None = None
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """Of the whole: ``"broken"`` by a pair, ``"proved"`` by an upper bound, or ``"open"``."""
        limit = self.claimed * (1 + self.tolerance)
        if self.lower.value > limit:
            return "broken"
        return "proved" if self.upper is not None and self.upper.value <= limit else "open"

    @property
    def broken_layers(self) -> list[AuditedLayer]:
        """Those that are steeper than ``claimed_layers``."""
        if self.claimed_layers is None:
            return []
        limit = self.claimed_layers * (1 + self.tolerance)
        return [of for of in self.layers if of.at_least is not None and of.at_least > limit]

    @property
    def broken(self) -> bool:
        """Whether a claim is broken, of the whole or of a layer."""
        return self.verdict == "broken" or bool(self.broken_layers)

    def message(self) -> str:
        """The verdict in a sentence."""
        low = self.lower
        if self.verdict == "proved":
            return f"The claim is proved: the constant is {self._figure(self.upper)} at most."
        if self.verdict == "open":
            above = f"{self._figure(self.upper)} at most" if self.upper is not None else "not bounded from above"
            return (
                f"The claim is neither broken nor proved: the steepest pair found shows {low.value:.6g}, and the "
                f"constant is {above}."
            )
        excess = f"{low.value / self.claimed:.4g} times the claim" if self.claimed > 0 else "and 0 was claimed"
        where = {True: "both valid inputs", False: "not both valid inputs", None: "no range of valid inputs is known"}
        return (
            f"The claim is broken: a pair of inputs, {low.distance:.3g} apart ({where[self.valid]}), shows "
            f"{low.value:.6g}, {excess}."
        )

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, for JSON."""
        return {
            "claimed": self.claimed,
            "domain": self.domain,
            "verdict": self.verdict,
            "broken": self.broken,
            "tolerance": self.tolerance,
            "lower": self.lower.to_dict(),
            "pair valid": self.valid,
            "upper": None if self.upper is None else self.upper.to_dict(),
            "no upper": self.no_upper,
            "claimed_layers": self.claimed_layers,
            "broken_layers": [of.name for of in self.broken_layers],
            "layers": [of.to_dict() for of in self.layers],
            "seconds": self.seconds,
        }

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:meth:`to_dict` as JSON; also written to ``path`` where given."""
        return as_json(self.to_dict(), path)

    def save_pair(self, path: str | os.PathLike[str]) -> None:
        """Write the evidence as an ``.npz`` file: inputs ``u`` and ``v``, and the ``quotient`` that they show."""
        np.savez(path, u=np.asarray(self.lower.u), v=np.asarray(self.lower.v), quotient=self.lower.value)

    def to_markdown(self) -> str:
        """The verdict, the bounds, and a table of the layers."""
        norms = f"{norm_name(self.lower.norm)} to {norm_name(self.lower.output_norm)}"
        inputs = "all inputs" if self.domain == "free" else "valid inputs"
        lines = wrapped([f"Claimed: Lip ≤ {self.claimed:g} ({norms}, {inputs}). {self.message()}"], "")
        if self.verdict != "proved" and self.no_upper:
            lines += ["", *wrapped([f"No upper bound: {self.no_upper}"], "")]
        if self.layers:
            lines += ["", *wrapped([self._of_layers()], ""), "", *self._table()]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_markdown()

    def __repr__(self) -> str:
        return f"<Audit: Lip <= {self.claimed:g} is {self.verdict}; {self.lower}>"

    def _figure(self, estimate: LipschitzEstimate | None) -> str:
        return "" if estimate is None else f"{estimate.value:.6g}"

    def _of_layers(self) -> str:
        if self.claimed_layers is None:
            return "Each layer by itself, on all inputs:"
        names = ", ".join(of.name for of in self.broken_layers)
        what = f"{len(self.broken_layers)} break it: {names}" if names else "none breaks it"
        return f"Each layer by itself, on all inputs; claimed: Lip ≤ {self.claimed_layers:g}; {what}."

    def _table(self) -> list[str]:
        rows = []
        for of in self.layers:
            numbers = ["" if v is None else f"{v:.5g}" for v in (of.at_least, of.at_most)]
            remark = f"not searched: {of.why}" if of.why else "search cut short" if of.cut_short else ""
            remark = "above the claim" if of in self.broken_layers else remark
            rows.append([cell(shortened(of.name, _LONGEST)), cell(of.kind), *numbers, cell(shortened(remark, 60))])
        titles = ["layer", "kind", "Lip ≥", "Lip ≤", ""]
        if not any(row[-1] for row in rows):
            titles, rows = titles[:-1], [row[:-1] for row in rows]
        return table(titles, rows, range(2, 4))
