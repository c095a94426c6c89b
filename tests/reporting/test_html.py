"""Pages: all text is escaped, one script at most may run, and what is missing is an error rather than a blank."""

import base64
import hashlib
import re

import pytest
from jinja2 import UndefinedError

from artclip.reporting.html import page

EVIL = "<img src=x onerror=alert(1)>&\"'"
BASE = {"title": EVIL, "above": EVIL, "message": EVIL, "below": EVIL, "names": {}}
BASE |= {"settings": {"a_b": EVIL, "yes": True, "none": None}, "versions": {EVIL: EVIL}, "command": "", "code": EVIL}


def test_text_is_escaped_everywhere():
    text = page("base.html", **BASE)
    assert "<img" not in text
    assert text.count("&lt;img src=x") == 8
    assert "<script" not in text
    assert "script-src" not in text
    assert "a b" in text
    assert "<td>yes</td>" in text
    assert "<td>–</td>" in text


def test_a_figure_and_its_percent_sign_are_on_one_line():
    assert "<h1>60.0\u00a0% of all</h1>" in page("base.html", **{**BASE, "message": "60.0 % of all"})


def test_settings_and_versions_are_one_table():
    text = page("base.html", **{**BASE, "versions": {"numpy": "2"}})
    assert text.count("<table") == 1
    assert '<th scope="row">version of numpy</th><td>2</td>' in text


def test_the_command_that_was_typed_goes_before_code():
    text = page("base.html", **{**BASE, "command": "artclip compare --data digits"})
    assert "<code>artclip compare --data digits</code>" in text
    assert text.count("&lt;img src=x") == 7


def test_the_only_script_that_may_run_is_the_one_given():
    text = page("base.html", "sort.js", **BASE)
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError):
        page("base.html", title="only this")
