"""Cheap Lipschitz training (CLIP) for the Adversarial Robustness Toolbox.

Public names are imported when they are first used, so that ``import artclip`` pulls in no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from artclip._version import __version__

_HOME = {
    "CLIPTrainer": "artclip.trainers.clip",
    "AdversarialLossTrainer": "artclip.trainers.robust",
    "GradientPenaltyTrainer": "artclip.trainers.robust",
    "LipschitzPenalty": "artclip.trainers.penalty",
    "NoiseTrainer": "artclip.trainers.robust",
    "WeightRegularizationTrainer": "artclip.trainers.weight",
    "PairSet": "artclip.lipschitz.pairs",
    "LipschitzEstimate": "artclip.lipschitz.estimate",
    "audit": "artclip.lipschitz.audit",
    "Audit": "artclip.lipschitz.audit_result",
    "CleverScore": "artclip.lipschitz.clever",
    "clever": "artclip.lipschitz.clever",
    "compare": "artclip.comparison.compare",
    "Comparison": "artclip.comparison.result",
    "evaluate": "artclip.evaluation.evaluate",
    "noise_curve": "artclip.evaluation.curves",
    "query_curve": "artclip.evaluation.curves",
    "robustness_curve": "artclip.evaluation.curves",
    "Evaluation": "artclip.evaluation.result",
    "leaderboard": "artclip.evaluation.leaderboard",
    "Leaderboard": "artclip.evaluation.leaderboard",
    "certified_radius": "artclip.lipschitz.certificate",
    "lipschitz_bracket": "artclip.lipschitz.bracket",
    "lipschitz_lower_bound": "artclip.lipschitz.lower",
    "lipschitz_upper_bound": "artclip.lipschitz.upper",
    "load_data": "artclip.data",
    "load_model": "artclip.models.loading",
    "OutputChange": "artclip.evaluation.output_change",
    "output_change": "artclip.evaluation.output_change",
    "save": "artclip.models.saving",
    "smoothed_radius": "artclip.evaluation.smoothing",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:  # for editors and type checkers; "as" says that a name may be had from here
    from artclip.comparison.compare import compare as compare
    from artclip.comparison.result import Comparison as Comparison
    from artclip.data import load_data as load_data
    from artclip.evaluation.curves import noise_curve as noise_curve
    from artclip.evaluation.curves import query_curve as query_curve
    from artclip.evaluation.curves import robustness_curve as robustness_curve
    from artclip.evaluation.evaluate import evaluate as evaluate
    from artclip.evaluation.leaderboard import Leaderboard as Leaderboard
    from artclip.evaluation.leaderboard import leaderboard as leaderboard
    from artclip.evaluation.output_change import OutputChange as OutputChange
    from artclip.evaluation.output_change import output_change as output_change
    from artclip.evaluation.result import Evaluation as Evaluation
    from artclip.evaluation.smoothing import smoothed_radius as smoothed_radius
    from artclip.lipschitz.audit import audit as audit
    from artclip.lipschitz.audit_result import Audit as Audit
    from artclip.lipschitz.bracket import lipschitz_bracket as lipschitz_bracket
    from artclip.lipschitz.certificate import certified_radius as certified_radius
    from artclip.lipschitz.clever import CleverScore as CleverScore
    from artclip.lipschitz.clever import clever as clever
    from artclip.lipschitz.estimate import LipschitzEstimate as LipschitzEstimate
    from artclip.lipschitz.lower import lipschitz_lower_bound as lipschitz_lower_bound
    from artclip.lipschitz.pairs import PairSet as PairSet
    from artclip.lipschitz.upper import lipschitz_upper_bound as lipschitz_upper_bound
    from artclip.models.loading import load_model as load_model
    from artclip.models.saving import save as save
    from artclip.trainers.clip import CLIPTrainer as CLIPTrainer
    from artclip.trainers.penalty import LipschitzPenalty as LipschitzPenalty
    from artclip.trainers.robust import AdversarialLossTrainer as AdversarialLossTrainer
    from artclip.trainers.robust import GradientPenaltyTrainer as GradientPenaltyTrainer
    from artclip.trainers.robust import NoiseTrainer as NoiseTrainer
    from artclip.trainers.weight import WeightRegularizationTrainer as WeightRegularizationTrainer


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'artclip' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
