"""What a comparison found: rows and cells, as text, LaTeX, CSV, JSON, HTML and pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from artclip.comparison import table
from artclip.comparison.experiment import Cell, Experiment
from artclip.comparison.paired import Paired, mcnemar
from artclip.evaluation.record import as_json, written


class Comparison:
    """What each defence gave.

    Args:
        settings: everything that the figures depend on, with versions and machine.
        experiment: how each was trained and measured.
        cells: of all nets, defences and seeds.

    Attributes:
        rows: one dict for each net and defence: ``net``, ``defence``, ``signs`` (of gradient masking, with the number
            of seeds that show them), ``doubtful`` (whether one is about the worst case), ``error``, and ``{"mean",
            "std", "values"}`` over the seeds for each of ``train``, ``test``, every attack by its name, ``worst``
            (upper bound of the robust accuracy), ``certified`` (lower bound; all shares in [0, 1]),
            ``lipschitz_lower``, ``lipschitz_upper``, ``lamda`` (at the end of training), ``seconds_per_epoch``,
            ``gradients`` (inputs through which gradients were taken, for each sample and epoch; 1 for plain training),
            and ``cost`` (seconds over those of ``standard`` with the same net and seed).
    """

    def __init__(self, settings: dict[str, Any], experiment: Experiment, cells: Sequence[Cell]) -> None:
        self.settings, self.experiment, self.cells = settings, experiment, list(cells)
        pairs = dict.fromkeys((cell.net, cell.defence) for cell in self.cells)
        self.rows = [self._row(*pair) for pair in pairs]

    def of(self, defence: str, net: str | None = None) -> list[Cell]:
        """The cells of a defence, one a seed; ``net=None`` where there is one net only.

        Raises:
            ValueError: there is no such row, or more than one.
        """
        nets = [n for n in dict.fromkeys(c.net for c in self.cells) if net in (None, n)]
        found = [c for c in self.cells if c.defence == defence and c.net in nets]
        if not found:
            names = ", ".join(dict.fromkeys(c.defence for c in self.cells))
            raise ValueError(f"there is no row of defence {defence!r} and net {net!r}; defences are {names}")
        if len({c.net for c in found}) > 1:
            raise ValueError(f"net is not given; choose one of {', '.join(nets)}")
        return found

    def _row(self, net: str, defence: str) -> dict[str, Any]:
        cells = self.of(defence, net)
        good = [c for c in cells if not c.error]
        errors = [cells[0].error]
        if len({c.error for c in cells}) > 1:
            errors = [f"seed {c.seed}: {c.error}" for c in cells if c.error]
        metrics = dict.fromkeys(m for c in good for m in c.figures)
        signs = [name for c in good for name in dict.fromkeys(c.signs)]
        row: dict[str, Any] = {
            "net": net,
            "defence": defence,
            "error": "; ".join(errors),
            "signs": {name: signs.count(name) for name in dict.fromkeys(signs)},
            "doubtful": any(c.doubtful for c in good),
            "probed": self.experiment.masking,
        }
        row |= {m: table.summary([c.figures.get(m) for c in good]) for m in metrics}
        plain = {c.seed: c.figures["seconds_per_epoch"] for c in self._plain(net)}
        if good and all(c.seed in plain for c in good):
            seconds = [(c.figures["seconds_per_epoch"], plain[c.seed]) for c in good]
            row["cost"] = table.summary([None if a is None or not b else a / b for a, b in seconds])
        return row

    def _plain(self, net: str) -> list[Cell]:
        return [c for c in self.cells if c.net == net and c.defence == "standard" and not c.error]

    @property
    def nb_seeds(self) -> int:
        """Trainings per row."""
        return len(self.settings["seeds"])

    @property
    def many_nets(self) -> bool:
        """Whether there is more than one net."""
        return len({c.net for c in self.cells}) > 1

    def paired(self, first: str, second: str, attack: str = "worst", net: str | None = None) -> list[Paired]:
        """McNemar's test of two defences on the same samples, for each seed.

        Args:
            first, second: defences of this comparison.
            attack: after which the samples count: an attack's name, ``"clean"``, or ``"worst"``.
            net: which net, where there is more than one.

        Raises:
            ValueError: no such row or attack.
        """
        found = []
        others = {c.seed: c for c in self.of(second, net)}
        for cell in self.of(first, net):
            other = others[cell.seed]
            if cell.error or other.error:
                continue
            if attack not in cell.kept or attack not in other.kept:
                raise ValueError(f"attack={attack!r} was not run; known are {', '.join(cell.kept)}")
            kept = cell.kept[attack]
            found.append(Paired(first, second, cell.seed, *mcnemar(kept, other.kept[attack]), len(kept)))
        return found

    def notes(self) -> list[str]:
        """What must be said beside the table, one line each."""
        e, s = self.experiment, self.settings
        lines = [
            f"{s['data']}, {self.nb_seeds} seed{'s' * (self.nb_seeds > 1)}, mean ± standard deviation; {e.nb_epochs} "
            f"epochs, batch {e.batch_size}. Attacks on {s['nb_attacked']} test samples; each ran on what those before "
            "it left standing, so its column counts theirs too.",
            "The worst case is an upper bound of the robust accuracy"
            + (", the certified share a lower one." if self._has("certified") else "."),
            "Gradients ×: inputs through which gradients were taken, for each sample and epoch. Time ×: seconds of an "
            "epoch over those of standard, on the machine at hand"
            + ("." if s["n_jobs"] == 1 else f", with {s['n_jobs']} jobs side by side, so roughly."),
        ]
        lines += [f"{row['defence']} failed: {row['error']}." for row in self.rows if row["error"]]
        lines += dict.fromkeys(f"{c.defence}: {note}." for c in self.cells for note in c.notes)
        doubt = [row["defence"] for row in self.rows if row["doubtful"]]
        if doubt:
            lines.append(f"! The worst case of {', '.join(doubt)} may be too high: see its signs of gradient masking.")
        return lines

    def _has(self, metric: str) -> bool:
        return any(c.metric == metric for c in table.columns(self))

    def to_markdown(self) -> str:
        """The table, mean ± standard deviation over the seeds; accuracies in %; the best of each column in bold."""
        return table.markdown(self)

    def to_latex(self) -> str:
        """The table for LaTeX, with the rules of the package booktabs."""
        return table.latex(self)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """Means and standard deviations as comma-separated values; also written to ``path`` where given."""
        return written(table.as_csv(self), path)

    def to_frame(self) -> Any:
        """Means and standard deviations as a ``pandas.DataFrame``.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("pandas is not installed; pip install 'artclip[report]'") from None
        return pandas.DataFrame.from_records(table.records(self))

    def to_dict(self) -> dict[str, Any]:
        """Settings, rows, and cells with history, curve and the outcome of each sample."""
        cells = []
        for c in self.cells:
            kept = {name: a.astype(int).tolist() for name, a in c.kept.items()}
            cells.append({**c.record(), "per_sample": kept})
        return {"settings": self.settings, "rows": self.rows, "notes": self.notes(), "cells": cells}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:meth:`to_dict` as JSON; also written to ``path`` where given."""
        return as_json(self.to_dict(), path)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """A report in one file that needs no network; also written to ``path`` where given."""
        from artclip.comparison.report import comparison_page

        return written(comparison_page(self), path)

    def plot(self) -> Any:
        """Security curves and what robustness costs, as a ``matplotlib.figure.Figure``."""
        from artclip.comparison.plots import plot_comparison

        return plot_comparison(self)

    def __str__(self) -> str:
        return "\n".join([self.to_markdown(), "", *(f"- {line}" for line in self.notes())])
