"""Arguments of a function as the dataclass that has fields for them, so that they are not listed once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def taken(kind: type[T], given: Mapping[str, Any], **more: Any) -> T:
    """A dataclass of those arguments that it has fields for.

    Args:
        kind: the dataclass.
        given: arguments by name, as ``locals()`` at the start of a function has them; others are passed over.
        more: fields with values of their own.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in {**given, **more}.items() if name in names})
