"""What a comparison found: rows and cells, as text, LaTeX, CSV, JSON, HTML and pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from artclip.comparison import table
from artclip.comparison.experiment import Experiment, RunResult
from artclip.comparison.paired import Paired, mcnemar
from artclip.comparison.significance import Best, best
from artclip.reporting.intervals import wilson
from artclip.reporting.records import as_json, written


class Comparison:
    """What each defence gave.

    Args:
        settings: everything that the figures depend on, with versions and machine.
        experiment: how each was trained and measured.
        cells: of all nets, defences and seeds.

    Attributes:
        rows: one dict for each net and defence: ``net``, ``defence``, ``signs`` (of gradient masking, with the number
            of seeds that show them), ``doubtful`` (whether one is about the worst case), ``notes`` (what trainings
            warned of, and what could not be done), ``error``, and ``{"mean", "std", "values"}`` over the seeds, the
            deviation with n - 1, for each of ``train``, ``test``, every attack by its name, ``worst`` (upper bound of
            the robust accuracy; ``None`` where nothing attacked within the budget), ``certified`` (lower bound; all
            shares in [0, 1], with ``nb_samples`` and their 95 % ``interval``), ``lipschitz_lower``,
            ``lipschitz_upper``, ``lamda`` (at the end of training), ``seconds_per_epoch``, ``cpu_seconds``,
            ``cpu_seconds_per_epoch``, ``peak_memory`` (MiB of the process, an upper bound), ``gradients`` (inputs
            through which gradients were taken, for each sample and epoch; 1 for plain training), and ``cpu_cost``
            (CPU seconds of an epoch over those of ``standard`` with the same net and seed on the same machine).
    """

    def __init__(self, settings: dict[str, Any], experiment: Experiment, cells: Sequence[RunResult]) -> None:
        self.settings, self.experiment, self.cells = settings, experiment, list(cells)
        pairs = dict.fromkeys((cell.net, cell.defence) for cell in self.cells)
        self.rows = [self._row(*pair) for pair in pairs]

    def of(self, defence: str, net: str | None = None) -> list[RunResult]:
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
            "notes": self._notes(good),
        }
        row |= {m: table.summary([c.figures.get(m) for c in good], self.samples.get(m)) for m in metrics}
        plain = {(c.seed, c.machine): c.figures.get("cpu_seconds_per_epoch") for c in self._plain(net)}
        times = [(c.figures.get("cpu_seconds_per_epoch"), plain.get((c.seed, c.machine))) for c in good]
        row["cpu_cost"] = table.summary([a / b if a is not None and b else None for a, b in times])
        return row

    def _notes(self, cells: list[RunResult]) -> list[str]:
        """What cells of a row noted, with the seeds where it was not all."""
        found: dict[str, list[int]] = {}
        for c in cells:
            for note in dict.fromkeys(c.notes):
                found.setdefault(note, []).append(c.seed)
        some = {note: f" (seed{'s' * (len(s) > 1)} {', '.join(map(str, s))})" for note, s in found.items()}
        return [note if len(seeds) == len(cells) else note + some[note] for note, seeds in found.items()]

    @property
    def samples(self) -> dict[str, int]:
        """How many samples each accuracy is of, by metric."""
        return {metric: n for c in self.cells for metric, n in c.samples.items()}

    def _plain(self, net: str) -> list[RunResult]:
        return [c for c in self.cells if c.net == net and c.defence == "standard" and not c.error]

    @property
    def nb_seeds(self) -> int:
        """Trainings per row."""
        return len(self.settings["seeds"])

    @property
    def many_nets(self) -> bool:
        """Whether there is more than one net."""
        return len({c.net for c in self.cells}) > 1

    def paired(
        self, first: str, second: str, attack: str = "worst", net: str | None = None, other_net: str | None = None
    ) -> list[Paired]:
        """McNemar's test of two defences on the same samples, for each seed.

        Args:
            first, second: defences of this comparison.
            attack: after which the samples count: an attack's name, ``"clean"``, ``"worst"`` or ``"certified"``.
            net: which net, where there is more than one.
            other_net: that of the second; ``None`` for the same one.

        Raises:
            ValueError: no such row or attack.
        """
        found = []
        others = {c.seed: c for c in self.of(second, other_net or net)}
        for cell in self.of(first, net):
            other = others[cell.seed]
            if cell.error or other.error:
                continue
            if attack not in cell.kept or attack not in other.kept:
                raise ValueError(f"attack={attack!r} was not run; known are {', '.join(cell.kept)}")
            kept = cell.kept[attack]
            found.append(Paired(first, second, cell.seed, *mcnemar(kept, other.kept[attack]), len(kept)))
        return found

    def best(self, metric: str = "worst") -> Best | None:
        """The row with the highest mean of an accuracy, and by what it is told from each other row.

        Args:
            metric: ``test``, an attack's name, ``worst`` or ``certified``.

        Returns:
            The row and its rivals with p-values; ``None`` where fewer than two rows have the figure.
        """
        return best(self, metric)

    def notes(self) -> list[str]:
        """What must be said beside the table, one line each."""
        e, s = self.experiment, self.settings
        lines = [
            f"{s['data']}, {self.nb_seeds} seed{'s' * (self.nb_seeds > 1)}"
            + (", mean ± standard deviation (n − 1)" if self.nb_seeds > 1 else "")
            + f"; {e.nb_epochs} epochs, batch {e.batch_size}. Attacks on {s['nb_attacked']} test samples; each ran on "
            "what those before it left standing, so its column counts theirs too.",
        ]
        if self._has("worst"):
            certified = ", the certified share a lower one." if self._has("certified") else "."
            lines.append(f"The worst case is an upper bound of the robust accuracy{certified}")
        elif any(not row["error"] for row in self.rows):
            lines.append("There is no worst case: no attack ran within the budget.")
        if len(self.rows) > 1:
            lines.append(
                "Bold: above every other row, by a paired test on the same samples and seeds (p < 0.05 after Holm's "
                "adjustment for the number of rows). No bold: these samples and seeds do not tell."
            )
        lines.append(
            "Gradients ×: inputs through which gradients were taken, for each sample and epoch. CPU ×: CPU seconds of "
            "an epoch, over all threads of the process, over those of standard; other work on the machine does not "
            "count, nor does a GPU's. s/epoch: by the clock, other work included. MiB ≤: the most that the process "
            "held until the training ended, frameworks, data and earlier trainings in it included."
        )
        failed = [c for c in self.cells if c.error]
        if failed:
            lines.append(f"{len(failed)} of {len(self.cells)} trainings failed.")
        lines += [f"{row['defence']} failed: {row['error']}." for row in self.rows if row["error"]]
        lines += dict.fromkeys(f"{row['defence']}: {note.rstrip('.')}." for row in self.rows for note in row["notes"])
        lines += [f"Not cached, since it has no hash: {why}." for why in s.get("not_cached", ())]
        doubt = [row["defence"] for row in self.rows if row["doubtful"]]
        if doubt:
            lines.append(f"! The worst case of {', '.join(doubt)} may be too high: see its signs of gradient masking.")
        return lines

    def _has(self, metric: str) -> bool:
        return any((row.get(metric) or {}).get("mean") is not None for row in self.rows)

    def to_markdown(self, intervals: bool = False) -> str:
        """The table: accuracies in %, mean ± standard deviation over the seeds.

        Args:
            intervals: add to each accuracy its 95 % interval for the number of samples, by Wilson.
        """
        return table.markdown(self, intervals)

    def to_latex(self, intervals: bool = False) -> str:
        """:meth:`to_markdown` for LaTeX, with the rules of the package booktabs."""
        return table.latex(self, intervals)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """Means, standard deviations and intervals as comma-separated values; also written to ``path`` where given."""
        return written(table.as_csv(self), path)

    def to_frame(self) -> Any:
        """Means, standard deviations and intervals as a ``pandas.DataFrame``.

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
            intervals = {m: wilson(v, c.samples[m]) for m, v in c.figures.items() if v is not None and m in c.samples}
            cells.append({**c.record(), "intervals": intervals, "per_sample": kept})
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
