"""Published tables of CLIP, measured again: the published figure beside ours, and what holds of what was claimed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from artclip import checks
from artclip.comparison.compare import compare
from artclip.comparison.experiment import Experiment
from artclip.comparison.published import TABLES, Figures, PublishedTable
from artclip.comparison.result import Comparison
from artclip.reporting.records import as_json


@dataclass(frozen=True)
class Reproduction:
    """A table measured again.

    Attributes:
        table: what was published.
        comparison: what was found.
    """

    table: PublishedTable
    comparison: Comparison

    @property
    def ours(self) -> dict[str, Figures]:
        """Published name -> metric -> mean over the seeds, in % but for λ and the Lipschitz bounds."""
        figures = {}
        for name, defence in self.table.rows.items():
            row = next(row for row in self.comparison.rows if row["defence"] == defence)
            means = {m: v for m, v in row.items() if isinstance(v, dict) and v.get("mean") is not None}
            figures[name] = {m: (100 if "interval" in v else 1) * v["mean"] for m, v in means.items()}
        return figures

    @property
    def claims(self) -> dict[str, bool | None]:
        """What was claimed, and whether it holds of our means; ``None`` where a training failed."""
        held: dict[str, bool | None] = {}
        for text, holds in self.table.claims.items():
            try:
                held[text] = bool(holds(self.ours))
            except KeyError:
                held[text] = None
        return held

    def to_markdown(self) -> str:
        """Published / ours, column by column; what was assumed; what holds; and our whole table."""
        t = self.table
        lines = beside(t.name, t.columns, t.published, self.ours, {"worst case, ours": "worst"})
        verdicts = {True: "holds", False: "does not hold", None: "not known"}
        lines += ["", f"- {t.source}. {t.setting}"]
        lines += [f"- {text}: **{verdicts[held]}**." for text, held in self.claims.items()]
        notes = (f"- {line}" for line in self.comparison.notes())
        return "\n".join([*lines, "", self.comparison.to_markdown(), "", *notes])

    def to_dict(self) -> dict[str, Any]:
        """All but the outcome of each sample and the history of each training."""
        comparison = self.comparison.to_dict()
        for cell in comparison["cells"]:
            del cell["per_sample"], cell["history"]
        t = self.table
        about = {"name": t.name, "source": t.source, "setting": t.setting, "published": t.published, "rows": t.rows}
        return {**about, "columns": t.columns, "claims": self.claims, "ours": self.ours, "comparison": comparison}


def reproduce(
    name: str,
    nb_seeds: int = 3,
    framework: str | None = None,
    n_jobs: int = 1,
    cache: str | os.PathLike[str] | None = None,
    quick: bool = False,
    verbose: bool = True,
    nb_threads: int = 1,
) -> list[Reproduction]:
    """Measure a published table again.

    Args:
        name: ``"readme"``, the table of the README of the published code; ``"talk"``, those of a talk about CLIP.
        nb_seeds: trainings for each row, >= 1.
        framework: as for :func:`artclip.compare`.
        n_jobs, cache, nb_threads: as for :func:`artclip.compare`.
        quick: one epoch on 500 samples, to see that it runs; its figures mean nothing.
        verbose: show progress, on a terminal or in a notebook.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: the data are not at hand.
    """
    checks.one_of("name", name, TABLES)
    load, reproductions = Experiment(framework=framework).load, []
    for table in TABLES[name]:
        if quick:
            options = {"nb_epochs": 1, "attack_samples": 20, "curve_samples": 0, "attacks": _short(table.options)}
            table = replace(
                table, nb_training=500, options={**table.options, **options, "masking": False, "lipschitz": False}
            )
        ((x, y), test), _ = load(table.data)
        data = (x[: table.nb_training], y[: table.nb_training]), test
        comparison = compare(
            data,
            defences=list(dict.fromkeys(table.rows.values())),
            nb_seeds=nb_seeds,
            framework=framework,
            n_jobs=n_jobs,
            cache=cache,
            verbose=verbose,
            nb_threads=nb_threads,
            **table.options,
        )
        some = "" if table.nb_training is None else f", first {table.nb_training:,} training images"
        comparison.settings["data"] = f"{table.data}{some}"
        reproductions.append(Reproduction(table, comparison))
    return reproductions


_FORMS = {"lamda": ".2g", "lipschitz_lower": ".2f"}


def beside(
    name: str, columns: dict[str, str], published: dict[str, Figures], ours: dict[str, Figures], more: dict[str, str]
) -> list[str]:
    """Published / ours as the lines of a Markdown table.

    Args:
        name, columns, published: of a :class:`PublishedTable`.
        ours: published name -> metric -> figure.
        more: title -> metric of columns that have no published figures.
    """
    titles = [*(f"{title}, published / ours" for title in columns), *more]
    lines = [f"| {name} | {' | '.join(titles)} |", f"| --- |{' --: |' * len(titles)}"]

    def said(figure: float | None, metric: str) -> str:
        return "–" if figure is None else format(figure, _FORMS.get(metric, ".1f"))

    for row, figures in ours.items():
        cells = [f"{said(published[row].get(t), m)} / {said(figures.get(m), m)}" for t, m in columns.items()]
        cells += [said(figures.get(m), m) for m in more.values()]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def _short(options: dict[str, Any]) -> dict[str, str]:
    steps = {"pgd": ":max_iter=5,nb_restarts=1", "pgd-margin": ":max_iter=5,nb_restarts=1", "pgd-sign": ":max_iter=5"}
    return {name: name + steps.get(name, "") for name in options["attacks"] if name in steps or name == "noise"}


def write(reproductions: list[Reproduction], path: str | os.PathLike[str] | None = None) -> str:
    """The tables as JSON; also written to ``path`` where given."""
    return as_json({"tables": [r.to_dict() for r in reproductions]}, path)
