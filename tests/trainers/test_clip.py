"""CLIP as an algorithm: what λ does to the constant, and that λ = 0 is plain training."""

import math
from functools import cache

import numpy as np
import pytest
from art.defences.trainer import Trainer

from artclip import CLIPTrainer, lipschitz_lower_bound, load_data
from artclip.frameworks import nets_of, trainable_of
from artclip.lipschitz.pair_rule import DOMAINS, INITS, PairRule
from artclip.trainers import loop
from artclip.trainers.losses import EstimatorLoss
from artclip.trainers.options import INTERVAL, LEAST_PENALISED, PENALTIES, REDUCTIONS
from artclip.trainers.pair_penalty import MAX_STEP_WEIGHT
from tests.nets import FRAMEWORKS
from tests.nets import default as nets


def test_is_an_art_trainer():
    assert isinstance(CLIPTrainer(nets.classifier()), Trainer)


def test_no_pair_work_while_lamda_is_zero(monkeypatch):
    calls = []
    for name in ("start", "ascend", "over"):
        original = getattr(PairRule, name)
        monkeypatch.setattr(PairRule, name, lambda *a, _o=original, _n=name, **k: (calls.append(_n), _o(*a, **k))[1])
    x, y = nets.data()
    for init in INITS:
        CLIPTrainer(nets.classifier(), lamda=0.0, pair_init=init).fit(x, y, nb_epochs=2)
    assert calls == []
    trainer = CLIPTrainer(nets.classifier(), lamda=0.1, warmup_epochs=2, pair_interval=1)
    trainer.fit(x, y, nb_epochs=2)
    assert calls == []
    assert [r["lamda"] for r in trainer.history] == [0.0, 0.0]
    assert trainer.history[0]["lipschitz"] is None
    trainer.warmup_epochs = 0
    trainer.fit(x, y, nb_epochs=1)
    assert calls.count("over") == 1


@cache
def constant(norm, output_norm, nb_epochs=10, **options):
    """What the net is as steep as after a training."""
    x, y = nets.data(n=120)
    classifier = nets.classifier("sigmoid", lr=0.5)
    trainer = CLIPTrainer(classifier, pair_interval=1, norm=norm, output_norm=output_norm, seed=0, **options)
    trainer.fit(x, y, batch_size=20, nb_epochs=nb_epochs)
    assert np.isfinite(trainer.history[-1]["loss"])
    return lipschitz_lower_bound(classifier, x, norm, output_norm, nb_restarts=16, max_iter=20, seed=0).value


