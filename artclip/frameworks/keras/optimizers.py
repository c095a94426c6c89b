"""Keras optimizers: gradients of several terms for one step, their limit, and which optimizers cannot serve."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from artclip.frameworks.keras.stiefel import StiefelMuon


def added(a: list[Any], b: list[Any]) -> list[Any]:
    """Gradients, of which some are ``None``, of a sum; none yet where a is empty."""
    if not a:
        return b
    dense = tf.convert_to_tensor  # gradients of an Embedding are slices
    return [q if p is None else p if q is None else dense(p) + dense(q) for p, q in zip(a, b, strict=True)]


def one(scalar: tf.Tensor) -> tf.Tensor:
    """1, but computed from the scalar, as the start of its gradients.

    TensorFlow's optimizer of graphs drops the order of a read before an assignment that needs nothing of it, so that
    weights in a penalty would now and then be those after the step. Now each gradient needs all that the scalar read.
    """
    return tf.where(tf.math.is_finite(scalar), tf.ones_like(scalar), scalar)


def limited(gradients: list[Any], norm: float, optimizer: Any, dtype: Any) -> list[Any]:
    """The gradients, scaled down to an L2 norm where they are longer all together."""
    scale = optimizer.scale_loss(tf.ones((), dtype))  # of mixed precision, by which they are longer
    found: list[Any] = tf.clip_by_global_norm(gradients, norm * scale)[0]
    return found


def stiefel_of(optimizer: Any) -> StiefelMuon | None:
    """The optimizer that keeps matrices orthogonal, where it is one."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # of mixed precision
    return inner if isinstance(inner, StiefelMuon) else None


def uses_ema(optimizer: Any) -> bool:
    """Whether it averages the weights itself."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # of mixed precision
    return bool(getattr(inner, "use_ema", False))


def refuse_others(optimizer: Any, variables: list[Any]) -> None:
    """Raise ``ValueError`` where it was built for other variables than these."""
    others = getattr(optimizer, "_trainable_variables", ()) if getattr(optimizer, "built", False) else ()
    if others and not {id(v) for v in variables} <= {id(v) for v in others}:
        raise ValueError(
            "the optimizer was built for other variables; a Keras optimizer serves one model, and one choice of "
            "its trainable layers: give this classifier an optimizer of its own"
        )
