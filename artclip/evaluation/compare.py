"""Defences side by side: each is trained from the same seeds, then attacked and measured in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from artclip import checks
from artclip.evaluation.defences import parse
from artclip.evaluation.experiment import METRICS, PGD_STEPS, Data, Experiment
from artclip.evaluation.record import as_json


@dataclass
class Comparison:
    """What each defence gave.

    Attributes:
        settings: everything that the figures depend on, with versions and machine.
        rows: one dict a defence: its name, and ``{"mean", "std", "values"}`` over the seeds for each of ``train``,
            ``test``, ``noise``, ``pgd`` (accuracies in [0, 1]), ``lamda`` (at the end of training),
            ``lipschitz_lower`` (a lower bound by pair ascent) and ``seconds_per_epoch``.
    """

    settings: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, defence: str, cells: Sequence[dict[str, float]]) -> None:
        """A row from the cells of a defence, one a seed."""
        values = {metric: [cell[metric] for cell in cells] for metric in METRICS}
        summary = {m: {"mean": float(np.mean(v)), "std": float(np.std(v)), "values": v} for m, v in values.items()}
        self.rows.append({"defence": defence, **summary})

    def to_markdown(self) -> str:
        """The table, mean ± standard deviation over the seeds; accuracies in %, seconds on the machine at hand."""
        s = self.settings
        columns = {
            "train": ("train", 100, ".1f"),
            "test": ("test", 100, ".1f"),
            f"noise {s['noise']:g}": ("noise", 100, ".1f"),
            f"PGD-{PGD_STEPS} L{s['norm']} {s['eps']:g}": ("pgd", 100, ".1f"),
            "λ": ("lamda", 1, ".2g"),
            f"Lip L{s['norm']} ≥": ("lipschitz_lower", 1, ".2f"),
            "s/epoch": ("seconds_per_epoch", 1, ".3f"),
        }
        table = [["defence", *columns], ["---", *["--:"] * len(columns)]]
        for row in self.rows:
            table.append([row["defence"], *(_figure(row[m], scale, form) for m, scale, form in columns.values())])
        widths = [max(len(line[i]) for line in table) for i in range(len(columns) + 1)]
        padded = [
            [t.rjust(w) if i else t.ljust(w) for i, (t, w) in enumerate(zip(line, widths, strict=True))]
            for line in table
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in padded)

    def to_json(self, path: str | Path | None = None) -> str:
        """Settings and rows as JSON; also written to ``path`` where given."""
        return as_json({"settings": self.settings, "rows": self.rows}, path)


def compare(
    data: str | Data = "digits",
    model: str = "mlp",
    defences: Sequence[str] = ("standard", "weight@0.95", "clip@0.95"),
    nb_seeds: int = 3,
    norm: float | str = 2,
    eps: float = 1.0,
    noise: float = 0.5,
    nb_epochs: int = 20,
    batch_size: int = 128,
    activation: str = "relu",
    learning_rate: float = 2e-3,
    attack_samples: int = 1000,
    verbose: bool = True,
    framework: str | None = None,
) -> Comparison:
    """Train a net with each defence and compare what comes out.

    Args:
        data: a name or path for :func:`artclip.load_data`, or ``(x_train, y_train), (x_test, y_test)`` with inputs
            in [0, 1] and class indices.
        model: net by name: ``mlp``, ``mlp-200-80``, ``cnn``.
        defences: names as ``standard``, ``weight@0.95``, ``spectral@0.95``, ``clip@0.95``, ``clip:lamda=0.03``.
        nb_seeds: trainings per defence, >= 1, with seeds 0, 1, ...
        norm, eps: budget of the attack, eps > 0 in units of the inputs; the Lipschitz bound is in the same norm. CLIP
            itself trains in L2 whatever the attack.
        noise: standard deviation of the Gaussian noise, >= 0.
        nb_epochs: passes over the data, >= 1, with Adam under a cosine schedule.
        batch_size: samples a step, >= 1.
        activation: ``relu``, ``sigmoid``, ``softplus``, ``gelu``.
        learning_rate: of Adam, > 0.
        attack_samples: how many test samples are attacked, >= 1; the first ones.
        verbose: show progress.
        framework: ``"torch"`` or ``"tensorflow"``; ``None`` for the one installed, PyTorch where both are. Images have
            their channels first for PyTorch, last for TensorFlow.

    Returns:
        The :class:`Comparison`.

    Raises:
        ValueError: bad input, before any training.
        ImportError: the framework is not installed.
    """
    experiment = Experiment(
        model, activation, nb_epochs, batch_size, learning_rate, norm, eps, noise, attack_samples, framework
    )
    checks.positive_integer("nb_seeds", nb_seeds)
    if not defences:
        raise ValueError("defences is empty; give at least one, as 'standard'")
    for defence in defences:
        parse(defence)
    splits = experiment.load(data) if isinstance(data, str) else data
    settings = {"data": data if isinstance(data, str) else "arrays", "seeds": list(range(nb_seeds))}
    comparison = Comparison({**settings, **experiment.describe()})
    with tqdm(total=len(defences) * nb_seeds, disable=not verbose, desc="compare", unit="training") as progress:
        for defence in defences:
            cells = []
            for seed in range(nb_seeds):
                progress.set_postfix_str(f"{defence}, seed {seed}")
                trainer = experiment.train(splits, defence, seed)
                cells.append(experiment.measure(trainer, splits, seed))
                progress.update()
            comparison.add(defence, cells)
    return comparison


def _figure(summary: dict[str, Any], scale: float, form: str) -> str:
    mean = format(summary["mean"] * scale, form)
    return mean if len(summary["values"]) == 1 else f"{mean} ± {format(summary['std'] * scale, form)}"
