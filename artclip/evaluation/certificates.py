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

CUT_SHORT = ("No certificates by", "There was no time")
"""How remarks begin that say why more may be certified than is."""
_SECONDS = 30.0  # for bounds in balls
_HAIR = 2e-3  # of eps, further than which labels are shown to stay: examples are rounded


def certified_radii(
    evaluated: EvaluatedModel,
    norm: float,
    eps: float,
    upper: Any,
    fallen: np.ndarray,
    max_seconds: float = _SECONDS,
    few: np.ndarray | None = None,
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
        few: samples that the model gets right, (m,), whose radii are to be as large as can be; half as much time more.
    """
    radii = certified_radius(evaluated.f, evaluated.x, evaluated.y, upper) if norm == 2 and upper else None
    found = np.zeros(len(evaluated.x)) if radii is None else radii
    few, by_constant = np.zeros(0, int) if few is None else few, found >= eps
    alone = [] if radii is None else [f"Certified: {100 * by_constant.mean():.1f} % by the Lipschitz constant"]
    left = np.flatnonzero(evaluated.right & ~fallen & ~by_constant)
    if norm == 1 or not (len(left) or len(few)):
        return radii, alone
    budget = Budget(max_seconds)
    try:
        graph = graph_of(evaluated.f, max_seconds=max_seconds / 4)
        bounds = LabelBounds(graph, evaluated.f, evaluated.one, norm)
    except (TypeError, ValueError) as error:
        return radii, [*alone, f"No certificates in balls: {error}"]
    if not budget.affords(bounds.cost):
        return radii, [*alone, f"No certificates in balls: a sample would take more than {max_seconds:.0f} s"]
    kept = bounds.keep(evaluated.x[left], evaluated.y[left], eps * (1 + _HAIR), budget)
    found[left[kept == 1]] = eps * (1 + _HAIR)
    found[few] = bounds.radii(evaluated.x[few], evaluated.y[few], found[few], Budget(max_seconds / 2))
    box = ", among valid inputs" * (evaluated.f.clip_values is not None)
    both = "CROWN, LipSDP" if bounds.is_along else "CROWN"
    how = f"by bounds of the layers in the ball ({both}{box})"
    local = 100 * float(((found >= eps) & ~by_constant).mean())
    said = [f"{alone[0]}, {local:.1f} % more {how}" if alone else f"Certified: {how}"]
    if late := int((kept < 0).sum()):
        said.append(
            f"There was no time for all bounds in the balls of {counted(late, 'sample')}, which count as not certified"
        )
    return found, said
