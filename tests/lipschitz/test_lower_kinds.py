"""Lower bounds of models of all kinds: large outputs, slivers, low precision, no numbers, no gradient, little time."""

import math
import time
from itertools import pairwise

import numpy as np
import pytest

from artclip import lipschitz_lower_bound
from tests.lipschitz.test_lower import by_hand

torch = pytest.importorskip("torch")
from art.estimators.regression import PyTorchRegressor
from torch import nn

from artclip.frameworks.pytorch.function import TorchFunction

FEW = {"nb_restarts": 4, "max_iter": 15, "seed": 0}


class Call(nn.Module):
    """A module around a function of (layer, x)."""

    def __init__(self, function, layer=None):
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, x):
        return self.function(self.layer, x)


def linear(inputs, outputs, bias=0.0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.Linear(inputs, outputs)
    nn.init.constant_(layer.bias, bias)
    return layer, float(np.linalg.norm(layer.weight.detach().numpy().astype(np.float64), 2))


def points(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def predict(model):
    return lambda x: model(torch.as_tensor(x)).detach().float().numpy()


@pytest.mark.parametrize("bias", [1e3, 3e5])
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 1), (8, 3), (100, 3)])
def test_large_outputs_are_not_steepness(bias, inputs, outputs):
    """At 3e5 float32 has steps of 1/32, a tenth of all that these functions rise by across the box."""
    layer, constant = linear(inputs, outputs, bias)
    model = PyTorchRegressor(layer, nn.MSELoss(), (inputs,), optimizer=None, clip_values=(0, 1), device_type="cpu")
    est = lipschitz_lower_bound(model, points(20, inputs), **FEW)
    assert constant * (1 - 1e-4) < est.value <= constant
    assert by_hand(model.predict, est) >= est.value * (1 - 1e-12)
    assert min(est.u.min(), est.v.min()) >= 0
    assert max(est.u.max(), est.v.max()) <= 1


@pytest.mark.parametrize(("bias", "least"), [(0.0, 0.999), (1e3, 0.99), (3e5, 0.8)])
def test_without_a_copy_in_float64_doubt_is_taken_off(monkeypatch, bias, least):
    monkeypatch.setattr(TorchFunction, "in_float64", lambda self: None)
    for inputs in (8, 100):
        layer, constant = linear(inputs, 2, bias)
        est = lipschitz_lower_bound(layer, points(20, inputs), **FEW)
        assert constant * least < est.value <= constant
        assert by_hand(predict(layer), est) > est.value


def test_slivers_are_found_down_to_where_rounding_begins():
    """Along one direction the slope is 1, then 2, 4, ... up to 256 on ever shorter stretches inside each other."""
    along = torch.tensor([3.0, -2.0, 6.0]) / 7
    stretches = [(0.3 + 0.6 * (1 - 4.0**-k) / 3, 0.3 * 4.0**-k) for k in range(9)]  # the last is 5e-6 long
    kinks = torch.tensor([p for start, length in stretches for p in (start, start + length)], dtype=torch.float64)
    more = torch.tensor([s for k in range(9) for s in (2.0 ** (k - 1) if k else 1.0,) * 2], dtype=torch.float64)
    more[1::2] *= -1

    def slope(layer, x):
        return (torch.relu((x @ along.to(x))[:, None] - kinks.to(x)) @ more.to(x))[:, None]

    for seed in range(2):
        est = lipschitz_lower_bound(Call(slope), points(50, 3), seed=seed, nb_restarts=16, max_iter=40)
        assert 255 < est.value <= 256 * (1 + 1e-6)  # kinks and directions are rounded to float32
        assert np.linalg.norm(est.u - est.v) < 1e-5


