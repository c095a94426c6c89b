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


@contextmanager
def followed(thing: Any, name: str, action: Callable[[], Any]) -> Iterator[None]:
    """Inside, an action follows each call of a method of the thing."""
    method = getattr(thing, name)

    def called(*arguments: Any, **options: Any) -> Any:
        found = method(*arguments, **options)
        action()
        return found

    with replaced([thing], name, lambda _: called):
        yield
