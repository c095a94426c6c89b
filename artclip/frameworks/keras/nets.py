"""Nets by name for TensorFlow, wrapped as ART classifiers with an optimizer: what the command line trains.

The functions are those of ``frameworks/pytorch/nets.py``: same layers, same padding, same distribution of
first weights, same Adam.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import keras
from art.estimators.classification import KerasClassifier, TensorFlowV2Classifier
from keras import layers

from artclip.frameworks import global_random, named_nets
from artclip.frameworks.factories import made_by
from artclip.frameworks.keras.convex_potential import ConvexPotential
from artclip.frameworks.keras.stiefel import StiefelMuon
from artclip.frameworks.preprocessing import fitted_box, fitted_scaling

CHANNELS_FIRST = False
ACTIVATIONS = {"relu": "relu", "sigmoid": "sigmoid", "softplus": "softplus", "gelu": "gelu", "maxmin": "maxmin"}


def _maxmin(x: Any) -> Any:
    """Each pair of neighbouring channels in ascending order, as :class:`artclip.frameworks.pytorch.nets.MaxMin`."""
    *around, channels = x.shape[1:]
    pairs = layers.Reshape((*around, channels // 2, 2))(x)
    return layers.Reshape((*around, channels))(keras.ops.sort(pairs, axis=-1))


def _activated(layer: Any, activation: str) -> list[Any]:
    """A layer, and its activation behind it."""
    return [layer, _maxmin if activation == "maxmin" else layers.Activation(activation)]


class _Seeds:
    """Initialisers as PyTorch's: weights and bias uniform within 1/√(inputs of the layer), each with its own seed."""

    def __init__(self, seed: int) -> None:
        self._seed, self._count = seed, 0

    def __call__(self, inputs: int) -> dict[str, Any]:
        self._count += 2
        bound = 1 / math.sqrt(inputs)
        first, second = (
            keras.initializers.RandomUniform(-bound, bound, seed=self._seed * 1000 + self._count + i) for i in (0, 1)
        )
        return {"kernel_initializer": first, "bias_initializer": second}


Layers = Callable[[tuple[int, ...], int, str, _Seeds], list[Any]]


def _mlp(*widths: int) -> Layers:
    def make(input_shape: tuple[int, ...], nb_classes: int, activation: str, init: _Seeds) -> list[Any]:
        sizes = [math.prod(input_shape), *widths]
        hidden = [part for a, b in pairwise(sizes) for part in _activated(layers.Dense(b, **init(a)), activation)]
        return [layers.Flatten(), *hidden, layers.Dense(nb_classes, **init(sizes[-1]))]

    return make


def _cnn(input_shape: tuple[int, ...], nb_classes: int, activation: str, init: _Seeds) -> list[Any]:
    height, width, channels = input_shape
    features = 32 * math.ceil(math.ceil(height / 2) / 2) * math.ceil(math.ceil(width / 2) / 2)
    return [
        layers.ZeroPadding2D(1),
        *_activated(layers.Conv2D(16, 3, strides=2, **init(9 * channels)), activation),
        layers.ZeroPadding2D(1),
        *_activated(layers.Conv2D(32, 3, strides=2, **init(9 * 16)), activation),
        layers.Flatten(),
        *_activated(layers.Dense(100, **init(features)), activation),
        layers.Dense(nb_classes, **init(100)),
    ]


def _convnet(input_shape: tuple[int, ...], nb_classes: int, activation: str, init: _Seeds) -> list[Any]:
    """Four convolutions without BatchNorm: 10.9 million multiply-adds and 206,000 parameters at 32×32×3."""
    height, width, channels = input_shape
    parts: list[Any] = []
    for inputs, outputs, stride in ((channels, 32, 1), (32, 64, 2), (64, 96, 2), (96, 128, 2)):
        layer = layers.Conv2D(outputs, 3, strides=stride, **init(9 * inputs))
        parts += [layers.ZeroPadding2D(1), *_activated(layer, activation)]
    features = 128 * math.ceil(height / 8) * math.ceil(width / 8)
    return [*parts, layers.Flatten(), layers.Dense(nb_classes, **init(features))]


