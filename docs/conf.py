"""Sphinx configuration: MyST pages, notebooks that are run, API pages from docstrings, the furo theme.

Neither the build nor the pages need the network: formulas become MathML, which browsers draw by themselves.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

import artclip

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what runs in notebooks says no more than it must

project = "artclip"
author = "artclip contributors"
copyright = author
release = version = artclip.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
html_math_renderer = "mathml"

nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars, and what TensorFlow says of itself

html_theme = "furo"
html_title = f"artclip {release}"
html_static_path = ["static"]
html_css_files = ["style.css"]

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


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _help(app: Any) -> None:
    """What the commands say of themselves, for the pages that include it."""
    folder = Path(app.srcdir) / "_build" / "help"
    folder.mkdir(parents=True, exist_ok=True)
    commands = {name: (name, "--help") for name in ("train", "compare", "reproduce", "evaluate", "lipschitz")}
    for name, words in {**commands, "attacks": ("attacks",)}.items():
        run = [sys.executable, "-m", "artclip", *words]
        text = subprocess.run(run, env={**os.environ, "COLUMNS": "100"}, capture_output=True, text=True, check=True)
        (folder / f"{name}.txt").write_text(text.stdout)


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("builder-inited", _help)
    app.connect("autodoc-process-docstring", _escape_stars)
