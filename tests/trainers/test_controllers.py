"""λ controllers, on a made-up training in which accuracy falls as λ rises."""

import math

import numpy as np
import pytest

from artclip.trainers.controllers import Additive, Fixed, Multiplicative, controller


def accuracy(lamda):
    """0.99 at λ = 0, 0.95 at λ = 0.1, and on down."""
    return 0.99 - 0.4 * lamda


def run(control, updates):
    for _ in range(updates):
        tell(control, accuracy(control.value))
    return control.value


def tell(control, a):
    """An epoch of one check."""
    control.check(a, a)
    control.end_epoch(a)


def test_fixed_stays():
    assert run(Fixed(0.3), 50) == 0.3


def test_additive_is_the_papers_rule():
    control = Additive(0.1, target=0.95, increment=0.02)
    tell(control, 0.96)
    assert control.value == pytest.approx(0.12)
    tell(control, 0.95)  # at the target: not over it
    assert control.value == pytest.approx(0.10)
    for _ in range(10):
        tell(control, 0.5)
    assert control.value == 0.0


def test_additive_ends_within_a_step_of_the_target():
    assert abs(run(Additive(0.0, 0.95, 0.01), 100) - 0.1) <= 0.0101


@pytest.mark.parametrize("start", [1e-5, 1e-2, 10.0])
def test_multiplicative_finds_lamda_over_decades(start):
    assert run(Multiplicative(start, 0.95), 100) == pytest.approx(0.1, rel=0.05)


def test_multiplicative_is_faster_than_additive():
    def updates_needed(control):
        for n in range(10_000):
            if abs(accuracy(control.value) - 0.95) < 0.005:
                return n
            tell(control, accuracy(control.value))
        return math.inf

    assert updates_needed(Multiplicative(1e-4, 0.95)) < updates_needed(Additive(1e-4, 0.95, 1e-3)) / 2


def test_multiplicative_waits_for_a_net_that_learns():
    learning, stuck = Multiplicative(0.1, 0.95), Multiplicative(0.1, 0.95)
    for a in (0.5, 0.8, 0.9, 0.93, 0.94):
        tell(learning, a)
        tell(stuck, 0.8)
    assert learning.value > 0.07
    assert stuck.value < 0.02


def test_multiplicative_turns_before_the_target_is_passed():
    steady, falling = Multiplicative(1.0, 0.8), Multiplicative(1.0, 0.8)
    for a in (0.99, 0.95, 0.9):
        tell(steady, 0.85)
        tell(falling, a)
    steps = [control.value for control in (steady, falling)]
    tell(steady, 0.85)
    tell(falling, 0.85)
    assert steady.value > steps[0]
    assert falling.value < steps[1]


def test_noise_of_few_samples_is_averaged_out():
    """Deployed accuracies on few samples, and exact ones in train mode that are 0.05 lower."""
    rng, control = np.random.default_rng(0), Multiplicative(1.0, 0.9)
    raw, seen = [], []
    for _ in range(200):
        raw.append(rng.binomial(128, 0.9) / 128)
        control.check(raw[-1], 0.85)
        seen.append(control.accuracy)
    assert np.std(seen[20:]) < 0.5 * np.std(raw)
    assert np.mean(seen[20:]) == pytest.approx(0.9, abs=0.01)


def test_a_controller_knows_its_bounds():
    for control, a in (
        (Multiplicative(1e-7, 0.9), 0.5),
        (Multiplicative(1e3, 0.5), 1.0),
        (Additive(0.1, 0.9, 0.1), 0.5),
    ):
        assert not control.at_bound
        for _ in range(20):
            tell(control, a)
        assert control.at_bound
    assert not Fixed(0.0).at_bound


def test_multiplicative_step_is_at_most_a_factor_of_two():
    up, down = Multiplicative(1.0, 0.5), Multiplicative(1.0, 0.999)
    tell(up, 1.0)
    tell(down, 0.0)
    assert (up.value, down.value) == (2.0, 1.0)  # below the target it waits for a second look
    tell(down, 0.0)
    assert down.value == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.1, None, None), "lamda=-0.1"),
        ((math.nan, None, None), "lamda=nan"),
        ((True, None, None), "lamda=True"),
        ((0.1, 0.0, None), "target_accuracy=0.0"),
        ((0.1, 95, None), "target_accuracy=95"),
        ((0.1, 0.95, 0.0), "lamda_increment=0.0"),
        ((0.1, None, 0.1), "does nothing without target_accuracy"),
        ((0.0, 0.95, None), "lamda=0 cannot grow"),
    ],
)
def test_bad_values_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        controller(*arguments)


def test_controller_picks_the_rule():
    assert isinstance(controller(0.1, None, None), Fixed)
    assert isinstance(controller(0.0, 0.9, 0.1), Additive)
    assert isinstance(controller(0.1, 0.9, None), Multiplicative)
