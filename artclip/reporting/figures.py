"""What all figures are drawn with, by matplotlib: the colours, the type, the lines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np

from artclip.extras import how_to_install

MISSING = f"matplotlib is not installed; {how_to_install('matplotlib', 'report')}"
# The palette of Okabe and Ito (2008), which colour-blind readers can tell apart, without its yellow; and a grey.
GREY, BLUE, VERMILLION, GREEN, ORANGE = "#6b7280", "#0072b2", "#d55e00", "#009e73", "#e69f00"
PURPLE, SKY, BLACK, FAINT = "#cc79a7", "#56b4e9", "#000000", "#9aa0a8"
SERIES = (GREY, BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)  # the first is for what others are compared with
MARKERS = "osD^vP*X<>"
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.titlesize": 12,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}
_LONGEST = 26  # letters of a name
P = ParamSpec("P")


def styled(draw: Callable[P, Any]) -> Callable[P, Any]:
    """A function that draws, in the style of all figures, whatever style its caller has set.

    Raises:
        ImportError: as soon as it is called, where matplotlib is not installed.
    """

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Any:
        with matplotlib().rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def short(text: object, longest: int = _LONGEST) -> str:
    """Short enough, and never read as a formula."""
    line = " ".join(str(text).split())
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    return line.replace("$", r"\$")


def draw_input(axes: Any, x: np.ndarray, title: str, low: float, high: float, colours: str = "gray") -> None:
    """An input as an image, shades from low to high; as a line where it is none."""
    axes.set_title(title, fontsize=8.5)
    image = as_image(x)
    if image is None:
        axes.plot(np.ravel(x), color=BLUE, linewidth=1, marker="o" if x.size <= 40 else None, markersize=3)
        axes.set_xlabel("feature")
        return
    if image.ndim == 3 and colours != "gray":
        image = image.mean(axis=2)
    if image.ndim == 3:
        image = (image - low) / ((high - low) or 1.0)
    shown = axes.imshow(image, cmap=colours, vmin=low, vmax=high)
    axes.set_xticks([]), axes.set_yticks([])
    if colours != "gray":
        axes.figure.colorbar(shown, ax=axes, shrink=0.8)


def log_axis(axes: Any, name: str) -> None:
    """Make the axis x or y of what is drawn logarithmic, with plain numbers, where its ends are a factor of 2 apart."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis = getattr(axes, f"{name}axis")
    low, high = axis.get_data_interval()
    if not 0 < 2 * low <= high:
        return
    getattr(axes, f"set_{name}scale")("log")
    steps = range(1, 10) if high < 6 * low else (1, 2, 5) if high < 200 * low else (1,)
    axis.set_major_locator(LogLocator(subs=[float(step) for step in steps]))
    axis.set_major_formatter("{x:g}"), axis.set_minor_formatter(NullFormatter())


def as_image(x: np.ndarray) -> np.ndarray | None:
    """Grey (h, w) or coloured (h, w, 3), whichever axis the channels are on; ``None`` for what is no image."""
    if x.ndim == 3 and x.shape[0] in (1, 3):
        x = np.moveaxis(x, 0, -1)
    if x.ndim == 3 and x.shape[2] in (1, 3):
        return x[:, :, 0] if x.shape[2] == 1 else x
    side = round(np.sqrt(x.size))
    if x.ndim == 1 and side > 4 and side * side == x.size:
        return x.reshape(side, side)
    return x if x.ndim == 2 and min(x.shape) > 3 else None


def matplotlib() -> Any:
    """The package, or an ``ImportError`` that says what to install."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError(MISSING) from None
    return matplotlib


def new_figure(width: float, height: float, message: str = "") -> Any:
    """An empty ``matplotlib.figure.Figure`` of so many inches, with what it says as a sentence above."""
    matplotlib()
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    figure = Figure(figsize=(width, height), layout="constrained")
    if message:
        figure.suptitle(message, x=0.02, ha="left", weight="bold")
    return figure
