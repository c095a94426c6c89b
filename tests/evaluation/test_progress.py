"""One bar over a whole evaluation: it never goes back, ends at 1, and shows nothing where it is not asked to."""

import sys

import pytest

from artclip import evaluate
from artclip.evaluation.progress import SHARES, Progress
from tests.nets import default


def test_parts_have_their_shares_and_those_left_out_take_no_room():
    with Progress(["attacks", "signs of masking"], False) as progress:
        seen = []
        progress._show = seen.append
        progress.begin("attacks", 4)
        progress.update(3)
        progress.update(9)  # more than there are
        progress.begin("Lipschitz bounds", 2)
        progress.update(2)
        progress.begin("certificates")
        progress.begin("signs of masking")
        progress.end()
    first = SHARES["attacks"] / (SHARES["attacks"] + SHARES["signs of masking"])
    assert seen == pytest.approx([0, 0.75 * first, first, first, first, first, first, 1])
    assert sum(SHARES.values()) == 100


@pytest.mark.parametrize("verbose", [False, True])
def test_a_terminal_sees_every_part_and_the_time_left(verbose, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    x, y = default.data()
    evaluate(default.classifier(), x, y, eps=0.1, attacks="quick", verbose=verbose, seed=0)
    said = capsys.readouterr().err
    assert bool(said) == verbose
    assert all(what in said for what in ("minimum norm", *list(SHARES)[1:], "100%", "left")) == verbose


def test_a_pipe_sees_nothing(capsys):
    x, y = default.data()
    evaluate(default.classifier(), x, y, eps=0.1, attacks="quick", verbose=True, seed=0)
    assert capsys.readouterr().err == ""
