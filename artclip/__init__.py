"""Cheap Lipschitz training (CLIP) for the Adversarial Robustness Toolbox.

Public names are imported when they are first used, so that ``import artclip`` pulls in no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "CLIPTrainer": "artclip.trainers.clip",
    "LipschitzPenalty": "artclip.trainers.penalty",
    "WeightRegularizationTrainer": "artclip.trainers.weight",
    "PairSet": "artclip.lipschitz.pairs",
    "LipschitzEstimate": "artclip.lipschitz.estimate",
    "compare": "artclip.evaluation.compare",
    "lipschitz_lower_bound": "artclip.lipschitz.lower",
    "load_data": "artclip.data",
}

__all__ = [
    "CLIPTrainer",
    "LipschitzEstimate",
    "LipschitzPenalty",
    "PairSet",
    "WeightRegularizationTrainer",
    "__version__",
    "compare",
    "lipschitz_lower_bound",
    "load_data",
]

if TYPE_CHECKING:  # for editors and type checkers
    from artclip.data import load_data
    from artclip.evaluation.compare import compare
    from artclip.lipschitz.estimate import LipschitzEstimate
    from artclip.lipschitz.lower import lipschitz_lower_bound
    from artclip.lipschitz.pairs import PairSet
    from artclip.trainers.clip import CLIPTrainer
    from artclip.trainers.penalty import LipschitzPenalty
    from artclip.trainers.weight import WeightRegularizationTrainer


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'artclip' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
