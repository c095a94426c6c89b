"""Exponential moving averages of weights for Keras, within the compiled step.

Keras's own ``use_ema`` has neither a decay that rises at first nor averages of BatchNorm's statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from artclip.frameworks.averaging import decay_at
from artclip.frameworks.replaced import followed


class WeightAverages:
    """Averages of the weights of a model that are floating point; they start where these are.

    Args:
        weights: its variables; under a ``tf.distribute`` strategy those that its scope makes.
        decay: in (0, 1), at most; see :func:`artclip.frameworks.averaging.decay_at`.
    """

    def __init__(self, weights: list[Any], decay: float) -> None:
        self._decay = decay
        self._weights = [v for v in weights if tf.as_dtype(v.dtype).is_floating]
        alike = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}  # as the weights are
        self._averages = [tf.Variable(tf.convert_to_tensor(v), **alike) for v in self._weights]
        self._step = tf.Variable(0, dtype=tf.int64, **alike)

    @property
    def variables(self) -> list[tf.Variable]:
        """Steps, and averages: all that they go on from."""
        return [self._step, *self._averages]

    def move(self) -> None:
        """After a step of the optimizer; as part of a compiled function too."""
        decay = decay_at(tf.cast(self._step, tf.float32), self._decay, tf.minimum)
        for average, weight in zip(self._averages, self._weights, strict=True):
            now = tf.convert_to_tensor(weight)
            average.assign_add(tf.cast(1 - decay, now.dtype) * (now - average))
        self._step.assign_add(1)

    def put(self) -> None:
        """Put the averages in the place of the weights."""
        for average, weight in zip(self._averages, self._weights, strict=True):
            weight.assign(average)


@contextmanager
def averaged(classifier: Any, decay: float, after: tuple[Any, str] | None = None) -> Iterator[None]:
    """Around a whole training of an ART classifier by its own optimizer, whose model ends with the averages.

    Args:
        classifier: it.
        decay: in (0, 1).
        after: an object and the name of its method, called once a step, after which the weights are those of the step;
            ``None`` for the optimizer and its ``apply_gradients``.
    """
    averages = WeightAverages(classifier.model.weights, decay)
    with followed(*(after or (classifier.optimizer, "apply_gradients")), averages.move):
        yield
    averages.put()
