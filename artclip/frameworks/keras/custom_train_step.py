"""A ``train_step`` of the user's own, as ART's ``TensorFlowV2Classifier`` takes it, with a penalty added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from artclip.frameworks.keras.tracing import TraceRefusedError


class _Penalised:
    """The model, but the first pass through it adds the penalty's gradient to whatever is differentiated after it."""

    def __init__(self, model: Any, gradients: Sequence[tf.Tensor | None]) -> None:
        self._model, self._gradients, self.called = model, gradients, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outputs = self._model(*args, **kwargs)
        first, self.called = not self.called, True
        return self._with_gradients(outputs) if first and self._gradients else outputs

    def _with_gradients(self, outputs: tf.Tensor) -> tf.Tensor:
        pairs = [(v, g) for v, g in zip(self._model.trainable_variables, self._gradients, strict=True) if g is not None]

        @tf.custom_gradient
        def identity(t: tf.Tensor, *variables: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
            return tf.identity(t), lambda upstream: (upstream, *(tf.convert_to_tensor(g) for _, g in pairs))

        return identity(outputs, *(tf.convert_to_tensor(v) for v, _ in pairs))


def own_step(
    train_step: Callable[..., Any], model: Any, x: tf.Tensor, y: tf.Tensor, gradients: Sequence[tf.Tensor | None]
) -> None:
    """Run ``train_step(model, x, y)`` so that the gradients of its loss in the variables grow by those given.

    Args:
        gradients: one per trainable variable, or none at all.

    Raises:
        TraceRefusedError: the step does not call the model it is given, so that nothing could be added.
    """
    penalised = _Penalised(model, gradients)
    getattr(train_step, "python_function", train_step)(penalised, x, y)  # as part of our own tf.function
    if gradients and not penalised.called:
        raise TraceRefusedError(
            "the classifier's train_step(model, images, labels) does not call the model that it is given, so no "
            "penalty can be added to its gradient; use that argument instead of a model from outside"
        )
