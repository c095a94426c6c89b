"""Steps of Muon along the Stiefel manifold: how matrices are trained that stay orthogonal.

A matrix W, shape (m, n) with m <= n, lies on the manifold where W·Wᵀ = I. A step takes the part of the gradient that
is tangent to it, turns that into a matrix whose singular values are all about 1 (Muon: Jordan, Jin, Boza, You, Cesista,
Newhouse, Bernstein 2024, https://kellerjordan.github.io/posts/muon/), goes along it, and returns to the manifold by
iterations that converge to the nearest point (Björck, Bowie 1971). For a square matrix that is the steepest step of its
length in the spectral norm; for others it is the first of the alternating projections of Cesista 2025
(https://leloykun.github.io/ponder/steepest-descent-stiefel/), and Bernstein 2025
(https://thinkingmachines.ai/blog/modular-manifolds/) solves for the steepest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from artclip import checks
from artclip.frameworks.base import Tensor

ITERATIONS, QUINTIC = 5, (3.4445, -4.7750, 2.0315)  # of Newton and Schulz, with the coefficients of Jordan et al.
RETURNS = 2  # iterations back; the error goes to its third power in each
MOST_ANGLE = 0.5  # radians a step: from farther away, so few iterations do not return
ROLES = ("orthogonal", "free", "vector")
"""What a parameter may be: a matrix that stays orthogonal, one that does not, or what Adam trains."""
_TINY = 1e-7


@dataclass(frozen=True)
class Matrices:
    """What a framework does with matrices, of shape (m, n); they have ``@``, and arithmetic with numbers."""

    transposed: Callable[[Tensor], Tensor]
    length: Callable[[Tensor], Tensor]
    """The Frobenius norm."""
    eye: Callable[[int, Tensor], Tensor]
    """The identity of so many rows, in the dtype and on the device of a tensor."""

    def tangent(self, gradient: Tensor, w: Tensor) -> Tensor:
        """The part of a gradient along the manifold, at W with orthonormal rows."""
        across = gradient @ self.transposed(w)
        return gradient - 0.5 * (across + self.transposed(across)) @ w

    def direction(self, matrix: Tensor) -> Tensor:
        """Near the closest matrix whose singular values are 1.

        Those that are not far below the largest end between 0.7 and 1.2. Each iteration is a polynomial of the Gram
        matrix, and all of them commute, so that the wide matrix itself is multiplied twice.
        """
        a, b, c = QUINTIC
        matrix = matrix / (self.length(matrix) + _TINY)
        gram = matrix @ self.transposed(matrix)
        eye = self.eye(gram.shape[0], gram)
        factor = found = a * eye + b * gram + c * (gram @ gram)
        for _ in range(ITERATIONS - 1):
            gram = factor @ gram @ factor
            factor = a * eye + b * gram + c * (gram @ gram)
            found = factor @ found
        return found @ matrix

    def returned(self, w: Tensor) -> Tensor:
        """The point of the manifold next to a matrix near it."""
        for _ in range(RETURNS):
            gram = w @ self.transposed(w)
            w = 1.875 * w - (1.25 * gram - 0.375 * (gram @ gram)) @ w
        return w

    def stepped(self, w: Tensor, gradient: Tensor, angle: Tensor | float) -> Tensor:
        """W after a step down a gradient (or a mean of gradients) that turns it by an angle, in radians."""
        return self.returned(w - angle * self.direction(self.tangent(gradient, w)))


def check_angle(name: str, value: float) -> None:
    """Raise ``ValueError`` where a learning rate is no angle that a step may have."""
    checks.positive(name, value)
    if value > MOST_ANGLE:
        raise ValueError(f"{name}={value:g} is an angle in radians; give one of {MOST_ANGLE:g} at most")


def nearest(matrix: np.ndarray) -> np.ndarray:
    """The matrix with orthonormal rows, or columns, that is nearest to one, shape (m, n); in float64.

    Raises:
        ValueError: it is not finite.
    """
    if not np.isfinite(matrix).all():
        raise ValueError("a weight is NaN or infinite, and no orthogonal matrix is near it")
    left, _, right = np.linalg.svd(np.asarray(matrix, dtype=np.float64), full_matrices=False)
    found: np.ndarray = left @ right
    return found


def roles(shapes: Sequence[tuple[int, ...]], free_last: bool) -> list[str]:
    """One of :data:`ROLES` for each parameter, by their shapes."""
    found = ["orthogonal" if len(shape) >= 2 else "vector" for shape in shapes]
    if free_last and "orthogonal" in found:
        found[len(found) - 1 - found[::-1].index("orthogonal")] = "free"
    return found
