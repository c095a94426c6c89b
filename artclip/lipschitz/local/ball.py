"""Balls around samples, cut off by the box of valid inputs, and the least value of a linear function in them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from artclip.frameworks import Function
from artclip.norms import dual_norm

_STEPS = 2  # towards the multiplier of the ball
_TINY = 1e-300


def box_of(f: Function, in_box: bool) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest inputs (d,) of a model that count: valid ones, or all."""
    low, high = f.clip_values if in_box and f.clip_values is not None else (-math.inf, math.inf)
    low, high = (np.broadcast_to(np.asarray(b, np.float64), f.input_shape).ravel() for b in (low, high))
    return low, high


@dataclass(frozen=True)
class Balls:
    """One ball for each sample.

    Attributes:
        x: centres (n, d), inside the box.
        radius: (n,), >= 0.
        norm: 2 or inf.
        low, high: the box (d,); infinite where there is none.
    """

    x: np.ndarray
    radius: np.ndarray
    norm: float
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def of(self, part: slice) -> Balls:
        """Some of them."""
        return replace(self, x=self.x[part], radius=self.radius[part])

    @property
    def _room(self) -> tuple[np.ndarray, np.ndarray]:
        """How far each input may go down and up, (n, d)."""
        r = self.radius[:, None]
        return np.maximum(-r, np.minimum(self.low - self.x, 0)), np.minimum(r, np.maximum(self.high - self.x, 0))

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest inputs."""
        down, up = self._room
        return self.x + down, self.x + up

    def least(self, a: np.ndarray) -> np.ndarray:
        """The least values (n, m) of linear functions of the inputs, or, in L2, bounds below them.

        Args:
            a: coefficients (n, m, d), or (1, m, d) where they are the same for all balls.
        """
        at = a[0] @ self.x.T if len(a) == 1 else (a @ self.x[:, :, None])[:, :, 0].T
        down, up = self._room
        if self.norm == math.inf:
            if len(a) == 1:
                return (at + np.maximum(a[0], 0) @ down.T + np.minimum(a[0], 0) @ up.T).T
            way = np.maximum(a, 0) @ down[:, :, None] + np.minimum(a, 0) @ up[:, :, None]
            return at.T + way[:, :, 0]
        found = -self.radius[:, None] * np.linalg.norm(a, dual_norm(self.norm), axis=2)
        if np.isfinite(self.low).any() or np.isfinite(self.high).any():
            found = np.maximum(found, np.stack([self._in_box(a[i % len(a)], i, down, up) for i in range(len(self))]))
        return at.T + found

    def _in_box(self, a: np.ndarray, i: int, down: np.ndarray, up: np.ndarray) -> np.ndarray:
        """Bounds (m,) of the least a·d over steps d of ball i that stay in the box, by weak duality.

        For any multiplier μ > 0 it is at least Σ min over dⱼ in the box of (aⱼ·dⱼ + μ·dⱼ²/2) less μ·r²/2; the best μ
        is that at which the steps of these minima have the length r, or 0 where the ball has the whole box in it.
        """
        r = float(self.radius[i])
        if r == 0:
            return np.zeros(len(a))
        usable = np.where(a > 0, a * (down[i] < 0), a * (up[i] > 0))
        mu = np.linalg.norm(usable, axis=1) / r + _TINY
        best = np.maximum(usable, 0) @ down[i] + np.minimum(usable, 0) @ up[i]  # all of the box, without the ball
        for _ in range(_STEPS):
            d = np.clip(usable / -mu[:, None], down[i], up[i])
            squares = (d * d).sum(1)
            best = np.maximum(best, (usable * d).sum(1) + mu / 2 * (squares - r * r))
            mu = np.maximum(mu * np.sqrt(squares) / r, _TINY)
        return best
