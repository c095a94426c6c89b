"""Reports: pages from the templates of this room, whose text is all escaped, and that need no network."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from artclip.reporting.figures import MISSING
from artclip.reporting.intervals import wilson
from artclip.reporting.text import norm_name

_TEMPLATES = Environment(
    loader=PackageLoader("artclip.reporting"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, script: str = "", **values: Any) -> str:
    """A whole page, light or dark, down to the width of a phone.

    Args:
        template: its file in ``templates/``.
        script: the file there of the only script that may run, or "".
        **values: of the template; their text is escaped.
    """
    code = _TEMPLATES.get_template(script).render() if script else ""
    sha256 = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    text = _TEMPLATES.get_template(template).render(script=Markup(code), script_sha256=sha256, **values)
    return re.sub(r"(?<=[0-9]) %", "\u00a0%", text)  # which no line ends between


def pictures(draw: dict[str, Callable[[], Any]]) -> tuple[dict[str, str], str]:
    """Figures of matplotlib as PNGs within the page, whatever style the user has set for other figures.

    Args:
        draw: name -> what makes the figure, or raises ``ValueError`` where there is nothing to show.

    Returns:
        Name -> address; and why there is none, or "".
    """
    try:
        import matplotlib
    except ImportError:
        return {}, MISSING
    addresses = {}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, figure in draw.items():
            with suppress(ValueError):
                figure().savefig(file := io.BytesIO(), format="png", dpi=160)
                addresses[name] = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return addresses, ""


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _interval(share: float | None, nb_samples: int) -> str:
    """Wilson's interval of a share, in %."""
    return "–" if share is None else "{:.1f} – {:.1f}".format(*(100 * end for end in wilson(share, nb_samples)))


_TEMPLATES.filters |= {"percent": _percent, "interval": _interval, "norm_name": norm_name}
