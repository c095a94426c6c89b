"""The sentence that a comparison begins with: what CLIP gained over standard training, and at what cost."""

import re
from dataclasses import replace

import numpy as np
import pytest

from artclip.comparison.experiment import Experiment, RunResult
from artclip.comparison.message import message
from artclip.comparison.result import Comparison
from artclip.comparison.table import short

N = 400


def run(defence, worst, test=0.9, gradients=1.0, net="mlp", error=""):
    """A training whose first samples survive: rows are told apart where their worst cases differ much."""
    if error:
        return RunResult(defence, net, 0, error=error)
    figures = {"train": 1.0, "test": test, "worst": worst, "gradients": gradients}
    kept = {} if worst is None else {"kept worst": np.arange(N) < worst * N}
    samples = {"test": N, "worst": N}
    return RunResult(defence, net, 0, figures, arrays=kept, samples=samples)


def comparison(*cells):
    e = Experiment(eps=8 / 255, norm="inf", attacks="quick")
    settings = {"data": "made up", "norm": "inf", "seeds": [0], "models": ["mlp"], "nb_attacked": N, "defences": []}
    return Comparison({**settings, "n_jobs": 1, "nb_threads": 1, **e.describe()}, e, list(cells))


STANDARD, MADRY = run("standard", 0.4), run("madry", 0.69, 0.85, 8.0)


def test_it_says_gain_cost_and_adversarial_training_at_its_cost():
    said = message(comparison(STANDARD, run("clip@0.9", 0.63, gradients=1.13), MADRY))
    assert said == (
        "CLIP (clip@0.9) raises the worst case from 40.0 % to 63.0 %, for 1.1 times the gradients of plain training; "
        "adversarial training (madry) has 69.0 %, for 8.0 times"
    )


def test_it_speaks_of_the_row_with_the_best_sum_and_never_of_a_failed_one():
    much, little = run("clip@0.8", 0.65, 0.80), run("clip@0.95", 0.63, 0.9)
    failed = run("clip", 0, error="it failed")
    assert message(comparison(STANDARD, failed, much, little)).startswith("CLIP (clip@0.95) raises")


def test_a_row_says_that_its_target_was_missed():
    missed = replace(run("clip@0.98", 0.63), missed=0.954)
    found = comparison(STANDARD, missed)
    mark = "clip@0.98 (target missed: 95.4 %)"
    assert message(found).startswith(f"CLIP ({mark}) raises")
    assert f'<p class="quiet">{mark}</p>' in found.to_html().replace("\u00a0", " ")
    assert mark in found.to_markdown()
    assert any(re.match(r"\|? *clip@0\.98 \(missed\) +\|", line) for line in short(found))
    assert not any("missed" in line for line in short(comparison(STANDARD, run("clip@0.98", 0.63))))
    assert mark not in message(comparison(STANDARD, run("clip@0.98", 0.63)))
    settings = {**found.settings, "seeds": [0, 1]}
    both = [STANDARD, missed, replace(STANDARD, seed=1), replace(missed, seed=1, missed=None, notes=["it is so"])]
    some = Comparison(settings, found.experiment, both)
    assert "clip@0.98 (target missed in 1 of 2 seeds: 95.4 %)" in message(some)
    assert any("clip@0.98 (missed in 1 of 2 seeds)" in line for line in short(some))
    assert "clip@0.98: it is so (seed 1)." in some.notes()


def test_a_loss_and_a_difference_that_may_be_chance_are_said_as_such():
    assert "lowers the worst case from 40.0 % to 20.0 %" in message(comparison(STANDARD, run("clip", 0.2)))
    same = message(comparison(STANDARD, run("clip", 0.405)))
    assert "has a worst case of 40.5 %, which is not told from the 40.0 % of standard training" in same


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([STANDARD, MADRY], "madry has the highest worst case, 69.0 %, for 8.0 times the gradients"),
        ([STANDARD], "standard has a worst case of 40.0 %, for 1.0 times the gradients"),
        ([run("clip", 0.5)], "CLIP (clip) has a worst case of 50.0 %, for 1.0 times the gradients"),
        ([run("clip", 0.5, gradients=None)], "for a cost that was not measured"),
        ([run("clip", None)], "There is no worst case: no attack ran within the budget"),
        ([run("clip", 0, error="it failed")], "No training succeeded"),
    ],
)
def test_what_is_missing(cells, said):
    assert said in message(comparison(*cells))


def test_of_several_nets_it_speaks_of_one():
    cells = [run("standard", 0.4), run("clip", 0.5), run("standard", 0.45, net="cnn"), run("clip", 0.7, net="cnn")]
    said = message(comparison(*cells))
    assert "CLIP (clip (cnn)) raises the worst case from 45.0 % to 70.0 %" in said


def test_a_terminal_shows_it_within_100_columns_and_says_where_the_rest_is():
    names = [run(f"adversarial:eps=0.5,max_iter={i},and_more_letters_than_fit", 0.5 + i / 100) for i in range(3)]
    found = comparison(STANDARD, run("clip", 0.63), *names)
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("CLIP (clip) raises")
    head = next(line for line in lines if line.startswith("| defence"))
    assert [title.strip() for title in head.split("|")[2:5]] == ["clean", "worst case", "grad. ×"]
    rows = [line for line in lines if line.startswith("| adversarial:")]
    assert len({row.split("|")[1] for row in rows}) == 3
    assert "All columns: to_markdown(), to_html(), to_json()" in str(found)
    assert "worst case within L∞ ≤ 8/255" in str(found)
    assert "worst case L∞ 8/255" in found.to_markdown()
    assert "8 / 255" in found.to_html()
