"""Bounds around samples: above all quotients in the ball, exact where nothing bends, below the bound of all inputs."""

import numpy as np
import pytest

from artclip import graph as G
from artclip import lipschitz_upper_bound
from artclip.graph.simplify import simplified
from artclip.lipschitz.local import around
from artclip.lipschitz.local.jacobian import entries, norm_of
from artclip.lipschitz.local.kinks import NotPiecewise, in_lines
from tests.lipschitz.graphs import GRAPHS, same_weights  # noqa: F401
from tests.lipschitz.test_gram_bounds import intervals, jacobian

RNG = np.random.default_rng(3)
NORMS = (1, 2, np.inf)


@pytest.mark.parametrize("name", GRAPHS)
def test_intervals_of_entries_hold_all_jacobians(name):
    graph = in_lines(simplified(GRAPHS[name]()))
    slopes = intervals(graph)
    c, r = entries(graph, slopes)
    bounds = {(p, q): norm_of((c, r), p, q) for p in NORMS for q in NORMS}
    for _ in range(20):
        some = {i: np.where(RNG.uniform(size=len(low)) < 0.5, low, high) for i, (low, high) in slopes.items()}
        found = jacobian(graph, some)
        assert (np.abs(found - c) <= r + 1e-9 * (1 + np.abs(c))).all()
        steps = RNG.choice([-1, 0, 1], (50, graph.inputs)) * RNG.uniform(size=(50, graph.inputs)) + 1e-9
        for (p, q), bound in bounds.items():
            quotients = np.linalg.norm(steps @ found.T, q, axis=1) / np.linalg.norm(steps, p, axis=1)
            assert quotients.max() <= bound


def test_of_one_matrix_norms_are_its_own():
    matrix = RNG.standard_normal((3, 7))
    for p in NORMS:
        assert norm_of((matrix, 0 * matrix), p, p) == pytest.approx(np.linalg.norm(matrix, p), rel=1e-6)
    assert norm_of((matrix, 0 * matrix), 1, 2) == pytest.approx(np.linalg.norm(matrix, axis=0).max(), rel=1e-6)
    assert norm_of((matrix, 0 * matrix), 2, np.inf) == pytest.approx(np.linalg.norm(matrix, axis=1).max(), rel=1e-6)


def quotients(model, x, radius, p, q, nb=60):
    """The largest (n,) of pairs in balls of the p-norm."""
    best, shape = np.zeros(len(x)), (-1, *[1] * (x.ndim - 1))
    for _ in range(nb):
        u, v = (RNG.standard_normal(x.shape) * (RNG.uniform(size=x.shape) < RNG.uniform(0.1, 1)) for _ in "uv")
        u, v = (radius * t / (np.linalg.norm(t.reshape(len(t), -1), p, axis=1) + 1e-12).reshape(shape) for t in (u, v))
        u, v = (x + u * RNG.uniform(0.3, 1)).astype(np.float32), (x + v).astype(np.float32)
        apart = np.linalg.norm((u.astype(np.float64) - v).reshape(len(x), -1), p, axis=1)
        change = np.linalg.norm(model.predict(u).astype(np.float64) - model.predict(v), q, axis=1)
        best = np.fmax(best, change / apart)
    return best


@pytest.mark.parametrize("name", ["cnn", "branches"])
def test_no_pair_in_the_ball_is_steeper(nets, name):
    x, _ = nets.data(name, n=6)
    model = nets.classifier(name)
    product = lipschitz_upper_bound(model, method="product").value
    for radius, p, q in ((0.01, 2, 2), (0.3, 2, 2), (0.1, np.inf, 1), (0.5, 1, 2)):
        bounds = lipschitz_upper_bound(model, norm=p, output_norm=q, around=x, radius=radius)
        assert bounds.shape == (6,)
        assert (quotients(model, x, radius, p, q) <= bounds * (1 + 1e-4)).all()
        if p == q == 2:
            assert (bounds <= product * (1 + 1e-6)).all()


def test_larger_balls_have_larger_bounds_and_boxes_smaller_ones(nets):
    x, _ = nets.data("mlp", n=5)
    model = nets.classifier("mlp")
    small, large = (lipschitz_upper_bound(model, around=x, radius=r) for r in (0.01, 0.2))
    assert (small <= large * (1 + 1e-3)).all()
    assert (small < 0.95 * large).any()
    both = lipschitz_upper_bound(model, around=x, radius=[0.01, 0.2, 0.01, 0.2, 0.2])
    np.testing.assert_allclose(both, np.where([1, 0, 1, 0, 0], small, large), rtol=1e-2)
    boxed = lipschitz_upper_bound(model, around=x, radius=0.2, domain="clip_values")
    assert (boxed <= large * (1 + 1e-2)).all()


def test_of_a_linear_net_they_are_its_norm(nets):
    matrix = np.random.default_rng(0).standard_normal((4, 9))
    model = nets.linear_classifier(matrix, preprocessing=(0.3, 0.25))
    x = np.random.default_rng(1).uniform(size=(3, 9)).astype(np.float32)
    for p in NORMS:
        bounds = lipschitz_upper_bound(model, norm=p, output_norm=p, around=x, radius=0.5)
        np.testing.assert_allclose(bounds, np.linalg.norm(matrix, p) / 0.25, rtol=1e-5)


def test_bad_balls_are_refused_by_name(nets):
    x, _ = nets.data("mlp", n=4)
    model = nets.classifier("mlp")
    for options, message in (
        ({"around": x}, "give around=x and radius=r"),
        ({"radius": 1.0}, "give around=x and radius=r"),
        ({"domain": "clip_values"}, "give around=x and radius=r"),
        ({"around": x, "radius": -1.0}, "radius=-1.0 must be finite, > 0"),
        (
            {"around": x, "radius": [1.0, 2.0]},
            r"radius has shape \(2,\); give one number, or one for each",
        ),
        ({"around": x, "radius": "0.1"}, "radius='0.1'"),
        ({"around": x[0], "radius": 1.0}, "around has shape"),
        ({"around": x, "radius": 1.0, "method": "lipsdp"}, "method='lipsdp' is of all inputs"),
        ({"around": x, "radius": 1.0, "domain": "all"}, "domain='all'"),
    ):
        with pytest.raises(ValueError, match=message):
            lipschitz_upper_bound(model, **options)


def test_samples_without_time_have_the_product_of_norms(nets):
    x, _ = nets.data("cnn", n=10)
    model = nets.classifier("cnn")
    bounds = lipschitz_upper_bound(model, around=x, radius=0.1, max_seconds=1e-6)
    product = lipschitz_upper_bound(model, method="product", max_seconds=1e-6).value
    np.testing.assert_allclose(bounds, product, rtol=1e-6)


def test_layers_at_the_end_without_straight_lines_have_their_constants():
    matrix, size = RNG.standard_normal((3, 16)), 16
    nodes = [
        G.Node("dense", G.Dense(matrix), (-1,), 3),
        G.Node("softmax", G.Softmax(np.arange(3)[None]), (0,), 3),
    ]
    cut, factor = around._before_the_end(G.LayerGraph(nodes, size), 2)
    assert (len(cut.nodes), factor) == (1, 0.5)
    nodes = [G.Node("softmax", nodes[1].operation, (-1,), 3), G.Node("sum", G.Add(), (0, -1), 3)]
    with pytest.raises(NotPiecewise, match=r"layer softmax is a Softmax.*leave around and radius out"):
        around._before_the_end(G.LayerGraph(nodes, 3), 2)
