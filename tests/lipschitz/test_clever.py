"""CLEVER: exact on linear models, and what ART gives."""

import numpy as np
import pytest
from art.metrics import clever_u

from artclip import clever
from tests.nets import default as nets

OPTIONS = {"nb_batches": 20, "batch_size": 20, "radius": 0.5}
RNG = np.random.default_rng(2)
MATRIX = RNG.standard_normal((4, 7))


@pytest.mark.parametrize(("norm", "dual"), [(1, np.inf), (2, 2), ("inf", 1)])
def test_linear_models_give_the_distance_to_the_boundary(norm, dual):
    classifier = nets.linear_classifier(MATRIX)
    x = RNG.uniform(0.4, 0.6, 7).astype(np.float32)
    logits = classifier.predict(x[None])[0]
    best = logits.argmax()
    score = clever(classifier, x, norm=norm, seed=0, **{**OPTIONS, "radius": 5.0})
    expected = {
        j: (logits[best] - logits[j]) / np.linalg.norm(MATRIX[best] - MATRIX[j], dual) for j in range(4) if j != best
    }
    assert score.per_target == pytest.approx(expected, rel=1e-3)
    assert score.value == pytest.approx(min(expected.values()), rel=1e-3)
    assert score.target == min(expected, key=expected.get)


def test_never_more_than_the_radius_and_named_for_what_it_is():
    classifier = nets.linear_classifier(MATRIX)
    score = clever(classifier, np.full(7, 0.5, np.float32), seed=0, **{**OPTIONS, "radius": 1e-3})
    assert score.value == float(score) == 1e-3
    assert score.kind == "estimate"
    assert "not a bound" in str(score)


@pytest.mark.parametrize("norm", [1, 2, np.inf])
def test_agrees_with_art_within_sampling_noise(norm):
    pytest.importorskip("torch")  # ART's clever_u fails on TensorFlow
    from tests.nets import torch_nets

    classifier, (x, _) = torch_nets.classifier("sigmoid", seed=3), torch_nets.data("sigmoid")
    ours = [clever(classifier, x[0], norm=norm, seed=s, **OPTIONS).value for s in range(8)]
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    theirs = [clever_u(classifier, x[0], norm=norm, verbose=False, **OPTIONS) for _ in range(4)]
    np.random.set_state(state)  # noqa: NPY002
    spread = np.std(ours) + np.std(theirs)
    assert abs(np.mean(ours) - np.mean(theirs)) <= 2 * spread + 0.01 * np.mean(theirs)


def test_seeded_without_touching_global_rngs():
    classifier, (x, _) = nets.classifier("sigmoid"), nets.data()
    logits = np.sort(classifier.predict(x))
    states = nets.rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    closest = x[np.argmin(logits[:, -1] - logits[:, -2])]
    options = {"nb_batches": 5, "batch_size": 4, "radius": 2.0, "pool_factor": 2}
    a, b, c = (clever(classifier, closest, seed=s, **options).value for s in (1, 1, 2))
    assert a == b != c
    assert nets.rng_state() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0}, "radius=0"),
        ({"nb_batches": 0}, "nb_batches=0"),
        ({"norm": 3}, "norm=3"),
        ({"target": 9}, "target=9 must be a class from 0 to 2"),
        ({"pool_factor": 0.5}, "pool_factor=0.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        clever(nets.classifier(), nets.data()[0][0], **{**OPTIONS, **options})


def test_one_output_is_refused():
    with pytest.raises(ValueError, match="this model has one output"):
        clever(nets.regressor(), np.full(nets.regressor().input_shape, 0.5, np.float32), **OPTIONS)
