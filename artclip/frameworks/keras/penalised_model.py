"""CLIP inside ``keras.Model.fit``: a model around a model, whose loss includes the penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_STATE = "penalty."  # before the names of what belongs to the penalty, among the variables of a file


class PenalisedModel(keras.Model):
    """The model as it is, trained on loss + λ·penalty: ``compile`` and ``fit`` it like any other.

    Layers are shared, so after ``fit`` the model inside is the trained one. That is what :meth:`save` writes, and so
    ``ModelCheckpoint``; weights have the state of the penalty with them, for ``BackupAndRestore``. The logs show
    ``penalty``.

    Args:
        model: the model to train.
        penalty: gives the penalty, a scalar tensor, from a batch of inputs.
        lamda: λ >= 0; a variable, which callbacks may assign.
        autograph: whether the penalty has ``if`` or ``for`` on tensors, which AutoGraph, slowly, makes a graph of.
    """

    def __init__(self, model: Any, penalty: Callable[[Any], Any], lamda: float, autograph: bool = True) -> None:
        super().__init__(name=f"penalised_{model.name}")
        self.model, self.penalty = model, penalty
        plain = tf.autograph.experimental.do_not_convert(lambda x: penalty(x))
        self._value_of: Callable[[Any], Any] = penalty if autograph else plain
        self.lamda = self.add_weight(shape=(), initializer="zeros", trainable=False, name="lamda")
        self.lamda.assign(lamda)
        self._penalty_seen = keras.metrics.Mean(name="penalty")
        self.built = model.built

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
        value = self._value_of(x)
        self._penalty_seen.update_state(value)
        return loss + keras.ops.cast(self.lamda * value, loss.dtype)

    def test_step(self, data: Any) -> Any:
        """As of any model: without the penalty."""
        logs = super().test_step(data)
        return {name: value for name, value in logs.items() if name != "penalty"}

    def save(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Write the model inside, as its own ``save``."""
        self.model.save(filepath, *arguments, **options)

    def export(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Write the model inside, as its own ``export``."""
        self.model.export(filepath, *arguments, **options)

    def get_config(self) -> Any:
        """There is none: data and pairs are no configuration."""
        raise NotImplementedError("this model has data and pairs with it; save the model inside: training.model.save()")

    def save_own_variables(self, store: Any) -> None:
        """λ, and the state of the penalty."""
        super().save_own_variables(store)
        for name, value in self._state().items():
            store[_STATE + name] = np.asarray(value)

    def load_own_variables(self, store: Any) -> None:
        """Put both back."""
        found = {name: store[name] for name in store.keys()}  # noqa: SIM118  a store of Keras
        super().load_own_variables({name: v for name, v in found.items() if not name.startswith(_STATE)})
        if self._state():
            state = {name.removeprefix(_STATE): np.asarray(v) for name, v in found.items() if name.startswith(_STATE)}
            getattr(self.penalty, "load_state_dict")(state)  # noqa: B009  a penalty may be any function

    def _state(self) -> dict[str, Any]:
        return getattr(self.penalty, "state_dict", dict)()
