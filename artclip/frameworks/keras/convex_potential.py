"""A residual layer for Keras that is 1-Lipschitz, and its nodes in the graph of layers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from artclip import checks
from artclip import graph as G
from artclip.frameworks.keras.calls import OWN, Call, rule
from artclip.frameworks.keras.convolutions import Kernel
from artclip.frameworks.keras.nodes import Tensor


@keras.saving.register_keras_serializable("artclip")
class ConvexPotential(keras.layers.Layer):
    """As :class:`artclip.frameworks.pytorch.convex_potential.ConvexPotential`, for Keras.

    Args:
        units: between its two matrices; ``None`` for as many as there are features.
        **options: of ``keras.layers.Layer``.
    """

    def __init__(self, units: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        if units is not None:
            checks.positive_integer("units", units)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights for inputs of shape (n, features)."""
        features = input_shape[-1]
        shape = (features, self.units or features)
        self.kernel = self.add_weight(shape=shape, initializer="orthogonal", name="kernel")
        self.bias = self.add_weight(shape=shape[1:], initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Of the shape of its inputs."""
        hidden = ops.relu(ops.matmul(inputs, self.kernel) + self.bias)
        return inputs - 2.0 * ops.matmul(hidden, ops.transpose(self.kernel))

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras saves them."""
        return {**super().get_config(), "units": self.units}


OWN.add(ConvexPotential)


@rule("layers.ConvexPotential", "units")
def _convex_potential(call: Call) -> Tensor:
    x = call.x
    if len(x.shape) != 1:
        raise call.refused(f"inputs of shape {x.shape}; a rule is there for vectors alone")
    kernel = Kernel.of(call, call.op.kernel, ops.transpose)
    units, shape = kernel.array.shape[:1], x.shape
    hidden = call.put(G.Dense(kernel.array, 1, call.array(call.op.bias), kernel.live), (x,), units)
    hidden = call.put(G.ACTIVATIONS["relu"], (hidden,), units)
    return call.put(G.Add(), (x, call.put(G.Dense(-2.0 * kernel.array.T), (hidden,), shape)), shape)
