"""Upper bounds hold: over random nets of every layer, lower <= LipSDP <= ECLipsE-Fast <= product."""

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip import graph as G
from artclip import lipschitz_bracket, lipschitz_lower_bound, lipschitz_upper_bound
from artclip.frameworks import graph_of
from artclip.frameworks.pytorch.nets import MaxMin
from tests.nets import torch_nets as nets


class Residual(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        return x + 0.5 * self.inside(x)


class Parallel(nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        return torch.cat([part(x) for part in self.parts], 1)


class Odd(nn.Module):
    """Scaling, permutation, subtraction, a mean, functional activations."""

    def __init__(self):
        super().__init__()
        self.convolution, self.scale = nn.Conv2d(2, 4, 3, padding="same"), nn.Parameter(torch.randn(4, 1, 1))

    def forward(self, x):
        y = torch.tanh(self.convolution(x / 2)) * self.scale
        y = y.permute(0, 2, 3, 1).transpose(1, 3) - nn.functional.silu(y.transpose(2, 3))
        return -y.mean((2, 3))[:, :3]


IMAGES = {
    "dense": lambda: [nn.Flatten(), nn.Linear(72, 9), nn.ReLU(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 3)],
    "smooth": lambda: [nn.Flatten(), nn.Linear(72, 9), nn.GELU(), nn.Linear(9, 8), nn.Softplus(), nn.Linear(8, 3)],
    "strided": lambda: [nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)],
    "groups": lambda: [nn.Conv2d(2, 4, 3, groups=2, dilation=2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16, 3)],
    "pools": lambda: [
        nn.Conv2d(2, 3, 3),
        nn.ReLU(),
        nn.MaxPool2d(3, 1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(3, 3),
    ],
    "norm": lambda: [nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    "transposed": lambda: [
        nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(363, 3),
    ],
    "residual": lambda: [
        Residual(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU())),
        nn.Flatten(),
        nn.Linear(72, 3),
    ],
    "parallel": lambda: [Parallel(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 1, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)],
    "softmax": lambda: [nn.Flatten(), nn.Linear(72, 5), nn.Sigmoid(), nn.Dropout(0.5), nn.Linear(5, 3), nn.Softmax(1)],
    "odd": lambda: [Odd()],
    "maxmin": lambda: [nn.Conv2d(2, 4, 3), MaxMin(), nn.Flatten(), nn.Linear(64, 6), MaxMin(), nn.Linear(6, 3)],
}


def classifier(name, seed, **kwargs):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(*IMAGES[name]())
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, -2, 2)
                nn.init.uniform_(module.running_var, 0.2, 2)
    return PyTorchClassifier(net, nn.CrossEntropyLoss(), (2, 6, 6), 3, device_type="cpu", **kwargs)


@pytest.mark.parametrize(
    ("name", "norm"), [(name, norm) for i, name in enumerate(IMAGES) for norm in (2, (1, "inf")[i % 2])]
)
def test_order_of_the_bounds(name, norm):
    x = np.random.default_rng(0).standard_normal((40, 2, 6, 6))
    seed = len(name) % 2
    model = classifier(name, seed, preprocessing=(0.1, 0.4) if seed % 2 else (0.0, 1.0))
    found = [lipschitz_upper_bound(model, norm, norm, m, max_iter=40).value for m in ("product", "eclipse", "lipsdp")]
    auto = lipschitz_upper_bound(model, norm, norm, max_iter=40)
    lower = lipschitz_lower_bound(model, x, norm, norm, nb_restarts=8, max_iter=20, seed=seed)
    assert lower.value <= found[2] * (1 + 1e-6) <= found[1] * (1 + 2e-6)
    assert auto.value <= min(found) * (1 + 1e-6)
    if norm == 2:
        assert found[1] <= found[0] * (1 + 1e-6)
    assert lower.value <= auto.value * (1 + 1e-6)


def test_linear_models_are_exact():
    matrix = np.random.default_rng(0).standard_normal((4, 9))
    model = nets.linear_classifier(matrix, preprocessing=(0.3, 0.25))
    for norm, value in (
        (1, np.abs(matrix).sum(0).max()),
        (2, np.linalg.norm(matrix, 2)),
        (np.inf, np.abs(matrix).sum(1).max()),
    ):
        assert lipschitz_upper_bound(model, norm, norm).value == pytest.approx(value / 0.25, rel=1e-5)
    lower, upper = lipschitz_bracket(model, np.random.default_rng(1).uniform(size=(20, 9)), seed=0, method="auto")
    assert upper.kind == "exact"
    assert lower.value <= upper.value * (1 + nets.ROUNDING)  # what float32 predictions round
    assert upper.value <= lower.value * 1.001


def test_sorts_of_orthogonal_layers_have_constant_one():
    """MaxMin keeps norms of gradients, and so do orthogonal layers: the product of the norms is the constant, 1."""
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(8, 8), MaxMin(), nn.Linear(8, 8), MaxMin(), nn.Linear(8, 4))
    with torch.no_grad():
        for layer, rows in ((net[0], 8), (net[2], 8), (net[4], 4)):
            layer.weight.copy_(torch.tensor(np.linalg.qr(rng.standard_normal((8, 8)))[0][:rows]))
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), (8,), 4, device_type="cpu")
    lower, upper = lipschitz_bracket(model, rng.standard_normal((50, 8)), domain="free", seed=0)
    assert upper.value == pytest.approx(1, rel=1e-5)
    assert lower.value == pytest.approx(1, rel=1e-3)


