"""Sphinx configuration: MyST pages, API pages from docstrings, the furo theme. Builds without network access."""

import re
from typing import Any

import artclip

project = "artclip"
author = "The artclip developers"
copyright = author
release = version = artclip.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"artclip {release}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes as fields of their class, not as entries of their own
python_maximum_signature_line_length = 100


def _escape_stars(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings write shapes as (n, *input_shape); in reStructuredText the star would begin an emphasis."""
    for i, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [re.sub(r", \*(\w+)\)", r", \\*\1)", part) for part in parts[::2]]
        lines[i] = "``".join(parts)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", _escape_stars)
