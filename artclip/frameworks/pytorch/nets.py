"""Nets by name for PyTorch, wrapped as ART classifiers with an optimizer: what the command line trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip.frameworks import named_nets
from artclip.frameworks.factories import made_by
from artclip.frameworks.preprocessing import fitted_box, fitted_scaling
from artclip.frameworks.pytorch.convex_potential import ConvexPotential
from artclip.frameworks.pytorch.stiefel import StiefelMuon

CHANNELS_FIRST = True


class MaxMin(nn.Module):
    """Each pair of neighbouring channels in ascending order: it keeps the norm of gradients.

    Anil, Lucas, Grosse 2019, arXiv 1811.05381, GroupSort of groups of two.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (n, channels, ...), as x; the number of channels must be even."""
        return x.unflatten(1, (-1, 2)).sort(2).values.flatten(1, 2)


ACTIVATIONS = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "maxmin": MaxMin,
}


def _mlp(*widths: int) -> Callable[..., list[nn.Module]]:
    def layers(input_shape: tuple[int, ...], nb_classes: int, activation: type[nn.Module]) -> list[nn.Module]:
        sizes = [math.prod(input_shape), *widths]
        hidden = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), activation())]
        return [nn.Flatten(), *hidden, nn.Linear(sizes[-1], nb_classes)]

    return layers


def _cnn(input_shape: tuple[int, ...], nb_classes: int, activation: type[nn.Module]) -> list[nn.Module]:
    channels, height, width = input_shape
    convolutions = [
        nn.Conv2d(channels, 16, 3, stride=2, padding=1),
        activation(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        activation(),
        nn.Flatten(),
    ]
    features = 32 * math.ceil(math.ceil(height / 2) / 2) * math.ceil(math.ceil(width / 2) / 2)
    return [*convolutions, nn.Linear(features, 100), activation(), nn.Linear(100, nb_classes)]


def _convnet(input_shape: tuple[int, ...], nb_classes: int, activation: type[nn.Module]) -> list[nn.Module]:
    """Four convolutions without BatchNorm: 10.9 million multiply-adds and 206,000 parameters at 3×32×32."""
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((channels, 32, 1), (32, 64, 2), (64, 96, 2), (96, 128, 2)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), activation()]
    features = 128 * math.ceil(height / 8) * math.ceil(width / 8)
    return [*layers, nn.Flatten(), nn.Linear(features, nb_classes)]


class _Residual(nn.Module):
    """Two convolutions with BatchNorm, and the input added to what they give."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            activation(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.activation = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (n, outputs, height/stride, width/stride) from (n, inputs, height, width)."""
        return self.activation(self.body(x) + self.shortcut(x))


def _resnet(input_shape: tuple[int, ...], nb_classes: int, activation: type[nn.Module]) -> list[nn.Module]:
    stem = [nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), activation()]
    blocks = [_Residual(a, b, stride, activation) for a, b, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))]
    return [*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, nb_classes)]


class _PreActivation(nn.Module):
    """BatchNorm and activation before each of two convolutions, and the input added to what they give.

    He, Zhang, Ren, Sun 2016, arXiv 1603.05027: where the shape changes, the shortcut starts behind the activation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), activation())
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            activation(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (n, outputs, height/stride, width/stride) from (n, inputs, height, width)."""
        activated = self.first(x)
        return self.body(activated) + (x if self.shortcut is None else self.shortcut(activated))


def _resnet18(input_shape: tuple[int, ...], nb_classes: int, activation: type[nn.Module]) -> list[nn.Module]:
    """PreAct-ResNet-18 with a 3×3 stem: 555 million multiply-adds and 11.17 million parameters at 3×32×32."""
    layers: list[nn.Module] = [nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)]
    for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        layers.append(_PreActivation(inputs, outputs, stride, activation))
        layers.append(_PreActivation(outputs, outputs, 1, activation))
    return [
        *layers,
        nn.BatchNorm2d(512),
        activation(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, nb_classes),
    ]


