"""What a user asks of :func:`artclip.load_model`, and how what was found becomes an ART classifier."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from artclip.frameworks import FRAMEWORKS, models_of
from artclip.frameworks.loaded import LoadedModel, said
from artclip.safety import ModelFileError

_PLAIN = (0.0, 1.0)


def is_plain(pair: Any) -> bool:
    """Whether ``clip_values`` or ``preprocessing`` are what ``load_model`` takes where nothing is said."""
    is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
    return is_pair and all(np.ndim(v) == 0 for v in pair) and tuple(pair) == _PLAIN


@dataclass(frozen=True)
class Request:
    """The arguments of :func:`load_model`."""

    name: str
    weights: Path | None
    framework: str | None
    nb_classes: int | None
    input_shape: tuple[int, ...] | None
    clip_values: Any
    preprocessing: Any
    trust: bool
    kept: Mapping[str, Any] = field(default_factory=dict)
    """What a folder says of the classifier that was saved there: ``estimator`` and ``loss``."""

    @property
    def path(self) -> Path:
        """The name as a path."""
        return Path(self.name)

    def wrapped(self, found: LoadedModel) -> Any:
        """A model as an ART classifier; what its file or library knows of it fills in what the user left open."""
        if found.black_box:
            return self._black_box(found)
        kind = next((k for k in FRAMEWORKS if _is_of(found.model, k)), None)
        if kind is None:
            return self._not_a_model(found.model)
        if self.framework not in (None, kind):
            raise ValueError(f"{self.name} is a model of {title(kind)}, not of {title(str(self.framework))}")
        if self.weights is not None:
            read_weights(found.model, kind, self.weights)
        wrap, shape = models_of(kind).wrap, self._shape(found)
        try:
            return wrap(found.model, shape, self.nb_classes, self.clip_values, self._scaling(found), self.kept)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def _shape(self, found: LoadedModel) -> tuple[int, ...] | None:
        return found.input_shape if found.input_shape and all(found.input_shape) else self.input_shape

    def _scaling(self, found: LoadedModel) -> Any:
        if not is_plain(self.preprocessing) or found.preprocessing is None:
            return self.preprocessing
        if self.clip_values is not None and not 0 <= np.min(self.clip_values[0]) < np.max(self.clip_values[1]) <= 1:
            raise ValueError(
                f"its mean and std are for inputs in [0, 1], and clip_values are {self.clip_values}; give inputs in "
                "[0, 1], or give preprocessing"
            )
        return found.preprocessing

    def _black_box(self, found: LoadedModel) -> Any:
        from art.estimators.classification import BlackBoxClassifierNeuralNetwork

        from artclip.frameworks.preprocessing import fitted_box, fitted_scaling

        shape = self._shape(found)
        if not shape:
            raise ValueError(f"{self.name} does not tell the shape of one input; give input_shape, as (3, 224, 224)")
        outputs = found.model(np.zeros((1, *shape), np.float32))
        if outputs.ndim != 2 or self.nb_classes not in (None, outputs.shape[1]):
            expected = f"(1, {self.nb_classes or 'classes'})"
            raise ValueError(f"{self.name} gives outputs of shape {outputs.shape} for 1 input; expected {expected}")
        return BlackBoxClassifierNeuralNetwork(
            found.model,
            shape,
            outputs.shape[1],
            clip_values=fitted_box(self.clip_values, shape, True),
            preprocessing=fitted_scaling(self.preprocessing, shape, True),
        )

    def _not_a_model(self, found: Any) -> Any:
        from art.estimators import BaseEstimator

        if not isinstance(found, BaseEstimator) or self.weights is not None:
            raise ValueError(f"{self.name} gives a {type(found).__name__}; expected a torch.nn.Module or a Keras model")
        return found


def _is_of(model: Any, framework: str) -> bool:
    package = FRAMEWORKS[framework][0]
    return package in sys.modules and isinstance(model, models_of(framework).KIND)


def title(framework: str) -> str:
    """What a person calls a framework."""
    return FRAMEWORKS[framework][1]


def or_say(make: Any, what: str, write: str = "") -> Any:
    """What a function makes; where it fails, ``ValueError`` with what failed and how to write it again."""
    try:
        return make()
    except (ImportError, ModelFileError):
        raise
    except Exception as error:  # loaders raise whatever they like
        again = f"; it may be cut off or of another kind: write it again with {write}" if write else ""
        raise ValueError(f"{what}: {said(error)}{again}") from error


def read_weights(model: Any, framework: str, path: Path) -> None:
    """Read a file of weights into a model."""
    if not path.is_file():
        raise FileNotFoundError(f"weights {path} do not exist")
    or_say(lambda: models_of(framework).load_weights(model, str(path)), f"cannot read the weights {path}")
