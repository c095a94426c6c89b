"""Certificates: no input within the radius has another label (Tsuzuku, Sato, Sugiyama 2018, arXiv 1802.04034)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import function_of
from artclip.lipschitz.estimate import LipschitzEstimate
from artclip.lipschitz.upper import lipschitz_upper_bound

_ROUNDING = 64  # units of rounding that outputs are allowed to be off by
_ROWS = 1024


def certified_radius(
    estimator: Any, x: np.ndarray, y: np.ndarray | None = None, lipschitz: LipschitzEstimate | float | None = None
) -> np.ndarray:
    """The L2 radius around each sample within which its label provably stays.

    For the label i it is the least margin (f_i - f_j) / L_ij over the other classes j, where L_ij bounds the Lipschitz
    constant of f_i - f_j: from the bound's own matrix where it has one, else √2·L.

    Args:
        estimator: a classifier, as for :func:`lipschitz_upper_bound`; or any, if ``lipschitz`` is given.
        x: shape (n, *input_shape), in the units of the classifier's ``clip_values``.
        y: class indices of shape (n,) or one-hot labels; ``None`` for the predicted ones.
        lipschitz: an upper bound or an exact constant from L2 to L2, or a number that you know to be one; ``None`` for
            :func:`lipschitz_upper_bound`.

    Returns:
        Radii >= 0 of shape (n,); 0 where the prediction is not y.

    Raises:
        TypeError, ValueError: bad input, or an estimate that is no upper bound in L2.
    """
    f = function_of(estimator)
    x = checks.inputs(x, f.input_shape or None)
    outputs = f.outputs(x, _ROWS)
    n, k = outputs.shape
    if k < 2:
        raise ValueError(f"a certificate needs a classifier of two or more outputs; this one has {k}")
    labels = outputs.argmax(1) if y is None else checks.classes(x, y, k)
    constants = _constants(lipschitz_upper_bound(estimator) if lipschitz is None else lipschitz, k)
    rounding = _ROUNDING * f.precision * np.abs(outputs).max(1, keepdims=True)
    margins = outputs[np.arange(n), labels][:, None] - outputs - rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        radii = np.where(margins > 0, margins / constants[labels], 0.0)
    radii[np.arange(n), labels] = math.inf
    return radii.min(1)


def _constants(lipschitz: LipschitzEstimate | float, k: int) -> np.ndarray:
    """L_ij for all pairs of classes, shape (k, k)."""
    if not isinstance(lipschitz, LipschitzEstimate):
        checks.positive("lipschitz", lipschitz)
        return np.full((k, k), math.sqrt(2) * lipschitz)
    if lipschitz.kind == "lower" or lipschitz.norm != 2 or lipschitz.output_norm != 2:
        raise ValueError(f"a certificate needs an upper bound from L2 to L2, not this one: {lipschitz}")
    shared = np.full((k, k), math.sqrt(2) * lipschitz.value)
    if lipschitz.gram is None:
        return shared
    diagonal = np.diag(lipschitz.gram)
    squares = diagonal[:, None] + diagonal - 2 * lipschitz.gram
    return np.minimum(shared, np.sqrt(np.maximum(squares, 0)) * (1 + 1e-9) + 1e-12 * math.sqrt(diagonal.max()))
