"""The front door: what README says runs, parses and is there."""

import json
import re

import pytest

from artclip.cli.main import _parser
from tests.pages import README, ROOT, blocks, commands


def test_it_is_short_and_no_wider_than_a_screen():
    lines = README.read_text().splitlines()
    assert len(lines) <= 110
    code = "\n".join([*blocks(README, "python"), *blocks(README, "")]).splitlines()
    wide = [line for line in (*code, *(row for row in lines if row.startswith("|"))) if len(line) > 100]
    assert len(code) >= 20
    assert not wide, "\n".join(wide)


def test_its_snippets_run_as_one_script(capsys):
    pytest.importorskip("torch")
    snippets = blocks(README, "python")
    assert len(snippets) == 4
    script = "\n".join(snippets)
    held = {}
    exec(compile(script, "README.md", "exec"), held)
    said = capsys.readouterr().out
    assert "worst case" in said
    assert held["lower"].value <= held["upper"].value
    assert held["loss"].requires_grad


def test_its_commands_parse():
    found = commands(README, "artclip")
    assert len(found) >= 4
    for words in found:
        _parser().parse_args(words)


def test_its_make_targets_exist():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {words[0] for words in commands(README, "make")} <= set(targets)


def test_the_demo_is_the_one_that_was_measured():
    """``make demo`` runs the command behind the table."""
    record = json.loads((ROOT / "benchmarks/results/demo.json").read_text())
    recipe = re.search(r"^demo:.*?\n\n", (ROOT / "Makefile").read_text(), re.DOTALL | re.MULTILINE)[0]
    recipe = " ".join(recipe.replace("\\\n", " ").split())
    assert record["command"] in recipe
