"""Standard architectures for images, re-stated from their papers, with random weights: what readers of layers meet."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def conv_bn(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), act())


class Residual(nn.Module):
    def __init__(self, body: nn.Module, skip: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.skip, self.after = body, skip or nn.Identity(), after or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.skip(x) + self.body(x))


class Parallel(nn.Module):
    """Branches side by side."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


def head(channels: int, k: int = 1000, dropout: float = 0.0) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, k)]


def lenet() -> nn.Module:  # LeCun et al. 1998, on 32×32
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def alexnet() -> nn.Module:
    return nn.Sequential(
        *(
            nn.Conv2d(3, 64, 11, 4, 2),
            nn.ReLU(True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(True),
        ),
        *(nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(True), nn.Conv2d(384, 256, 3, padding=1)),
        *(nn.ReLU(True), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(3, 2)),
        *(nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(True), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(True), nn.Linear(4096, 1000)),
    )


def vgg(*blocks: int, norm: bool = False) -> nn.Module:  # Simonyan, Zisserman 2015
    parts, inputs = list[nn.Module](), 3
    for width, count in zip((64, 128, 256, 512, 512), blocks, strict=True):
        for _ in range(count):
            parts += [nn.Conv2d(inputs, width, 3, padding=1), *([nn.BatchNorm2d(width)] if norm else []), nn.ReLU(True)]
            inputs = width
        parts.append(nn.MaxPool2d(2, 2))
    dense = [nn.Linear(25088, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *dense, nn.Linear(4096, 1000))


def _stem() -> list[nn.Module]:
    return [conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]


def _bottleneck(inputs: int, width: int, outputs: int, stride: int, groups: int) -> nn.Module:
    body = [
        conv_bn(inputs, width, 1),
        conv_bn(width, width, 3, stride, groups),
        conv_bn(width, outputs, 1, act=nn.Identity),
    ]
    changes = stride > 1 or inputs != outputs
    skip = conv_bn(inputs, outputs, 1, stride, act=nn.Identity) if changes else None
    return Residual(nn.Sequential(*body), skip, nn.ReLU(True))


def _basic(inputs: int, outputs: int, stride: int) -> nn.Module:
    body = nn.Sequential(conv_bn(inputs, outputs, 3, stride), conv_bn(outputs, outputs, act=nn.Identity))
    changes = stride > 1 or inputs != outputs
    return Residual(body, conv_bn(inputs, outputs, 1, stride, act=nn.Identity) if changes else None, nn.ReLU(True))


def resnet(*blocks: int, bottleneck: bool = False, width: int = 64, groups: int = 1, small: bool = False) -> nn.Module:
    """He et al. 2016; ResNeXt (Xie et al. 2017) by groups, wide ones by width; ``small`` for 32×32 images."""
    parts, inputs = [conv_bn(3, 64)] if small else _stem(), 64
    for stage, count in enumerate(blocks):
        outputs = (64 << stage) * (4 if bottleneck else 1)
        for i in range(count):
            stride = 2 if i == 0 and stage else 1
            inner = (width << stage) * (groups if groups > 1 else 1)
            block = (
                _bottleneck(inputs, inner, outputs, stride, groups) if bottleneck else _basic(inputs, outputs, stride)
            )
            parts.append(block)
            inputs = outputs
    return nn.Sequential(*parts, *head(inputs, 10 if small else 1000))


class PreActivation(nn.Module):  # He et al. 2016, identity mappings
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        )
        self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 or inputs != outputs else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return self.body(y) + (x if self.skip is None else self.skip(y))


def preact_resnet18() -> nn.Module:
    blocks = [PreActivation(a, b, s) for a, b, s in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))]
    again = [PreActivation(b, b, 1) for b in (64, 128, 256, 512)]
    parts = [m for pair in zip(blocks, again, strict=True) for m in pair]
    return nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1), *parts, nn.BatchNorm2d(512), nn.ReLU(), *head(512, 10))


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.BatchNorm2d(inputs), nn.ReLU(True), nn.Conv2d(inputs, 4 * growth, 1, bias=False)),
            *(nn.BatchNorm2d(4 * growth), nn.ReLU(True), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet(*blocks: int, growth: int = 32) -> nn.Module:  # Huang et al. 2017
    parts, inputs = _stem(), 64
    for stage, count in enumerate(blocks):
        for _ in range(count):
            parts.append(DenseLayer(inputs, growth))
            inputs += growth
        if stage < len(blocks) - 1:
            conv = nn.Conv2d(inputs, inputs // 2, 1, bias=False)
            parts += [nn.BatchNorm2d(inputs), nn.ReLU(True), conv, nn.AvgPool2d(2, 2)]
            inputs //= 2
    return nn.Sequential(*parts, nn.BatchNorm2d(inputs), nn.ReLU(True), *head(inputs))


def mobilenet_v1() -> nn.Module:  # Howard et al. 2017
    parts, inputs = [conv_bn(3, 32, 3, 2)], 32
    for outputs, stride in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ):
        parts += [conv_bn(inputs, inputs, 3, stride, inputs), conv_bn(inputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*parts, *head(1024))


def inverted(
    inputs: int,
    outputs: int,
    expand: int,
    stride: int,
    kernel: int = 3,
    act: Callable[[], nn.Module] = nn.ReLU6,
    se: int = 0,
) -> nn.Module:
    """An inverted residual (Sandler et al. 2018) of MobileNetV2, MnasNet, MobileNetV3 and EfficientNet."""
    body = [conv_bn(inputs, expand, 1, act=act)] if expand != inputs else []
    body.append(conv_bn(expand, expand, kernel, stride, expand, act=act))
    body += [SqueezeExcite(expand, se)] if se else []
    body.append(conv_bn(expand, outputs, 1, act=nn.Identity))
    row = nn.Sequential(*body)
    return Residual(row) if stride == 1 and inputs == outputs else row


def mobilenet_v2() -> nn.Module:
    parts, inputs = [conv_bn(3, 32, 3, 2, act=nn.ReLU6)], 32
    for t, c, n, s in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for i in range(n):
            parts.append(inverted(inputs, c, inputs * t, s if i == 0 else 1))
            inputs = c
    return nn.Sequential(*parts, conv_bn(320, 1280, 1, act=nn.ReLU6), *head(1280, dropout=0.2))


def mobilenet_v3_small(se: bool = True) -> nn.Module:  # Howard et al. 2019
    rows = [
        *((16, 16, 3, 2, nn.ReLU, 8), (72, 24, 3, 2, nn.ReLU, 0), (88, 24, 3, 1, nn.ReLU, 0)),
        *((96, 40, 5, 2, nn.Hardswish, 24), (240, 40, 5, 1, nn.Hardswish, 64), (240, 40, 5, 1, nn.Hardswish, 64)),
        *((120, 48, 5, 1, nn.Hardswish, 32), (144, 48, 5, 1, nn.Hardswish, 40), (288, 96, 5, 2, nn.Hardswish, 72)),
        *[(576, 96, 5, 1, nn.Hardswish, 144)] * 2,
    ]
    parts, inputs = [conv_bn(3, 16, 3, 2, act=nn.Hardswish)], 16
    for expand, outputs, kernel, stride, act, reduced in rows:
        parts.append(inverted(inputs, outputs, expand, stride, kernel, act, reduced if se else 0))
        inputs = outputs
    last = [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(576, 1024),
        nn.Hardswish(),
        nn.Dropout(0.2),
        nn.Linear(1024, 1000),
    ]
    return nn.Sequential(*parts, conv_bn(96, 576, 1, act=nn.Hardswish), *last)


def efficientnet_b0(se: bool = True) -> nn.Module:  # Tan, Le 2019; without se as EfficientNet-Lite
    act, parts, inputs = nn.SiLU if se else nn.ReLU6, [], 32
    for t, c, n, s, k in (
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ):
        for i in range(n):
            parts.append(inverted(inputs, c, inputs * t, s if i == 0 else 1, k, act, max(1, inputs // 4) if se else 0))
            inputs = c
    return nn.Sequential(
        conv_bn(3, 32, 3, 2, act=act), *parts, conv_bn(320, 1280, 1, act=act), *head(1280, dropout=0.2)
    )


def mnasnet() -> nn.Module:  # Tan et al. 2019, B1
    parts: list[nn.Module] = [conv_bn(3, 32, 3, 2), conv_bn(32, 32, 3, 1, 32), conv_bn(32, 16, 1, act=nn.Identity)]
    inputs = 16
    for t, c, n, s, k in (
        (3, 24, 3, 2, 3),
        (3, 40, 3, 2, 5),
        (6, 80, 3, 2, 5),
        (6, 96, 2, 1, 3),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ):
        for i in range(n):
            parts.append(inverted(inputs, c, inputs * t, s if i == 0 else 1, k, nn.ReLU))
            inputs = c
    return nn.Sequential(*parts, conv_bn(320, 1280, 1), *head(1280))


class ChannelsLast(nn.Module):
    """A module of (n, h, w, c) on images."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inside(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.depthwise, self.scale = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.Parameter(torch.full((c,), 1e-6))
        self.row = nn.Sequential(nn.LayerNorm(c, 1e-6), nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.scale * self.row(self.depthwise(x).permute(0, 2, 3, 1))
        return x + y.permute(0, 3, 1, 2)


def convnext(*blocks: int, widths: tuple[int, ...] = (96, 192, 384, 768)) -> nn.Module:  # Liu et al. 2022
    parts: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4), ChannelsLast(nn.LayerNorm(widths[0], 1e-6))]
    for i, (count, c) in enumerate(zip(blocks, widths, strict=True)):
        if i:
            parts += [ChannelsLast(nn.LayerNorm(widths[i - 1], 1e-6)), nn.Conv2d(widths[i - 1], c, 2, 2)]
        parts += [ConvNeXtBlock(c) for _ in range(count)]
    return nn.Sequential(
        *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(widths[-1], 1e-6), nn.Linear(widths[-1], 1000)
    )


def regnet_x400(se: bool = False) -> nn.Module:  # Radosavovic et al. 2020
    parts, inputs = [conv_bn(3, 32, 3, 2)], 32
    for width, count in ((32, 1), (64, 2), (160, 7), (400, 12)):
        for i in range(count):
            stride, groups = 2 if i == 0 else 1, width // 16
            gate = [SqueezeExcite(width, inputs // 4)] if se else []
            body = [conv_bn(inputs, width, 1), conv_bn(width, width, 3, stride, groups), *gate]
            skip = conv_bn(inputs, width, 1, stride, act=nn.Identity) if stride > 1 or inputs != width else None
            parts.append(Residual(nn.Sequential(*body, conv_bn(width, width, 1, act=nn.Identity)), skip, nn.ReLU(True)))
            inputs = width
    return nn.Sequential(*parts, *head(400))


class Shuffle(nn.Module):  # a unit of ShuffleNetV2 (Ma et al. 2018)
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        c, self.stride = outputs // 2, stride
        first = inputs if stride > 1 else c
        down = [conv_bn(first, first, 3, stride, first, act=nn.Identity), conv_bn(first, c, 1)]
        self.left = nn.Sequential(*down) if stride > 1 else nn.Identity()
        depthwise = conv_bn(c, c, 3, stride, c, act=nn.Identity)
        self.right = nn.Sequential(conv_bn(first, c, 1), depthwise, conv_bn(c, c, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, 1) if self.stride == 1 else (x, x)
        y = torch.cat([self.left(a), self.right(b)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet_v2() -> nn.Module:
    parts, inputs = [conv_bn(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)], 24
    for outputs, count in ((116, 4), (232, 8), (464, 4)):
        parts += [Shuffle(inputs if i == 0 else outputs, outputs, 2 if i == 0 else 1) for i in range(count)]
        inputs = outputs
    return nn.Sequential(*parts, conv_bn(464, 1024, 1), *head(1024))


def squeezenet() -> nn.Module:  # Iandola et al. 2016, 1.1
    def fire(inputs: int, squeeze: int, expand: int) -> nn.Module:
        one = nn.Sequential(nn.Conv2d(squeeze, expand, 1), nn.ReLU(True))
        three = nn.Sequential(nn.Conv2d(squeeze, expand, 3, padding=1), nn.ReLU(True))
        return nn.Sequential(nn.Conv2d(inputs, squeeze, 1), nn.ReLU(True), Parallel(one, three))

    return nn.Sequential(
        *(
            nn.Conv2d(3, 64, 3, 2),
            nn.ReLU(True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(64, 16, 64),
            fire(128, 16, 64),
        ),
        *(
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(128, 32, 128),
            fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        ),
        *(fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256), fire(512, 64, 256), nn.Dropout()),
        *(nn.Conv2d(512, 1000, 1), nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


def googlenet() -> nn.Module:  # Szegedy et al. 2015, with BatchNorm
    def inception(c: int, one: int, r3: int, three: int, r5: int, five: int, pool: int) -> nn.Module:
        return Parallel(
            *(conv_bn(c, one, 1), nn.Sequential(conv_bn(c, r3, 1), conv_bn(r3, three))),
            *(
                nn.Sequential(conv_bn(c, r5, 1), conv_bn(r5, five)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv_bn(c, pool, 1)),
            ),
        )

    return nn.Sequential(
        *(conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), conv_bn(64, 64, 1), conv_bn(64, 192)),
        *(
            nn.MaxPool2d(3, 2, ceil_mode=True),
            inception(192, 64, 96, 128, 16, 32, 32),
            inception(256, 128, 128, 192, 32, 96, 64),
        ),
        *(
            nn.MaxPool2d(3, 2, ceil_mode=True),
            inception(480, 192, 96, 208, 16, 48, 64),
            inception(512, 160, 112, 224, 24, 64, 64),
        ),
        *(inception(512, 128, 128, 256, 24, 64, 64), inception(512, 112, 144, 288, 32, 64, 64)),
        *(inception(528, 256, 160, 320, 32, 128, 128), nn.MaxPool2d(2, 2, ceil_mode=True)),
        *(
            inception(832, 256, 160, 320, 32, 128, 128),
            inception(832, 384, 192, 384, 48, 128, 128),
            *head(1024, dropout=0.2),
        ),
    )


class Mixer(nn.Module):  # a layer of MLP-Mixer (Tolstikhin et al. 2021)
    def __init__(self, tokens: int, c: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(c, 1e-6) for _ in range(2))
        self.tokens = nn.Sequential(nn.Linear(tokens, c // 2), nn.GELU(), nn.Linear(c // 2, tokens))
        self.channels = nn.Sequential(nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norms[1](x))


class Tokens(nn.Module):
    """Patches of an image as rows, a net on them, and the mean of its rows."""

    def __init__(self, c: int, patch: int, *inside: nn.Module) -> None:
        super().__init__()
        self.patches, self.inside = nn.Conv2d(3, c, patch, patch), nn.Sequential(*inside)
        self.norm, self.last = nn.LayerNorm(c, 1e-6), nn.Linear(c, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.inside(self.patches(x).flatten(2).transpose(1, 2))).mean(1))


def mixer() -> nn.Module:
    return Tokens(512, 32, *(Mixer(49, 512) for _ in range(8)))


def vit() -> nn.Module:  # Dosovitskiy et al. 2021
    layer = nn.TransformerEncoderLayer(192, 3, 768, 0.0, "gelu", batch_first=True, norm_first=True)
    return Tokens(192, 16, nn.TransformerEncoder(layer, 4, enable_nested_tensor=False))


IMAGENET, SMALL, GREY = (3, 224, 224), (3, 32, 32), (1, 32, 32)
# Name -> maker, input shape, and what a refusal has to name (a product of activations).
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str | None]] = {
    "LeNet-5": (lenet, GREY, None),
    "AlexNet": (alexnet, IMAGENET, None),
    "VGG-11": (lambda: vgg(1, 1, 2, 2, 2), IMAGENET, None),
    "VGG-16": (lambda: vgg(2, 2, 3, 3, 3), IMAGENET, None),
    "VGG-19 with BatchNorm": (lambda: vgg(2, 2, 4, 4, 4, norm=True), IMAGENET, None),
    "ResNet-18": (lambda: resnet(2, 2, 2, 2), IMAGENET, None),
    "ResNet-18, 32×32": (lambda: resnet(2, 2, 2, 2, small=True), SMALL, None),
    "ResNet-34": (lambda: resnet(3, 4, 6, 3), IMAGENET, None),
    "ResNet-50": (lambda: resnet(3, 4, 6, 3, bottleneck=True), IMAGENET, None),
    "ResNet-101": (lambda: resnet(3, 4, 23, 3, bottleneck=True), IMAGENET, None),
    "ResNeXt-50 32×4d": (lambda: resnet(3, 4, 6, 3, bottleneck=True, width=4, groups=32), IMAGENET, None),
    "WideResNet-50-2": (lambda: resnet(3, 4, 6, 3, bottleneck=True, width=128), IMAGENET, None),
    "PreActResNet-18, 32×32": (preact_resnet18, SMALL, None),
    "DenseNet-121": (lambda: densenet(6, 12, 24, 16), IMAGENET, None),
    "MobileNetV1": (mobilenet_v1, IMAGENET, None),
    "MobileNetV2": (mobilenet_v2, IMAGENET, None),
    "MobileNetV3-Small": (mobilenet_v3_small, IMAGENET, "product of two activations"),
    "MobileNetV3-Small without gates": (lambda: mobilenet_v3_small(False), IMAGENET, None),
    "MnasNet-B1": (mnasnet, IMAGENET, None),
    "EfficientNet-B0": (efficientnet_b0, IMAGENET, "product of two activations"),
    "EfficientNet-Lite0": (lambda: efficientnet_b0(False), IMAGENET, None),
    "ConvNeXt-T": (lambda: convnext(3, 3, 9, 3), IMAGENET, None),
    "RegNetX-400MF": (regnet_x400, IMAGENET, None),
    "RegNetY-400MF": (lambda: regnet_x400(True), IMAGENET, "product of two activations"),
    "ShuffleNetV2": (shufflenet_v2, IMAGENET, None),
    "SqueezeNet 1.1": (squeezenet, IMAGENET, None),
    "GoogLeNet": (googlenet, IMAGENET, None),
    "MLP-Mixer S/32": (mixer, IMAGENET, None),
    "ViT-Ti, 4 layers": (vit, IMAGENET, "attention"),
}
