"""The report of a comparison: one file, no network, names escaped, sorted in a real browser."""

import base64
import hashlib
import html.parser
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from artclip.comparison.experiment import Experiment
from artclip.comparison.report import comparison_page, rerun
from artclip.comparison.result import Comparison
from artclip.comparison.run_result import RunResult

HOSTILE = "<script>alert(1)</script>&\"'"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def cell(defence, net, seed, worst, error=""):
    rng = np.random.default_rng(seed)
    if error:
        return RunResult(defence, net, seed, error=error)
    figures = {"train": 0.99, "test": 0.9, "noise": 0.8, "pgd": worst + 0.05, "worst": worst, "certified": worst / 2}
    figures |= {
        "lipschitz_lower": 1 / worst,
        "lipschitz_upper": 2 / worst,
        "lamda": 0.1,
        "seconds_per_epoch": 1 + worst,
    }
    history = [{"epoch": e, "lipschitz": 2.0 / e, "lamda": 0.1 * e, "seconds": 1.0} for e in (1, 2, 3)]
    x = rng.random((2, 1, 8, 8)).astype(np.float32)
    arrays = {"kept worst": rng.random(50) < worst, "u": x[0], "v": x[1]}
    arrays |= {"samples": x, "adversarial": x[::-1], "labels": np.array([1, 2]), "said": np.array([3, 4])}
    curve = [(0.0, 0.9), (0.5, worst), (1.0, worst / 2)]
    found = RunResult(defence, net, seed, {**figures, "gradients": 1.5}, history=history, curve=curve, arrays=arrays)
    return replace(found, signs=["saturated loss"] if worst > 0.5 else [], doubtful=worst > 0.5)


def comparison(names=("standard", "clip", HOSTILE), nets=("mlp",)):
    cells = [cell(d, n, s, 0.2 + 0.2 * i) for n in nets for i, d in enumerate(names) for s in (0, 1)]
    cells += [cell("awp", n, s, 0, f"ValueError: {HOSTILE}") for n in nets for s in (0, 1)]
    settings = {"data": HOSTILE, "norm": "2", "seeds": [0, 1], "models": list(nets), "defences": [*names, "awp"]}
    settings |= {"n_jobs": 1, "nb_threads": 1, "nb_attacked": 50}
    e = Experiment(eps=0.5, attacks="quick")
    return Comparison({**settings, **e.describe()}, e, cells)


