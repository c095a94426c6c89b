"""PyTorch modules read as graphs of layers: the graph computes what the module does."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip import lipschitz_lower_bound, lipschitz_upper_bound
from artclip.frameworks.torch_estimator import TorchEstimator
from artclip.frameworks.torch_graph import of_estimator, read
from tests.nets.graph import evaluate

SHAPE = (2, 6, 6)


class Of(nn.Module):
    """A module of a function of modules, images and a weight."""

    def __init__(self, function, *inside):
        super().__init__()
        self.function, self.inside = function, nn.ModuleList(inside)
        self.weight = nn.Parameter(torch.randn(4, 1, 1))

    def forward(self, x):
        return self.function(self, x).flatten(1)


MODULES = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)),
    "dense on the last axis": lambda: nn.Sequential(nn.Linear(6, 4), nn.LeakyReLU(0.3), nn.Flatten(), nn.Linear(48, 3)),
    "convolutions": lambda: nn.Sequential(
        *(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 2, groups=2), nn.BatchNorm2d(4)),
        *(nn.ReLU(), nn.Conv2d(4, 2, 2, padding="same", bias=False), nn.Flatten(), nn.Linear(8, 3)),
    ),
    "in one dimension": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(2, 3, 5, dilation=2), nn.AvgPool1d(2)),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), nn.ReLU()),
    "activations": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 5), nn.ELU(3.0), nn.GELU(), nn.SELU()),
    "constants": lambda: Of(lambda m, x: 1 - m.inside[0](2 * x - 0.5) * m.weight / 3 + m.weight, nn.Conv2d(2, 4, 1)),
    "sums": lambda: Of(lambda m, x: torch.sub(x, m.inside[0](x), alpha=0.3) + x, nn.Conv2d(2, 2, 3, padding=1)),
    "broadcast sum": lambda: Of(lambda m, x: x.mean((2, 3)).unsqueeze(2).unsqueeze(3) + x),
    "broadcast weight": lambda: Of(lambda m, x: x.flatten(1).unsqueeze(1) * m.weight[:, 0] + m.weight[:, 0]),
    "joined channels": lambda: Of(lambda m, x: torch.cat([x, m.inside[0](x)], 1), nn.Conv2d(2, 3, 1)),
    "joined rows": lambda: Of(lambda m, x: torch.cat([x, m.inside[0](x), x], 2), nn.Conv2d(2, 2, 1)),
    "cast": lambda: Of(lambda m, x: m.inside[0](x.float().to(m.weight.dtype)), nn.Conv2d(2, 3, 1)),
    "moved": lambda: Of(lambda m, x: m.inside[0](x.permute(0, 3, 1, 2).transpose(1, 2).flatten(1)), nn.Linear(72, 3)),
}


def build(name, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = MODULES[name]()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for t in (module.weight, module.bias, module.running_mean):
                    nn.init.uniform_(t, -2, 2)
                nn.init.uniform_(module.running_var, 0.2, 2)
    return net.eval()


def activation(name, x):
    functions = {"elu": lambda t: nn.functional.elu(t, 3.0), "gelu": nn.functional.gelu, "selu": nn.functional.selu}
    return functions[name](torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("name", [n for n in MODULES if not n.startswith("broadcast") and n != "in one dimension"])
def test_the_graph_computes_what_the_module_does(name):
    for seed in range(3):
        net = build(name, seed).double()
        x = np.random.default_rng(seed).standard_normal((5, *SHAPE))
        nodes, size = read(net, SHAPE)
        assert size == 72
        tolerance = 1e-5 if name == "cast" else 1e-10
        expected = net(torch.from_numpy(x)).detach().flatten(1).numpy()
        np.testing.assert_allclose(
            evaluate(nodes, x.reshape(5, -1), activation), expected, rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("name", MODULES)
def test_bounds_hold(name):
    x = np.random.default_rng(0).standard_normal((20, *SHAPE))
    for seed in range(2):
        net = build(name, seed)
        width = net(torch.zeros(1, *SHAPE)).flatten(1).shape[1]
        model = PyTorchClassifier(nn.Sequential(net, nn.Flatten()), nn.MSELoss(), SHAPE, width, device_type="cpu")
        for norm in (1, 2, "inf"):
            lower = lipschitz_lower_bound(model, x, norm, norm, nb_restarts=4, max_iter=10, seed=0)
            for method in ("product", "auto"):
                assert lower.value <= lipschitz_upper_bound(model, norm, norm, method, max_iter=10).value * (1 + 1e-4)


def test_scaling_of_art_is_part_of_the_graph():
    net = build("dense")
    model = PyTorchClassifier(
        net,
        nn.CrossEntropyLoss(),
        SHAPE,
        3,
        device_type="cpu",
        preprocessing=(np.array([0.1, 0.4]), np.array([0.5, 2])),
    )
    x = np.random.default_rng(0).standard_normal((5, *SHAPE)).astype(np.float32)
    nodes, _ = of_estimator(TorchEstimator(model))
    np.testing.assert_allclose(evaluate(nodes, x.reshape(5, -1), activation), model.predict(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda m, x: x - x.mean(0), "mean mixes samples"),
        (lambda m, x: x.reshape(-1, 6), "mixes samples"),
        (lambda m, x: x.int().float(), "rounds"),
        (lambda m, x: x.round(), "no rule for 'round'"),
        (lambda m, x: x / (1 + x.abs()), "no rule for 'abs'"),
        (lambda m, x: x / x.sigmoid(), "division by an activation is not globally Lipschitz"),
        (lambda m, x: x * x.sigmoid(), "product of two activations"),
    ],
)
def test_what_has_no_constant_is_named(function, message):
    with pytest.raises(ValueError, match=message):
        read(Of(function), SHAPE)
