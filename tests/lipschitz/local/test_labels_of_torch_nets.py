"""Certificates in balls: ends of nets, layers without lines, overflow, and a net of usual width."""

import math

import numpy as np
import pytest

from artclip import certified_radius
from artclip.frameworks import function_of, graph_of
from artclip.lipschitz.local.kinks import NotPiecewise
from artclip.lipschitz.local.labels import LabelBounds

torch = pytest.importorskip("torch")
from art.estimators.classification import PyTorchClassifier
from torch import nn


def wrapped(*layers, loss=None, outputs=3, shape=(6,)):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(*(layer() for layer in layers))
    return PyTorchClassifier(net, loss or nn.CrossEntropyLoss(), shape, outputs, clip_values=(0, 1), device_type="cpu")


def hidden():
    return nn.Linear(6, 16)


def test_a_softmax_at_the_end_changes_no_label():
    x = np.random.default_rng(0).uniform(size=(30, 6)).astype(np.float32)
    radii = [
        certified_radius(wrapped(hidden, nn.ReLU, lambda: nn.Linear(16, 3), *end), x, method="local")
        for end in ((), (lambda: nn.Softmax(1),), (lambda: nn.LogSoftmax(1),), (nn.Sigmoid,))
    ]
    for others in radii[1:]:
        np.testing.assert_allclose(others, radii[0], rtol=0.01, atol=1e-4)


@pytest.mark.parametrize(("end", "loss"), [((), nn.BCEWithLogitsLoss()), ((nn.Sigmoid,), nn.BCELoss())])
def test_one_output_is_certified_against_its_threshold(end, loss):
    model = wrapped(lambda: nn.Linear(6, 1), *end, loss=loss, outputs=2)
    x = np.random.default_rng(0).uniform(size=(40, 6)).astype(np.float32)
    weight, bias = (p.detach().numpy().astype(np.float64) for p in model.model.parameters())
    distances = np.abs(x @ weight[0] + bias) / np.linalg.norm(weight)
    radii = certified_radius(model, x, method="local", domain="free")
    assert (radii <= distances * (1 + 1e-5)).all()
    np.testing.assert_allclose(radii, distances, rtol=0.02, atol=1e-4)
    wrong = (x @ weight[0] + bias <= 0).astype(int)
    assert (certified_radius(model, x, wrong, method="local") == 0).all()


def test_what_no_lines_are_known_for_is_refused_by_name_or_left_to_constants():
    model = wrapped(hidden, lambda: nn.LayerNorm(16), lambda: nn.Linear(16, 3))
    x = np.random.default_rng(0).uniform(size=(4, 6)).astype(np.float32)
    with pytest.raises(NotPiecewise, match=r"layer 1.* is a Normalisation, for which no straight lines are known"):
        certified_radius(model, x, method="local")
    np.testing.assert_array_equal(certified_radius(model, x, method="auto"), certified_radius(model, x))


def test_outputs_that_overflow_are_not_certified():
    model = wrapped(hidden, nn.ReLU, lambda: nn.Linear(16, 3))
    with torch.no_grad():
        model.model[0].weight.mul_(1e30)
        model.model[2].weight.mul_(1e8)
    x = np.random.default_rng(0).uniform(size=(4, 6)).astype(np.float32)
    bounds = LabelBounds(
        graph_of(wrapped(hidden, nn.ReLU, lambda: nn.Linear(16, 3))), function_of(model), None, math.inf
    )
    assert not bounds.keep(1e300 * x.astype(np.float64), np.zeros(4, int), 1e300).any()


@pytest.mark.parametrize("domain", ["clip_values", "free"])
def test_where_layers_cancel_rounding_in_all_of_the_ball_counts(domain):
    """10⁴·x - 10⁴·x: next to 0 outputs are exact, and half a unit further rounding chooses the label."""
    net = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 2))
    values = [[[1e4], [1e4]], [0.0, 4e-4], [[-1.0, 1.0], [0.0, 0.0]], [0.0, 2e-4]]
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.data = torch.tensor(value)
    model = wrapped(lambda: net, outputs=2, shape=(1,))
    near, far = np.full((30, 1), 1e-6, np.float32), np.linspace(0.5, 0.99, 30, dtype=np.float32)[:, None]
    assert len(np.unique(model.predict(far).argmax(1))) == 2
    both = np.concatenate([near, far])
    for method in ("local", "auto"):
        radii = certified_radius(model, both, method=method, domain=domain)
        assert (radii < 0.4).all()
        assert (radii[30:] == 0).all()
        np.testing.assert_array_equal(certified_radius(model, far, method=method, domain=domain), radii[30:])
