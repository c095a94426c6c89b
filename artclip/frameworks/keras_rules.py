"""What each layer of Keras does, as nodes of the graph of layers; and where tensors of a model are held there."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from artclip.lipschitz import convolution
from artclip.lipschitz import layers as L


def array(value: Any) -> np.ndarray:
    """A weight or a constant as float64."""
    return np.asarray(keras.ops.convert_to_numpy(value), dtype=np.float64)


@dataclass(frozen=True)
class Tensor:
    """One sample of a tensor of the model, and the node that has it.

    Attributes:
        place: index of the node; -1 is the input.
        shape: as Keras has it.
        first: whether the node has the last axis, of the channels, first; else it has Keras's order.
    """

    place: int
    shape: tuple[int, ...]
    first: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Shape of an image whose channels the node has first."""
        return self.shape[:-1] if self.first else self.shape[1:]

    @property
    def index(self) -> np.ndarray:
        """Of each entry, in Keras's shape, where the node has it."""
        if not self.first:
            return np.arange(self.size).reshape(self.shape)
        return np.moveaxis(np.arange(self.size).reshape(self.shape[-1:] + self.shape[:-1]), 0, -1)

    def image(self, channels: int, spatial: Sequence[int]) -> tuple[int, ...]:
        """Keras's shape of another image, with its channels on the same axis."""
        return (*spatial, channels) if self.first else (channels, *spatial)


def _flat(entries: np.ndarray, first: bool) -> np.ndarray:
    """Entries of one sample in the order of a node."""
    return (np.moveaxis(entries, -1, 0) if first else entries).ravel()


@dataclass(frozen=True)
class Call:
    """An operation of Keras, its name in the model, and its arguments: tensors and constants."""

    op: Any
    name: str
    arguments: Any

    @property
    def kind(self) -> str:
        return type(self.op).__name__

    @property
    def terms(self) -> list[Any]:
        return [a for a in keras.tree.flatten(self.arguments) if a is not None]

    @property
    def tensors(self) -> list[Tensor]:
        return [a for a in self.terms if isinstance(a, Tensor)]

    @property
    def constants(self) -> list[Any]:
        return [a for a in self.terms if not isinstance(a, Tensor)]

    @property
    def x(self) -> Tensor:
        return self.tensors[0]

    def axis(self, axis: int | None) -> int:
        """An axis as Keras counts it, of one sample."""
        if axis is None or axis % (len(self.x.shape) + 1) == 0:
            raise self.refused("it joins samples of a batch")
        return axis % (len(self.x.shape) + 1) - 1

    def refused(self, why: str) -> ValueError:
        """What to raise."""
        return ValueError(f"layer {self.name}: {why}")

    def unknown(self, what: str = "") -> ValueError:
        """What to raise where there is no rule."""
        return self.refused(
            f"no rule for {what or repr(self.kind)}, so there is no upper bound. Use lipschitz_lower_bound, or write "
            "the layer with operations that have one"
        )


# Operations that take several tensors.
JOINS = ("add", "subtract", "average", "multiply", "divide", "truedivide", "maximum", "minimum", "concatenate")


