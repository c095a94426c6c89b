"""The same data in other units train to the same model, whatever the framework."""

import numpy as np
import pytest

from artclip import CLIPTrainer, LipschitzPenalty
from artclip.frameworks import function_of
from artclip.trainers import before_fit
from artclip.trainers.pair_penalty import Units
from tests.nets import default

SCALES = [(255.0, 0.0, True), (1 / 0.3, -0.4, True), (255.0, 3.0, False)]


@pytest.mark.parametrize(("factor", "shift", "clipped"), SCALES)
def test_inputs_in_other_units_train_to_the_same_weights(nets, factor, shift, clipped):
    x, y = nets.data("mlp", n=64)
    x[0], x[1] = 0, 1  # so that the data fill their range
    trained = []
    for scale, offset in ((1.0, 0.0), (factor, shift)):
        box = (offset, offset + scale) if clipped else None
        classifier = nets.classifier("mlp", clip_values=box, preprocessing=(offset, scale))
        trainer = CLIPTrainer(classifier, lamda=0.3, pair_interval=1, seed=0)
        trainer.fit((x * scale + offset).astype(np.float32), y, batch_size=16, nb_epochs=4)
        trained.append((nets.matrices(classifier), trainer.history[-1]["lipschitz"] * scale))
    (ours, quotient), (theirs, other) = trained
    assert quotient == pytest.approx(other, rel=1e-2)
    assert all(np.allclose(a, b, atol=2e-3) for a, b in zip(ours, theirs, strict=True))


def test_a_squared_error_and_its_targets_cancel_each_other():
    x = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    y = np.sin(6 * x)
    found = []
    for factor in (1.0, 1000.0):
        regressor = default.linear_regressor(clip_values=(0.0, 1.0))
        units = Units.of(_trainable(regressor), 1.0, y * factor)
        found.append(units.loss * units.quotient**2)
        assert units.spread == pytest.approx(y.std() * factor, rel=1e-4)
    assert found[0] == pytest.approx(1, rel=1e-3)  # with a squared error the two cancel
    assert found[1] == pytest.approx(1, rel=1e-3)


def _trainable(estimator):
    from artclip.frameworks import trainable_of

    return trainable_of(estimator)


def test_constant_targets_have_no_units():
    regressor = default.linear_regressor(clip_values=(0.0, 1.0))
    assert Units.of(_trainable(regressor), 2.0, np.ones((5, 1))) == Units(2.0)


@pytest.mark.parametrize("factor", [1.0, 255.0])
def test_lipschitz_penalty_counts_in_sides_of_the_box(nets, factor):
    """A linear model on x/factor: its quotient per side of the box is the same, and so is the penalty."""
    matrix = np.array([[1.0, 2.0], [0.5, -1.0]]) / factor
    model = nets.linear_classifier(matrix, clip_values=(0.0, factor)).model
    x = (np.random.default_rng(0).uniform(size=(32, 2)) * factor).astype(np.float32)
    penalty = LipschitzPenalty(model, x, clip_values=(0.0, factor), pair_steps=30, pair_init="near", seed=0)
    value = float(function_of(model).to_numpy([penalty()])[0])
    assert value == pytest.approx(np.linalg.norm(matrix * factor, 2) ** 2, rel=1e-3)
    assert penalty.quotients().max() == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-3)


def test_a_sum_over_samples_trains_as_a_mean_does(nets):
    """Steps of gradient descent on the sum, smaller by the batch, are those on the mean: penalty and all."""
    (x, y), trained, losses = nets.data("mlp", n=64), [], []
    for reduction, lr in (("mean", 0.1), ("sum", 0.1 / 16)):
        classifier = nets.classifier("mlp", lr=lr)
        (classifier.loss if hasattr(classifier, "loss") else classifier.loss_object).reduction = reduction
        trainer = CLIPTrainer(classifier, lamda=0.3, pair_interval=2, seed=0)
        trainer.fit(x, y, validation_data=(x[:40], y[:40]), batch_size=16, nb_epochs=4)
        trained.append(nets.matrices(classifier))
        losses.append([trainer.history[-1][name] for name in ("loss", "val_loss")])
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(*trained, strict=True))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(("grows", "function"), [(True, "sum"), (False, "mean")])
def test_a_loss_of_ones_own_that_sums_is_seen_to_do_so(grows, function):
    torch = pytest.importorskip("torch")
    from art.estimators.regression import PyTorchRegressor

    net = torch.nn.Linear(1, 1)
    loss = lambda z, y: getattr((z - y) ** 2, function)()  # noqa: E731
    options = {"optimizer": torch.optim.SGD(net.parameters(), lr=0.01), "device_type": "cpu"}
    f = _trainable(PyTorchRegressor(net, loss, (1,), **options))
    x = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    before_fit.dry_run(f, x, 2 * x)
    f.batch_size = 8
    assert f.sums_loss == grows
    assert f.chance_loss(2 * x) == pytest.approx((8 if grows else 1) * (2 * x).var(), rel=1e-4)
