"""What to install where a package is missing that artclip needs only for some work."""

from __future__ import annotations


def how_to_install(packages: str, extra: str) -> str:
    """The end of an error message: right from a clone and from a package index, since it names no place of artclip.

    Args:
        packages: as pip calls them, with spaces between them.
        extra: of ``pyproject.toml``, which names them with their versions.
    """
    return f"pip install {packages}, or install artclip with its extra {extra!r}"
