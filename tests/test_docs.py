"""The docs: links lead somewhere, tables are those of the records, commands parse, files that are named exist."""

import json
import re
import sys

import pytest

from artclip.cli.main import _parser
from tests.pages import PAGES, README, ROOT, anchors, blocks, commands, links, name

DOCS = [page for page in PAGES if "docs" in page.parts]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


@pytest.fixture(scope="module")
def tables():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import tables

        yield tables
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_tables_are_those_of_the_records(tables):
    """Else run ``python benchmarks/tables.py``."""
    shown = set()
    for page in (README, *DOCS):
        if page.suffix == ".md":
            text = page.read_text()
            shown |= set(re.findall(r"<!-- table (\w+) -->", text))
            assert tables.filled(text) == text, name(page)
    assert shown == tables.TABLES.keys()


def test_pages_that_answer_a_question_have_eight_rows_at_most(tables):
    for table in ("against", "flatter", "cost", "bounds", "certificates", "targets", "estimators", "masking"):
        assert 2 <= len(tables.made(table).splitlines()) - 2 <= 8


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page, "artclip")], ids=name)
def test_commands_parse(page):
    for words in commands(page, "artclip"):
        _parser().parse_args(words)


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_no_code_is_wider_than_a_page(page):
    code = [
        line for language in ("python", "sh", "") for block in blocks(page, language) for line in block.splitlines()
    ]
    assert not [line for line in code if len(line) > 100]


def test_files_that_are_named_exist():
    for page in (*PAGES, *(ROOT / "artclip").rglob("*.py")):
        for path in re.findall(r"`?((?:artclip|benchmarks|tests|examples|docs)/[\w/]+(?:\.\w+|/))", page.read_text()):
            assert path.startswith(("docs/_build", "examples/photos")) or (ROOT / path).exists(), (
                f"{name(page)}: {path}"
            )


def test_every_page_is_in_the_contents():
    named = re.findall(r"^([\w-]+/[\w-]+)$", (ROOT / "docs/index.md").read_text(), re.MULTILINE)
    pages = {p.relative_to(ROOT / "docs").with_suffix("").as_posix() for p in DOCS} - {"index"}
    assert set(named) == pages


@pytest.mark.parametrize("framework", ["pytorch", "keras"])
def test_tutorials_are_short(framework):
    cells = json.loads((ROOT / f"docs/start/{framework}.ipynb").read_text())["cells"]
    code = [line for cell in cells if cell["cell_type"] == "code" for line in cell["source"] if line.strip()]
    assert 10 < len(code) <= 25
    assert not any(cell.get("outputs") for cell in cells)  # the build runs them
