"""CLIP inside ``keras.Model.fit``: a model around a model, whose loss includes the penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


class PenalisedModel(keras.Model):
    """The model as it is, trained on loss + λ·penalty: ``compile`` and ``fit`` it like any other.

    Layers are shared, so after ``fit`` the model inside is the trained one; save that. The logs show ``penalty``.

    Args:
        model: the model to train.
        penalty: gives the penalty, a scalar tensor, from a batch of inputs.
        lamda: λ >= 0; a variable, which callbacks may assign.
    """

    def __init__(self, model: Any, penalty: Callable[[Any], Any], lamda: float) -> None:
        super().__init__(name=f"penalised_{model.name}")
        self.model, self.penalty = model, penalty
        self.lamda = self.add_weight(shape=(), initializer="zeros", trainable=False, name="lamda")
        self.lamda.assign(lamda)
        self._penalty_seen = keras.metrics.Mean(name="penalty")

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The outputs of the model inside."""
        return self.model(inputs, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The compiled loss, in training with λ·penalty on the batch."""
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if not training:
            return loss
        value = self.penalty(x)
        self._penalty_seen.update_state(value)
        return loss + keras.ops.cast(self.lamda * value, loss.dtype)

    def test_step(self, data: Any) -> Any:
        """As of any model: without the penalty."""
        logs = super().test_step(data)
        return {name: value for name, value in logs.items() if name != "penalty"}
