"""The style of all figures: it colours them alike, and touches no other figure of the process."""

import importlib
import json
import sys
from pathlib import Path

import pytest

matplotlib = pytest.importorskip("matplotlib")

from artclip.reporting.figures import MARKERS, SERIES, STYLE, log_axis, new_figure, styled

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def figures(monkeypatch):
    """The script that draws the figures of committed results."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("figures")
    for name in ("figures", "tables", "common"):
        sys.modules.pop(name, None)


def record(name):
    return json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())


def labels(figure):
    """The boxes, in pixels, of the texts in each axes that are shown."""
    figure.draw_without_rendering()
    return [[t.get_window_extent() for t in axes.texts if t.get_text()] for axes in figure.axes]


def test_the_style_holds_within_and_ends_with_the_drawing():
    before = dict(matplotlib.rcParams)

    @styled
    def draw():
        assert all(matplotlib.rcParams[key] in (value, [value]) for key, value in STYLE.items())
        return new_figure(3, 2, "a message").subplots()

    axes = draw()
    assert not axes.spines["top"].get_visible()
    assert axes.figure.get_suptitle() == "a message"
    with pytest.raises(ZeroDivisionError):
        styled(lambda: 1 / 0)()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("low", "high"), [(0.01, 3000), (1, 40), (2.1, 4.9), (7, 30), (2.1, 2.9)])
def test_a_log_axis_has_ticks_with_plain_numbers(low, high):
    axes = new_figure(4, 3).subplots()
    axes.plot([0, 1], [low, high])
    log_axis(axes, "y")
    axes.figure.draw_without_rendering()
    assert axes.get_yscale() == ("log" if high > 2 * low else "linear")
    bottom, top = axes.get_ylim()
    shown = [t.get_text() for t in axes.get_yticklabels() if bottom <= t.get_position()[1] <= top]
    assert 2 <= len(shown) <= 9
    assert all("$" not in text for text in shown)


def test_series_are_told_apart_by_colour_and_marker():
    assert len(set(SERIES)) == len(SERIES) >= 8
    assert len({(SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]) for i in range(40)}) == 40


def test_without_matplotlib_a_figure_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib, or install artclip with its extra 'report'"):
        styled(lambda: None)()


def test_the_front_figure_says_what_the_demo_found(figures):
    demo = record("demo")
    figure = figures.front(demo)
    rows = {row["defence"]: row for row in demo["results"]}
    for name in ("clip@0.98", "madry"):
        gain = 100 * (rows[name]["worst"]["mean"] - rows["standard"]["worst"]["mean"])
        assert f"{gain:.0f} points" in figure.get_suptitle()
    places = {tuple(c.lines[0].get_xydata()[0].round(6)) for c in figure.axes[0].containers}
    assert places == {(round(r["cpu_cost"]["mean"], 6), round(100 * r["worst"]["mean"], 6)) for r in rows.values()}


@pytest.mark.parametrize("name", ["front", "defences", "brackets"])
def test_labels_do_not_collide(figures, name):
    rows = record("demo") if name == "front" else record("defences")["results"]["test"]
    for boxes in labels(getattr(figures, name)(rows)):
        assert boxes
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_brackets_are_sorted(figures):
    (axes,) = figures.brackets(record("defences")["results"]["test"]).axes
    lower = [line.get_xdata()[0] for line in axes.lines[::2]]
    assert lower == sorted(lower)
    assert len(lower) == len(axes.get_yticks())
