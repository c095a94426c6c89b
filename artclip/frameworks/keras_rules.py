"""What each layer and operation of Keras does, as nodes of the graph of layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from artclip.frameworks.keras_convolutions import Convolutions
from artclip.frameworks.keras_nodes import Call, Tensor, array, flat
from artclip import graph as G

# Operations that take several tensors.
JOINS = ("add", "subtract", "average", "multiply", "divide", "truedivide", "maximum", "minimum", "concatenate")


class Rules(Convolutions):
    """A method ``rule_<kind>`` for each kind of layer or operation, in small letters."""

    # Means and order

    def rule_globalaveragepooling2d(self, call: Call) -> Tensor:
        rank = len(call.x.shape)
        return self._mean(call, range(rank - 1) if call.op.data_format == "channels_last" else range(1, rank))

    rule_globalaveragepooling1d = rule_globalaveragepooling3d = rule_globalaveragepooling2d

    def rule_sort(self, call: Call) -> Tensor:
        call.axis(call.op.axis)
        return self.put(call.name, G.SORT, (call.x,), call.x.shape, call.x.first)

    def rule_mean(self, call: Call) -> Tensor:
        return self._mean(call, [call.axis(a) for a in keras.tree.flatten(call.op.axis)])

    def _mean(self, call: Call, axes: Sequence[int]) -> Tensor:
        """Over some axes: those are put last, then a row of equal weights for each part."""
        x, every = call.x, range(len(call.x.shape))
        kept = [i for i in every if i not in axes]
        n = math.prod(x.shape[i] for i in axes)
        shape = tuple(1 if i in axes else x.shape[i] for i in (every if call.op.keepdims else kept))
        x = self.picked(f"{call.name} (order)", x, x.index.transpose(*kept, *axes), False)
        return self.put(call.name, G.Dense(np.full((1, n), 1 / n), x.size // n), (x,), shape)

    # Each entry times a number, plus a number

    def _entries(self, call: Call, constant: Any) -> np.ndarray:
        """A constant for each entry of the input."""
        try:
            return flat(np.broadcast_to(constant, (1, *call.x.shape))[0], call.x.first)
        except ValueError:
            what = f"{call.kind!r} of shape {call.x.shape} with a constant of shape {np.shape(constant)}"
            raise call.unknown(what) from None

    def _scaled(self, call: Call, factors: Any, shift: Any = 0.0) -> Tensor:
        operation = G.Scale(self._entries(call, factors), self._entries(call, shift))
        return self.put(call.name, operation, (call.x,), call.x.shape, call.x.first)

    def rule_batchnormalization(self, call: Call) -> Tensor:
        layer = call.op
        factors = (array(layer.gamma) if layer.scale else 1.0) / np.sqrt(array(layer.moving_variance) + layer.epsilon)
        shift = (array(layer.beta) if layer.center else 0.0) - factors * array(layer.moving_mean)
        shape = [1] * (len(call.x.shape) + 1)
        shape[layer.axis] = -1
        return self._scaled(call, factors.reshape(shape), shift.reshape(shape))

    def rule_normalization(self, call: Call) -> Tensor:
        mean = array(call.op.mean)
        std = np.maximum(np.sqrt(array(call.op.variance)), keras.backend.epsilon())
        return self._scaled(call, std, mean) if call.op.invert else self._scaled(call, 1 / std, -mean / std)

    def rule_rescaling(self, call: Call) -> Tensor:
        scale, offset = (array(keras.ops.cast(t, call.op.compute_dtype)) for t in (call.op.scale, call.op.offset))
        if scale.ndim and keras.config.image_data_format() == "channels_first":
            scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
        return self._scaled(call, scale, offset)

    def rule_negative(self, call: Call) -> Tensor:
        return self._scaled(call, -1.0)

    def rule_multiply(self, call: Call) -> Tensor:
        if len(call.tensors) > 1:
            raise call.refused("a product of two activations is not globally Lipschitz")
        return self._scaled(call, array(call.constants[0]))

    def rule_divide(self, call: Call) -> Tensor:
        if isinstance(call.terms[1], Tensor):
            raise call.refused("a division by an activation is not globally Lipschitz")
        return self._scaled(call, 1 / array(call.terms[1]))

    rule_truedivide = rule_divide

    # Several inputs

    def _alike(self, call: Call, shapes: bool = True) -> list[Tensor]:
        """The inputs, of one shape, in one order."""
        if call.constants:
            raise call.unknown(f"{call.kind!r} with a constant")
        if shapes and len({x.shape for x in call.tensors}) > 1:
            raise call.unknown(f"{call.kind!r} of shapes {', '.join(str(x.shape) for x in call.tensors)}")
        first = any(x.first for x in call.tensors)
        return [self.laid(x, first) for x in call.tensors]

    def _sum(self, call: Call, weights: Sequence[float]) -> Tensor:
        """Of terms, each times a number; some may be constants."""
        terms = list(zip(weights, call.terms, strict=True))
        of_tensors = tuple(w for w, a in terms if isinstance(a, Tensor))
        if call.constants:
            shift = sum(w * array(a) for w, a in terms if not isinstance(a, Tensor))
            return self._scaled(call, of_tensors[0], shift)
        parents = self._alike(call)
        return self.put(call.name, G.Add(of_tensors), parents, parents[0].shape, parents[0].first)

    def rule_add(self, call: Call) -> Tensor:
        return self._sum(call, [1.0] * len(call.terms))

    def rule_subtract(self, call: Call) -> Tensor:
        return self._sum(call, [1.0, -1.0])

    def rule_average(self, call: Call) -> Tensor:
        if not isinstance(call.op, keras.layers.Layer):  # keras.ops.average is another thing
            raise call.unknown()
        return self._sum(call, [1 / len(call.terms)] * len(call.terms))

    def rule_maximum(self, call: Call) -> Tensor:
        if call.constants:
            self._entries(call, array(call.constants[0]))
            return self.put(call.name, G.Activation(0.0, 1.0), (call.x,), call.x.shape, call.x.first)
        parents = self._alike(call)
        both = self.put(f"{call.name} (inputs)", G.Concat(), parents, (sum(x.size for x in parents),))
        return self.put(call.name, G.max_pool(1), (both,), parents[0].shape, parents[0].first)

    rule_minimum = rule_maximum

    def rule_concatenate(self, call: Call) -> Tensor:
        axis = call.axis(call.op.axis)
        parents = self._alike(call, shapes=False)
        starts = np.cumsum([0, *(x.size for x in parents)])
        both = self.put(call.name, G.Concat(), parents, (int(starts[-1]),))
        index = np.concatenate([x.index + start for x, start in zip(parents, starts[:-1], strict=True)], axis)
        return self.picked(f"{call.name} (order)", both, index, parents[0].first)