def _patches(input_shape: tuple[int, ...], activation: type[nn.Module]) -> tuple[list[nn.Module], int]:
    """Convolutions of patches side by side, which :class:`StiefelMuon` keeps orthogonal; and how many features."""
    channels, *sizes = input_shape
    layers: list[nn.Module] = []
    for outputs in named_nets.CONVOLUTIONS:
        down, right = (size % 2 for size in sizes)
        layers += [nn.ZeroPad2d((0, right, 0, down))] if down or right else []
        layers += [nn.Conv2d(channels, outputs, 2, stride=2), activation()]
        channels, sizes = outputs, [math.ceil(size / 2) for size in sizes]
    return layers, channels * math.prod(sizes)


def _lipconvnet(input_shape: tuple[int, ...], nb_classes: int, activation: type[nn.Module]) -> list[nn.Module]:
    layers, features = _patches(input_shape, activation)
    return [*layers, *_mlp(*named_nets.DENSE)((features,), nb_classes, activation)]


def _lipresnet(input_shape: tuple[int, ...], nb_classes: int, activation: type[nn.Module]) -> list[nn.Module]:
    layers, features = _patches(input_shape, activation)
    width = named_nets.RESIDUAL
    blocks = [ConvexPotential(width) for _ in range(named_nets.NB_BLOCKS)]
    return [*layers, nn.Flatten(), nn.Linear(features, width), *blocks, nn.Linear(width, nb_classes)]


def _bounded(input_shape: tuple[int, ...], nb_classes: int, activation: type[nn.Module]) -> list[nn.Module]:
    """The net of the published CLIP code: an activation after the last layer too."""
    return [*_mlp(200, 80)(input_shape, nb_classes, activation), activation()]


# Name -> layers for (input_shape, nb_classes, activation). A net more is a line more.
NETS: dict[str, Callable[..., list[nn.Module]]] = {
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
    """An untrained classifier with logits, cross-entropy and Adam, or :class:`StiefelMuon` for nets made for it.

    Args:
        model: a key of :data:`NETS`; or a function of (input_shape, nb_classes), or of nothing, that makes an
            ``nn.Module`` with logits, or an ART classifier, which is taken as it is.
        input_shape: shape of one input, channels first.
        nb_classes: number of outputs, >= 2.
        clip_values: range of valid inputs, each end a number, one a channel, or an array of the shape of an input.
        activation: a key of :data:`ACTIVATIONS`; ``None`` for the net's own: ``"maxmin"`` of those made to be
            certified, ``"relu"`` of the others.
        learning_rate: of Adam, > 0; ``StiefelMuon`` turns matrices by 50 times that, in radians.
        seed: of the weights; the global RNG is left as found.
        preprocessing: (mean, std), as for :func:`artclip.load_model`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if callable(model):
            net = made_by(model, input_shape, nb_classes)
        else:
            named_nets.check_known(model, input_shape, NETS)
            kind = ACTIVATIONS[named_nets.own_activation(model, activation)]
            net = nn.Sequential(*NETS[model](input_shape, nb_classes, kind))
    if isinstance(net, PyTorchClassifier):
        return net
    if not isinstance(net, nn.Module):
        raise TypeError(f"the model's function made a {type(net).__name__}; expected an nn.Module or PyTorchClassifier")
    optimizer: torch.optim.Optimizer
    if named_nets.is_orthogonal(model):
        optimizer = StiefelMuon(net.parameters(), named_nets.angle_of(learning_rate))
    else:
        optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate)
    return PyTorchClassifier(
        net,
        nn.CrossEntropyLoss(),
        input_shape,
        nb_classes,
        optimizer=optimizer,
        clip_values=fitted_box(clip_values, input_shape, CHANNELS_FIRST),
        preprocessing=fitted_scaling(preprocessing, input_shape, CHANNELS_FIRST),
    )


def cosine_scheduler(classifier: Any, nb_epochs: int) -> Any:
    """Learning rate falling to 0 along a cosine over ``nb_epochs``."""
    return torch.optim.lr_scheduler.CosineAnnealingLR(classifier.optimizer, max(1, nb_epochs))
