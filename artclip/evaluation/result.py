"""An evaluation with its pictures and its page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from artclip import checks
from artclip.evaluation.curves import Curve
from artclip.evaluation.data import EvaluationData
from artclip.evaluation.plots import plot_evaluation
from artclip.evaluation.report import evaluation_page
from artclip.evaluation.units import rising
from artclip.reporting.records import written
from artclip.reporting.text import counted


class Evaluation(EvaluationData):
    """How robust a model is.

    Attributes:
        settings: everything that the figures depend on, with versions and machine.
        outcomes: what each attack did.
        right: which samples the model gets right unattacked, shape (n,).
        warnings: signs of gradient masking and of weak attacks, each with what to try.
        lipschitz: ``{"lower": ..., "upper": ... or None}``, or empty.
        certified: which samples provably keep their right label within eps in L2, shape (n,), or ``None``.
        curve: (eps, accuracy) of short PGD attacks on the probed samples, all of which the model gets right.
        seconds: in all.
        examples: a few adversarial examples of each attack.
        class_names: names of the classes, or ``None``.
        fell_to_probe: which samples the short attacks behind the signs, or the search for the nearest examples, broke
            within the budget, and no other attack did, shape (n,); ``None`` where there were none.
        remarks: what was done to the samples, or could not be done, one line each.
        mistakes: what is likely wrong with the model or its data, each with what to try.
        below: (eps, robust accuracy) of smaller budgets, rising; empty where there was one budget. ``None`` for the
            accuracy where no attack ran.
        distance: how far the nearest adversarial example is that was found for each sample, in the norm of the budget,
            shape (n,): 0 where the label is wrong already, inf where none was found, NaN where nobody looked. An upper
            bound of the true one.
        nearest: by sample the example behind ``distance``, input-shaped: of the first ``nb_distances`` samples, as far
            as it is of the search for the nearest.
        radius: within which each sample provably keeps its right label, shape (n,): a lower bound of the same distance;
            ``None`` where nothing was proved. Only of samples with a distance it was made as large as could be.
        smoothed: of an estimator that ART smooths, the radii of :func:`artclip.smoothed_radius` in L2, shape (n,), each
            with a confidence of its ``alpha``; all else is of its net without noise. ``None`` for any other model.
        smoothed_right: of such an estimator, whether most noisy copies of each sample get its label, shape (n,).
        fell_below: which samples the attacks broke within these, shape (n,); ``None`` where there was one budget.
    """

    def robustness_curve(self, eps: Sequence[float] | None = None) -> Curve:
        """The worst case of all attacks over eps, as a :class:`~artclip.evaluation.curves.Curve`.

        Args:
            eps: budgets, >= 0; ``None`` for :attr:`by_eps`. Others than these are answered by :attr:`distance`.

        Raises:
            ValueError: no attack within the budget ran, or eps is given and the nearest example of every sample was not
                looked for.
        """
        known = self.by_eps
        if eps is not None:
            known = [(e, self.robust_accuracy_at(e)) for e in sorted({0.0, *rising("eps", eps, checks.non_negative)})]
        values, accuracy = zip(*known, strict=True)
        if None in accuracy:
            raise ValueError("no attack within the budget ran, so there is no curve")
        s, n = self.settings, len(self.right)
        title = f"worst case of all attacks on {counted(n, 'sample')}"
        return Curve(s, title, f"eps, L{s['norm']}", list(values), n, {s["name"]: list(accuracy)}, seconds=self.seconds)

    def plot(self) -> Any:
        """Accuracy by attack and over eps, as a ``matplotlib.figure.Figure``."""
        return plot_evaluation(self)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """A report in one file that needs no network; also written to ``path`` where given."""
        return written(evaluation_page(self), path)
