"""LipschitzPenalty in a training loop of one's own, on every framework."""

import functools

import numpy as np
import pytest

from artclip import CLIPTrainer, LipschitzPenalty, WeightRegularizationTrainer, lipschitz_lower_bound
from artclip.frameworks import function_of
from artclip.lipschitz.pair_rule import INITS
from tests.nets import FRAMEWORKS
from tests.nets.common import NB_CLASSES, same_weights


def looped(nets, lamda, init, anchored):
    """The constant of a net trained in a loop, and its penalty."""
    x, y = nets.data(n=120)
    classifier = nets.classifier("sigmoid", lr=0.5)
    penalty = LipschitzPenalty(classifier.model, x, pair_init=init, clip_values=(0, 1), seed=0)
    nets.loop(classifier, x, y, 100, lambda batch: lamda * penalty(batch if anchored else None))
    return lipschitz_lower_bound(classifier, x, nb_restarts=16, max_iter=10, seed=0).value, penalty


@functools.cache
def without(nets):
    """The constant of the net without a penalty."""
    return looped(nets, 0.0, INITS[0], True)[0]


# Each on the first framework; on the other, pairs of both kinds: fresh ones, and those that persist.
@pytest.mark.parametrize(
    ("nets", "init", "anchored"),
    [
        (framework, init, anchored)
        for framework in FRAMEWORKS
        for init, anchored in (*((init, True) for init in INITS), (INITS[0], False))
        if framework == FRAMEWORKS[0] or (init, anchored) in (("batch", True), ("near", False))
    ],
    indirect=["nets"],
)
def test_a_loop_with_the_penalty_gives_a_flatter_net(nets, init, anchored):
    constant, penalty = looped(nets, 0.3, init, anchored)
    assert constant < 0.6 * without(nets)
    assert penalty.quotients().max() <= constant * 1.01


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            np.zeros((0, 6), np.float32),
            ValueError,
            r"x is empty \(shape \(0, 6\)\); give a batch of at least one sample",
        ),
        (np.zeros((2, 5), np.float32), ValueError, r"x has shape \(2, 5\), but x_init asks for \(n, 6\)"),
        (np.full((2, 6), "a"), TypeError, "holds words, as 'a'"),
        (np.zeros((2, 6), complex), TypeError, "x has dtype complex128"),
        (3, ValueError, r"x has shape \(\)"),
    ],
)
def test_a_batch_that_is_none_is_refused_and_nothing_moves(nets, x, error, message):
    classifier = nets.classifier()
    penalty = LipschitzPenalty(classifier.model, nets.data()[0], clip_values=(0, 1), seed=0)
    before = penalty.state_dict()
    with pytest.raises(error, match=message):
        penalty(x)
    after = penalty.state_dict()
    assert all(np.array_equal(before[k], after[k]) for k in before)
    for kind in (np.uint8, np.int64, bool, np.float64):  # numbers of any kind are brought to the model's dtype
        assert np.isfinite(float(penalty(np.ones((4, 6), kind))))


def test_a_seed_that_is_none_is_refused(nets):
    for seed in (-1, 1.5, "a", [1], True):
        with pytest.raises(ValueError, match=r"seed=.* must be an integer >= 0"):
            LipschitzPenalty(nets.classifier().model, nets.data()[0], seed=seed)


def test_penalty_equals_its_quotients_and_reaches_all_weights(nets):
    classifier = nets.classifier("batchnorm")
    before = nets.weights(classifier)
    penalty = LipschitzPenalty(classifier, nets.data("batchnorm")[0], seed=0)
    found = []
    gradients = nets.gradients(classifier, lambda: found.append(penalty()) or found[0])
    value = function_of(classifier).to_numpy(found).item()
    assert value == pytest.approx((penalty.quotients() ** 2).mean(), rel=1e-5)
    assert abs(gradients[0]).sum() > 0
    assert same_weights(before, nets.weights(classifier))


def test_a_bare_model_of_some_classes_is_penalised_as_its_classifier_is(nets):
    """Fresh pairs climb the margins of a classifier, which it has to be told of a bare model."""
    classifier, x = nets.classifier("sigmoid"), nets.data("sigmoid")[0]
    found = []
    for model, options in ((classifier, {}), (classifier.model, {"nb_classes": NB_CLASSES}), (classifier.model, {})):
        penalty = LipschitzPenalty(model, x, clip_values=(0, 1), seed=0, **options)
        penalty(x[:30])
        found.append(penalty.quotients())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    assert not np.allclose(found[0], found[2], rtol=1e-4)
    with pytest.raises(ValueError, match="nb_classes=1"):
        LipschitzPenalty(classifier.model, x, nb_classes=1)


