"""The leaderboard: what is ranked, what stands beside it, what is left out by name."""

import json

import numpy as np
import pytest

import artclip
from artclip.cli.main import main
from tests.nets import default as nets

MATRIX = np.random.default_rng(0).standard_normal((3, 6))
X = np.random.default_rng(1).uniform(0.2, 0.8, size=(30, 6)).astype(np.float32)
Y = (X @ MATRIX.T).argmax(1)


def result(path, name, eps=0.1, nb=30, matrix=MATRIX, **changes):
    ev = artclip.evaluate(
        nets.linear_classifier(matrix), X[:nb], Y[:nb], eps=eps, attacks="quick", seed=0, verbose=False, name=name
    )
    path.write_text(json.dumps({**ev.to_dict(), **changes}, default=float), encoding="utf-8")
    return ev


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models within one budget, one of them within another too, and what is no result."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "inside").mkdir()
    result(folder / "z.json", "steady")
    # the same matrix with one class nearer to another: its margins are smaller
    result(folder / "inside" / "a.json", "shaky", matrix=np.stack([MATRIX[0], 0.9 * MATRIX[1], 0.5 * MATRIX[1]]))
    result(folder / "b.json", "steady", eps=0.2)
    (folder / "settings.json").write_text('{"rows": 3}', encoding="utf-8")
    (folder / "half.json").write_text('{"name": ', encoding="utf-8")
    return folder


def test_entries_are_ranked_within_their_budget(folder):
    board = artclip.leaderboard(folder)
    assert [(key, [e.model for e in entries]) for key, entries in board.groups.items()] == [
        (("arrays", "2", 0.2, ""), ["steady"]),
        (("arrays", "2", 0.1, ""), ["steady", "shaky"]),
    ]
    first, second = board.groups[("arrays", "2", 0.1, "")]
    assert first.worst > second.worst
    assert first.certified <= first.worst
    assert first.lower <= first.upper * (1 + 1e-6)
    assert first.nb_samples == 30
    assert first.passes > 10
    assert second.file == "inside/a.json"
    assert board.skipped == {"half.json": "no JSON", "settings.json": "no result of evaluate or compare"}
    assert json.loads(board.to_json())["entries"][0]["model"] == "steady"


def test_what_an_attacker_may_do_is_part_of_the_budget(tmp_path):
    result(tmp_path / "a.json", "all")
    record = json.loads((tmp_path / "a.json").read_text())
    for name, changes in (("some", {"fixed": [1], "integers": [0, 2]}), ("wide", {"range": "0 to 2"})):
        kept = {**record, "name": name, "settings": {**record["settings"], **changes}}
        (tmp_path / f"{name}.json").write_text(json.dumps(kept))
    board = artclip.leaderboard(tmp_path)
    assert {key[3]: [e.model for e in entries] for key, entries in board.groups.items()} == {
        "": ["all", "wide"],
        "fixed [1], integers [0, 2]": ["some"],
    }
    assert "arrays, L2 ≤ 0.1, fixed [1], integers [0, 2]" in board.to_markdown()
    assert "! Valid inputs are not the same for all: 0 to 1; 0 to 2." in board.to_markdown()


def test_what_is_printed_says_what_it_is(folder):
    board = artclip.leaderboard(folder)
    for text in (str(board), board.to_markdown()):
        assert "arrays, L2 ≤ 0.1" in text
        assert "The worst case is an upper bound" in text
        assert "half.json (no JSON)" in text
        assert "same samples" not in text
    assert max(map(len, str(board).splitlines())) <= 100
    assert "| gradients ×" in board.to_markdown()


def test_unlike_results_are_said_to_be_unlike(tmp_path):
    result(tmp_path / "a.json", "all")
    result(tmp_path / "b.json", "some", nb=20)
    record = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "c.json").write_text(
        json.dumps({**record, "name": "masked", "unreliable": True, "warnings": [{"name": "zero gradients"}]})
    )
    record["attacks"][-1]["title"] = "PGD"
    (tmp_path / "d.json").write_text(json.dumps({**record, "name": "other"}))
    board = artclip.leaderboard([tmp_path / f"{name}.json" for name in "abcd"])
    said = " ".join(board.notes(board.entries))
    assert "Signs say that the worst case may be too high: masked." in said
    assert "not all were attacked on the same samples: 20, 30 of them" in said.lower()
    assert "Worst cases are of other attacks: PGD; minimum norm." in said
    assert "masked !" in str(board)
    assert "zero gradients" in board.to_markdown()


def test_a_comparison_is_a_row_for_each_defence(tmp_path):
    options = {"nb_seeds": 1, "nb_epochs": 1, "eps": 0.5, "attacks": "quick", "attack_samples": 20, "verbose": False}
    found = artclip.compare("digits", defences=["standard", "clip"], curve_samples=0, **options)
    found.to_json(tmp_path / "comparison.json")
    board = artclip.leaderboard(tmp_path)
    assert {e.model for e in board.entries} == {"standard", "clip"}
    for row in found.rows:
        (entry,) = [e for e in board.entries if e.model == row["defence"]]
        assert entry.worst == row["worst"]["mean"]
        assert entry.gradients == row["gradients"]["mean"]
        assert entry.nb_samples == 20
    assert [e.worst for e in board.entries] == sorted((e.worst for e in board.entries), reverse=True)


def test_the_page_escapes_names(tmp_path):
    result(tmp_path / "a.json", "<script>alert(1)</script>")
    page = artclip.leaderboard(tmp_path).to_html(tmp_path / "page.html")
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [("nowhere", FileNotFoundError, "nowhere is not there"), ([], ValueError, "no result in nothing")],
)
def test_nothing_to_rank(paths, error, message):
    with pytest.raises(error, match=message):
        artclip.leaderboard(paths)


def test_the_command_ranks_and_writes(folder, tmp_path, capsys):
    assert main(["leaderboard", str(folder), "--html", str(tmp_path / "l.html"), "-o", str(tmp_path / "l.json")]) == 0
    printed = capsys.readouterr().out
    assert "| 1   | steady" in printed
    assert printed.rstrip().endswith(f"written: {tmp_path / 'l.html'}, {tmp_path / 'l.json'}")
    assert (tmp_path / "l.html").exists()
    assert main(["leaderboard", str(tmp_path / "none")]) == 2
    assert "is not there" in capsys.readouterr().err