def test_the_order_of_a_sort_is_no_lipschitz_function():
    class Order(nn.Module):
        def forward(self, x):
            return x * torch.sort(x, dim=1)[1]

    model = PyTorchClassifier(
        nn.Sequential(nn.Linear(4, 3), Order()), nn.CrossEntropyLoss(), (4,), 3, device_type="cpu"
    )
    with pytest.raises(ValueError, match="takes the places of the largest entries, which jump"):
        lipschitz_upper_bound(model)


@pytest.mark.parametrize(("p", "q"), [(1, 2), (2, 1), (2, "inf"), ("inf", 2), ("inf", 1), (1, "inf")])
def test_mixed_norms_hold(p, q):
    x = np.random.default_rng(0).standard_normal((40, 2, 6, 6))
    model = classifier("dense", 1)
    lower = lipschitz_lower_bound(model, x, p, q, nb_restarts=16, seed=0)
    assert lower.value <= lipschitz_upper_bound(model, p, q).value


def test_layers_multiply_to_the_value():
    est = lipschitz_upper_bound(classifier("pools", 0))
    assert math.prod(factor for _, factor in est.layers) == pytest.approx(est.value, rel=1e-6)
    est = lipschitz_upper_bound(classifier("pools", 0), method="product")
    assert math.prod(factor for _, factor in est.layers) == pytest.approx(est.value, rel=1e-6)
    assert any("max_pool" in name for name, _ in est.layers)


class Attention(nn.Module):
    def forward(self, x):
        x = x.flatten(2)
        return nn.functional.scaled_dot_product_attention(x, x, x).flatten(1)


class Product(nn.Module):
    def forward(self, x):
        return (x * torch.sigmoid(x.flip(1))).flatten(1)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (Attention(), "attention is a product of activations, which is not globally Lipschitz"),
        (Product(), "a product of two activations is not globally Lipschitz"),
        (nn.Sequential(nn.Flatten(), nn.LayerNorm(72, eps=0.0)), "steep where the variance is small, with no bound"),
    ],
)
def test_layers_without_a_constant_are_named(last, message):
    model = PyTorchClassifier(nn.Sequential(nn.ReLU(), last), nn.CrossEntropyLoss(), (2, 6, 6), 72, device_type="cpu")
    with pytest.raises(ValueError, match=f"layer .*{message}"):
        lipschitz_upper_bound(model)


def test_other_estimators_are_refused_with_a_way_out():
    from art.estimators.classification import BlackBoxClassifier

    with pytest.raises(TypeError, match=r"cannot read the layers of .*lipschitz_lower_bound takes any"):
        lipschitz_upper_bound(BlackBoxClassifier(lambda x: x, (3,), 3))
    with pytest.raises(TypeError, match=r"wrap it, as PyTorchClassifier\(model"):
        lipschitz_upper_bound(nn.Linear(3, 2))


def test_mode_is_left_as_found_and_running_statistics_are_used():
    model = classifier("norm", 0)
    model.model.train()
    nodes, size = graph_of(model)
    assert size == 72
    assert all(m.training for m in model.model.modules())
    assert any(isinstance(node.operation, G.Scale) for node in nodes)


def test_without_time_there_is_a_bound_that_says_so():
    model = classifier("dense", 0)
    ample, none = lipschitz_upper_bound(model, max_iter=20), lipschitz_upper_bound(model, max_seconds=1e-9)
    assert ample.notes == []
    assert none.notes
    assert all("no time" in note and note in str(none) for note in none.notes)
    record = json.loads(json.dumps(none.to_dict()))
    assert record["notes"] == none.notes
    assert record["fingerprint"] == ample.fingerprint
    assert record["nb_outputs"] == 3
    assert ample.value < none.value < math.inf


@pytest.mark.parametrize(
    "options", [{"method": "guess"}, {"norm": 3}, {"norm": True}, {"max_iter": 0}, {"max_seconds": 0}]
)
def test_bad_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        lipschitz_upper_bound(classifier("dense", 0), **options)
