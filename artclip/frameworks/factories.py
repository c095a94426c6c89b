"""Functions of a user that make a net: of (input_shape, nb_classes), or of nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def takes(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function can be called with these arguments; True where its signature is not to be had."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # of some built-in functions
        return True
    return True


def must_be_told(factory: Callable[..., Any]) -> bool:
    """Whether a function cannot do without the shape of an input and the number of classes."""
    return not takes(factory) and takes(factory, (), 0)


def made_by(factory: Callable[..., Any], input_shape: tuple[int, ...], nb_classes: int) -> Any:
    """The net that a function makes for inputs of a shape and a number of classes, whether it asks for them or not."""
    asks = takes(factory, input_shape, nb_classes) or not takes(factory)
    return factory(input_shape, nb_classes) if asks else factory()