def _convolution(inputs: int, outputs: int, stride: int, init: _Seeds, size: int = 3) -> list[Any]:
    """Padded on both sides, as PyTorch does."""
    weights = init(size * size * inputs)
    del weights["bias_initializer"]
    layer = layers.Conv2D(outputs, size, strides=stride, use_bias=False, **weights)
    return [layers.ZeroPadding2D(1), layer] if size == 3 else [layer]


def _norm() -> Any:
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)  # PyTorch's


def _residual(inputs: int, outputs: int, stride: int, activation: str, init: _Seeds) -> Callable[[Any], Any]:
    """Two convolutions with BatchNorm, and the input added to what they give."""
    body = [*_convolution(inputs, outputs, stride, init), *_activated(_norm(), activation)]
    body += [*_convolution(outputs, outputs, 1, init), _norm()]
    same = inputs == outputs and stride == 1
    shortcut = [] if same else _convolution(inputs, outputs, stride, init, 1)

    def block(x: Any) -> Any:
        return _through(_activated(layers.Add(), activation), [_through(body, x), _through(shortcut, x)])

    return block


def _resnet(input_shape: tuple[int, ...], nb_classes: int, activation: str, init: _Seeds) -> list[Any]:
    stem = [*_convolution(input_shape[-1], 16, 1, init), *_activated(_norm(), activation)]
    blocks = [_residual(a, b, stride, activation, init) for a, b, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))]
    return [*stem, *blocks, layers.GlobalAveragePooling2D(), layers.Dense(nb_classes, **init(64))]


def _pre_activation(inputs: int, outputs: int, stride: int, activation: str, init: _Seeds) -> Callable[[Any], Any]:
    """BatchNorm and activation before each of two convolutions, and the input added to what they give."""
    first = _activated(_norm(), activation)
    body = [*_convolution(inputs, outputs, stride, init), *_activated(_norm(), activation)]
    body += _convolution(outputs, outputs, 1, init)
    same = inputs == outputs and stride == 1
    shortcut = [] if same else _convolution(inputs, outputs, stride, init, 1)

    def block(x: Any) -> Any:
        activated = _through(first, x)
        return layers.Add()([_through(body, activated), x if same else _through(shortcut, activated)])

    return block


def _resnet18(input_shape: tuple[int, ...], nb_classes: int, activation: str, init: _Seeds) -> list[Any]:
    """PreAct-ResNet-18 with a 3×3 stem: 555 million multiply-adds and 11.17 million parameters at 32×32×3."""
    parts = _convolution(input_shape[-1], 64, 1, init)
    for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        parts.append(_pre_activation(inputs, outputs, stride, activation, init))
        parts.append(_pre_activation(outputs, outputs, 1, activation, init))
    parts += [*_activated(_norm(), activation), layers.GlobalAveragePooling2D()]
    return [*parts, layers.Dense(nb_classes, **init(512))]


def _patches(input_shape: tuple[int, ...], activation: str, init: _Seeds) -> tuple[list[Any], int]:
    """Convolutions of patches side by side, which :class:`StiefelMuon` keeps orthogonal; and how many features."""
    *sizes, channels = input_shape
    parts: list[Any] = []
    for outputs in named_nets.CONVOLUTIONS:
        down, right = (size % 2 for size in sizes)
        parts += [layers.ZeroPadding2D(((0, down), (0, right)))] if down or right else []
        parts += _activated(layers.Conv2D(outputs, 2, strides=2, **init(4 * channels)), activation)
        channels, sizes = outputs, [math.ceil(size / 2) for size in sizes]
    return parts, channels * math.prod(sizes)


def _lipconvnet(input_shape: tuple[int, ...], nb_classes: int, activation: str, init: _Seeds) -> list[Any]:
    parts, features = _patches(input_shape, activation, init)
    return [*parts, *_mlp(*named_nets.DENSE)((features,), nb_classes, activation, init)]


