"""Certificates: no input within the radius has another label (Tsuzuku, Sato, Sugiyama 2018, arXiv 1802.04034)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import Function, function_of, graph_of
from artclip.frameworks.check import is_regressor, refuse_defences
from artclip.frameworks.one_output import OneOutput, how_read
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.estimate import LipschitzEstimate, fingerprint
from artclip.lipschitz.local.labels import LabelBounds
from artclip.lipschitz.pair_rule import DOMAINS
from artclip.lipschitz.precision import allowance
from artclip.lipschitz.upper import ROUNDING, lipschitz_upper_bound

METHODS = ("global", "local", "auto")
_ROWS = 1024
_SECONDS, _SHARE = 60.0, 0.5  # for the bound over all inputs, at most; and of the time that is given
_UNITS = 1000  # of rounding, by which outputs may differ from those that an estimate was made with


def certified_radius(
    estimator: Any,
    x: np.ndarray,
    y: np.ndarray | None = None,
    lipschitz: LipschitzEstimate | float | None = None,
    method: str = "global",
    norm: float | str = 2,
    domain: str = "clip_values",
    max_seconds: float | None = None,
) -> np.ndarray:
    """The radius around each sample within which its label provably stays.

    ``method="global"``: for the label i it is the least margin (f_i - f_j) / L_ij over the other classes j, where L_ij
    bounds the Lipschitz constant of f_i - f_j: from the bound's own matrix where it has one, else √2·L. A classifier of
    one output says class 1 above a threshold, 0 for log-odds and 1/2 for probabilities: the radius is the distance to
    it over L. It takes one bound for all samples, and holds for all inputs.

    ``method="local"``: the margins are bounded in the ball alone, by straight lines below and above each activation
    there (CROWN: Zhang et al. 2018, arXiv 1811.00866), and the radius is found by bisection. In L2 a second bound may
    reach further: the margin at the sample less the integral of its Lipschitz constants in smaller balls (LipSDP with
    the slopes that each unit has there), for layers of 4,096 numbers at most. It is mostly the larger one, and takes a
    tenth to half of a second a sample (dense layers) or up to a minute (convolutions of images of 28 x 28).
    ``"auto"`` takes the larger of the two.

    The proof is about f in real arithmetic, for the weights as they are stored. Outputs come rounded by the model's own
    precision, so margins are first reduced by an allowance: 64 times what random rounding of each layer's outputs moves
    those of the model at a few inputs, and 64 units of rounding of the largest output besides. For local radii these
    inputs are the sample and corners of the box around the ball. That is far above the errors that are seen, but no
    proof of how large they can be: where ``predict`` is off by more, an input just inside the radius may have another
    label.

    Args:
        estimator: a classifier, as for :func:`lipschitz_upper_bound`; or any, if ``lipschitz`` is given and the method
            is ``"global"``.
        x: shape (n, *input_shape), in the units of the classifier's ``clip_values``.
        y: class indices of shape (n,) or one-hot labels; ``None`` for the predicted ones.
        lipschitz: an upper bound or an exact constant from L2 to L2 that was made for this model as it is now, or a
            number that you know to be one; ``None`` for :func:`lipschitz_upper_bound`. Not for ``method="local"``.
        method: ``"global"``, ``"local"`` or ``"auto"``.
        norm: 2, or with ``method="local"`` inf.
        domain: ``"clip_values"``: no valid input within a local radius has another label; ``"free"``: no input has,
            valid or not, so that radii are smaller. Without ``clip_values`` both are one. Global radii are of all
            inputs.
        max_seconds: time, > 0, or ``None`` for what it takes, with a minute at most for the bound over all inputs;
            samples that it does not suffice for have their global radius, or 0. Layers are read in any case.

    Returns:
        Radii >= 0 of shape (n,); 0 where the prediction is not y.

    Raises:
        TypeError, ValueError: bad input, a regressor, or an estimate that is no upper bound in L2 of this model; with
            ``method="local"`` a layer without a rule or without straight lines, by its name.
    """
    checks.one_of("method", method, METHODS)
    checks.one_of("domain", domain, DOMAINS)
    if max_seconds is not None:
        checks.positive("max_seconds", max_seconds)
    p = checks.norm("norm", norm)
    if p == 1 or (p != 2 and method != "local"):
        raise ValueError(f'norm={norm!r} has no certificate with method={method!r}; use norm=2, or inf and "local"')
    if lipschitz is not None and method == "local":
        raise ValueError('method="local" needs no bound of the Lipschitz constant: leave lipschitz out')
    budget = None if max_seconds is None else Budget(max_seconds)
    f = function_of(estimator)
    refuse_defences(f)
    x = checks.inputs(x, f.input_shape or None, box=f.clip_values)
    if is_regressor(f):
        raise ValueError("a certificate is about labels, and this estimator is a regressor; give a classifier")
    outputs = f.outputs(x, _ROWS)
    read = how_read(f, x, outputs, guess=False)
    labels = None if y is None else checks.classes(x, y, max(2, outputs.shape[1]))
    predicted = outputs.argmax(1) if read is None else (outputs[:, 0] > read.threshold).astype(int)
    right = np.ones(len(x), bool) if labels is None else labels == predicted
    radii = np.zeros(len(x))
    if method != "local":
        seconds = _SECONDS if max_seconds is None else min(_SECONDS, _SHARE * max_seconds)
        bound = lipschitz_upper_bound(estimator, max_seconds=seconds) if lipschitz is None else lipschitz
        if isinstance(bound, LipschitzEstimate):
            _check(bound, f, x.shape[1:], outputs.shape[1])
        radii = np.where(right, _global(bound, outputs, predicted, read, f.precision), 0.0)
    if method == "global":
        return radii
    try:
        bounds = LabelBounds(graph_of(estimator), f, read, p, domain == "clip_values")
    except (TypeError, ValueError):
        if method == "local":
            raise
        return radii
    radii[right] = bounds.radii(x[right], predicted[right], radii[right], budget)
    return radii


def _global(
    bound: LipschitzEstimate | float, outputs: np.ndarray, labels: np.ndarray, read: OneOutput | None, precision: float
) -> np.ndarray:
    """L2 radii (n,) by Lipschitz constants that hold everywhere, for the labels that are predicted."""
    n, k = outputs.shape
    constants, moved = _constants(bound, k), getattr(bound, "rounding", None) or 0.0
    less = allowance(outputs, moved, precision)
    if read is not None:
        room = np.abs(outputs[:, 0] - read.threshold) - less[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(room > 0, room / constants[0, 0], 0.0)
    margins = outputs[np.arange(n), labels][:, None] - outputs - less
    with np.errstate(divide="ignore", invalid="ignore"):
        radii = np.where(margins > 0, margins / constants[labels], 0.0)
    radii[np.arange(n), labels] = math.inf
    return np.asarray(radii.min(1))


def _check(estimate: LipschitzEstimate, f: Function, input_shape: tuple[int, ...], k: int) -> None:
    """Raise ``ValueError`` unless the estimate is an upper bound from L2 to L2 of the model as it is now."""
    if estimate.kind == "lower" or estimate.norm != 2 or estimate.output_norm != 2:
        raise ValueError(f"a certificate needs an upper bound from L2 to L2, not this one: {estimate}")
    if estimate.nb_outputs not in (None, k) or (estimate.gram is not None and estimate.gram.shape != (k, k)):
        made = estimate.nb_outputs if estimate.gram is None else len(estimate.gram)
        raise ValueError(f"this estimate was made for a model of {made} outputs, and this one has {k}")
    same = estimate.fingerprint in (None, fingerprint(f, input_shape))
    if not same or _differs(estimate, f):
        raise ValueError(
            "this estimate was made for other weights, or for another model: compute it again, "
            "lipschitz_upper_bound(estimator)"
        )


def _differs(estimate: LipschitzEstimate, f: Function) -> bool:
    """Whether the model gives other outputs than it gave when the estimate was made."""
    if estimate.probe is None:
        return False
    x, before = estimate.probe
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(f.predict(x) - before).max(1)
    known = np.isfinite(before).all(1)
    return bool(np.any(off[known] > _UNITS * f.precision * np.abs(before[known]).max(1)))


def _constants(lipschitz: LipschitzEstimate | float, k: int) -> np.ndarray:
    """L_ij for all pairs of classes, shape (k, k); of one output L itself."""
    if k == 1:
        return np.full((1, 1), (1 + ROUNDING) * _number(lipschitz))
    if not isinstance(lipschitz, LipschitzEstimate):
        return np.full((k, k), math.sqrt(2) * (1 + ROUNDING) * _number(lipschitz))
    shared = np.full((k, k), math.sqrt(2) * (1 + 1e-12) * lipschitz.value)
    if lipschitz.gram is None:
        return shared
    diagonal = np.diag(lipschitz.gram)
    squares = diagonal[:, None] + diagonal - 2 * lipschitz.gram + 1e-12 * float(diagonal.max())
    return np.minimum(shared, np.sqrt(np.maximum(squares, 0)))


def _number(lipschitz: LipschitzEstimate | float) -> float:
    if isinstance(lipschitz, LipschitzEstimate):
        return float(lipschitz.value)
    checks.positive("lipschitz", lipschitz)
    return lipschitz
