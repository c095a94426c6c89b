"""The report of an evaluation: whole, harmless whatever names it is given, and no wider than a phone."""

import html
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from artclip import evaluate
from artclip.evaluation.masking import MaskingWarning
from artclip.evaluation.report import evaluation_page, rerun
from tests.nets import default as nets

EVIL = """<script>alert(1)</script>"'&amp;<img src=x onerror=alert(2)> $title """ + 80 * "long"
SIGN = MaskingWarning("saturated loss", f"the loss is flat at 12% of {EVIL}", "Do not trust it")
# "noise" is no attack, "patch" needs images, and "mine" has a name of the user's own.
ATTACKS = {"noise": "noise", "mine": "pgd:max_iter=5,nb_restarts=1", "patch": "patch"}


class Page(HTMLParser):
    """Elements with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self._open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def problem():
    """A linear net, samples that it gets right, and one that it does not."""
    classifier, (x, _) = nets.classifier("linear"), nets.data("linear", n=25)
    y = classifier.predict(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    return classifier, x, y


@pytest.fixture(scope="module")
def ev(problem):
    found = evaluate(*problem, eps=0.4, attacks=ATTACKS, seed=0, verbose=False, name="small net", data="made up")
    assert found.examples
    assert found.lipschitz["upper"] is not None
    return found


@pytest.fixture
def bare(monkeypatch):
    """No matplotlib: what is not about figures goes faster without."""
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.patches"):
        monkeypatch.setitem(sys.modules, name, None)


def hostile(ev):
    """The same evaluation, with markup in everything that comes from outside."""
    outcomes = [replace(o, error=EVIL) if o.error else replace(o, violations={EVIL: 3}) for o in ev.outcomes]
    for i, o in enumerate(outcomes):
        attack = replace(o.chosen.attack, title=f"{i}{EVIL}", paper=f"{EVIL}, arXiv 1706.06083")
        outcomes[i] = replace(o, chosen=replace(o.chosen, name=f"{i}{EVIL}", attack=attack))
    examples = [replace(e, attack=outcomes[1].chosen.title) for e in ev.examples]
    settings = {**ev.settings, "name": EVIL, "data": EVIL, "no_upper_bound": EVIL, "device": EVIL}
    return replace(
        ev,
        outcomes=outcomes,
        examples=examples,
        settings=settings,
        warnings=[SIGN],
        class_names=[EVIL, "$\\frac{", "b"],
    )


@pytest.fixture(scope="module")
def plain(ev):
    return evaluation_page(ev)


@pytest.fixture(scope="module")
def attacked(ev):
    return evaluation_page(hostile(ev))


def test_the_page_loads_nothing_and_runs_nothing(plain):
    page = Page(plain)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert len(page.all("img")) == 5
    for image in page.all("img"):
        assert image["src"].startswith("data:image/png;base64,")
        assert image["alt"]
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("srcset", "background", "style")]
        assert "src" not in attributes or tag == "img"
        assert "href" not in attributes or (tag == "a" and attributes["href"].startswith("https://arxiv.org/abs/"))
    style = "".join(re.findall(r"<style>(.*?)</style>", plain, re.DOTALL))
    assert "url(" not in style
    assert "@import" not in style


def test_names_from_outside_are_text(plain, attacked):
    page = Page(attacked)
    assert not page.all("script")
    assert len(page.all("img")) == len(Page(plain).all("img"))
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    text = "".join(page.text)
    # name in title, heading, settings and snippet; data; errors, titles, papers and reasons of attacks; the sign
    assert text.count(EVIL) >= 12
    assert f"Warning: {SIGN.name}" in text
    assert SIGN.finding in text


@pytest.mark.usefixtures("bare")
def test_every_figure_is_there(ev):
    text = "".join(Page(evaluation_page(ev)).text)
    assert not re.search(r"[0-9] %", text)
    text = text.replace("\u00a0%", " %")
    for title, value in ev.columns().items():
        assert title in text
        assert value is None or f"{value:.1f}" in text
    assert f"at most {100 * ev.robust_accuracy:.1f} %" in text
    assert f"at least {100 * ev.certified_accuracy:.1f} %" in text
    for record in ev.records():
        assert record["of"] in text or record["error"]
        assert f"{record['nb_broken']} of {record['nb_tried']}" in text
    for line in ev.notes():
        assert line in text
    for bound in ev.lipschitz.values():
        assert f"{bound.value:.4g}" in text
    assert ev.settings["data_sha256"] in text
    assert "arXiv 1706.06083" in text
    for version in ev.settings["versions"].values():
        assert version in text


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("kind", "words"),
    [("lower", "lower bound: at least this"), ("upper", "upper bound: at most this"), ("exact", "exact value")],
)
def test_a_bound_says_in_words_what_it_is(ev, kind, words):
    one = replace(ev, lipschitz={"lower": replace(ev.lipschitz["lower"], kind=kind), "upper": None})
    rows = re.findall(r"<tr>(.*?)</tr>", evaluation_page(one))
    (row,) = [row for row in rows if words in row]
    assert f"{ev.lipschitz['lower'].value:.4g}" in row


@pytest.mark.usefixtures("bare")
def test_an_attack_that_was_not_run_says_why(ev):
    rows = re.findall(r"<tr>(.*?)</tr>", evaluation_page(ev))
    (left_out,) = [html.unescape(row) for row in rows if ">patch<" in row]
    assert "not run" in left_out
    assert ev.outcomes[2].error in left_out


@pytest.mark.usefixtures("bare")
def test_signs_stand_beside_the_figure(ev):
    warned = evaluation_page(replace(ev, warnings=[SIGN, MaskingWarning("zero gradients", "there", "Look")]))
    assert warned.count('class="sign"') == 2
    assert warned.index('class="sign"') < warned.index("<h2>")
    assert "May be too high" in warned
    calm = evaluation_page(replace(ev, warnings=[]))
    assert "No signs of gradient masking." in calm
    assert "May be too high" not in calm
    blind = replace(ev, warnings=[], settings={**ev.settings, "nb_probed": 0})
    assert "Signs were not looked for." in evaluation_page(blind)


def test_the_code_runs_the_same_evaluation_again(ev, problem):
    code = rerun(ev).replace("seed=0,", "seed=0, verbose=False,")
    names = dict(zip(("estimator", "x", "y"), problem, strict=True))
    exec(code, names)
    again = names["evaluation"]
    assert {k: v.tolist() for k, v in again.per_sample.items()} == {k: v.tolist() for k, v in ev.per_sample.items()}
    assert again.settings == ev.settings


def test_the_code_leaves_a_users_own_attacks_open(problem):
    from art.attacks.evasion import FastGradientMethod

    classifier, x, y = problem
    own = {"fast": FastGradientMethod(classifier, norm=2, eps=0.4), "pgd:max_iter=2": "pgd:max_iter=2"}
    found = evaluate(
        *(classifier, x, y), norm="inf", eps=0.4, attacks=own, lipschitz=False, masking=False, seed=0, verbose=False
    )
    code = rerun(found)
    assert "attack_0 = ...  # FastGradientMethod, given by the user: {" in code
    assert "attacks={'fast': attack_0, 'pgd:max_iter=2': 'pgd:max_iter=2'}" in code
    assert "norm='inf'" in code
    compile(code, "snippet", "exec")
    alone = replace(found, outcomes=found.outcomes[1:])
    assert "attacks=['pgd:max_iter=2']" in rerun(alone)


@pytest.mark.usefixtures("bare")
def test_the_least_there_can_be(problem):
    """No attack within the budget, no bounds, no signs looked for, nothing broken."""
    found = evaluate(
        *problem, eps=0.1, attacks=["noise:sigma=0"], lipschitz=False, masking=False, seed=0, verbose=False
    )
    text = "".join(Page(evaluation_page(replace(found, examples=[]))).text)
    assert "No attack within the budget ran" in text
    assert "at most" not in text
    assert "Not measured." in text
    assert "Adversarial examples" not in text


@pytest.mark.usefixtures("bare")
def test_without_matplotlib_the_page_says_so(ev):
    page = Page(evaluation_page(ev))
    assert not page.all("img")
    assert "pip install matplotlib, or install artclip with its extra 'report'" in "".join(page.text)


def test_a_users_style_does_not_change_the_figures(ev, plain):
    import matplotlib

    with matplotlib.rc_context({"figure.facecolor": "black", "text.color": "white", "font.size": 30}):
        assert evaluation_page(ev) == plain
        assert matplotlib.rcParams["font.size"] == 30


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to look at the page with")
def test_a_browser_shows_it_no_wider_than_a_phone(attacked, tmp_path):
    """Within a frame of 390 px: a window of that width is less than Chromium makes."""
    frame = html.escape(attacked)
    (tmp_path / "frame.html").write_text(
        f'<iframe style="border:0;width:390px;height:900px" srcdoc="{frame}" '
        "onload=\"document.title = 'width ' + this.contentDocument.documentElement.scrollWidth\"></iframe>",
        encoding="utf-8",
    )
    off = ("gpu", "quic", "background-networking", "component-update", "sync")
    run = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars", "--enable-logging=stderr"),
            *(f"--disable-{part}" for part in off),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom"),
            (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "<title>width 390</title>" in run.stdout
    assert "CONSOLE" not in run.stderr


@pytest.mark.usefixtures("bare")
def test_the_page_is_written_to_a_file(ev, tmp_path):
    text = ev.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    assert np.isfinite(ev.seconds)
