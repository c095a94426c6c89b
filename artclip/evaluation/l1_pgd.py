"""ART's PGD with steps that suit the L1 ball."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_numpy import (
    ProjectedGradientDescentNumpy,
)

from artclip.evaluation.balls import steepest, still_free

_SHARE = 0.01  # of the coordinates, moved in a step


class SparseProjectedGradientDescent(ProjectedGradientDescentNumpy):
    """PGD in L1 by sparse steps (Tramèr, Boneh 2019, arXiv 1904.13000, algorithm 1).

    ART's own step moves the coordinate of the largest gradient, and goes on to when ``clip_values`` stop it; its
    projection scales all coordinates, so that what a random start gave the wrong ones fades slowly. Here a step is
    shared by the steepest per cent of the coordinates that can still move, and the projection is the nearest point.
    """

    def _compute(
        self,
        x: np.ndarray,
        x_init: np.ndarray,
        y: np.ndarray,
        mask: Any,
        eps: Any,
        eps_step: Any,
        *rest: Any,
        **named: Any,
    ) -> np.ndarray:
        moved = super()._compute(x, x_init, y, mask, eps, eps_step, False, *rest[1:], **named)
        return np.asarray(x_init + nearest_in_l1(moved - x_init, eps), moved.dtype)

    def _compute_perturbation(self, x: np.ndarray, y: np.ndarray, mask: Any, *_: Any, **__: Any) -> np.ndarray:
        gradient = self.estimator.loss_gradient(x, y)
        if self.estimator.clip_values is not None:
            gradient = still_free(gradient, x, *self.estimator.clip_values)
        if mask is not None:
            gradient = gradient * mask
        return np.asarray(steepest(gradient, 1, _SHARE), x.dtype)


def nearest_in_l1(v: np.ndarray, radius: float | np.ndarray) -> np.ndarray:
    """The nearest points of the L1 ball: soft thresholds (Duchi et al. 2008, figure 1).

    Args:
        v: points, shape (n, ...).
        radius: of the ball, > 0; one for all, or shape (n, 1).
    """
    flat = np.abs(v.reshape(len(v), -1)).astype(np.float64)
    falling = -np.sort(-flat, axis=1)
    thresholds = (np.cumsum(falling, axis=1) - radius) / np.arange(1, flat.shape[1] + 1)
    last = (falling > thresholds).sum(1) - 1
    threshold = np.maximum(thresholds[np.arange(len(v)), last], 0)
    return np.sign(v) * np.maximum(flat - threshold[:, None], 0).reshape(v.shape)
