"""A moment of a training at which all was well, and how it becomes arrays and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from artclip.frameworks import Trainable

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class EpochProgress:
    """How far an epoch has come.

    Attributes:
        batch: batches done.
        sums: samples, loss and right predictions summed, shape (3,).
        figures: those of the penalised steps, one array a check.
        measured: accuracy of the model as deployed at each check, where λ follows it.
        skipped: steps undone.
        gradients: inputs through which gradients were taken.
        seconds: spent.
    """

    batch: int = 0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(3))
    figures: tuple[np.ndarray, ...] = ()
    measured: tuple[float, ...] = ()
    skipped: int = 0
    gradients: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class TrainingState:
    """All that the rest of a training depends on, data and settings aside.

    Attributes:
        snapshot: of the model and its optimizer, as its adapter makes it.
        pairs: state of the regulariser.
        randomness: states of the generators that the model draws from.
        steps: steps done, penalised steps done, failed checks in a row, good checks since the last failed
            one; and what losses are compared to.
        lamda: state of the controller.
        within: how far the epoch has come.
        outer: what the loop adds: ``epoch``, ``nb_history``, ``order``, ``scheduler``, ``stopped``.
        best: snapshot and score of the best epoch, where it is kept.
    """

    snapshot: Any
    pairs: Any
    randomness: list[np.ndarray]
    steps: tuple[int, int, int, int, float]
    lamda: dict[str, Any]
    within: EpochProgress
    outer: dict[str, Any]
    best: tuple[Any, tuple[float, float]] | None = None

    def packed(self, f: Trainable) -> tuple[Arrays, dict[str, Any]]:
        """As arrays by name, and a record that JSON can hold."""
        arrays, about = f.pack(self.snapshot)
        arrays = {f"now.{name}": a for name, a in arrays.items()}
        record = {"snapshot": about, "steps": self.steps, "lamda": self.lamda, "outer": self.outer}
        if self.best is not None:
            best, about = f.pack(self.best[0])
            arrays |= {f"best.{name}": a for name, a in best.items()}
            record["best"] = {"snapshot": about, "score": self.best[1]}
        arrays |= {f"pairs.{i}": np.asarray(f.host(t)) for i, t in enumerate(_leaves(self.pairs))}
        arrays |= {f"randomness.{i}": a for i, a in enumerate(self.randomness)}
        w = self.within
        arrays["sums"] = w.sums
        arrays["figures"] = np.concatenate([np.empty(0), *w.figures])
        record["within"] = {n: getattr(w, n) for n in ("batch", "measured", "skipped", "gradients", "seconds")}
        return arrays, record

    @staticmethod
    def unpacked(f: Trainable, arrays: Arrays, record: dict[str, Any], pairs: Any) -> TrainingState:
        """From what :meth:`packed` gave.

        Args:
            pairs: a state of the same regulariser, for its structure.
        """
        best, within = record.get("best"), dict(record["within"])
        figures = arrays["figures"]
        return TrainingState(
            f.unpack(_under(arrays, "now."), record["snapshot"]),
            _rebuilt(pairs, iter(f.tensor(a) for a in _numbered(arrays, "pairs."))),
            _numbered(arrays, "randomness."),
            tuple(record["steps"]),
            record["lamda"],
            EpochProgress(
                sums=arrays["sums"],
                figures=(figures,) if figures.size else (),
                measured=tuple(within.pop("measured")),
                **within,
            ),
            record["outer"],
            best and (f.unpack(_under(arrays, "best."), best["snapshot"]), tuple(best["score"])),
        )


def _leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, (tuple, list)):
        for part in state:
            yield from _leaves(part)
    else:
        yield state


def _rebuilt(like: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(like, (tuple, list)):
        return type(like)([_rebuilt(part, leaves) for part in like])
    return next(leaves)


def _under(arrays: Arrays, prefix: str) -> Arrays:
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}


def _numbered(arrays: Arrays, prefix: str) -> list[np.ndarray]:
    by_number = _under(arrays, prefix)
    return [by_number[str(i)] for i in range(len(by_number))]
