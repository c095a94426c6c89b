"""The figure of a Lipschitz bracket."""

from __future__ import annotations

from typing import Any

import numpy as np

from artclip.lipschitz.estimate import LipschitzEstimate
from artclip.reporting.figures import BLUE, VERMILLION, draw_input, log_axis, new_figure, styled


@styled
def plot_bracket(classifier: Any, lower: LipschitzEstimate, upper: LipschitzEstimate | None = None) -> Any:
    """The steepest pair found, what the model says of its two points, and how the bounds came to be.

    Args:
        classifier: the estimator that was measured.
        lower: a lower bound of it, with its pair.
        upper: an upper bound or the exact constant, or ``None``.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: matplotlib is not installed.
    """
    if lower.u is None or lower.v is None:
        raise ValueError("a figure needs a lower bound with its pair, from lipschitz_lower_bound")
    figure = new_figure(11, 6)
    axes: Any = figure.subplot_mosaic([["u", "v", "difference"], ["outputs", "bounds", "bounds"]])
    difference = lower.v.astype(np.float64) - lower.u
    low, high = min(lower.u.min(), lower.v.min()), max(lower.u.max(), lower.v.max())
    draw_input(axes["u"], lower.u, "u", low, high)
    draw_input(axes["v"], lower.v, "v", low, high)
    largest = float(np.abs(difference).max())
    draw_input(
        axes["difference"], difference, f"v - u, L{lower.norm} length {lower.distance:.3g}", -largest, largest, "RdBu_r"
    )
    outputs = np.asarray(classifier.predict(np.stack([lower.u, lower.v]))).reshape(2, -1)
    _outputs(axes["outputs"], outputs)
    _bounds(axes["bounds"], lower, upper)
    return figure


def _outputs(axes: Any, outputs: np.ndarray) -> None:
    places = np.arange(outputs.shape[1])
    for row, name, colour in ((outputs[0], "f(u)", BLUE), (outputs[1], "f(v)", VERMILLION)):
        axes.bar(places + (0.2 if name == "f(v)" else -0.2), row, 0.4, label=name, color=colour)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_title("outputs"), axes.set_xlabel("output")
    if len(places) <= 20:
        axes.set_xticks(places)
    axes.legend()


def _bounds(axes: Any, lower: LipschitzEstimate, upper: LipschitzEstimate | None) -> None:
    for estimate, colour, sign in ((lower, BLUE, "≥"), (upper, VERMILLION, "≤")):
        if estimate is None:
            continue
        sign = "=" if estimate.kind == "exact" else sign
        seconds, values = zip(*estimate.history, (estimate.seconds, estimate.value), strict=True)
        best = np.maximum.accumulate(values) if estimate.kind == "lower" else np.minimum.accumulate(values)
        name = estimate.method.split(",")[0]
        axes.plot(seconds, best, color=colour, drawstyle="steps-post", label=f"{sign} {estimate.value:.4g}  {name}")
        axes.plot(seconds[-1], best[-1], "o", color=colour)
    if upper is not None and upper.history and max(v for _, v in upper.history) > 3 * lower.value:
        log_axis(axes, "y")
    axes.set_title(f"Lipschitz constant, L{lower.norm} to L{lower.output_norm}, while it was bounded")
    axes.set_xlabel("seconds"), axes.set_ylabel("bound")
    axes.legend()
    axes.grid(alpha=0.3)
