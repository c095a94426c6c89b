"""What Keras's layers with kernels and windows do, as nodes of the graph of layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from artclip.frameworks.keras_nodes import Call, Nodes, Tensor, array
from artclip import graph as G
from artclip.graph import convolution


@dataclass(frozen=True)
class Kernel:
    """Weights as the graph has them, and what makes them anew, with gradients, where they are trained."""

    array: np.ndarray
    live: G.Live | None = None

    @classmethod
    def of(cls, variable: Any, arranged: Callable[[Any], Any]) -> Kernel:
        """A weight of Keras, arranged as the graph has it."""

        def live() -> Any:
            return arranged(variable)

        trained = getattr(variable, "trainable", False)  # a low-rank update gives a plain tensor, which lacks this
        return cls(array(live()), live if trained else None)


class Convolutions(Nodes):
    """A method ``rule_<kind>`` for each kind of these layers, in small letters."""

    # Dense layers and convolutions

    def rule_dense(self, call: Call) -> Tensor:
        x, kernel = self.laid(call.x, False), Kernel.of(call.op.kernel, keras.ops.transpose)
        copies = math.prod(x.shape[:-1])
        shift = np.tile(array(call.op.bias), copies) if call.op.use_bias else 0.0
        operation = G.Dense(kernel.array, copies, shift, kernel.live)
        shape = (*x.shape[:-1], len(kernel.array))
        return self.activated(call, self.put(call.name, operation, (x,), shape))

    def _image(self, call: Call) -> Tensor:
        """The input as an image that the node has with its channels first."""
        return self.laid(call.x, getattr(call.op, "data_format", "channels_last") == "channels_last")

    def _convolved(
        self,
        name: str,
        x: Tensor,
        kernel: Kernel,
        window: dict[str, Any],
        groups: int = 1,
        bias: Any = None,
    ) -> Tensor:
        sizes = zip(x.spatial, kernel.array.shape[2:], *window.values(), strict=True)
        out = tuple((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in sizes)
        shift = 0.0 if bias is None else np.repeat(array(bias), math.prod(out))
        operation = G.Convolution(kernel.array, x.spatial, **window, groups=groups, shift=shift, live=kernel.live)
        return self.put(name, operation, (x,), x.image(len(kernel.array), out), x.first)

    def rule_conv2d(self, call: Call) -> Tensor:
        layer, x = call.op, self._image(call)
        window = _window(layer, x.spatial, layer.kernel_size)
        kernel = Kernel.of(layer.kernel, _channels_first)
        return self.activated(call, self._convolved(call.name, x, kernel, window, layer.groups, layer.bias))

    rule_conv1d = rule_conv3d = rule_conv2d

    def _depthwise(self, call: Call, kernel: Any, bias: Any) -> Tensor:
        x, (*sizes, channels, _) = self._image(call), kernel.shape

        def one_by_one(kernel: Any) -> Any:
            return keras.ops.reshape(keras.ops.moveaxis(kernel, (-2, -1), (0, 1)), (-1, 1, *sizes))

        window = _window(call.op, x.spatial, sizes)
        return self._convolved(call.name, x, Kernel.of(kernel, one_by_one), window, channels, bias)

    def rule_depthwiseconv2d(self, call: Call) -> Tensor:
        return self.activated(call, self._depthwise(call, call.op.kernel, call.op.bias))

    rule_depthwiseconv1d = rule_depthwiseconv2d

    def rule_separableconv2d(self, call: Call) -> Tensor:
        x = self._depthwise(call, call.op.depthwise_kernel, None)
        kernel, window = Kernel.of(call.op.pointwise_kernel, _channels_first), _still(((0, 0),) * len(x.spatial))
        return self.activated(call, self._convolved(f"{call.name} (pointwise)", x, kernel, window, bias=call.op.bias))

    rule_separableconv1d = rule_separableconv2d

    def rule_conv2dtranspose(self, call: Call) -> Tensor:
        """The adjoint of the convolution from its outputs to its inputs."""
        layer, x = call.op, self._image(call)
        y = Tensor(-1, tuple(layer.compute_output_shape((1, *x.shape))[1:]), x.first)
        kernel, window = Kernel.of(layer.kernel, _channels_first), _window(layer, y.spatial, layer.kernel_size)
        shift = np.repeat(array(layer.bias), math.prod(y.spatial)) if layer.use_bias else 0.0
        operation = G.Convolution(kernel.array, y.spatial, **window, transposed=True, shift=shift, live=kernel.live)
        return self.activated(call, self.put(call.name, operation, (x,), y.shape, x.first))

    rule_conv1dtranspose = rule_conv3dtranspose = rule_conv2dtranspose

    def rule_spectralnormalization(self, call: Call) -> Tensor:
        return self.apply(call.op.layer, call.x)  # only in train mode does it change the kernel

    # Pooling and padding

    def rule_zeropadding2d(self, call: Call) -> Tensor:
        x, padding = self._image(call), call.op.padding
        channels = x.size // math.prod(x.spatial)
        both = tuple((int(a), int(b)) for a, b in ([padding] if len(x.spatial) == 1 else padding))
        kernel = Kernel(np.ones((channels, 1, *(1 for _ in both))))
        return self._convolved(call.name, x, kernel, _still(both), channels)

    rule_zeropadding1d = rule_zeropadding3d = rule_zeropadding2d

    def rule_averagepooling2d(self, call: Call) -> Tensor:
        x, sizes = self._image(call), call.op.pool_size
        channels = x.size // math.prod(x.spatial)
        window = _window(call.op, x.spatial, sizes)
        mean = Kernel(np.full((channels, 1, *sizes), 1 / math.prod(sizes)))
        y = self._convolved(call.name, x, mean, window, channels)
        if call.op.padding == "valid":
            return y
        # TensorFlow divides by the number of entries that are there.
        there = (
            convolution.matrix(np.full((1, 1, k), 1 / k), (n,), (s,), (p,), (1,)).sum(1)
            for n, k, s, p in zip(x.spatial, sizes, window["stride"], window["padding"], strict=True)
        )
        factors = np.tile(1 / functools.reduce(np.multiply.outer, there).ravel(), channels)
        return self.put(f"{call.name} (border)", G.Scale(factors), (y,), y.shape, y.first)

    rule_averagepooling1d = rule_averagepooling3d = rule_averagepooling2d

    def rule_maxpooling2d(self, call: Call) -> Tensor:
        layer, x = call.op, call.x
        overlap = math.prod(math.ceil(k / s) for k, s in zip(layer.pool_size, layer.strides, strict=True))
        shape = tuple(layer.compute_output_shape((1, *x.shape))[1:])
        return self.put(call.name, G.max_pool(overlap), (x,), shape, x.first)

    rule_maxpooling1d = rule_maxpooling3d = rule_maxpooling2d

    def rule_globalmaxpooling2d(self, call: Call) -> Tensor:
        shape = tuple(call.op.compute_output_shape((1, *call.x.shape))[1:])
        return self.put(call.name, G.max_pool(1), (call.x,), shape)

    rule_globalmaxpooling1d = rule_globalmaxpooling3d = rule_globalmaxpooling2d


def _channels_first(kernel: Any) -> Any:
    """A kernel as the graph has it: outputs, inputs, then the spatial axes."""
    return keras.ops.moveaxis(kernel, (-1, -2), (0, 1))


def _still(padding: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """What a convolution without stride and dilation is given."""
    one = (1,) * len(padding)
    return {"stride": one, "padding": padding, "dilation": one}


def _window(layer: Any, shape: Sequence[int], sizes: Sequence[int]) -> dict[str, Any]:
    """Stride, padding and dilation of a layer on an image; with "same" TensorFlow puts the odd zero after."""
    stride, dilation = tuple(layer.strides), tuple(getattr(layer, "dilation_rate", (1,) * len(shape)))
    padding = []
    for n, k, s, d in zip(shape, sizes, stride, dilation, strict=True):
        reach = (k - 1) * d
        same = max((math.ceil(n / s) - 1) * s + reach + 1 - n, 0)
        before, after = {"valid": (0, 0), "causal": (reach, 0), "same": (same // 2, same - same // 2)}[layer.padding]
        padding.append((before, after))
    return {"stride": stride, "padding": tuple(padding), "dilation": dilation}
