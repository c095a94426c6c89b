"""What a comparison found: rows and cells, and what must be said beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from artclip.comparison.experiment import Experiment
from artclip.comparison.paired import Paired, mcnemar
from artclip.comparison.run_result import RunResult
from artclip.reporting.intervals import wilson
from artclip.reporting.text import counted


class ComparisonData:
    """The fields and figures of :class:`artclip.Comparison`, which documents them."""

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
        cells = [c for c in self.cells if c.defence == defence and c.net in nets]
        if not cells:
            names = ", ".join(dict.fromkeys(c.defence for c in self.cells))
            raise ValueError(f"there is no row of defence {defence!r} and net {net!r}; defences are {names}")
        if len({c.net for c in cells}) > 1:
            raise ValueError(f"net is not given; choose one of {', '.join(nets)}")
        return cells

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
            "nb_seeds": len(good),
            "error": "; ".join(errors),
            "missed": [c.missed for c in good if c.missed is not None],
            "signs": {name: signs.count(name) for name in dict.fromkeys(signs)},
            "doubtful": any(c.doubtful for c in good),
            "probed": self.experiment.masking,
            "notes": self._notes(good),
        }
        row |= {m: summary([c.figures.get(m) for c in good], self.samples.get(m)) for m in metrics}
        plain = {(c.seed, c.machine): c.figures.get("cpu_seconds_per_epoch") for c in self._plain(net)}
        times = [(c.figures.get("cpu_seconds_per_epoch"), plain.get((c.seed, c.machine))) for c in good]
        row["cpu_cost"] = summary([a / b if a is not None and b else None for a, b in times])
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
        tests = []
        others = {c.seed: c for c in self.of(second, other_net or net)}
        for cell in self.of(first, net):
            other = others[cell.seed]
            if cell.error or other.error:
                continue
            if attack not in cell.kept or attack not in other.kept:
                raise ValueError(f"attack={attack!r} was not run; known are {', '.join(cell.kept)}")
            correct = cell.kept[attack]
            tests.append(Paired(first, second, cell.seed, *mcnemar(correct, other.kept[attack]), len(correct)))
        return tests

    def notes(self) -> list[str]:
        """What must be said beside the table, one line each."""
        e, s = self.experiment, self.settings
        lines = [
            ("" if s["data"] == "arrays" else f"{s['data']}, ")
            + counted(self.nb_seeds, "seed")
            + (", mean ± standard deviation (n − 1)" if self.nb_seeds > 1 else "")
            + f"; {counted(e.nb_epochs, 'epoch')}, batch {e.batch_size}. Attacks on "
            f"{counted(s['nb_attacked'], 'test sample')}; each ran on what those before it left standing, so "
            "its column counts theirs too.",
        ]
        if s.get("attacked"):
            lines.append(f"{s['attacked'].capitalize()}.")
        if self.has("worst"):
            certified = ", the certified share a lower one." if self.has("certified") else "."
            lines.append(f"The worst case is an upper bound of the robust accuracy{certified}")
        elif any(not row["error"] for row in self.rows):
            lines.append("There is no worst case: no attack ran within the budget.")
        if len(self.rows) > 1:
            whole = " of which no training failed" * any(0 < row["nb_seeds"] < self.nb_seeds for row in self.rows)
            lines.append(
                f"Bold: above every other row{whole}, by a paired test on the same samples and seeds (p < 0.05 after "
                "Holm's adjustment for the number of rows). No bold: these samples and seeds do not tell."
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
        lines += [f"{self.title(row)} failed: {row['error']}." for row in self.rows if row["error"]]
        lines += dict.fromkeys(
            f"{self.title(row, False)}: {note.rstrip('.')}." for row in self.rows for note in row["notes"]
        )
        lines += [f"Not cached, since it has no hash: {why}." for why in s.get("not_cached", ())]
        doubt = [self.title(row) for row in self.rows if row["doubtful"]]
        if doubt:
            lines.append(f"! The worst case of {', '.join(doubt)} may be too high: see its signs of gradient masking.")
        return lines

    def title(self, row: dict[str, Any], missed: bool = True) -> str:
        """The defence of a row, with the net where there are several, and what must be said of its seeds.

        Args:
            row: of :attr:`rows`.
            missed: whether to say that it missed its target.
        """
        net = f" ({row['net']})" if self.many_nets else ""
        return f"{row['defence']}{net}{self.seeds_mark(row)}{self.missed_mark(row) * missed}"

    def missed_mark(self, row: dict[str, Any], short: bool = False) -> str:
        """`` (target missed: 95.4 %)`` where trainings of a row missed it, with the mean accuracy of these.

        Args:
            row: of :attr:`rows`.
            short: `` (missed)``, for a terminal.
        """
        seeds = f" in {len(row['missed'])} of {row['nb_seeds']} seeds" * (len(row["missed"]) < row["nb_seeds"])
        if not row["missed"]:
            return ""
        return f" (missed{seeds})" if short else f" (target missed{seeds}: {100 * np.mean(row['missed']):.1f} %)"

    def seeds_mark(self, row: dict[str, Any]) -> str:
        """`` (2 of 3 seeds)`` where the figures of a row are of some seeds only, since the other trainings failed."""
        return f" ({row['nb_seeds']} of {self.nb_seeds} seeds)" if 0 < row["nb_seeds"] < self.nb_seeds else ""

    def has(self, metric: str) -> bool:
        """Whether a row has this figure."""
        return any((row.get(metric) or {}).get("mean") is not None for row in self.rows)


def summary(values: list[float | None], nb_samples: int | None = None) -> dict[str, Any]:
    """Mean, standard deviation (n - 1) and values over the seeds, and the 95 % interval of a mean share.

    A mean of ``None`` where a seed has none, a deviation of ``None`` where there are not two seeds, and an interval
    only where ``nb_samples``, from which the share is, is known.
    """
    figures: dict[str, Any] = {"mean": None, "std": None, "values": values}
    if nb_samples is not None:
        figures |= {"nb_samples": nb_samples, "interval": None}
    if not values or any(v is None for v in values):
        return figures
    numbers = np.array(values, float)
    figures["mean"] = float(numbers.mean())
    if len(numbers) > 1:
        figures["std"] = float(numbers.std(ddof=1))
    if nb_samples:
        figures["interval"] = list(wilson(figures["mean"], nb_samples))
    return figures
