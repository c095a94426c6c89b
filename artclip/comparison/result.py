"""A comparison as text, LaTeX, CSV, JSON, HTML and pictures."""

from __future__ import annotations

import os
from typing import Any

from artclip.comparison import table
from artclip.comparison.data import ComparisonData
from artclip.comparison.plots import plot_comparison
from artclip.comparison.report import comparison_page
from artclip.comparison.significance import Best, best
from artclip.extras import how_to_install
from artclip.reporting.intervals import wilson
from artclip.reporting.records import as_json, written


class Comparison(ComparisonData):
    """What each defence gave.

    Args:
        settings: everything that the figures depend on, with versions and machine.
        experiment: how each was trained and measured.
        cells: of all nets, defences and seeds.

    Attributes:
        rows: one dict for each net and defence: ``net``, ``defence``, ``nb_seeds`` (how many trainings did not fail:
            the figures are of these), ``signs`` (of gradient masking, with the number of seeds that show them),
            ``doubtful`` (whether one is about the worst case), ``notes`` (what trainings warned of, and what could not
            be done), ``missed`` (accuracies of the seeds that missed their target), ``error``, and ``{"mean", "std",
            "values"}`` over the seeds, the deviation with n - 1, for each of ``train``, ``test``, every attack by its
            name, ``worst`` (upper bound of the robust accuracy; ``None`` where nothing attacked within the budget),
            ``certified`` (lower bound; all shares in [0, 1], with ``nb_samples`` and their 95 % ``interval``),
            ``lipschitz_lower``, ``lipschitz_upper``, ``lamda`` (at the end of training), ``seconds_per_epoch``,
            ``cpu_seconds``, ``cpu_seconds_per_epoch``, ``peak_memory`` (MiB of the process, an upper bound),
            ``gradients`` (inputs through which gradients were taken, for each sample and epoch; 1 for plain training),
            and ``cpu_cost`` (CPU seconds of an epoch over those of ``standard`` with the same net and seed on the same
            machine).
    """

    def best(self, metric: str = "worst") -> Best | None:
        """The row with the highest mean of an accuracy, and by what it is told from each other row.

        Args:
            metric: ``test``, an attack's name, ``worst`` or ``certified``.

        Returns:
            The row and its rivals with p-values; ``None`` where fewer than two rows have the figure.
        """
        return best(self, metric)

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
            raise ImportError(f"pandas is not installed; {how_to_install('pandas', 'report')}") from None
        return pandas.DataFrame.from_records(table.records(self))

    def to_dict(self) -> dict[str, Any]:
        """Settings, rows, and cells with history, curve and the outcome of each sample."""
        cells = []
        for c in self.cells:
            per_sample = {name: a.astype(int).tolist() for name, a in c.kept.items()}
            intervals = {m: wilson(v, c.samples[m]) for m, v in c.figures.items() if v is not None and m in c.samples}
            cells.append({**c.record(), "intervals": intervals, "per_sample": per_sample})
        return {"settings": self.settings, "rows": self.rows, "notes": self.notes(), "cells": cells}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:meth:`to_dict` as JSON; also written to ``path`` where given."""
        return as_json(self.to_dict(), path)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """A report in one file that needs no network; also written to ``path`` where given."""
        return written(comparison_page(self), path)

    def plot(self) -> Any:
        """Security curves and what robustness costs, as a ``matplotlib.figure.Figure``."""
        return plot_comparison(self)

    def __str__(self) -> str:
        return table.text(self)
