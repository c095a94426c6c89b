"""Python functions as TensorFlow graphs, without AutoGraph where they do without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class TraceRefusedError(ValueError):
    """What artclip refuses in a trace, which AutoGraph would not mend."""


def traced(function: Callable[..., Any], signature: list[Any]) -> tuple[Any, Any]:
    """The function as a ``tf.function``, and its trace, which spares the look-up of one at each call.

    AutoGraph rewrites the source of all that is called, which takes most of the time of a trace. What artclip does with
    tensors needs none; but a loss or a ``tf.Module`` may, with ``if`` or ``for`` on them: without AutoGraph that is an
    error. (Layers of Keras are never rewritten.)

    Args:
        signature: a ``tf.TensorSpec`` for each argument, or a structure of them.
    """
    try:
        graph = tf.function(function, input_signature=signature, autograph=False)
        return graph, graph.get_concrete_function()
    except TraceRefusedError:
        raise
    except Exception:  # whatever it is: if AutoGraph is not what was lacking, it comes again
        graph = tf.function(function, input_signature=signature)
        return graph, graph.get_concrete_function()
