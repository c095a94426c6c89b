"""What all figures are drawn with, by matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np

_LINE = "#1b6ca8"
_LONGEST = 26  # letters of a name


def short(text: object, longest: int = _LONGEST) -> str:
    """Short enough, and never read as a formula."""
    line = " ".join(str(text).split())
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    return line.replace("$", r"\$")


def draw_input(axes: Any, x: np.ndarray, title: str, low: float, high: float, colours: str = "gray") -> None:
    """An input as an image, shades from low to high; as a line where it is none."""
    axes.set_title(title)
    image = as_image(x)
    if image is None:
        axes.plot(np.ravel(x), color=_LINE, linewidth=1, marker="o" if x.size <= 40 else None, markersize=3)
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


def new_figure(width: float, height: float) -> Any:
    """An empty ``matplotlib.figure.Figure`` of so many inches, or ``ImportError``."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("matplotlib is not installed; pip install 'artclip[report]'") from None
    return Figure(figsize=(width, height), layout="constrained")
