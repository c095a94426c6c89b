"""What a terminal shows of an evaluation: the message first, and nothing wider than 100 columns."""

from dataclasses import replace

import pytest

from artclip import evaluate
from tests.nets import default as nets


@pytest.fixture(scope="module")
def ev():
    classifier, (x, _) = nets.classifier("linear"), nets.data("linear", n=25)
    y = classifier.predict(x).argmax(1)
    return evaluate(
        classifier, x, y, norm="inf", eps=8 / 255, attacks=["noise", "pgd:max_iter=5"], seed=0, verbose=True
    )


def test_message_goes_first_and_budgets_are_fractions(ev, capsys):
    lines = str(ev).splitlines()
    assert lines[0].startswith("The model gets 100.0 % of 25 samples right; under 1 attack within L∞ ≤ 8/255 at most")
    assert max(map(len, lines)) <= 100
    assert "attacks keep to L∞ ≤ 8/255" in str(ev)
    assert ev.records()[1]["budget"] == "L∞ ≤ 8/255"
    assert "eps=8 / 255," in ev.to_html()


def test_attacks_become_rows_where_columns_do_not_fit(ev):
    assert str(ev).splitlines()[3].startswith("| model | clean |")
    wide = replace(ev, settings={**ev.settings, "name": 90 * "n"})
    lines = wide.to_text(intervals=True).splitlines()
    rows = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in lines if line.startswith("|")}
    for title, value in ev.columns().items():
        assert rows[title].startswith(f"{value:.1f} [")
    assert f"| {90 * 'n'} |" in wide.to_markdown()


def test_a_name_stays_in_its_cell(ev):
    lines = replace(ev, settings={**ev.settings, "name": "a|b\nc"}).to_markdown().splitlines()
    assert lines[2].startswith("| a\\|b c | ")


def test_no_progress_bar_where_there_is_no_terminal(capsys):
    classifier, (x, y) = nets.classifier("linear"), nets.data("linear", n=5)
    evaluate(classifier, x, y, eps=0.1, attacks=["noise"], lipschitz=False, masking=False, seed=0, verbose=True)
    assert capsys.readouterr().err == ""