@pytest.mark.parametrize("init", INITS)
def test_gradient_equals_finite_differences(nets, init):
    """Of the pairs as they are after the call: they are constants, and no second derivative is taken."""
    classifier = nets.to_double("sigmoid")
    penalty = LipschitzPenalty(classifier, nets.data()[0].astype(np.float64), pair_init=init, pair_steps=3, seed=0)
    ends = []
    original = penalty._penalty.advance
    penalty._penalty.advance = lambda *a: (ends.append(original(*a)), ends[-1])[1]
    gradients = nets.gradients(classifier, penalty)
    state, points = ends[0]
    step = 1e-5

    def value():
        return function_of(classifier).to_numpy([penalty._penalty.penalty(state, points, points)[0]]).item()

    for index, gradient in ((0, gradients[0]), (-1, gradients[-1])):
        at = np.unravel_index(3 % gradient.size, gradient.shape)
        values = []
        for sign in (1, -1):
            nets.nudge(classifier, index, at, sign * step)
            values.append(value())
            nets.nudge(classifier, index, at, -sign * step)
        assert gradient[at] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-9)


def test_points_given_once_are_enough_and_all_of_them_are_used(nets):
    classifier, (x, _) = nets.classifier(), nets.data(n=10)
    penalty, seen = LipschitzPenalty(classifier, x, nb_pairs=4, seed=0), []
    original = penalty._penalty.advance
    penalty._penalty.advance = lambda state, at, count: (seen.append(at), original(state, at, count))[1]
    for _ in range(5):
        penalty()
    rows = {tuple(row) for batch in seen for row in function_of(classifier).host(batch)}
    assert rows == {tuple(row) for row in x}


def test_what_it_cannot_use_is_named(nets):
    with pytest.raises(TypeError, match=r"or a bare (torch\.nn\.Module|Keras model)"):
        LipschitzPenalty(lambda x: x, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="clip_values"):
        LipschitzPenalty(nets.classifier().model, np.zeros((3, 6)), clip_values=(1, 0))


def test_a_loop_goes_on_from_its_state(nets):
    """With other pairs at its start, and points of another order: those of the state are taken."""
    x = nets.data(n=40)[0]
    for init in ("batch", "near"):
        classifiers, values = [nets.classifier("sigmoid") for _ in range(2)], []

        def made(classifier, seed, init=init):
            return LipschitzPenalty(classifier.model, x, nb_pairs=4, pair_init=init, clip_values=(0, 1), seed=seed)

        first = made(classifiers[0], None)
        for _ in range(13):  # past a refresh
            first()
        state = first.state_dict()
        second = made(classifiers[1], 5)
        second.load_state_dict(state)
        for penalty in (first, second):
            penalty(), penalty(x[:9]), penalty()
            values.append(penalty.quotients())
        np.testing.assert_array_equal(*values)
        assert first.state_dict()["count"] == state["count"] + 3
    with pytest.raises(ValueError, match=r"pairs of shape \(4, 6\), and these have \(3, 6\)"):
        LipschitzPenalty(classifiers[0].model, x, nb_pairs=3).load_state_dict(state)
    with pytest.raises(ValueError, match="the state has"):
        first.load_state_dict({"count": 1})


def test_arrays_of_any_kind_are_batches_and_others_are_named(nets):
    classifier, x = nets.classifier("sigmoid"), nets.data(n=20)[0]
    found = []
    for batch in (x, x.astype(np.float64), x.tolist(), function_of(classifier).tensor(x), x[::-1][::-1]):
        penalty = LipschitzPenalty(classifier.model, x, clip_values=(0, 1), seed=0)
        penalty(batch)
        found.append(penalty.quotients())
    np.testing.assert_allclose(found, [found[0]] * len(found), rtol=1e-5)
    penalty(np.ones((5, 6), np.uint8))
    for bad, error in ((x[:, :5], ValueError), (x[0], ValueError), (1.0, ValueError), (["a"] * 6, TypeError)):
        with pytest.raises(error, match="x has"):
            penalty(bad)


def test_a_model_of_integers_has_no_pairs(nets):
    """Its outputs have no gradient in its inputs; weights can be penalised all the same."""
    x, y = nets.tokens()
    with pytest.raises(ValueError, match="no gradient in its inputs"):
        LipschitzPenalty(nets.of_tokens().model, x)
    classifier = nets.of_tokens()
    before = nets.weights(classifier)
    for options in ({}, {"lamda": 0.0, "adversarial_eps": 0.1}):
        with pytest.raises(ValueError, match="no gradient in its inputs"):
            CLIPTrainer(classifier, **options).fit(x, y, nb_epochs=1)
    assert same_weights(before, nets.weights(classifier))
    trainer = WeightRegularizationTrainer(classifier, lamda=1e-4, seed=0)
    trainer.fit(x, y, batch_size=8, nb_epochs=20, max_grad_norm=5.0)
    assert trainer.history[-1]["accuracy"] > 0.9
