"""Attributes of models and layers that are replaced for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(things: Sequence[Any], name: str, made: Callable[[Any], Any]) -> Iterator[None]:
    """Inside, each thing has another attribute of a name; afterwards its own again, or that of its class.

    Args:
        things: with a ``__dict__``, which is written to itself, whatever their classes do when an attribute is set.
        name: of the attribute.
        made: makes it, of the thing.
    """
    before = [{name: vars(thing)[name]} if name in vars(thing) else {} for thing in things]
    for thing in things:
        vars(thing)[name] = made(thing)
    try:
        yield
    finally:
        for thing, own in zip(things, before, strict=True):
            vars(thing).pop(name, None)
            vars(thing).update(own)
