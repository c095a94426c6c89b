"""Random nets of both frameworks: each is bounded soundly or refused by name, and the check finds what is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from artclip import graph as G
from tests.fuzz import fuzz

NB_PARTS, SIZE = {"torch": 10, "keras": 5}, 20  # 300 nets


def outcomes(framework, seeds):
    pytest.importorskip({"torch": "torch", "keras": "tensorflow"}[framework])
    case = getattr(fuzz, f"{framework}_case")
    return [fuzz.run(case, seed) for seed in seeds]


@pytest.mark.parametrize(
    ("framework", "part"), [(name, part) for name, count in NB_PARTS.items() for part in range(count)]
)
@pytest.mark.filterwarnings("ignore")
def test_random_nets_are_bounded_soundly_or_refused_by_name(framework, part):
    found = outcomes(framework, range(part * SIZE, (part + 1) * SIZE))
    assert not [o.said for o in found if o.kind in ("unsound", "crashed")]
    refused = [o.said for o in found if o.kind == "refused"]
    assert all(("layer " in said or "outputs" in said or "model" in said) and len(said) < 500 for said in refused)
    assert len(refused) <= SIZE / 2
    # Pairs come near to the bounds: a check that finds nothing steep would find nothing wrong.
    assert np.median([o.ratio for o in found if o.kind == "bounded"]) > 0.05


def halved(kind):
    """Constants of an operation, half as large as they are."""
    return lambda monkeypatch: monkeypatch.setattr(kind, "factor", lambda self, p, f=kind.factor: f(self, p) / 2)


def without_overlap(monkeypatch):
    monkeypatch.setattr(G.Maximum, "factor", lambda self, p: 1.0)


def flat_activations(monkeypatch):
    """Slopes of activations as if none were steeper than 1."""
    made = G.Activation.__init__

    def init(self, low, high, *args, **kwargs):
        made(self, max(low, -1.0), min(high, 1.0), *args, **kwargs)

    monkeypatch.setattr(G.Activation, "__init__", init)


def lost_branches(monkeypatch):
    """Sums count as their first summand."""
    monkeypatch.setattr(
        "artclip.frameworks.torch_rules.G.Add", lambda weights: replace(G.Add(), weights=(weights[0], 0.0))
    )


BREAKS = {
    "dense layers": halved(G.Dense),
    "convolutions": halved(G.Convolution),
    "overlapping pools": without_overlap,
    "steep activations": flat_activations,
    "normalisation": halved(G.Normalisation),
}


@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.filterwarnings("ignore")
def test_deliberate_mistakes_are_found(name, monkeypatch):
    BREAKS[name](monkeypatch)
    pytest.importorskip("torch")
    for seed in range(2000, 2300):
        if fuzz.run(fuzz.torch_case, seed).kind == "unsound":
            return
    pytest.fail("no net shows the mistake")
