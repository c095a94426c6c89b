"""What was found where a model was looked for, whatever its framework."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from artclip.extras import how_to_install

_LONGEST = 300  # characters of an error of a library


@dataclass(frozen=True)
class LoadedModel:
    """A model with what its file or library knows of it.

    Attributes:
        model: of a framework, with logits or probabilities as outputs; or, as a black box, a function of a float array
            of inputs that gives an array of outputs.
        input_shape: of one input, or ``None``; a dimension that may be anything is 0.
        preprocessing: (mean, std) for inputs in [0, 1], each a number or of shape (channels,), or ``None``.
        black_box: whether the model gives outputs alone, and no gradients.
    """

    model: Any
    input_shape: tuple[int, ...] | None = None
    preprocessing: Any = None
    black_box: bool = False


def said(error: Exception) -> str:
    """What an exception says, in one line that is not too long."""
    first, *more = str(error).strip().splitlines() or [repr(error)]
    line = f"{first} {more[0].strip()}" if first.endswith(":") and more else first
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def library(name: str, extra: str) -> Any:
    """A module of another project.

    Raises:
        ImportError: it is missing, or does not fit the others; with the extra that names it.
    """
    try:
        return import_module(name)
    except Exception as error:  # torchvision, beside a torch it was not made for, raises RuntimeError
        package = name.partition(".")[0]
        raise ImportError(f"{name} cannot be imported ({error}); {how_to_install(package, extra)}") from error
