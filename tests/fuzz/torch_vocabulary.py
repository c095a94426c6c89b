"""Random PyTorch nets: operations with random arguments on random shapes, in rows and with branches."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.fuzz.choices import number, pick


class Of(nn.Module):
    """A module of a function of tensors and modules; its name tells what it is."""

    def __init__(self, name, function, *inside):
        super().__init__()
        self.name, self.function, self.inside = name, function, nn.ModuleList(inside)

    def forward(self, x):
        return self.function(x, *self.inside)

    def extra_repr(self):
        return self.name


def channels(rng):
    return int(rng.integers(1, 5))


def convolution(rng, shape):
    d, c = len(shape) - 1, shape[0]
    groups = pick(rng, 1, 1, 1, c)
    mode = pick(rng, "zeros", "zeros", "reflect", "replicate", "circular")
    stride = pick(rng, 1, 1, 2, 3)
    padding = pick(rng, 0, 1, 2, "same" if stride == 1 else 1)
    kind = (nn.Conv1d, nn.Conv2d)[d - 1]
    kernel = tuple(int(k) for k in rng.integers(1, 4, d))
    return kind(
        c, groups * channels(rng), kernel, stride, padding, pick(rng, 1, 1, 2), groups, pick(rng, True, False), mode
    )


def transposed(rng, shape):
    d, c = len(shape) - 1, shape[0]
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d)[d - 1]
    stride, groups = pick(rng, 1, 2, 3), pick(rng, 1, c)
    extra = int(rng.integers(0, stride))
    return kind(c, groups * channels(rng), int(rng.integers(1, 4)), stride, pick(rng, 0, 1), extra, groups)


def pool(rng, shape):
    d = len(shape) - 1
    size, stride = int(rng.integers(1, 4)), pick(rng, None, 1, 2, 3)
    padding, ceil = (pick(rng, 0, size // 2), pick(rng, True, False))
    if pick(rng, True, False):
        kind = (nn.MaxPool1d, nn.MaxPool2d)[d - 1]
        return kind(size, stride, padding, pick(rng, 1, 1, 2), False, ceil)
    if d == 1:
        return nn.AvgPool1d(size, stride, padding, ceil, pick(rng, True, False))
    return nn.AvgPool2d(size, stride, padding, ceil, pick(rng, True, False), pick(rng, None, None, 3))


def adaptive(rng, shape):
    d = len(shape) - 1
    kinds = ((nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d), (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d))[d - 1]
    return pick(rng, *kinds)(tuple(int(n) for n in rng.integers(1, 5, d)) if d > 1 else int(rng.integers(1, 5)))


def resized(rng, shape):
    d = len(shape) - 1
    mode = pick(rng, "nearest", "nearest-exact", *(("linear",) if d == 1 else ("bilinear", "bicubic")))
    corners = None if mode.startswith("nearest") else pick(rng, True, False)
    if pick(rng, True, False):
        return nn.Upsample(scale_factor=float(rng.uniform(0.6, 2.4)), mode=mode, align_corners=corners)
    return nn.Upsample(size=int(rng.integers(1, 8)), mode=mode, align_corners=corners)


def padded(rng, shape):
    d = len(shape) - 1
    mode, sizes = pick(rng, "constant", "reflect", "replicate", "circular"), [int(n) for n in rng.integers(0, 3, 2 * d)]
    value = number(rng) if mode == "constant" else 0.0
    return Of(f"pad {sizes} {mode}", lambda x: F.pad(x, sizes, mode, value))


def normalised(rng, shape):
    c, d, eps = shape[0], len(shape) - 1, pick(rng, 1e-5, 1e-2, 1.0)
    kinds = [nn.LayerNorm(shape[-1], eps), nn.LayerNorm(shape, eps), nn.RMSNorm(shape[-1], eps=eps)]
    if d:
        kinds += [
            nn.GroupNorm(pick(rng, 1, c), c, eps),
            (nn.InstanceNorm1d, nn.InstanceNorm2d)[d - 1](c, eps, affine=True),
        ]
        kinds += [(nn.BatchNorm1d, nn.BatchNorm2d)[d - 1](c, eps)] * 3
    else:
        kinds.append(nn.BatchNorm1d(c, eps))
    return pick(rng, *kinds)


def activation(rng, shape):
    a = number(rng)
    kinds = [
        *(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(a), nn.ELU(a), nn.ELU(abs(a), True), nn.CELU(a)),
        *(nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.SiLU(True), nn.Mish(), nn.Hardswish(), nn.Sigmoid()),
        *(nn.Hardsigmoid(), nn.Hardtanh(-abs(a), 1.5), nn.Tanh(), nn.Tanhshrink(), nn.LogSigmoid(), nn.Softsign()),
        *(
            nn.Softplus(abs(a) + 0.1, 40),
            nn.Softplus(1.0, pick(rng, 1, 20, 40)),
            nn.Softshrink(abs(a)),
            nn.Hardshrink(a),
        ),
        *(nn.PReLU(shape[0]), nn.PReLU(), nn.RReLU(), nn.Threshold(a, pick(rng, a, 1.0))),
        *(nn.Softmax(pick(rng, 1, -1, 0)), nn.LogSoftmax(pick(rng, 1, -1))),
        *(nn.Dropout(0.3), nn.AlphaDropout(0.2), nn.Identity()),
    ]
    return pick(rng, *kinds)


def function(rng, shape):
    a, b = number(rng), number(rng, 0.1, 2.0)
    functions = {
        "abs": lambda x: x.abs(),
        "clamp": lambda x: x.clamp(min(a, b), b),
        "clamp_": lambda x: (x * 2).clamp_(min=a),
        "minimum": lambda x: torch.minimum(x, torch.full(shape, a, dtype=x.dtype)),
        "affine": lambda x: 1.5 - a * x / b,
        "sines": lambda x: torch.sin(a * x) - torch.atan(x),
        "swish": lambda x: x * torch.sigmoid(a * x + b - 1),
        "hard swish": lambda x: x * F.relu6(x + 3) / 6,
        "hard swish, shifted": lambda x: (a * x + 0.3) * torch.clamp(b * x - 0.2, -0.5, 1.0),
        "gelu": lambda x: 0.5 * x * (1 + torch.erf(a * x)),
        "mish": lambda x: x * torch.tanh(F.softplus(x, threshold=40)),
        "x·tanh": lambda x: (x - b) * torch.tanh(a * x + b),
        "softsign": lambda x: a * x / (b + x.abs()),
        "x - tanh": lambda x: b * x - torch.tanh(a * x),
        "in place through a view": lambda x: scaled(x, a),
        "view kept": lambda x: kept(x, a),
        "part overwritten": lambda x: overwritten(x, a),
        "detach": lambda x: x + through_detach(x, a),
        "flip": lambda x: x.flip(-1) + a * x,
        "roll": lambda x: x.roll(1, -1) - x,
        "chunk": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
        "stack": lambda x: torch.stack([x, b * x], 1)[:, int(a > 0)],
        "repeat": lambda x: torch.cat([x, x], -1),
        "maximum of two": lambda x: torch.maximum(x, a - x.flip(-1)),
        "sum": lambda x: x.sum(-1, keepdim=True) + x,
        "mean": lambda x: x - x.mean(-1, keepdim=True),
        "amax": lambda x: x - x.amax(-1, keepdim=True),
        "cumsum": lambda x: x.cumsum(-1),
        "transpose": lambda x: x.transpose(1, -1).contiguous(),
        "sort": lambda x: x.sort(-1, descending=a > 0).values,
        "max": lambda x: x.max(1, keepdim=True).values,
        "constant joined": lambda x: torch.cat([x, torch.full_like(x, a)], 1),
        "where": lambda x: torch.where(torch.arange(shape[-1]) % 2 > 0, x, a * x + 1),
        "matrix": lambda x: x @ (torch.arange(float(shape[-1] * 3)).reshape(-1, 3).to(x.dtype) * 0.1 - 0.5),
        # without a constant
        "floor": lambda x: torch.div(x, b, rounding_mode="floor"),
        "dropout": lambda x: F.dropout(x, 0.5),
        "square": lambda x: x * x,
        "batch mean": lambda x: x - x.mean(0),
        "gate": lambda x: x * torch.sigmoid(x.mean(-1, keepdim=True)),
        "bfloat16": lambda x: x.bfloat16().to(x.dtype),
        "random": lambda x: x * torch.rand(shape[-1], dtype=x.dtype),
        "mixed samples": lambda x: x.flip(0),
    }
    names = list(functions)
    odds = [1.0] * (len(names) - 8) + [0.25] * 8
    name = names[rng.choice(len(names), p=[o / sum(odds) for o in odds])]
    return Of(name, functions[name])


def scaled(x, a):
    x = x.clone()
    x.view(len(x), -1).mul_(a).sub_(0.5)
    return x


def kept(x, a):
    h = x * 1.0
    v = h.view(len(h), -1)
    h *= 3 * a
    return v.view(x.shape)


def overwritten(x, a):
    x = x.clone()
    x[..., :1] = a
    x[:, :1] *= 2
    return x


def through_detach(x, a):
    h = x * 1.0
    h.detach().mul_(a)
    return h


def dense(rng, shape):
    return nn.Linear(shape[-1], int(rng.integers(1, 9)), bias=pick(rng, True, False))


def branches(rng, shape):
    inside = [row(rng, shape, 2, keep=True)[0] for _ in range(2)]
    a = number(rng)
    joins = {
        "sum": lambda x, f, g: f(x) + a * g(x),
        "residual": lambda x, f, g: x + f(x),
        "concat": lambda x, f, g: torch.cat([f(x), g(x)], 1),
        "twice": lambda x, f, g: f(f(x)) - g(x),
        "larger": lambda x, f, g: torch.maximum(f(x), g(x)),
    }
    name = pick(rng, *joins)
    return Of(name, joins[name], *inside)


FLAT = (dense, activation, activation, normalised, function, branches)
SPATIAL = (
    convolution,
    convolution,
    transposed,
    pool,
    adaptive,
    resized,
    padded,
    activation,
    normalised,
    function,
    branches,
    dense,
)


def row(rng, shape, length, keep=False):
    """A module of a few random operations, and the shape of its outputs; with ``keep`` that of its inputs."""
    inside = nn.Sequential()
    for _ in range(length):
        module = pick(rng, *(FLAT if len(shape) == 1 else SPATIAL))(rng, shape)
        if module is None:
            continue
        try:
            with torch.no_grad():
                out = tuple(module.eval()(torch.zeros(2, *shape)).shape)
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError):
            continue  # the arguments do not fit the shape
        if out[:1] != (2,) or len(out) < 2 or 0 in out or (keep and out[1:] != shape) or max(out) > 64:
            continue
        inside.append(module)
        shape = out[1:]
    return inside, shape


def net(seed):
    """A random net and the shape of one input."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = pick(rng, (5,), (7,), (2, 6), (3, 8), (1, 6, 6), (2, 5, 7), (3, 4, 4))
        body, out = row(rng, shape, int(rng.integers(1, 7)))
        parts = [body, nn.Flatten()]
        size = int(np.prod(out))
        if pick(rng, True, True, False):
            parts.append(nn.Linear(size, int(rng.integers(1, 5))))
        model = nn.Sequential(*parts)
        for module in model.modules():
            if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.PReLU)):
                for t in module.parameters():
                    nn.init.uniform_(t, -2, 2)
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.uniform_(module.running_mean, -2, 2)
                nn.init.uniform_(module.running_var, 0.1, 2)
    return model.eval(), shape
