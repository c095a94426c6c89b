"""Figures in words: budgets of images as fractions of 255, and tables and lines that fit a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

WIDTH = 100  # columns of a terminal


def number(text: str) -> float:
    """The finite number that a text says, as ``0.5`` or ``8/255``; ``ValueError`` otherwise."""
    try:
        value = float(Fraction(text)) if "/" in text else float(text)
    except ZeroDivisionError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a number, as 0.5 or 8/255")
    return value


def in_255ths(value: float) -> bool:
    """Whether a distance is meant as k/255: a whole number of 255ths, and no short decimal."""
    steps = round(255 * value)
    return steps > 0 and abs(255 * value - steps) < 1e-6 * steps and abs(float(f"{value:.3g}") / value - 1) > 1e-6


def fraction(value: float) -> str:
    """``8/255`` for a whole number of 255ths, else a decimal."""
    return f"{round(255 * value)}/255" if in_255ths(value) else f"{value:g}"


def code(value: object) -> str:
    """A value as Python code, with ``8 / 255`` where that is the very number."""
    if not isinstance(value, float) or not math.isfinite(value):
        return "float('inf')" if value == math.inf else repr(value)
    steps = round(255 * value)
    return f"{steps} / 255" if in_255ths(value) and steps / 255 == value else repr(value)


def norm_name(norm: object) -> str:
    """``L2``, ``L∞``."""
    return f"L{'∞' if str(norm) == 'inf' else norm}"


def budget(norm: object, eps: float) -> str:
    """``L∞ ≤ 8/255``."""
    return f"{norm_name(norm)} ≤ {fraction(eps)}"


def axis(norm: object, eps: float) -> tuple[float, str]:
    """What eps is multiplied by on an axis, and the name of the axis: in 255ths where the budget is."""
    scale = in_255ths(eps)
    return (255 if scale else 1), f"eps{' × 255' * scale}, {norm_name(norm)}"


def counted(nb: int, thing: str) -> str:
    """``1 sample``, ``3 samples``."""
    return f"{nb} {thing}{'s' * (nb != 1)}"


def wrapped(lines: Iterable[str], mark: str = "- ") -> list[str]:
    """Lines, each with a mark before it, none wider than :data:`WIDTH`."""
    options: dict[str, Any] = {"initial_indent": mark, "subsequent_indent": " " * len(mark), "break_on_hyphens": False}
    return [part for line in lines for part in textwrap.wrap(line, WIDTH, **options)]


def table(titles: Sequence[str], lines: Sequence[Sequence[str]], right: range) -> list[str]:
    """A Markdown table of equal widths; columns in ``right`` stand to the right."""
    rules = ["--:" if i in right else "---" for i in range(len(titles))]
    rows = [titles, rules, *lines]
    widths = [max(len(row[i]) for row in rows) for i in range(len(titles))]
    padded = [
        [t.rjust(w) if i in right else t.ljust(w) for i, (t, w) in enumerate(zip(r, widths, strict=True))] for r in rows
    ]
    return [f"| {' | '.join(row)} |" for row in padded]


def cell(text: str) -> str:
    """A text in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def shortened(text: str, longest: int) -> str:
    """A name of at most so many letters; its middle goes, since names differ at the ends."""
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[: longest - 1 - half]}…{text[len(text) - half :]}"
