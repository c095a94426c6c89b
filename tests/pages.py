"""README and docs as text: their code blocks, links and commands."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    *sorted(p for p in ROOT.glob("*.md")),
    ROOT / "benchmarks/README.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts),
    *sorted((ROOT / "docs/start").glob("*.ipynb")),
]


def name(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    """The code blocks of a language; ``""`` for those of none."""
    found, current = [], None
    for line in page.read_text().splitlines():
        if not line.startswith("```"):
            if current is not None:
                current[1].append(line)
        elif current is None:
            current = line[3:].strip(), []
        else:
            found.append(current)
            current = None
    return ["\n".join(lines) for kind, lines in found if kind == language]


def commands(page, program):
    """The words behind ``program`` in blocks of no language, shell lines joined; placeholders are left out."""
    lines = "\n".join(blocks(page, "")).replace("\\\n", " ").splitlines()
    lines = [line.removeprefix("$ ").split("  #")[0].split(" > ")[0].split("#")[0] for line in lines]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{program} ")]


def links(page):
    """Targets of links that are no addresses of the web."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in found if not re.match(r"https?:|mailto:", link)]


def anchors(page):
    """Anchors of the headings of a page, as GitHub and the docs make them."""
    found = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in found}
