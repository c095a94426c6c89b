"""PyTorch modules as graphs of layers: operations of every kind that has a rule, and of kinds that have none."""

import torch
from torch import nn
from torch.nn import functional as F

SHAPE = (4, 6, 6)


class Of(nn.Module):
    """A module of a function of modules, images and a weight."""

    def __init__(self, function, *inside):
        super().__init__()
        self.function, self.inside = function, nn.ModuleList(inside)
        self.weight = nn.Parameter(torch.randn(4, 1, 1))

    def forward(self, x):
        return self.function(self, x).flatten(1)


def of(function, *inside):
    return lambda: Of(function, *(make() for make in inside))


def in_place(m, x):
    x = x.clone()
    x.view(len(x), -1).sub_(0.5).div_(0.05)
    return m.inside[0](x)


def scaled_later(m, x):
    h = m.inside[0](x)
    v = h.view(len(h), -1)
    h *= 30
    return v


def written_through(m, x):
    h = m.inside[0](x)
    h.unsqueeze(1).mul_(3)
    h.detach().add_(0.5)
    F.relu_(h.view(-1, 3, 36))
    return h


def behind_dropout(m, x):
    y = m.inside[0](x)
    F.dropout(y, 0.3, training=False).mul_(2.0)
    return y + F.relu_(F.dropout(y, 0.0, training=True))


def kept(m, x):
    h = m.inside[0](x)
    before = h.clone()
    h[:, 1:] = 0.5
    h[:, 0, 2] *= 3
    h[:, :, ::2] = x[:, :3, ::2] - 1
    h.masked_fill_(torch.eye(6, dtype=torch.bool), 0.3)
    return torch.where(torch.arange(6) > 3, h, 2 * before)