# Every pair of norms, and every two values of any two settings, but not of all four.
@pytest.mark.parametrize(
    ("norm", "output_norm", "penalty", "reduction"),
    [
        (norm, output_norm, PENALTIES[(i + j) % 2], REDUCTIONS[(i + i // 2 + j // 2) % 2])
        for i, norm in enumerate((1, 2, "inf"))
        for j, output_norm in enumerate((1, 2, math.inf))
    ],
)
def test_every_norm_and_penalty_flattens(norm, output_norm, penalty, reduction):
    flat = constant(norm, output_norm, lamda=0.2, penalty=penalty, reduction=reduction)
    assert flat < 0.8 * constant(norm, output_norm, lamda=0.0)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_init_and_domain_flattens(init, domain):
    flat = constant(2, 2, lamda=0.2, nb_epochs=20, pair_init=init, domain=domain)
    assert flat < 0.6 * constant(2, 2, lamda=0.0, nb_epochs=20)


def test_penalised_every_kth_step_with_k_times_the_weight(monkeypatch):
    classifier, calls = nets.classifier(), []

    def compiled(adapter, step):
        return lambda *arguments: (calls.append((step.__name__, *arguments[2:])), step(*arguments))[1]

    monkeypatch.setattr(type(trainable_of(classifier)), "compile", compiled)
    CLIPTrainer(classifier, lamda=0.01, pair_interval=5).fit(*nets.data(n=40), batch_size=4, nb_epochs=1)
    assert [name for name, *_ in calls] == ["_penalised", *["_plain"] * 4] * 2
    assert [max_step_weight for name, *_, max_step_weight in calls[::5]] == [pytest.approx(0.05)] * 2


def test_guard_lowers_the_interval_where_a_step_would_carry_too_much():
    trainer = CLIPTrainer(nets.classifier(), lamda=0.01, pair_interval=8)
    penalty = trainer._regularizer(trainable_of(trainer.classifier), nets.data(), 0, 1)
    assert penalty.interval(0.01) == 8
    assert penalty.interval(MAX_STEP_WEIGHT / 4) == 4
    assert penalty.interval(1.0) == 1
    assert all(v * penalty.interval(v) <= max(MAX_STEP_WEIGHT, v) for v in np.geomspace(1e-4, 10, 50))


def test_a_short_fit_has_as_many_penalised_steps_as_it_needs():
    x, y = nets.data()
    trainer, lazy, persistent = (
        CLIPTrainer(nets.classifier(), **options) for options in ({}, {"pair_interval": 12}, {"pair_init": "near"})
    )
    f = trainable_of(trainer.classifier)
    for nb_steps in (0, 1, 29, 47, 130, 300, 359, 360, 10**6):
        k = trainer._regularizer(f, (x, y), 0, nb_steps).interval(0.1)
        assert (k == INTERVAL) == (nb_steps > (INTERVAL - 0.5) * LEAST_PENALISED)
        assert nb_steps // k >= min(nb_steps, 2 / 3 * LEAST_PENALISED)
        assert nb_steps // k <= 4 / 3 * LEAST_PENALISED or k in (1, INTERVAL)  # not much more often than that takes
        assert lazy._regularizer(f, (x, y), 0, nb_steps).interval(0.1) == 12  # what was asked for
        assert persistent._regularizer(f, (x, y), 0, nb_steps).interval(0.1) == INTERVAL


@pytest.mark.parametrize(("nb_epochs", "penalised"), [(2, 20), (6, 30), (80, 67)])
def test_history_tells_how_often_a_fit_was_penalised(nb_epochs, penalised):
    """Fits of 20, 60 and 800 steps: by every step, every second, every 12th."""
    trainer = CLIPTrainer(nets.classifier(), lamda=0.01, nb_pairs=1, pair_steps=0, seed=0)
    trainer.fit(*nets.data(n=40), batch_size=4, nb_epochs=nb_epochs)
    assert sum(r["gradients"] for r in trainer.history) == 40 * nb_epochs + 2 * penalised


def test_target_accuracy_is_held():
    x, y = nets.data(n=400)
    for target in (0.8, 0.9):
        trainer = CLIPTrainer(nets.classifier(lr=0.5), target_accuracy=target, seed=0)
        trainer.fit(x, y, batch_size=20, nb_epochs=60)
        assert (trainer.predict(x).argmax(1) == y).mean() == pytest.approx(target, abs=0.02)
    assert trainer.lamda == trainer.history[-1]["lamda"]


def test_an_upper_penalty_closes_the_bracket():
    """The product of the layers' norms falls, and comes closer to the steepest pair; a weight of 0 changes nothing."""
    (x, y), _ = load_data("digits", channels_first=FRAMEWORKS[0] == "torch")
    x, y, products, gaps, weights = x[:720], y[:720], [], [], []
    for options in ({}, {"upper_penalty": 0.0}, {"upper_penalty": 0.03}, {"upper_penalty": 0.3}):
        classifier = nets_of(FRAMEWORKS[0]).make_classifier("mlp-200-80", x.shape[1:], 10)
        CLIPTrainer(classifier, lamda=0.05, pair_interval=2, seed=0, **options).fit(x, y, nb_epochs=12)
        weights.append(nets.matrices(classifier))
        products.append(np.prod([np.linalg.norm(w, 2) for w in weights[-1]]))
        steepest = lipschitz_lower_bound(classifier, x, domain="free", nb_restarts=8, seed=0).value
        gaps.append(products[-1] / steepest)
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert products[1] > products[2] > products[3]
    assert gaps[1] > 1.2 * gaps[2]
    with pytest.raises(ValueError, match="upper_penalty=-1"):
        CLIPTrainer(nets.classifier(), upper_penalty=-1)


def test_paper_rule_steps_once_an_epoch():
    trainer = CLIPTrainer(nets.classifier(), lamda=0.0, target_accuracy=1e-9, lamda_increment=0.01, seed=0)
    trainer.fit(*nets.data(n=200), batch_size=2, nb_epochs=3)
    assert [r["lamda"] for r in trainer.history] == [pytest.approx(v) for v in (0.01, 0.02, 0.03)]


def test_a_lazy_step_weighs_less_where_its_penalty_outweighs_guessing():
    classifier = nets.classifier()
    trainer, f = CLIPTrainer(classifier), trainable_of(classifier)
    regularizer = trainer._regularizer(f, nets.data(), 0, 1)
    assert regularizer.penalty_cap == pytest.approx(0.75 * math.log(nets.NB_CLASSES))
    weigh = loop.Epochs(f, None, EstimatorLoss(f), regularizer, None)._weight
    for penalty in (0.0, 0.1, 10.0, 50.0, 1e6):
        value = f.tensor(np.array(penalty))
        share = regularizer.penalty_cap / max(penalty, 1e-9)
        own = min(0.05, 4 * share)  # a step's own λ is its own, up to four times the limit
        assert float(weigh(value, 0.05, 0.05)) == pytest.approx(own)
        expected = min(0.3, max(own, share))
        assert float(weigh(value, 0.05, 0.3)) == pytest.approx(expected)


@pytest.mark.parametrize("limited", [True, False])
def test_the_limit_keeps_a_lazy_penalty_from_wrecking_a_steep_net(limited, monkeypatch):
    x, y = nets.data(n=400)
    classifier = nets.classifier(lr=0.3)
    nets.scale_weights(classifier, 3)
    if not limited:
        monkeypatch.setattr("artclip.trainers.clip.PENALTY_CAP", math.inf)
    trainer = CLIPTrainer(classifier, lamda=0.03, pair_interval=12, seed=0)
    trainer.fit(x, y, batch_size=20, nb_epochs=30)
    assert (trainer.history[-1]["accuracy"] > 0.88) is limited


@pytest.mark.parametrize("n", [1, 5, 8, 30])
def test_the_flattest_persistent_pairs_go_to_samples_of_the_batch_as_far_as_it_goes(n):
    classifier, (x, _) = nets.classifier(), nets.data(n=n, seed=4)
    trainer = CLIPTrainer(classifier, pair_init="near", nb_pairs=8, pair_steps=0, seed=0)
    f = trainable_of(classifier)
    moved = set()
    with f.fitting(0):
        pairs = trainer._regularizer(f, nets.data(), 0, 100)
        pairs.begin()
        before, quotients = f.host(pairs.state[0]), f.to_numpy([pairs.rule.quotients(pairs.state)])
        for count in (0, 5, 12):
            (after, _), _ = pairs.advance(pairs.state, f.tensor(x), count)
            changed = np.flatnonzero((f.host(after) != before).any(axis=1))
            expected = [i for i in np.argsort(quotients)[:2] if i < n] if count == 12 else []
            assert sorted(changed) == sorted(expected), count
            np.testing.assert_array_equal(f.host(after)[changed], x[changed])
            moved |= set(changed)
    assert moved or n == 1
