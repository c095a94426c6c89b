"""Which samples provably keep their label within the budget, by the best proof that there is time for."""

from __future__ import annotations

from typing import Any

import numpy as np

from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.frameworks import graph_of
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.certificate import certified_radius
from artclip.lipschitz.local.labels import LabelBounds
from artclip.reporting.text import counted

_SECONDS = 30.0  # for bounds in balls
_HAIR = 2e-3  # of eps, further than which labels are shown to stay: examples are rounded


def certified_radii(
    evaluated: EvaluatedModel, norm: float, eps: float, upper: Any, fallen: np.ndarray, max_seconds: float = _SECONDS
) -> tuple[np.ndarray | None, list[str]]:
    """Radii (n,) that are proved, 0 where none is; ``None`` where nothing could be proved of any sample; and remarks.

    In L2 by the Lipschitz constant, where there is an upper bound of it. Samples for which that is not enough, which
    the model gets right and which stand, are looked at in their balls, as many as there is time for.

    Args:
        evaluated: the model and samples.
        norm: of the budget.
        eps: radius > 0 that matters.
        upper: the bound of the Lipschitz constant, or ``None``.
        fallen: samples (n,) that an attack has broken.
        max_seconds: time for bounds in balls, > 0.
    """
    radii = certified_radius(evaluated.estimator, evaluated.x, evaluated.y, upper) if norm == 2 and upper else None
    found = np.zeros(len(evaluated.x)) if radii is None else radii
    by_constant = int((found >= eps).sum())
    left = np.flatnonzero(evaluated.right & ~fallen & (found < eps))
    if norm == 1 or not len(left):
        return radii, []
    budget = Budget(max_seconds)
    try:
        graph = graph_of(evaluated.estimator, max_seconds=max_seconds / 4)
        bounds = LabelBounds(graph, evaluated.f, evaluated.one, norm)
    except (TypeError, ValueError) as error:
        return radii, [] if radii is None else [f"No certificates by linear bounds: {error}"]
    if not budget.affords(bounds.cost):
        return radii, [f"No certificates by linear bounds: a sample would take more than {max_seconds:.0f} s"]
    kept = bounds.keep(evaluated.x[left], evaluated.y[left], eps * (1 + _HAIR), budget)
    found[left[kept == 1]] = eps * (1 + _HAIR)
    box = ", among valid inputs" * (evaluated.f.clip_values is not None)
    how = f"by linear bounds of the layers in the ball (CROWN{box})"
    constant, local = (100 * nb / len(found) for nb in (by_constant, (kept == 1).sum()))
    more = f"{constant:.1f} % by the Lipschitz constant, {local:.1f} % more " if norm == 2 else ""
    said = [f"Certified: {more}{how}"]
    if late := int((kept < 0).sum()):
        said.append(f"There was no time for linear bounds of {counted(late, 'sample')}, which count as not certified")
    return found, said
