"""Adversarial examples, drawn into axes of matplotlib."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from artclip.evaluation.data import EvaluationData
from artclip.evaluation.runner import Example, distances
from artclip.reporting.figures import FAINT, as_image, draw_input, short
from artclip.reporting.text import fraction, norm_name

_BESIDE = 12  # letters that leave room for a figure on their line


def varied(ev: EvaluationData, nb: int) -> list[Example]:
    """Examples of different samples: of all attacks within the budget first, then more of those, then others."""
    inside = {o.chosen.title for o in ev.outcomes if o.chosen.attack.in_budget}
    within = [e for e in ev.examples if e.attack in inside]
    chosen: list[Example] = []
    for examples, fresh in ((within, True), (within, False), (ev.examples, True), (ev.examples, False)):
        for e in examples:
            known = any(e.index == c.index or (fresh and e.attack == c.attack) for c in chosen)
            if not known and len(chosen) < nb:
                chosen.append(e)
    titles = [o.chosen.title for o in ev.outcomes]
    return sorted(chosen, key=lambda e: (e.attack not in inside, titles.index(e.attack)))


def draw_example(row: Any, ev: EvaluationData, e: Example) -> None:
    """Sample, difference and adversarial example into three axes."""
    low, high = float(min(e.x.min(), e.adversarial.min())), float(max(e.x.max(), e.adversarial.max()))
    draw_input(row[0], e.x, f"label: {_class(ev, e.label)}\n{_answer(ev, e.before)}", low, high)
    difference = np.subtract(e.adversarial, e.x, dtype=np.float64)
    if as_image(e.x) is None:
        draw_input(row[1], difference, "difference", 0, 0)
        row[2].plot(np.ravel(e.x), color=FAINT, linewidth=1)
        row[2].sharey(row[0])
    else:
        _draw_difference(row[1], difference, (high - low) or 1.0)
    draw_input(row[2], e.adversarial, f"adversarial\n{_answer(ev, e.after)}", low, high)
    norm, eps = float(ev.settings["norm"]), float(ev.settings["eps"])
    distance = distances(e.adversarial[None], e.x[None], norm)[0]
    far = fraction(eps) if abs(distance - eps) < 1e-3 * eps else f"{distance:.3g}"
    row[0].set_ylabel(f"{short(e.attack)}\n{norm_name(ev.settings['norm'])} distance {far}", fontsize=9)


def _draw_difference(axes: Any, difference: np.ndarray, width: float) -> None:
    """Magnified until the largest change is half the range, the most that fits beside a middle grey."""
    largest = float(np.abs(difference).max())
    factor = _two_digits(width / 2 / largest) if largest else 1.0
    image = np.asarray(as_image(difference)) * factor / width
    if image.ndim == 3:
        axes.imshow(np.clip(image + 0.5, 0, 1))
    else:
        axes.imshow(image, cmap="RdBu_r", vmin=-0.5, vmax=0.5)
    axes.set_title(f"difference ×{factor:g}", fontsize=8.5)
    axes.set_xticks([]), axes.set_yticks([])


def _two_digits(value: float) -> float:
    """Rounded down to two digits, so that nothing is magnified out of the range."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / unit + 1e-3) * unit:.2g}")


def _class(ev: EvaluationData, index: int) -> str:
    return str(index) if ev.class_names is None else short(ev.class_names[index], 20)


def _answer(ev: EvaluationData, outputs: np.ndarray) -> str:
    """The model's class and how sure it is, by a softmax where its outputs are no shares."""
    shares = np.asarray(outputs, np.float64)
    if ev.settings["outputs"] not in ("probabilities", "sigmoid"):
        shares = np.exp(shares - shares.max())
        shares /= shares.sum()
    name = _class(ev, int(shares.argmax()))
    return f"model: {name}{', ' if len(name) <= _BESIDE else chr(10)}{100 * shares.max():.1f} %"
