"""Random nets of both frameworks: each is bounded soundly or refused by name, and the check finds what is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from artclip import graph as G
from artclip import lipschitz_upper_bound
from artclip.lipschitz import product
from artclip.lipschitz.product import Norms
from tests.fuzz import fuzz

NB_PARTS, SIZES = {"torch": 5, "keras": 1}, {"torch": 20, "keras": 8}  # benchmarks/fuzz_bounds.py has 10,000


def outcomes(framework, seeds):
    pytest.importorskip({"torch": "torch", "keras": "tensorflow"}[framework])
    case = getattr(fuzz, f"{framework}_case")
    return [fuzz.run(case, seed) for seed in seeds]


@pytest.mark.parametrize(
    ("framework", "part"), [(name, part) for name, count in NB_PARTS.items() for part in range(count)]
)
@pytest.mark.filterwarnings("ignore")
def test_random_nets_are_bounded_soundly_or_refused_by_name(framework, part):
    size = SIZES[framework]
    found = outcomes(framework, range(part * size, (part + 1) * size))
    assert not [o.said for o in found if o.kind in ("misread", "unsound", "crashed")]
    refused = [o.said for o in found if o.kind == "refused"]
    assert all(("layer " in said or "outputs" in said or "model" in said) and len(said) < 500 for said in refused)
    assert len(refused) <= size / 2
    # Pairs come near to the bounds: a check that finds nothing steep would find nothing wrong.
    assert np.median([o.ratio for o in found if o.kind == "bounded"]) > 0.05


def halved_norms(monkeypatch):
    """Norms of all layers, half as large as they are."""
    found = Norms.of
    monkeypatch.setattr(Norms, "of", lambda self, p: [norm / 2 for norm in found(self, p)])


def pools_without_overlap(monkeypatch):
    monkeypatch.setattr(G.Maximum, "factor", lambda self, p: 1.0)


def flat_activations(monkeypatch):
    """Slopes of activations as if none were steeper than 1."""
    made = G.Activation.__init__

    def init(self, low, high, *args, **kwargs):
        made(self, max(low, -1.0), min(high, 1.0), *args, **kwargs)

    monkeypatch.setattr(G.Activation, "__init__", init)


def lost_branches(monkeypatch):
    """Sums of branches count as their first summand."""
    joined = product.joined

    def first(node, before, p):
        return before[0] if isinstance(node.operation, G.Add) else joined(node, before, p)

    monkeypatch.setattr(product, "joined", first)


def harmless_normalisation(monkeypatch):
    """Normalisation as if its eps were 1."""
    factor = G.Normalisation.factor
    monkeypatch.setattr(G.Normalisation, "factor", lambda self, p: factor(replace(self, eps=1.0), p))


# What is wrong -> the first seed of five nets, of which one shows it.
BREAKS = {
    halved_norms: 5000,
    pools_without_overlap: 5118,
    flat_activations: 5054,
    lost_branches: 5002,
    harmless_normalisation: 5004,
}


@pytest.mark.parametrize(("mistake", "seed"), BREAKS.items(), ids=[mistake.__name__ for mistake in BREAKS])
@pytest.mark.filterwarnings("ignore")
def test_deliberate_mistakes_are_found(mistake, seed, monkeypatch):
    mistake(monkeypatch)
    assert "unsound" in [o.kind for o in outcomes("torch", range(seed, seed + 5))]


@pytest.mark.filterwarnings("ignore")
def test_a_graph_that_is_read_wrongly_is_no_bound(monkeypatch):
    torch = pytest.importorskip("torch")
    from art.estimators.regression import PyTorchRegressor

    from artclip.frameworks.pytorch.calls import RULES

    def wrong(call, /, self, negative_slope):
        return call.put(G.activations.leaky_relu(0.9 * negative_slope), self)

    net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.LeakyReLU(0.3), torch.nn.Linear(8, 2))
    model = PyTorchRegressor(net, torch.nn.MSELoss(), (5,), optimizer=None, device_type="cpu")
    assert lipschitz_upper_bound(model).value > 0
    monkeypatch.setitem(RULES, "leaky_relu.default", wrong)
    with pytest.raises(ValueError, match="do not compute what predict computes"):
        lipschitz_upper_bound(model)
