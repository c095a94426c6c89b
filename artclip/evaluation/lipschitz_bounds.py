"""The bounds of the Lipschitz constant that stand beside an evaluation."""

from __future__ import annotations

from typing import Any

from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.progress import Progress
from artclip.lipschitz.lower import lipschitz_lower_bound
from artclip.lipschitz.upper import lipschitz_upper_bound

_STARTS = 2000  # samples that the search starts from
_SECONDS = 60.0  # for the upper bound
LARGE = 64  # samples in one pass, below which a model is too large for a whole search


def lipschitz_bounds(
    evaluated: EvaluatedModel, norm: float, seed: int, progress: Progress
) -> tuple[dict[str, Any], str]:
    """Bounds, and why there is no upper one."""
    estimator, x, size = evaluated.estimator, evaluated.x, evaluated.classifier.batch_size
    if evaluated.classifier.access == "predict alone":
        return {}, "the model gives outputs alone, which take long to search; lipschitz_lower_bound does it"
    effort = (16, 40) if size >= LARGE else (2, 5)  # a whole search takes minutes on a CNN, hours on photos
    try:
        lower = lipschitz_lower_bound(
            estimator,
            x[:_STARTS],
            norm,
            nb_restarts=effort[0],
            max_iter=effort[1],
            batch_size=min(128, size),
            seed=seed,
            verbose=False,
            clip_values=evaluated.clip_values,
        )
    except Exception as error:
        return {}, _said(error)
    progress.update()
    try:
        upper = lipschitz_upper_bound(evaluated.f, norm, max_seconds=_SECONDS, verbose=False)
    except Exception as error:
        return {"lower": lower, "upper": None}, _said(error)
    return {"lower": lower, "upper": upper}, ""


def _said(error: Exception) -> str:
    kind = "" if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: "
    return kind + str(error)
