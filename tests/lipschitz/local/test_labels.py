"""Certificates in balls: no attack breaks them, and they are larger than those by constants."""

import time

import numpy as np
import pytest

from artclip import CLIPTrainer, certified_radius, evaluate
from artclip.frameworks import function_of, graph_of
from artclip.lipschitz import certificate
from artclip.lipschitz.budget import Budget
from artclip.lipschitz.local.labels import LabelBounds
from tests.nets import FRAMEWORKS


def trained(nets, name, n, nb_epochs):
    """A net that CLIP trained, and its data."""
    x, y = nets.data(name, n=n)
    model = nets.classifier(name, lr=0.3)
    CLIPTrainer(model, lamda=0.02, seed=0).fit(x, y, batch_size=20, nb_epochs=nb_epochs)
    return model, x, y


@pytest.mark.parametrize(
    ("nets", "name"), [(FRAMEWORKS[0], "sigmoid"), *((f, "batchnorm") for f in FRAMEWORKS)], indirect=["nets"]
)
def test_no_attack_breaks_a_certified_sample(nets, name):
    model, x, y = trained(nets, name, 80, 20)
    right = model.predict(x).argmax(1) == y
    for norm in (2,) if name == "sigmoid" else ("inf",):
        radii = certified_radius(model, x, y, method="local", norm=norm)
        assert (radii[~right] == 0).all()
        assert (radii[right] > 0).mean() > 0.9
        for eps in np.quantile(radii[radii > 0], [0.1, 0.5, 0.9]):
            held = radii >= eps
            attack = {"eps": float(eps), "attacks": ["pgd-margin:max_iter=100,nb_restarts=1"], "lipschitz": False}
            result = evaluate(model, x[held], y[held], norm=norm, **attack, masking=False, seed=0, verbose=False)
            assert result.robust_accuracy == 1


@pytest.mark.parametrize("nets", FRAMEWORKS[:1], indirect=True)
def test_either_is_the_larger_one_and_without_a_box_they_are_smaller(nets):
    model, x, y = trained(nets, "mlp", 40, 10)
    by_constants, local, either = (certified_radius(model, x, y, method=m) for m in ("global", "local", "auto"))
    assert (either >= by_constants).all()
    assert (either >= 0.95 * local).all()  # bisection begins elsewhere
    free = certified_radius(model, x, y, method="local", domain="free")
    assert (free <= 1.05 * local).all()
    assert (free < 0.95 * local).any()


@pytest.mark.parametrize("norm", [2, "inf"])
def test_of_a_linear_net_they_reach_to_the_boundary(nets, norm):
    matrix = np.random.default_rng(0).standard_normal((4, 9))
    model = nets.linear_classifier(matrix, preprocessing=(0.3, 0.25))
    x = np.random.default_rng(1).uniform(size=(50, 9)).astype(np.float32)
    logits, dual = model.predict(x), 2 if norm == 2 else 1
    best = logits.argmax(1)
    distances = np.array(
        [
            min((f[i] - f[j]) / np.linalg.norm(matrix[i] - matrix[j], dual) * 0.25 for j in range(4) if j != i)
            for f, i in zip(logits, best, strict=True)
        ]
    )
    radii = certified_radius(model, x, method="local", norm=norm, domain="free")
    assert (radii <= distances * (1 + 1e-5)).all()
    np.testing.assert_allclose(radii, distances, rtol=0.02, atol=1e-3)  # seven halvings
    assert (certified_radius(model, x, method="local", norm=norm) >= 0.99 * radii).all()


