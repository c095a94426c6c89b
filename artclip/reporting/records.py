"""What results say of how they came to be, and how they are written."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def describe(framework: str | None) -> dict[str, Any]:
    """Versions and machine.

    Args:
        framework: the package of the framework at work, or ``None``.
    """
    names = ["artclip", "adversarial-robustness-toolbox", "numpy", *([framework] if framework else [])]
    versions = {}
    for package in names:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return {"versions": versions, "machine": machine, "python": platform.python_version()}


def as_json(record: Any, path: str | os.PathLike[str] | None = None) -> str:
    """A record as JSON; also written to ``path`` where given."""
    text = json.dumps(record, indent=1, ensure_ascii=False, default=float)
    written(text + "\n", path)
    return text


def written(text: str, path: str | os.PathLike[str] | None) -> str:
    """The text; also written to ``path`` where given."""
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