def test_no_less_than_the_steepest_of_many_jacobians():
    """Deep nets of few inputs have narrow steep pieces."""
    for seed in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = (4, 24, 24, 24, 24, 3)
            layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
            net = nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())][:-1])
            for layer in layers:
                nn.init.normal_(layer.weight, 0, 1.7 / math.sqrt(layer.in_features))
        model = PyTorchRegressor(net, nn.MSELoss(), (4,), optimizer=None, clip_values=(-1, 1), device_type="cpu")
        est = lipschitz_lower_bound(model, 2 * points(50, 4) - 1, seed=0, nb_restarts=32, max_iter=40)
        net.double()
        x = torch.rand(20_000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        x.requires_grad_(True)
        outputs = net(x)
        rows = [torch.autograd.grad(outputs[:, k].sum(), x, retain_graph=True)[0] for k in range(3)]
        assert est.value >= float(torch.linalg.matrix_norm(torch.stack(rows, 1), 2).max())


@pytest.mark.parametrize("model", [nn.Identity(), nn.Flatten(), Call(lambda layer, x: x)])
def test_models_without_parameters(model):
    x = points(20, 2, 3)
    for p, q, constant in ((2, 2, 1), (1, 1, 1), ("inf", "inf", 1), (1, "inf", 1), ("inf", 1, 6)):
        est = lipschitz_lower_bound(model, x, p, q, **FEW)
        assert constant * (1 - 1e-6) < est.value <= constant


@pytest.mark.parametrize("value", [0.0, 3e5])
def test_a_flat_model_has_the_bound_0_and_a_pair(value):
    est = lipschitz_lower_bound(Call(lambda layer, x: x * 0 + value), points(20, 5), **FEW)
    assert est.value == 0.0
    assert (est.u != est.v).any()


def test_outputs_that_are_no_numbers():
    layer, constant = linear(5, 3)
    x = points(20, 5)
    with pytest.raises(ValueError, match=r"outputs are (NaN|not finite)"):
        lipschitz_lower_bound(Call(lambda layer, x: layer(x) * math.nan, layer), x, **FEW)
    with pytest.raises(ValueError, match=r"outputs are (NaN|not finite)"):
        lipschitz_lower_bound(Call(lambda layer, x: layer(x) / 0, layer), x, **FEW)
    # Where only some are none, the rest counts.
    here = Call(lambda layer, x: layer(x) * torch.where(x[:, :1] > 0.5, math.nan, 1.0), layer)
    est = lipschitz_lower_bound(here, np.minimum(x, 0.4), **FEW)
    assert constant * (1 - 1e-4) < est.value <= constant
    assert max(est.u[0], est.v[0]) <= 0.5


def test_gradients_that_are_no_numbers_leave_the_search_going():
    """√x² is x, with a gradient of NaN at 0."""
    x = np.where(points(30, 6) > 0.5, 0, points(30, 6))
    est = lipschitz_lower_bound(Call(lambda layer, x: torch.sqrt(x) ** 2), x, **FEW)
    assert 0.99 < est.value <= 1


def test_a_model_without_a_gradient_is_told_so():
    layer, _ = linear(5, 3)
    for cut in (lambda layer, x: layer(x).detach(), lambda layer, x: layer(x.long().float())):
        with pytest.raises(ValueError, match=r"no gradient in its inputs.*BlackBoxClassifier"):
            lipschitz_lower_bound(Call(cut, layer), points(20, 5), **FEW)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_16_bits(dtype):
    layer, _ = linear(3, 2)
    layer = layer.to(dtype)
    constant = np.linalg.norm(layer.weight.detach().double().numpy(), 2)
    est = lipschitz_lower_bound(layer, points(20, 3), **FEW)
    assert 0.99 * constant < est.value <= constant
    assert by_hand(lambda x: predict(layer)(torch.as_tensor(x).to(dtype)), est) >= est.value
    with pytest.raises(ValueError, match=r"lie so close together.*model\.float\(\)"):
        lipschitz_lower_bound(layer, 100 + points(20, 3), **FEW)


def test_layers_in_a_lower_precision_than_their_weights():
    layer, constant = linear(6, 3)

    def half(layer, x):
        with torch.autocast("cpu", torch.bfloat16):
            return layer(x)

    for call in (half, lambda layer, x: half(layer, x.float()), lambda layer, x: layer(x.float())):
        model = Call(call, layer)
        est = lipschitz_lower_bound(model, points(30, 6), **FEW)
        assert 0.5 * constant < est.value <= constant
        assert by_hand(predict(model), est) >= est.value


def test_a_limit_of_time_is_kept_and_told():
    layer, constant = linear(6, 3)

    def slow(layer, x):
        time.sleep(0.004)  # the search takes 8 seconds
        return layer(x)

    began = time.perf_counter()
    est = lipschitz_lower_bound(Call(slow, layer), points(30, 6), seed=0, max_seconds=0.5)
    assert time.perf_counter() - began < 0.6 + 0.3  # for a busy machine
    assert est.method.endswith("cut short by max_seconds=0.5")
    assert 0.9 * constant < est.value <= constant
    enough = lipschitz_lower_bound(layer, points(30, 6), **FEW, max_seconds=600)
    assert "cut short" not in enough.method
    assert enough.value == pytest.approx(lipschitz_lower_bound(layer, points(30, 6), **FEW).value, rel=1e-3)


def test_the_model_is_left_as_found():
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 3)).train()
    net[0].weight.requires_grad_(False)
    net(torch.rand(10, 6)).sum().backward()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    random = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    lipschitz_lower_bound(net, points(20, 6), **FEW)
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in net.state_dict().items())
    assert net.training
    assert all(m.training for m in net.modules())
    assert not net[0].weight.requires_grad
    for p, gradient in zip(net.parameters(), gradients, strict=True):
        assert (p.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(p.grad, gradient)
    assert torch.equal(torch.random.get_rng_state(), random[0])
    assert (np.random.get_state()[1] == random[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("in_place", [True, False])
def test_counters_of_calls_are_as_they_were(in_place):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.constant = linear(3, 2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            if in_place:
                self.calls += 1
            else:
                self.calls = self.calls + 1
            return self.layer(x)

    model = Counting()
    buffer = model.calls
    found = lipschitz_lower_bound(model, np.zeros((4, 3), np.float32), **FEW)
    assert found.value == pytest.approx(model.constant, rel=1e-3)
    assert model.calls is buffer
    assert model.calls == 0


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e5])
def test_what_outputs_are_rounded_to_is_taken_off_where_gradients_are_estimated(offset):
    """ART gives the outputs of a black box in float32: far from 0 short pairs would show their rounding."""
    from art.estimators.classification import BlackBoxClassifier

    matrix = np.random.default_rng(0).normal(size=(8, 4))
    box = BlackBoxClassifier(lambda z: z @ matrix + offset, (8,), 4, clip_values=(0, 1))
    x = np.random.default_rng(1).uniform(size=(20, 8)).astype(np.float32)
    found = lipschitz_lower_bound(box, x, nb_restarts=8, max_iter=20, seed=0).value
    exact = np.linalg.norm(matrix, 2)
    assert 0.9 * exact < found <= exact