def test_in_other_units_radii_are_in_these_units(nets):
    matrix = np.random.default_rng(0).standard_normal((4, 9))
    x = np.random.default_rng(1).uniform(size=(20, 9)).astype(np.float32)
    found = []
    for unit in (1, 255, 1e-4):
        model = nets.linear_classifier(matrix, preprocessing=(0.0, unit), clip_values=(0.0, unit))
        found.append(certified_radius(model, unit * x, method="local") / unit)
    np.testing.assert_allclose(found[1], found[0], rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(found[2], found[0], rtol=0.02, atol=1e-3)


def test_samples_without_time_have_no_local_radius(nets):
    x, y = nets.data("cnn", n=60)
    model = nets.classifier("cnn")
    y = model.predict(x).argmax(1)
    began = time.perf_counter()
    radii = certified_radius(model, x, y, method="local", max_seconds=1e-9)
    assert time.perf_counter() - began < 20
    assert (radii == 0).all()
    either, by_constants = (certified_radius(model, x, y, method=m, max_seconds=1e-9) for m in ("auto", "global"))
    np.testing.assert_array_equal(either, by_constants)
    bounds = LabelBounds(graph_of(model), function_of(model), None, 2)
    assert (bounds.keep(x, y, 0.01, Budget(1e-9)) == -1).all()
    assert bounds.keep(x, y, 0.001).all()


@pytest.mark.parametrize("norm", [2, "inf"])
def test_what_is_kept_at_a_radius_is_what_the_radius_says(nets, norm):
    x, _ = nets.data("mlp", n=40)
    model = nets.classifier("mlp")
    y = model.predict(x).argmax(1)
    radii = certified_radius(model, x, y, method="local", norm=norm)
    bounds = LabelBounds(graph_of(model), function_of(model), None, float(norm))
    for eps in (0.0, float(np.median(radii)), 1e3):
        kept = bounds.keep(x, y, eps)
        assert (kept[radii >= (1.05 if norm == 2 else 1) * eps] == 1).all()  # in L2 the ways there are not the same
        assert (kept[1.1 * radii < eps] == 0).all() or eps == 0
    assert not bounds.keep(x, (y + 1) % 3, 0.0).any()


@pytest.mark.parametrize(
    ("nets", "name"), [(FRAMEWORKS[0], "cnn"), *((f, "mlp") for f in FRAMEWORKS)], indirect=["nets"]
)
def test_along_the_way_more_is_shown_than_by_lines_alone_and_no_attack_breaks_it(nets, name):
    model, x, y = trained(nets, name, 25, 12)
    right = model.predict(x).argmax(1) == y
    x, y = x[right], y[right]
    graph, f = graph_of(model), function_of(model)
    by_lines, along = (LabelBounds(graph, f, None, 2, in_box=False, lines_alone=alone) for alone in (True, False))
    assert along.is_along > by_lines.is_along
    none = np.zeros(len(x))
    lines, radii = by_lines.radii(x, y, none), along.radii(x, y, none)
    assert (radii >= lines).all()
    assert (radii > 1.02 * lines).any()
    eps = float(np.median(radii))
    kept = along.keep(x, y, eps) == 1
    assert (kept >= (by_lines.keep(x, y, eps) == 1)).all()
    for held, radius in ((radii >= eps, eps), (kept, eps), (radii >= radii.max(), float(radii.max()))):
        attack = {"eps": radius, "attacks": ["pgd-margin:max_iter=100,nb_restarts=2"], "lipschitz": False}
        result = evaluate(model, x[held], y[held], **attack, masking=False, seed=0, verbose=False)
        assert result.robust_accuracy == 1


def test_norms_and_arguments_that_do_not_go_together_are_refused(nets):
    x, y = nets.data("mlp", n=4)
    model = nets.classifier("mlp")
    for options, message in (
        ({"norm": "inf"}, "norm='inf' has no certificate with method='global'; use norm=2, or inf and \"local\""),
        ({"norm": 1, "method": "local"}, "norm=1 has no certificate"),
        ({"method": "nearby"}, "method='nearby'"),
        ({"method": "local", "lipschitz": 1.0}, "leave lipschitz out"),
        ({"method": "local", "max_seconds": 0}, "max_seconds=0"),
        ({"method": "local", "domain": "everywhere"}, "domain='everywhere'"),
    ):
        with pytest.raises(ValueError, match=message.replace("(", r"\(")):
            certified_radius(model, x, y, **options)


def test_time_is_for_both_kinds_of_bounds(nets, monkeypatch):
    x, _ = nets.data("mlp", n=3)
    model, given = nets.classifier("mlp"), []
    original = certificate.lipschitz_upper_bound

    def recorded(estimator, max_seconds):
        given.append(max_seconds)
        return original(estimator, max_seconds=max_seconds)

    monkeypatch.setattr(certificate, "lipschitz_upper_bound", recorded)
    for seconds in (2.0, 1e4, None):
        certified_radius(model, x, method="auto", max_seconds=seconds)
    assert given == [1.0, 60.0, 60.0]
