"""What came of one training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

_KEPT = "kept "  # before the name of an attack


@dataclass(frozen=True)
class RunResult:
    """What came of one training.

    Attributes:
        defence, net, seed: which training.
        figures: accuracies in [0, 1] (``train``, ``test``, one for each attack by name, ``worst``, ``certified``, and
            of a smoothed classifier ``smoothed`` and ``smoothed_certified``), ``lipschitz_lower``,
            ``lipschitz_upper``, ``lamda``, ``seconds_per_epoch``, ``cpu_seconds`` (of the whole training) and
            ``cpu_seconds_per_epoch`` (of the process, over all its threads), ``peak_memory`` (of the
            process until the training ended, in MiB: an upper bound), ``gradients`` (for each sample and epoch);
            ``None`` where there is none.
        signs: of gradient masking, by name; those about the worst case first.
        doubtful: whether one of them is about the worst case.
        history: of the training.
        curve: (eps, accuracy).
        notes: what the training warned of, and what an attack or a bound could not do.
        missed: accuracy of the model as deployed where that missed the target that it was to hold, or ``None``.
        error: why there are no figures, or "".
        arrays: outcomes of each sample by attack ("kept NAME", bool), the steepest pair ("u", "v"), and a few
            adversarial examples ("samples", "adversarial", "labels", "said").
        seconds: in all, measuring included.
        samples: how many samples each accuracy is of.
        machine: hash of the machine that it ran on; times of two machines are not compared.
    """

    defence: str
    net: str
    seed: int
    figures: dict[str, float | None] = field(default_factory=dict)
    signs: list[str] = field(default_factory=list)
    doubtful: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    curve: list[tuple[float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missed: float | None = None
    error: str = ""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0
    samples: dict[str, int] = field(default_factory=dict)
    machine: str = ""

    @property
    def kept(self) -> dict[str, np.ndarray]:
        """Which samples kept their right label, bool, by attack; ``clean``, ``worst``, ``certified`` among them."""
        return {k.removeprefix(_KEPT): a.astype(bool) for k, a in self.arrays.items() if k.startswith(_KEPT)}

    def record(self) -> dict[str, Any]:
        """All but the arrays."""
        return {k: v for k, v in vars(self).items() if k != "arrays"}
