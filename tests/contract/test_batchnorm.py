"""BatchNorm in the penalty is the BatchNorm of the loss: by the batch, with gradients through its statistics."""

import numpy as np
import pytest

from artclip import CLIPTrainer, load_data
from artclip.frameworks import Function, function_of, nets_of, trainable_of
from tests.nets import FRAMEWORKS
from tests.nets.common import same_weights


@pytest.fixture
def double(nets):
    classifier = nets.to_double("batchnorm")
    x = nets.data("batchnorm")[0].astype(np.float64)
    f = trainable_of(classifier)
    with f.fitting(0):
        yield classifier, f, f.tensor(x[:20]), f.tensor(x[20:30])


def test_each_row_sees_the_batch_and_no_other_row(double):
    _, f, batch, x = double
    both = f.to_numpy([f.forward_with_batch_statistics(x, batch)])
    halves = np.concatenate([f.to_numpy([f.forward_with_batch_statistics(part, batch)]) for part in (x[:4], x[4:])])
    np.testing.assert_allclose(both, halves, rtol=1e-12)
    assert not np.allclose(both, f.to_numpy([f.forward_with_batch_statistics(x, batch[:10])]), rtol=1e-2)


def test_statistics_stay_as_they_are(nets, double):
    classifier, f, batch, x = double
    before = nets.weights(classifier)
    f.forward_with_batch_statistics(x, batch)
    assert same_weights(before, nets.weights(classifier))


def test_a_batch_by_itself_has_mean_zero_and_variance_one(nets):
    f, (x, _) = function_of(nets.bare_normalisation()), nets.data()
    x = 10 * x  # so that epsilon is next to nothing
    found = f.to_numpy([f.forward_with_batch_statistics(f.tensor(x), f.tensor(x))]).reshape(x.shape)
    np.testing.assert_allclose(found, (x - x.mean(0)) / x.std(0), atol=1e-3)


def test_gradient_equals_finite_differences(nets, double):
    classifier, f, batch, x = double

    def value():
        return f.mean(f.norm(f.forward_with_batch_statistics(x, batch), 2))

    gradients, step = nets.gradients(classifier, value), 1e-5
    for index in (0, 2):  # the first kernel, and the scale or shift of the first BatchNorm
        gradient = gradients[index]
        at = np.unravel_index(3 % gradient.size, gradient.shape)
        values = []
        for sign in (1, -1):
            nets.nudge(classifier, index, at, sign * step)
            values.append(f.to_numpy([value()]).item())
            nets.nudge(classifier, index, at, -sign * step)
        assert gradient[at] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(
    ("nets", "beside"), [*((f, True) for f in FRAMEWORKS), (FRAMEWORKS[0], False)], indirect=["nets"]
)
def test_a_strong_penalty_does_not_part_the_deployed_net_from_the_trained_one(nets, monkeypatch, beside):
    """By running averages alone it does: the net is right by the batches, and at chance by the averages."""
    framework = function_of(nets.bare_normalisation()).name
    train, test = load_data("digits", channels_first=framework == "torch")
    classifier = nets_of(framework).make_classifier("resnet", train[0].shape[1:], 10)
    if not beside:
        monkeypatch.setattr(Function, "forward_with_batch_statistics", lambda f, x, batch: f.forward(x))
    trainer = CLIPTrainer(classifier, lamda=1.0, seed=0)
    trainer.fit(*train, validation_data=test, batch_size=64, nb_epochs=2)
    accuracy = trainer.history[-1]["val_accuracy"]
    assert accuracy > 0.8 if beside else accuracy < 0.4
