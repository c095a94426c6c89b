"""What an evaluation found: figures that say what they are, as text and JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from artclip import checks
from artclip.evaluation.attacks import NONE
from artclip.evaluation.masking import MaskingWarning
from artclip.evaluation.notes import notes_of
from artclip.evaluation.record import record_of
from artclip.evaluation.runner import Example, Outcome, broken_within
from artclip.reporting.intervals import wilson
from artclip.reporting.records import as_json
from artclip.reporting.text import WIDTH, budget, cell, counted, table, wrapped


@dataclass
class EvaluationData:
    """The fields and figures of :class:`artclip.Evaluation`, which documents them."""

    settings: dict[str, Any]
    outcomes: list[Outcome]
    right: np.ndarray
    warnings: list[MaskingWarning] = field(default_factory=list)
    lipschitz: dict[str, Any] = field(default_factory=dict)
    certified: np.ndarray | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0
    examples: list[Example] = field(default_factory=list)
    class_names: list[str] | None = None
    fell_to_probe: np.ndarray | None = None
    remarks: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    below: list[tuple[float, float | None]] = field(default_factory=list)
    fell_below: np.ndarray | None = None
    distance: np.ndarray | None = None
    nearest: dict[int, np.ndarray] = field(default_factory=dict)
    radius: np.ndarray | None = None
    smoothed: np.ndarray | None = None
    smoothed_right: np.ndarray | None = None

    @property
    def per_sample(self) -> dict[str, np.ndarray]:
        """Which samples kept their right label, shape (n,), clean and by attack.

        After an attack within the budget: after it and those before it, unless ``full`` was set; an attack that a user
        brought, noise, and changes that no norm measures always stand alone.
        """
        standing, remaining = {"clean": self.right}, self.right & ~self._fell_before
        for o in self.outcomes:
            if o.chosen.attack.in_budget:
                remaining = remaining & ~o.broken
            if o.error:
                continue
            if o.chosen.attack.access == NONE:  # noise may put a wrong label right
                standing[o.chosen.name] = ~o.broken
            else:
                standing[o.chosen.name] = self.right & ~o.broken if self.alone(o) else remaining
        return standing

    @property
    def _fell_before(self) -> np.ndarray:
        return np.zeros(len(self.right), bool) if self.fell_below is None else self.fell_below

    def alone(self, o: Outcome) -> bool:
        """Whether an attack's figures are of it alone, and not of it and those before it."""
        return bool(self.settings["full"]) or o.chosen.alone

    @property
    def survivors(self) -> np.ndarray:
        """Which samples kept their right label under every attack within the budget, the probe's too, shape (n,)."""
        fell = broken_within(self.outcomes, len(self.right)) | self._fell_before
        return self.right & ~(fell if self.fell_to_probe is None else fell | self.fell_to_probe)

    @property
    def accuracy(self) -> dict[str, float]:
        """Shares in [0, 1] of :attr:`per_sample`."""
        return {name: float(kept.mean()) for name, kept in self.per_sample.items()}

    @property
    def robust_accuracy(self) -> float | None:
        """Share of samples that survive every attack within the budget: an upper bound of what is true.

        ``None`` where no attack within the budget ran.
        """
        return float(self.survivors.mean()) if any(o.in_budget for o in self.outcomes) else None

    @property
    def by_calls(self) -> list[dict[str, Any]]:
        """What the attacks within the budget had done to the accuracy for how many calls, one after the other.

        One dict for each: ``attack``, ``forward_passes`` and ``gradients`` so far, for each of all samples, and
        ``accuracy``, the share that stood then. Of several budgets they are those of the largest, on what the smaller
        ones had left.
        """
        n, remaining, found = len(self.right), self.right & ~self._fell_before, list[dict[str, Any]]()
        passes = gradients = 0
        for o in self.outcomes:
            if o.chosen.attack.in_budget:
                remaining, passes, gradients = remaining & ~o.broken, passes + o.passes, gradients + o.gradients
                calls = {"forward_passes": passes / n, "gradients": gradients / n}
                found.append({"attack": o.chosen.title, **calls, "accuracy": float(remaining.mean())})
        return found

    @property
    def by_eps(self) -> list[tuple[float, float | None]]:
        """(eps, robust accuracy), from eps = 0, the clean samples, to the largest budget; it never rises."""
        return [(0.0, float(self.right.mean())), *self.below, (float(self.settings["eps"]), self.robust_accuracy)]

    @property
    def nb_fell_to_probe(self) -> int:
        """Samples that count as broken because of the short attacks behind the signs alone."""
        return 0 if self.fell_to_probe is None else int(self.fell_to_probe.sum())

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals, by Wilson, of :attr:`accuracy`, of ``worst`` and of ``certified``."""
        shares = {**self.accuracy, "worst": self.robust_accuracy, "certified": self.certified_accuracy}
        return {name: wilson(share, len(self.right)) for name, share in shares.items() if share is not None}

    @property
    def doubtful(self) -> bool:
        """Whether a sign says that :attr:`robust_accuracy` may be too high."""
        return any(sign.doubtful for sign in self.warnings)

    @property
    def certified_accuracy(self) -> float | None:
        """Share of samples that provably survive within eps: a lower bound; ``None`` where nothing was proved."""
        return None if self.certified is None else float(self.certified.mean())

    @property
    def budget(self) -> str:
        """Of the attacks, as ``L∞ ≤ 8/255``."""
        return budget(self.settings["norm"], float(self.settings["eps"]))

    @property
    def samples(self) -> str:
        """How many, and of what data where these have a name."""
        of = "" if self.settings["data"] == "arrays" else f" of {self.settings['data']}"
        return counted(len(self.right), "sample") + of

    def message(self) -> str:
        """What was found, in one sentence."""
        n, clean, robust = len(self.right), 100 * float(self.right.mean()), self.robust_accuracy
        ran = sum(o.in_budget for o in self.outcomes)
        said = f"The model gets {clean:.1f} % of {counted(n, 'sample')} right"
        if robust is None:
            return f"{said}; how many it gets right under attack was not measured"
        return f"{said}; under {counted(ran, 'attack')} within {self.budget} at most {100 * robust:.1f} % stay right"

    def records(self) -> list[dict[str, Any]]:
        """What each attack was and did, for JSON."""
        accuracy = self.accuracy
        return [
            {
                "name": o.chosen.name,
                "title": o.chosen.title,
                "access": o.chosen.attack.access,
                "paper": o.chosen.attack.paper,
                "budget": self.budget if o.chosen.attack.in_budget else None,
                "parameters": {k: v for k, v in o.chosen.options.items() if v is not None},
                "accuracy": accuracy.get(o.chosen.name),
                "of": "this attack alone" if self.alone(o) else "this attack and those before it",
                "nb_tried": int(o.tried.sum()),
                "nb_broken": int(o.broken.sum()),
                "not_counted": o.violations,
                "seconds": o.seconds,
                "forward_passes": o.passes,
                "gradients": o.gradients,
                "error": o.error or None,
                "left_out": o.left_out,
            }
            for o in self.outcomes
        ]

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, with the fields of a RobustBench record; accuracies there are in %, as numbers."""
        return record_of(self)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:meth:`to_dict` as JSON; also written to ``path`` where given."""
        return as_json(self.to_dict(), path)

    def columns(self) -> dict[str, float | None]:
        """Titles and figures of the table, in %."""
        accuracy = self.accuracy
        titles = [o.chosen.title for o in self.outcomes] + ["clean", "worst case", "certified"]
        found: dict[str, float | None] = {"clean": 100 * accuracy["clean"]}
        for o in self.outcomes:
            title = o.chosen.title if titles.count(o.chosen.title) == 1 else o.chosen.name
            found[title] = 100 * accuracy[o.chosen.name] if o.chosen.name in accuracy else None
        robust = self.robust_accuracy
        found["worst case"] = None if robust is None else 100 * robust
        if self.certified_accuracy is not None:
            found["certified"] = 100 * self.certified_accuracy
        if self.smoothed is not None and self.smoothed_right is not None:
            found["clean, smoothed"] = 100 * float(self.smoothed_right.mean())
            found["certified, smoothed"] = 100 * float((self.smoothed >= self.settings["eps_in_l2"]).mean())
        return found

    def notes(self) -> list[str]:
        """What must be said beside the table, one line each."""
        return notes_of(self)

    @property
    def looked_at(self) -> np.ndarray:
        """Samples that the model gets right and of which the nearest adversarial example was looked for, shape (n,)."""
        if self.distance is None:
            return np.zeros(len(self.right), bool)
        return self.right & ~np.isnan(self.distance)

    @property
    def all_looked_at(self) -> bool:
        """Whether that is every sample that the model gets right: then :meth:`robust_accuracy_at` is known."""
        return self.distance is not None and np.array_equal(self.looked_at, self.right)

    def robust_accuracy_at(self, eps: float) -> float:
        """Share of samples of which no adversarial example within any eps was found: an upper bound of what is true.

        Args:
            eps: the budget, >= 0, in the norm and units of the evaluation's.

        Raises:
            ValueError: the nearest example of every sample was not looked for: ``"minimum-norm"`` was not among the
                attacks, or gradients lead nowhere.
        """
        if not self.all_looked_at or self.distance is None:
            ran = any(o.chosen.attack.title == "minimum norm" for o in self.outcomes)
            raise ValueError(
                "the nearest adversarial example of every sample was not looked for: "
                + ("the model's gradients lead nowhere" if ran else "name 'minimum-norm' among the attacks")
            )
        checks.non_negative("eps", eps)
        return float((self.distance > eps).mean())

    @property
    def bounded(self) -> np.ndarray:
        """Samples whose :attr:`radius` was made as large as there was time for, shape (n,)."""
        if self.radius is None:
            return np.zeros(len(self.right), bool)
        return self.right & (np.cumsum(self.right) <= self.settings["nb_bounded"])

    def verdict(self) -> list[str]:
        """The signs of gradient masking, one line each; or that there are none."""
        if self.warnings:
            return [str(w) for w in self.warnings]
        if not self.settings["nb_probed"]:
            return ["Signs were not looked for."] * (self.settings["integers"] is None)  # else a remark says so
        return ["No signs of gradient masking."]

    def to_markdown(self, intervals: bool = False) -> str:
        """The table, what it means, and the signs of gradient masking.

        Args:
            intervals: add to each accuracy its 95 % interval for the number of samples, by Wilson.
        """
        figures = self._figures(intervals)
        head = f"| {' | '.join(map(cell, ('model', *figures)))} |"
        row = f"| {' | '.join((cell(self.settings['name']), *figures.values()))} |"
        rows = [head, f"| --- |{' --: |' * len(figures)}", row]
        return "\n".join([*rows, "", *(f"- {line}" for line in (*self.notes(), *self.verdict()))])

    def to_text(self, intervals: bool = False) -> str:
        """:meth:`to_markdown` no wider than a terminal of 100 columns: with an attack a row where they are many."""
        short = self.to_markdown(intervals).splitlines()[:3]
        if len(short[0]) > WIDTH or len(short[2]) > WIDTH:
            lines = list(self._figures(intervals).items())
            short = table([cell(self.settings["name"]), "accuracy in %"], lines, range(1, 2))
        return "\n".join(
            [*wrapped([f"{self.message()}."], ""), "", *short, "", *wrapped([*self.notes(), *self.verdict()])]
        )

    def __str__(self) -> str:
        return self.to_text()

    def _figures(self, intervals: bool) -> dict[str, str]:
        """:meth:`columns` as texts, with intervals where asked for."""

        def figure(percent: float) -> str:
            ends = (100 * end for end in wilson(percent / 100, len(self.right)))
            return f"{percent:.1f}" + " [{:.1f}, {:.1f}]".format(*ends) * intervals

        return {title: "–" if percent is None else figure(percent) for title, percent in self.columns().items()}
