"""What the loss of a Keras classifier decides: labels, the loss of outputs, and which predictions are right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from artclip.frameworks.keras import layers
from artclip.frameworks.trainable import LogitShift, Trainable


class KerasLoss(Trainable):
    """That part of an estimator.

    Attributes:
        model: the Keras model.
        dtype: of its inputs.
    """

    model: Any
    dtype: Any
    _loss: Any
    _compiled: bool  # a KerasClassifier: the loss is the model's, with those that layers add
    _width: int  # outputs of a sample
    _sparse: bool  # whether the loss takes class indices

    def _probabilities(self, y: np.ndarray) -> np.ndarray:
        if self.nb_classes is None or y.ndim == 2:
            return y
        return np.asarray(np.eye(self.nb_classes, dtype=np.float32)[y])

    def labels(self, y: np.ndarray) -> np.ndarray:
        if self.nb_classes is None:
            return y.reshape(len(y), -1)
        if self._sparse or self._width == 1:
            index = y.argmax(1) if y.ndim == 2 else y
            return index.astype(np.int64) if self._width > 1 else index.astype(np.float32)[:, None]
        return self._probabilities(y)

    def _loss_of(
        self, x: Any, outputs: tf.Tensor, y: tf.Tensor, training: bool, shift_logits: LogitShift | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if self.nb_classes is None:
            outputs = tf.reshape(outputs, tf.shape(y))
        seen = (
            outputs if shift_logits is None else shift_logits(tf.cast(outputs, self.dtype), self._one_hot(y, outputs))
        )
        if self._compiled:  # with the losses that layers add
            loss = self.model.compute_loss(x=x, y=y, y_pred=seen, training=training)
        else:
            loss = self._loss(y, seen)
        loss = tf.cast(tf.reduce_mean(loss), self.dtype)
        return loss, self._correct(tf.stop_gradient(outputs), y)

    def _one_hot(self, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        index = tf.argmax(y, 1) if y.shape.rank == 2 else y
        return tf.one_hot(index, outputs.shape[1], dtype=self.dtype)

    def _correct(self, outputs: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        if self.nb_classes is None:
            return tf.constant(math.nan, self.dtype)
        if self.multi_label:
            labels_right = tf.cast((outputs > self.threshold) == (y > 0.5), self.dtype)
            return tf.reduce_sum(tf.reduce_mean(labels_right, 1))
        if self._width == 1:  # one output: probability, or log-odds before a sigmoid
            right = (tf.reshape(outputs, (-1,)) > self.threshold) == (tf.reshape(y, (-1,)) > 0.5)
        else:
            labels = tf.argmax(y, 1) if y.shape.rank == 2 else y
            right = tf.argmax(outputs, 1) == labels
        return tf.reduce_sum(tf.cast(right, self.dtype))

    def takes_several_labels(self) -> bool:
        return "categorical" not in layers.loss_name(self._loss)

    @property
    def loss_function(self) -> Any:
        return self._loss

    def loss_at_mean(self, y: np.ndarray) -> float:
        targets = self.tensor(y)
        mean = tf.reduce_mean(targets, 0, keepdims=True) + tf.zeros_like(targets)
        return float(self._loss_of(None, mean, targets, False)[0])
