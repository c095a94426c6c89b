"""Figures in words: budgets as fractions, tables and lines that fit a terminal."""

import math

import numpy as np
import pytest

from artclip.reporting.text import WIDTH, budget, code, fraction, shortened, table, wrapped


@pytest.mark.parametrize(
    ("eps", "said"),
    [
        *((k / 255, f"{k}/255") for k in (1, 2, 8, 16, 254)),
        (float(np.float32(8 / 255)), "8/255"),
        *((0.2, "0.2"), (0.4, "0.4"), (1.0, "1"), (2.0, "2"), (0.5, "0.5"), (0.1, "0.1"), (0.03, "0.03")),
        (0.0, "0"),
        (8.5 / 255, "0.0333333"),
    ],
)
def test_budgets_of_images_are_fractions_and_others_decimals(eps, said):
    assert fraction(eps) == said
    assert budget("inf", eps) == f"L∞ ≤ {said}"


@pytest.mark.parametrize("value", [8 / 255, 0.2, float(np.float32(8 / 255)), math.inf, 3, None, (0.0, 1.0), "x", True])
def test_code_is_the_very_value(value):
    assert eval(code(value)) == value
    assert code(8 / 255) == "8 / 255"


def test_a_table_is_of_equal_widths_with_figures_to_the_right():
    lines = table(["name", "figure"], [["a", "1.0"], ["longer", "10.0"]], range(1, 2))
    assert lines == ["| name   | figure |", "| ---    |    --: |", "| a      |    1.0 |", "| longer |   10.0 |"]


def test_lines_fit_and_lose_no_word():
    long = "word " * 60 + "end"
    lines = wrapped([long, "short"])
    assert max(map(len, lines)) <= WIDTH
    assert " ".join(" ".join(lines[:-1]).removeprefix("- ").split()) == long
    assert lines[-1] == "- short"


@pytest.mark.parametrize("longest", [7, 8, 24])
def test_a_shortened_name_keeps_both_ends(longest):
    name = "adversarial:eps=0.5,max_iter=7"
    short = shortened(name, longest)
    assert len(short) == longest
    before, _, after = short.partition("…")
    assert name.startswith(before)
    assert name.endswith(after)
    assert shortened("clip", longest) == "clip"
