"""A layer of a model, as a function of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from artclip.frameworks.base import Function

LARGE, FEW, SOME = 1 << 14, 4, 16  # numbers of an input that is large; samples that are run of such, and of others


@dataclass(frozen=True)
class SingleLayer:
    """A layer, or a block of layers, and what goes into it.

    Attributes:
        name: in the model, as ``features.0``.
        kind: name of its class.
        f: the layer as a function; ``None`` where it is none of one tensor, or where its constant is known.
        inputs: what goes into it for data, shape (n, *its own input shape).
        why: it is no function of one tensor; "" where it is.
        constant: its Lipschitz constant in any norm, where that is known.
    """

    name: str
    kind: str
    f: Function | None = None
    inputs: np.ndarray | None = None
    why: str = ""
    constant: float | None = None


def samples_to_run(x: np.ndarray) -> np.ndarray:
    """So many of the data as are run through the model to see what goes into its layers."""
    return x[: FEW if x[0].size > LARGE else SOME]


def scaling(f: Function) -> list[SingleLayer]:
    """ART's scaling of inputs, if there is one, as the layer that it is."""
    mean_and_std = getattr(f, "scaling", None)
    if mean_and_std is None:
        return []
    steepest = 1 / float(np.abs(f.to_numpy([mean_and_std[1]])).min())
    return [SingleLayer("preprocessing", "mean and std", constant=steepest)]