ARCHITECTURES = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)),
    "dense on the last axis": lambda: nn.Sequential(nn.Linear(6, 4), nn.LeakyReLU(0.3), nn.Flatten(), nn.Linear(96, 3)),
    "convolutions": lambda: nn.Sequential(
        *(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 2, groups=2), nn.BatchNorm2d(4)),
        *(nn.ReLU(inplace=True), nn.Conv2d(4, 2, 2, padding="same", bias=False), nn.Flatten(), nn.Linear(8, 3)),
    ),
    "in one dimension": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 3, 5, dilation=2), nn.AvgPool1d(2)),
    "residual": of(
        lambda m, x: F.relu(x + m.inside[1](F.relu(m.inside[0](x), inplace=True))),
        lambda: nn.Conv2d(4, 4, 3, padding=1),
        lambda: nn.Conv2d(4, 4, 3, padding=1),
    ),
    "constants": of(lambda m, x: 1 - m.inside[0](2 * x - 0.5) * m.weight / 3 + m.weight, lambda: nn.Conv2d(4, 4, 1)),
    "moved": of(lambda m, x: m.inside[0](x.permute(0, 3, 1, 2).transpose(1, 2).flatten(1)), lambda: nn.Linear(144, 3)),
    "cast": of(lambda m, x: m.inside[0](x.float().to(m.weight.dtype)), lambda: nn.Conv2d(4, 3, 1)),
}
IN_PLACE = {
    "in place through a view": of(in_place, lambda: nn.Conv2d(4, 3, 1)),
    "view of what is scaled later": of(scaled_later, lambda: nn.Conv2d(4, 3, 1)),
    "written through views": of(written_through, lambda: nn.Conv2d(4, 3, 1)),
    "a part overwritten": of(kept, lambda: nn.Conv2d(4, 3, 1)),
    "in place behind a dropout": of(behind_dropout, lambda: nn.Conv2d(4, 3, 1)),
}
OPERATIONS = {
    "sums": of(lambda m, x: torch.sub(x, m.inside[0](x), alpha=0.3) + x, lambda: nn.Conv2d(4, 4, 3, padding=1)),
    "broadcast sum": of(lambda m, x: x.mean((2, 3)).unsqueeze(2).unsqueeze(3) + x),
    "broadcast weight": of(lambda m, x: x.flatten(1).unsqueeze(1) * m.weight[:, 0] + m.weight[:, 0]),
    "joined channels": of(lambda m, x: torch.cat([x, m.inside[0](x)], 1), lambda: nn.Conv2d(4, 3, 1)),
    "joined rows": of(lambda m, x: torch.cat([x, m.inside[0](x), x], 2), lambda: nn.Conv2d(4, 4, 1)),
    "joined with a constant": of(lambda m, x: torch.cat([x, torch.full((len(x), 1, 6, 6), 0.7), x.flip(1)], 1)),
    "stacked": of(lambda m, x: torch.stack([x, x.roll(1, 2)], 2)[:, 1:, 0]),
    "parts": of(lambda m, x: sum(x.chunk(2, 1)) - x.narrow(1, 1, 2) + torch.max(*x.split(2, 1)) + x[:, ::2]),
    "repeated": of(
        lambda m, x: x.repeat(1, 2, 1, 1).movedim(1, 3)[..., :3] + x.mean(1).unsqueeze(3).expand(-1, -1, -1, 3)
    ),
    "circular": lambda: nn.Conv2d(4, 3, 3, padding=2, padding_mode="circular"),
    "reflected": lambda: nn.Conv2d(4, 3, 3, padding=2, padding_mode="reflect"),
    "replicated": lambda: nn.Conv2d(4, 3, (3, 2), padding="same", padding_mode="replicate"),
    "padded": of(lambda m, x: F.pad(x, (1, 2, 0, 1, 1, 0), value=2.0)),
    "cropped": lambda: nn.ZeroPad2d((-1, 2, 1, -2)),
    "transposed": lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
    "transposed, dilated": lambda: nn.ConvTranspose2d(4, 3, 3, padding=2, dilation=2, output_padding=1),
    "windows": of(lambda m, x: F.unfold(x, 3, dilation=2, padding=1, stride=2)),
    "picked": of(lambda m, x: x[:, [0, 0, 1], [1, 1, 2]] + x[:, torch.tensor([True, False, True, True]), 1]),
    "gathered": of(lambda m, x: x.gather(3, torch.tensor([0, 5, 5]).expand(len(x), 4, 6, 3)) + x[..., :3]),
    "diagonal": of(lambda m, x: x.diagonal(1, 2, 3)),
    "resized": lambda: nn.Upsample(scale_factor=1.7, mode="bilinear"),
    "resized cubically": lambda: nn.Upsample(size=(9, 5), mode="bicubic", align_corners=True),
    "nearest": lambda: nn.Upsample(scale_factor=2),
    "shuffled": lambda: nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(3)),
    "adaptive averages": lambda: nn.AdaptiveAvgPool2d((4, 5)),
    "adaptive maxima": lambda: nn.AdaptiveMaxPool2d((4, 5)),
    "averages": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    "averages, padded": lambda: nn.AvgPool2d((3, 2), 2, 1, ceil_mode=True),
    "averages, divided": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, divisor_override=5),
    "maxima": lambda: nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True),
    "powers": lambda: nn.Sequential(nn.LPPool2d(2, (3, 2), stride=1), nn.LPPool2d(4, 2)),
    "means": of(lambda m, x: x.mean((1, 3)) + x.sum(1).mean(2) + x.amin((1, 2)) + x.max(1).values.amax(2)),
    "matrices": of(
        lambda m, x: (
            torch.einsum("nchw,kw->nchk", x @ m.inside[0].weight.T, m.inside[0].weight) + m.inside[0].weight @ x
        ),
        lambda: nn.Linear(6, 6),
    ),
    "group norm": lambda: nn.GroupNorm(2, 4),
    "instance norm": lambda: nn.InstanceNorm2d(4, affine=True),
    "layer norm": lambda: nn.LayerNorm((6, 6)),
    "rms norm": lambda: nn.RMSNorm(6, eps=0.1),
    "batch norm": lambda: nn.BatchNorm2d(4),
    "softmax": lambda: nn.Softmax(2),
    "log-softmax": lambda: nn.LogSoftmax(1),
    "sorted": of(lambda m, x: x.view(len(x), 2, 2, 6, 6).sort(2, descending=True)[0]),
    "limits": of(lambda m, x: torch.minimum(x, torch.linspace(0, 1, 6)).clamp(min=m.weight - 1).clamp(-0.5, 0.8)),
}
_ACTIVATIONS = (
    *(nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.3), nn.LeakyReLU(1.5), nn.LeakyReLU(-0.5), nn.RReLU(), nn.PReLU(4)),
    *(nn.ELU(3.0), nn.ELU(-0.7), nn.CELU(0.7), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU()),
    *(nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(-0.3, 2.0), nn.Sigmoid(), nn.Tanh(), nn.Tanhshrink()),
    *(nn.Softplus(2.0, 40), nn.LogSigmoid(), nn.Softsign(), nn.Softshrink(0.3), nn.Threshold(0.2, 0.2)),
)
ACTIVATIONS = {str(a): (lambda a=a: a) for a in _ACTIVATIONS} | {
    "x·sigmoid": of(lambda m, x: x * torch.sigmoid(1.7 * x)),
    "hard swish written out": of(lambda m, x: x * (F.relu6(x + 3) / 6)),
    "hard swish by clamp": of(lambda m, x: (x / 6 + 0.5).clamp(0, 1) * x),
    "gelu written out": of(lambda m, x: 0.5 * x * (1 + torch.erf(x / 2**0.5))),
    "mish written out": of(lambda m, x: x * torch.tanh(F.softplus(x, threshold=40))),
    "x·tanh": of(lambda m, x: (2 * x + 1) * torch.tanh(0.5 - x)),
    "softsign written out": of(lambda m, x: 2 * x / (3 + 0.5 * x.abs())),
    "sines": of(lambda m, x: torch.sin(x) + torch.cos(2 * x) - torch.atan(x) + torch.asinh(x)),
}
REFUSED = {
    "mean over the batch": (lambda m, x: x - x.mean(0), "mean goes over the axis of the batch"),
    "mean over all": (lambda m, x: x - x.mean(), "mean goes over all axes"),
    "samples merged": (lambda m, x: x.reshape(-1, 36), "mixes samples"),
    "samples reversed": (lambda m, x: x.flip(0), "flip moves entries between samples"),
    "another for each sample": (lambda m, x: x * torch.arange(3.0).view(3, 1, 1, 1), "differs from sample to sample"),
    "whole numbers": (lambda m, x: x.int().float(), "gives torch.int32: it rounds"),
    "rounded": (lambda m, x: x.round(), "it jumps"),
    "rounding division": (lambda m, x: torch.div(x, 0.5, rounding_mode="floor"), "rounding_mode='floor' jumps"),
    "division": (lambda m, x: x / x.sigmoid(), "division by an activation is not globally Lipschitz"),
    "product": (lambda m, x: x * x.flip(1), "product of two activations"),
    "gate": (lambda m, x: x * x.mean((2, 3), keepdim=True).sigmoid(), "squeeze-and-excitation"),
    "attention": (lambda m, x: F.scaled_dot_product_attention(x, x, x), "attention is a product of activations"),
    "product of matrices": (lambda m, x: x @ x.transpose(2, 3), "product of two activations"),
    "square": (lambda m, x: x**2, "a power is not globally Lipschitz"),
    "exponential": (lambda m, x: x.exp(), "grows exponentially"),
    "root": (lambda m, x: x.abs().sqrt(), "no bound at 0"),
    "dropout": (lambda m, x: F.dropout(x, 0.5), "dropout is on in eval mode"),
    "alpha dropout": (lambda m, x: F.alpha_dropout(x, 0.5, True), "alpha_dropout is on in eval mode"),
    "dropout in place": (
        lambda m, x: F.dropout(x * 2, 0.5, inplace=True),
        "dropout that is on in eval mode|draws random",
    ),
    "random numbers": (lambda m, x: x * torch.rand(6), "draws random numbers"),
    "memory": (lambda m, x: x * torch.empty(6), "whatever is in memory"),
    "softmax over the batch": (lambda m, x: F.softmax(x.flatten(1), 0), "softmax goes over the axis of the batch"),
    "softmax with an implicit axis": (lambda m, x: F.softmax(x.flatten(2)), "softmax goes over the axis of the batch"),
    "softplus with a threshold": (lambda m, x: F.softplus(x, threshold=1), "jumps by 0.31"),
    "threshold": (lambda m, x: F.threshold(x, 0.1, 20.0), "jumps from 20 to 0.1"),
    "hard shrinkage": (lambda m, x: F.hardshrink(x), "jumps at 0.5"),
    "order": (lambda m, x: x.sort(1)[1].float(), "places of the largest entries"),
    "comparison": (lambda m, x: torch.where(x > 0, x, 1 - x), "it jumps"),
    "exponential below": (lambda m, x: F.celu(x, -2.0), "input_scale -0.5 < 0 grows exponentially"),
    "half precision": (lambda m, x: x.bfloat16().float(), "it computes in bfloat16"),
    "autocast": (lambda m, x: autocast(x, m.weight), "autocast rounds to half precision"),
    "layer norm without eps": (lambda m, x: F.layer_norm(x, (6,), eps=0.0), "its eps is 0"),
    "zero divisor": (lambda m, x: x / torch.zeros(6), "divides by 0"),
    "NaN": (lambda m, x: x * torch.tensor(float("nan")), "NaN or infinite"),
}


def autocast(x, weight):
    with torch.autocast("cpu", torch.bfloat16):
        return torch.matmul(x, torch.ones(6, 6)) + weight


def build(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make()
        for module in net.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm, nn.PReLU)):
                for t in module.parameters():
                    nn.init.uniform_(t, -2, 2)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -2, 2)
                nn.init.uniform_(module.running_var, 0.2, 2)
    return net.eval()