class Rules:
    """The nodes so far, and a method ``rule_<kind>`` for each kind of layer or operation, in small letters."""

    def __init__(self) -> None:
        self._nodes: list[L.Node] = []
        self._held: dict[Tensor, Tensor] = {}  # tensors in the other order

    def apply(self, op: Any, *args: Any, **kwargs: Any) -> Any:
        """The result of a layer or operation on tensors and constants."""
        raise NotImplementedError

    def activated(self, call: Call, x: Tensor) -> Tensor:
        """What the argument ``activation`` of a layer does to the layer's result."""
        raise NotImplementedError

    def put(
        self, name: str, operation: L.Operation, parents: Sequence[Tensor], shape: tuple[int, ...], first: bool = False
    ) -> Tensor:
        self._nodes.append(L.Node(name, operation, tuple(p.place for p in parents), math.prod(shape)))
        return Tensor(len(self._nodes) - 1, shape, first)

    def picked(self, name: str, x: Tensor, index: np.ndarray, first: bool) -> Tensor:
        """The tensor that has in each place, in Keras's shape, the entry of ``x`` at the index."""
        flat = _flat(index, first)
        if np.array_equal(flat, np.arange(x.size)):
            return Tensor(x.place, index.shape, first)
        return self.put(name, L.repeated(flat), (x,), index.shape, first)

    def laid(self, x: Tensor, first: bool) -> Tensor:
        """The tensor in the order asked for."""
        if x.first == first:
            return x
        if x not in self._held:
            self._held[x] = self.picked("order", x, x.index, first)
        return self._held[x]

    # Dense layers and convolutions

    def rule_dense(self, call: Call) -> Tensor:
        x, live = self.laid(call.x, False), functools.partial(keras.ops.transpose, call.op.kernel)
        copies = math.prod(x.shape[:-1])
        shift = np.tile(array(call.op.bias), copies) if call.op.use_bias else 0.0
        operation = L.Dense(array(live()), copies, shift, _if_trained(live, call.op.kernel))
        shape = (*x.shape[:-1], len(operation.weight))
        return self.activated(call, self.put(call.name, operation, (x,), shape))

    def _image(self, call: Call) -> Tensor:
        """The input as an image that the node has with its channels first."""
        return self.laid(call.x, getattr(call.op, "data_format", "channels_last") == "channels_last")

    def _convolved(
        self,
        name: str,
        x: Tensor,
        kernel: np.ndarray,
        window: dict[str, Any],
        groups: int = 1,
        bias: Any = None,
        live: L.Live | None = None,
    ) -> Tensor:
        sizes = zip(x.spatial, kernel.shape[2:], *window.values(), strict=True)
        out = tuple((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in sizes)
        shift = 0.0 if bias is None else np.repeat(array(bias), math.prod(out))
        operation = L.Convolution(kernel, x.spatial, **window, groups=groups, shift=shift, live=live)
        return self.put(name, operation, (x,), x.image(len(kernel), out), x.first)

    def rule_conv2d(self, call: Call) -> Tensor:
        layer, x, live = call.op, self._image(call), _channels_first(call.op.kernel)
        window, trained = _window(layer, x.spatial, layer.kernel_size), _if_trained(live, layer.kernel)
        y = self._convolved(call.name, x, array(live()), window, layer.groups, layer.bias, trained)
        return self.activated(call, y)

    rule_conv1d = rule_conv3d = rule_conv2d

    def _depthwise(self, call: Call, kernel: Any, bias: Any) -> Tensor:
        x, (*sizes, channels, _) = self._image(call), kernel.shape

        def live() -> Any:
            return keras.ops.reshape(keras.ops.moveaxis(kernel, (-2, -1), (0, 1)), (-1, 1, *sizes))

        window, trained = _window(call.op, x.spatial, sizes), _if_trained(live, kernel)
        return self._convolved(call.name, x, array(live()), window, channels, bias, trained)

    def rule_depthwiseconv2d(self, call: Call) -> Tensor:
        return self.activated(call, self._depthwise(call, call.op.kernel, call.op.bias))

    rule_depthwiseconv1d = rule_depthwiseconv2d

    def rule_separableconv2d(self, call: Call) -> Tensor:
        x = self._depthwise(call, call.op.depthwise_kernel, None)
        live = _channels_first(call.op.pointwise_kernel)
        window, trained = _still(((0, 0),) * len(x.spatial)), _if_trained(live, call.op.pointwise_kernel)
        name = f"{call.name} (pointwise)"
        y = self._convolved(name, x, array(live()), window, bias=call.op.bias, live=trained)
        return self.activated(call, y)

    rule_separableconv1d = rule_separableconv2d

    def rule_conv2dtranspose(self, call: Call) -> Tensor:
        """The adjoint of the convolution from its outputs to its inputs."""
        layer, x = call.op, self._image(call)
        y = Tensor(-1, tuple(layer.compute_output_shape((1, *x.shape))[1:]), x.first)
        live = _channels_first(layer.kernel)
        shift = np.repeat(array(layer.bias), math.prod(y.spatial)) if layer.use_bias else 0.0
        window, trained = _window(layer, y.spatial, layer.kernel_size), _if_trained(live, layer.kernel)
        operation = L.Convolution(array(live()), y.spatial, **window, transposed=True, shift=shift, live=trained)
        return self.activated(call, self.put(call.name, operation, (x,), y.shape, x.first))

    rule_conv1dtranspose = rule_conv3dtranspose = rule_conv2dtranspose

    def rule_spectralnormalization(self, call: Call) -> Tensor:
        return self.apply(call.op.layer, call.x)  # only in train mode does it change the kernel

    # Pooling and padding

    def rule_zeropadding2d(self, call: Call) -> Tensor:
        x, padding = self._image(call), call.op.padding
        channels = x.size // math.prod(x.spatial)
        both = tuple((int(a), int(b)) for a, b in ([padding] if len(x.spatial) == 1 else padding))
        kernel = np.ones((channels, 1, *(1 for _ in both)))
        return self._convolved(call.name, x, kernel, _still(both), channels)

    rule_zeropadding1d = rule_zeropadding3d = rule_zeropadding2d

    def rule_averagepooling2d(self, call: Call) -> Tensor:
        x, sizes = self._image(call), call.op.pool_size
        channels = x.size // math.prod(x.spatial)
        window = _window(call.op, x.spatial, sizes)
        y = self._convolved(call.name, x, np.full((channels, 1, *sizes), 1 / math.prod(sizes)), window, channels)
        if call.op.padding == "valid":
            return y
        # TensorFlow divides by the number of entries that are there.
        there = (
            convolution.matrix(np.full((1, 1, k), 1 / k), (n,), (s,), (p,), (1,)).sum(1)
            for n, k, s, p in zip(x.spatial, sizes, window["stride"], window["padding"], strict=True)
        )
        factors = np.tile(1 / functools.reduce(np.multiply.outer, there).ravel(), channels)
        return self.put(f"{call.name} (border)", L.Scale(factors), (y,), y.shape, y.first)

    rule_averagepooling1d = rule_averagepooling3d = rule_averagepooling2d

    def rule_maxpooling2d(self, call: Call) -> Tensor:
        layer, x = call.op, call.x
        overlap = math.prod(math.ceil(k / s) for k, s in zip(layer.pool_size, layer.strides, strict=True))
        shape = tuple(layer.compute_output_shape((1, *x.shape))[1:])
        return self.put(call.name, L.max_pool(overlap), (x,), shape, x.first)

    rule_maxpooling1d = rule_maxpooling3d = rule_maxpooling2d

    def rule_globalmaxpooling2d(self, call: Call) -> Tensor:
        shape = tuple(call.op.compute_output_shape((1, *call.x.shape))[1:])
        return self.put(call.name, L.max_pool(1), (call.x,), shape)

    rule_globalmaxpooling1d = rule_globalmaxpooling3d = rule_globalmaxpooling2d

    def rule_globalaveragepooling2d(self, call: Call) -> Tensor:
        rank = len(call.x.shape)
        return self._mean(call, range(rank - 1) if call.op.data_format == "channels_last" else range(1, rank))

    rule_globalaveragepooling1d = rule_globalaveragepooling3d = rule_globalaveragepooling2d

    def rule_sort(self, call: Call) -> Tensor:
        call.axis(call.op.axis)
        return self.put(call.name, L.SORT, (call.x,), call.x.shape, call.x.first)

    def rule_mean(self, call: Call) -> Tensor:
        return self._mean(call, [call.axis(a) for a in keras.tree.flatten(call.op.axis)])

    def _mean(self, call: Call, axes: Sequence[int]) -> Tensor:
        """Over some axes: those are put last, then a row of equal weights for each part."""
        x, every = call.x, range(len(call.x.shape))
        kept = [i for i in every if i not in axes]
        n = math.prod(x.shape[i] for i in axes)
        shape = tuple(1 if i in axes else x.shape[i] for i in (every if call.op.keepdims else kept))
        x = self.picked(f"{call.name} (order)", x, x.index.transpose(*kept, *axes), False)
        return self.put(call.name, L.Dense(np.full((1, n), 1 / n), x.size // n), (x,), shape)

    # Each entry times a number, plus a number

    def _entries(self, call: Call, constant: Any) -> np.ndarray:
        """A constant for each entry of the input."""
        try:
            return _flat(np.broadcast_to(constant, (1, *call.x.shape))[0], call.x.first)
        except ValueError:
            what = f"{call.kind!r} of shape {call.x.shape} with a constant of shape {np.shape(constant)}"
            raise call.unknown(what) from None

    def _scaled(self, call: Call, factors: Any, shift: Any = 0.0) -> Tensor:
        operation = L.Scale(self._entries(call, factors), self._entries(call, shift))
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
        return self.put(call.name, L.Add(of_tensors), parents, parents[0].shape, parents[0].first)

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
            return self.put(call.name, L.Activation(0.0, 1.0), (call.x,), call.x.shape, call.x.first)
        parents = self._alike(call)
        both = self.put(f"{call.name} (inputs)", L.Concat(), parents, (sum(x.size for x in parents),))
        return self.put(call.name, L.max_pool(1), (both,), parents[0].shape, parents[0].first)

    rule_minimum = rule_maximum

    def rule_concatenate(self, call: Call) -> Tensor:
        axis = call.axis(call.op.axis)
        parents = self._alike(call, shapes=False)
        starts = np.cumsum([0, *(x.size for x in parents)])
        both = self.put(call.name, L.Concat(), parents, (int(starts[-1]),))
        index = np.concatenate([x.index + start for x, start in zip(parents, starts[:-1], strict=True)], axis)
        return self.picked(f"{call.name} (order)", both, index, parents[0].first)


def _channels_first(kernel: Any) -> L.Live:
    """A kernel as the graph has it: outputs, inputs, then the spatial axes."""
    return lambda: keras.ops.moveaxis(kernel, (-1, -2), (0, 1))


def _if_trained(live: L.Live, variable: Any) -> L.Live | None:
    return live if getattr(variable, "trainable", False) else None  # a low-rank update gives a plain tensor


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