def _lipresnet(input_shape: tuple[int, ...], nb_classes: int, activation: str, init: _Seeds) -> list[Any]:
    parts, features = _patches(input_shape, activation, init)
    width, blocks = named_nets.RESIDUAL, [ConvexPotential() for _ in range(named_nets.NB_BLOCKS)]
    first, last = layers.Dense(width, **init(features)), layers.Dense(nb_classes, **init(width))
    return [*parts, layers.Flatten(), first, *blocks, last]


def _bounded(input_shape: tuple[int, ...], nb_classes: int, activation: str, init: _Seeds) -> list[Any]:
    """The net of the published CLIP code: an activation after the last layer too."""
    *hidden, last = _mlp(200, 80)(input_shape, nb_classes, activation, init)
    return [*hidden, *_activated(last, activation)]


# Name -> layers for (input_shape, nb_classes, activation, initialisers). A net more is a line more.
NETS: dict[str, Layers] = {
    "mlp": _mlp(64, 64),
    "mlp-200-80": _mlp(200, 80),
    "mlp-200-80-bounded": _bounded,
    "cnn": _cnn,
    "convnet": _convnet,
    "resnet": _resnet,
    "resnet18": _resnet18,
    "lipconvnet": _lipconvnet,
    "lipresnet": _lipresnet,
}


def _through(parts: list[Any], x: Any) -> Any:
    for part in parts:
        x = part(x)
    return x


def _net(parts: list[Any], input_shape: tuple[int, ...]) -> Any:
    """A Sequential where there is nothing but layers in a row."""
    first = keras.Input(input_shape)
    if all(isinstance(part, keras.Layer) for part in parts):
        return keras.Sequential([first, *parts])
    return keras.Model(first, _through(parts, first))


def make_classifier(
    model: str | Callable[..., Any],
    input_shape: tuple[int, ...],
    nb_classes: int,
    clip_values: tuple[float, float] = (0.0, 1.0),
    activation: str | None = None,
    learning_rate: float = 2e-3,
    seed: int = 0,
    preprocessing: Any = (0.0, 1.0),
) -> Any:
    """As :func:`artclip.frameworks.pytorch.nets.make_classifier`, of Keras models and with channels last."""
    with global_random.kept():
        random.seed(seed)  # from which Keras draws the seeds of its initialisers
        if callable(model):
            net = made_by(model, input_shape, nb_classes)
        else:
            named_nets.check_known(model, input_shape, NETS)
            kind = ACTIVATIONS[named_nets.own_activation(model, activation)]
            net = _net(NETS[model](input_shape, nb_classes, kind, _Seeds(seed)), input_shape)
    if isinstance(net, (TensorFlowV2Classifier, KerasClassifier)):
        return net
    if not isinstance(net, keras.Model):
        raise TypeError(f"the model's function made a {type(net).__name__}; expected a Keras model or ART classifier")
    optimizer: keras.optimizers.Optimizer
    if named_nets.is_orthogonal(model):
        optimizer = StiefelMuon(named_nets.angle_of(learning_rate))
    else:
        optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
    return TensorFlowV2Classifier(
        net,
        nb_classes,
        input_shape,
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=optimizer,
        clip_values=fitted_box(clip_values, input_shape, CHANNELS_FIRST),
        preprocessing=fitted_scaling(preprocessing, input_shape, CHANNELS_FIRST),
    )


class _Cosine:
    def __init__(self, optimizer: Any, nb_epochs: int) -> None:
        self._optimizer, self._nb_epochs, self._epoch = optimizer, nb_epochs, 0
        self._first = float(optimizer.learning_rate)

    def step(self) -> None:
        """At the end of an epoch."""
        self._epoch += 1
        share = min(1.0, self._epoch / self._nb_epochs)
        self._optimizer.learning_rate = self._first * (1 + math.cos(math.pi * share)) / 2


def cosine_scheduler(classifier: Any, nb_epochs: int) -> Any:
    """Learning rate falling to 0 along a cosine over ``nb_epochs``."""
    return _Cosine(classifier.optimizer, max(1, nb_epochs))
