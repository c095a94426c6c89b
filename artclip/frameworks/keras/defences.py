"""TensorFlow: ART's defences that work in numpy, as functions with a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from art.config import ART_NUMPY_DTYPE


def defended(defence: Any, x: tf.Tensor) -> tf.Tensor:
    """A defence in numpy: the real one forward, its own estimate of the gradient backward, for most the identity."""
    kind = x.dtype.as_numpy_dtype
    shape = np.shape(defence(np.zeros((1, *x.shape[1:]), ART_NUMPY_DTYPE))[0])[1:]

    def estimated(inputs: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        arrays = (a.astype(ART_NUMPY_DTYPE) for a in (inputs, gradient))
        return np.asarray(defence.estimate_gradient(*arrays), kind)

    @tf.custom_gradient
    def run(inputs: tf.Tensor) -> Any:
        outputs = tf.numpy_function(
            lambda a: np.asarray(defence(a.astype(ART_NUMPY_DTYPE))[0], kind), [inputs], inputs.dtype
        )

        def pull(gradient: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(estimated, [inputs, gradient], inputs.dtype), inputs.shape)

        return tf.ensure_shape(outputs, (x.shape[0], *shape)), pull

    return run(x)
