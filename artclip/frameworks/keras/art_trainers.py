"""What a comparison needs of TensorFlow: one compiled step for ART's trainers, and a number of threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from artclip.frameworks.keras.averaging import averaged

__all__ = ["averaged", "threads", "training"]


@contextlib.contextmanager
def training(classifier: Any) -> Iterator[None]:
    """Around a ``fit`` of ART, with one compiled step.

    ART compiles a new one in each ``fit``, and its trainers call ``fit`` for every batch.
    """
    if getattr(classifier, "_train_step", None) is not None:
        yield
        return
    loss_object, optimizer = classifier.loss_object, classifier.optimizer

    @tf.function(reduce_retracing=True)
    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = loss_object(labels, classifier.model(images, training=True))
        variables = classifier.model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    optimizer.build(classifier.model.trainable_variables)
    classifier._train_step = lambda _, images, labels: step(images, labels)
    try:
        yield
    finally:
        classifier._train_step = None


def threads(number: int) -> contextlib.nullcontext[None]:
    """So many threads as it was started with: TensorFlow takes no other number afterwards."""
    return contextlib.nullcontext()
