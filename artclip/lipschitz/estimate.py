"""A Lipschitz figure that says what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from artclip.frameworks import Function
from artclip.hashing.digests import digest

_SIGNS = {"lower": ">=", "upper": "<=", "exact": "=="}


@dataclass(frozen=True, repr=False)
class LipschitzEstimate:
    """A bound of Lip(f) = sup ‖f(u) - f(v)‖ / ‖u - v‖.

    Attributes:
        value: the bound, in output units per input unit, >= 0.
        kind: ``"lower"``, ``"upper"`` or ``"exact"``.
        norm: norm on flattened inputs: 1, 2 or inf.
        output_norm: norm on flattened outputs: 1, 2 or inf.
        domain: where f was searched: ``"clip_values"`` or ``"free"``.
        method: how the figure was found.
        seconds: how long that took.
        seed: of the search, or ``None``.
        u: for a lower bound, the first point of the pair that attains it, input-shaped.
        v: the second point.
        layers: for an upper bound, name and factor of each part of the network that was bounded alone. Those in no
            branch multiply to it; with norms other than 2 there may be a factor for the change of norms besides.
        branches: place in ``layers`` of what joins branches, as an addition -> the factor of each branch.
        inside: places in ``layers`` of the parts that are in a branch.
        gram: for some upper bounds in L2, a matrix M of shape (k, k) with ``|h·(f(u) - f(v))| <= √(hᵀ M h)·‖u - v‖``
            for every h: a constant for each pair of classes.
        history: (seconds, value) as the search or the optimisation went on.
        notes: what could have made the bound tighter and was left out, and why.
        fingerprint: of the model that it was made for, from :func:`fingerprint`; ``None`` where that is not known.
        nb_outputs: of that model.
        probe: inputs (n, *input_shape) and the outputs (n, k) of that model there: what else a change of it changes.
        rounding: how far rounding of each layer's outputs moves the model's, about, in output units.
        cut_short: whether there was no time for all of a search.
    """

    value: float
    kind: str
    norm: float
    output_norm: float
    domain: str
    method: str
    seconds: float
    seed: int | None = None
    u: np.ndarray | None = None
    v: np.ndarray | None = None
    layers: list[tuple[str, float]] | None = None
    branches: dict[int, list[float]] = field(default_factory=dict)
    inside: list[int] = field(default_factory=list)
    gram: np.ndarray | None = None
    history: list[tuple[float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fingerprint: str | None = None
    nb_outputs: int | None = None
    probe: tuple[np.ndarray, np.ndarray] | None = None
    rounding: float | None = None
    cut_short: bool = False

    @property
    def distance(self) -> float | None:
        """How far apart the two points of the pair are, in input units and the norm of the inputs; ``None`` without."""
        if self.u is None or self.v is None:
            return None
        return float(np.linalg.norm((np.asarray(self.v, np.float64) - self.u).ravel(), self.norm))

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        return f"<LipschitzEstimate: {self}>"

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, for JSON."""
        arrays = ("u", "v", "gram", "probe")
        record = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in arrays}
        return {**record, "norm": str(self.norm), "output_norm": str(self.output_norm)}

    def __str__(self) -> str:
        norms = f"L{self.norm} to L{self.output_norm}, {self.domain}"
        return f"Lip {_SIGNS[self.kind]} {self.value:.4g} ({norms}; {self.method})"


def fingerprint(f: Function, input_shape: tuple[int, ...]) -> str:
    """Hash of a model as a function: layers, weights, ART's scaling, and the shape of an input.

    Args:
        f: its adapter, from :func:`artclip.frameworks.function_of`.
        input_shape: of one input.
    """
    scaling = getattr(f, "scaling", None)
    scales = [f.to_numpy([t]) for t in scaling] if scaling is not None else []
    model = getattr(f, "module", getattr(f, "model", None))
    return digest(_layers(getattr(model, "_model", model)), list(input_shape), *scales, *f.state())


def _layers(model: Any) -> Any:
    """What tells layers without weights apart, where the framework says it."""
    if hasattr(model, "get_config"):  # Keras
        try:
            return model.get_config()
        except Exception:  # a model of the user's own that has none
            return type(model).__qualname__
    text = repr(model) if hasattr(model, "named_modules") else type(model).__qualname__  # PyTorch lists the layers
    return re.sub(r" at 0x[0-9a-f]+", "", text)