class Page(html.parser.HTMLParser):
    """Tags, text and what is referred to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("matplotlib")
    return comparison_page(comparison())


def test_page_is_whole_needs_no_network_and_holds_one_script(page):
    parsed = Page(page)
    assert not parsed.open
    assert parsed.tags.count("script") == 1
    assert all(link.startswith("data:image/png;base64,") for link in parsed.links)
    assert len(parsed.links) == 8
    assert "http" not in re.sub("http-equiv", "", page)


def test_hostile_names_are_text(page):
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 4


def test_table_holds_every_row_and_its_figures(page):
    body = page[page.index('class="wide sortable"') :]
    rows = body[: body.index("</table>")].split("<tr>")[2:]
    assert len(rows) == 4
    assert "<b>60.0 ± 0.0</b>" in rows[2]  # the best worst case
    assert "! saturated loss (2)" in rows[2]
    assert "failed: ValueError" in rows[3]
    assert 'data-value="0.2"' in rows[0]


def test_best_defence_stands_first_with_its_doubt(page):
    card = page[page.index('class="card first"') :][:700]
    assert "60.0\u00a0%" in card
    assert "at most" in card
    assert "May be too high" in card


def test_message_cost_and_pictures_go_before_the_table(page):
    marks = (
        "<h1>CLIP (clip) raises the worst case from 20.0\u00a0%",
        'class="cards"',
        "Worst case over the cost",
        "wide sor",
    )
    places = [page.index(mark) for mark in marks]
    assert places == sorted(places)
    assert page.index("Samples and adversarial examples") < places[-1]
    assert "gradients × 1.50" in page


def test_what_was_typed_is_how_to_run_it_again():
    found = comparison(("standard",))
    found.settings["command"] = f"artclip compare --data '{HOSTILE}'"
    text = comparison_page(found)
    assert "<pre><code>artclip compare --data &#39;&lt;script&gt;" in text
    assert "from artclip import compare" not in text


def test_several_nets_and_a_failure_of_all():
    pytest.importorskip("matplotlib")
    page = comparison_page(comparison(("standard", "clip"), ("mlp", "cnn")))
    assert "clip (mlp)" in page
    nothing = comparison(())
    assert "No training succeeded" in comparison_page(nothing)


def test_a_row_with_a_failed_seed_says_so_itself_in_every_form():
    pytest.importorskip("matplotlib")
    found = comparison(("standard", "clip"))
    cells = [replace(c, error="it failed") if (c.defence, c.seed) == ("clip", 1) else c for c in found.cells]
    found = Comparison(found.settings, found.experiment, cells)
    assert [row["nb_seeds"] for row in found.rows] == [2, 1, 0]
    assert found.rows[1]["worst"]["mean"] == pytest.approx(0.4)  # of the seed that did not fail
    for text in (str(found), found.to_markdown(), found.to_latex(), comparison_page(found)):
        assert text.count("clip (1 of 2 seeds)") >= 1
        assert "standard (" not in text
        assert "awp (" not in text  # no seed has a figure
    assert re.search(r"^\| clip \(1 of 2 seeds\) +\|", str(found), re.MULTILINE)
    assert ">clip (1 of 2 seeds)</th>" in comparison_page(found)
    lines = found.to_csv().splitlines()
    assert [line.split(",")[:3] for line in lines[:3]] == [
        ["net", "defence", "nb_seeds"],
        ["mlp", "standard", "2"],
        ["mlp", "clip", "1"],
    ]
    assert found.to_dict()["rows"][1]["nb_seeds"] == 1
    assert any("every other row of which no training failed" in note for note in found.notes())
    labels = [t.get_text() for t in found.plot().legends[0].get_texts()]
    assert labels == ["standard", "clip (1 of 2 seeds)"]


def test_code_to_run_it_again_says_what_was_asked_for():
    code = rerun(comparison(("standard",)))
    compile(code, "rerun", "exec")
    said = {}
    exec(code.replace("from artclip import compare", ""), {"compare": lambda *a, **k: said.update(k)})
    assert said["defences"] == ["standard", "awp"]
    assert (said["eps"], said["nb_seeds"], said["model"]) == (0.5, 2, "mlp")
    assert Experiment(attacks=said["attacks"]).attacks == Experiment(attacks="quick").attacks


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_sorts_the_table_and_has_nothing_to_complain_of(page, tmp_path):
    """The page runs in a browser: a click on "worst case" puts the best first; a second click, the worst."""
    click = """
      window.onerror = function (text) { document.title = "error " + text; };
      var said = [];
      document.addEventListener("securitypolicyviolation", function (e) { said.push(e.violatedDirective); });
      window.addEventListener("load", function () {
        var names = function () {
          return Array.from(document.querySelectorAll("table.sortable tbody tr")).map(function (r) {
            return r.cells[0].textContent.slice(0, 8); }).join(",");
        };
        var button = Array.from(document.querySelectorAll("th button")).find(function (b) {
          return b.textContent.startsWith("worst case"); });
        button.click(); var down = names(); button.click(); var up = names();
        var wide = document.documentElement.scrollWidth > window.innerWidth + 1;
        document.title = [down, up, wide, said.join(" ") || "clean"].join("|");
      });
    """
    # The policy of the page allows its own script alone, so that of the test needs an exception.
    opened = page.replace("script-src ", "script-src 'unsafe-hashes' ", 1)
    digest = base64.b64encode(hashlib.sha256(click.encode()).digest()).decode()
    opened = opened.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    file = tmp_path / "page.html"
    file.write_text(opened.replace("</body>", f"<script>{click}</script></body>"), encoding="utf-8")
    for width in (390, 1200):
        title = _title(file, tmp_path, width)
        down, up, wide, complaints = title.split("|")
        assert down.split(",") == ["&lt;script&gt;", "clip", "standard", "awp"]
        assert up.split(",") == ["standard", "clip", "&lt;script&gt;", "awp"]
        assert (wide, complaints) == ("false", "clean")


def _title(file, folder, width):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += [f"--user-data-dir={folder / 'chromium'}", f"--window-size={width},900", "--dump-dom"]
    run = subprocess.run([CHROMIUM, *flags, file.as_uri()], capture_output=True, text=True, timeout=120)
    return re.search("<title>(.*?)</title>", run.stdout, re.DOTALL).group(1)
