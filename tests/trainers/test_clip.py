"""CLIP as an algorithm: what λ does to the constant, and that λ = 0 is plain training."""

import math

import numpy as np
import pytest
import torch
from art.defences.trainer import Trainer

from artclip import CLIPTrainer, LipschitzPenalty, lipschitz_lower_bound
from artclip.frameworks import torch as adapter
from artclip.lipschitz.pairs import DOMAINS, INITS, PairRule
from artclip.trainers import epochs
from artclip.trainers.clip import MOST_STEP_WEIGHT, PENALTIES, REDUCTIONS
from tests import nets


def test_is_an_art_trainer():
    assert isinstance(CLIPTrainer(nets.classifier()), Trainer)


def test_large_lamda_on_a_regression_drives_the_constant_to_zero():
    x = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    y = np.sin(6 * x[:, 0])
    constants = []
    for lamda in (0.0, 0.1, 10.0):
        regressor = nets.regressor(clip_values=(0.0, 1.0))
        CLIPTrainer(regressor, lamda=lamda, pair_interval=1, nb_pairs=8, seed=0).fit(x, y, nb_epochs=150, batch_size=10)
        constants.append(lipschitz_lower_bound(regressor, x, seed=0).value)
    assert constants[0] > 1
    assert constants[1] < constants[0]
    assert constants[2] < 0.02


def test_linear_regression_with_squared_penalty_meets_its_closed_form():
    """min (w - 1)² + λ·w² on y = x: the optimum is w = s / (s + λ), s = mean x²."""
    x = np.random.default_rng(0).uniform(-1, 1, (64, 1)).astype(np.float32)
    regressor = nets.regressor(clip_values=(-1.0, 1.0))
    with torch.no_grad():
        regressor.model[0] = torch.nn.Linear(1, 1, bias=False)
        regressor.model[1] = torch.nn.Identity()
        regressor.model[2] = torch.nn.Identity()
    regressor._optimizer = torch.optim.SGD(regressor.model.parameters(), lr=0.1)
    lamda, s = 0.2, float((x**2).mean())
    trainer = CLIPTrainer(regressor, lamda=lamda, pair_interval=1, seed=0)
    trainer.fit(x, x[:, 0], batch_size=64, nb_epochs=200)
    assert float(regressor.model[0].weight.detach()) == pytest.approx(s / (s + lamda), rel=1e-3)
    assert trainer.history[-1]["lipschitz"] == pytest.approx(s / (s + lamda), rel=1e-3)


def plain_training(classifier, x, y, nb_epochs, batch_size, seed):
    """The same order and randomness in five lines of PyTorch."""
    fit_seed = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])
    order, model = np.random.default_rng(fit_seed), classifier.model.train()
    torch.manual_seed(fit_seed)
    for _ in range(nb_epochs):
        permutation = order.permutation(len(x))
        for i in range(0, len(x), batch_size):
            index = permutation[i : i + batch_size]
            classifier.optimizer.zero_grad()
            classifier.loss(model(torch.from_numpy(x[index])), torch.from_numpy(y[index])).backward()
            classifier.optimizer.step()


@pytest.mark.parametrize("net", ["mlp", "cnn", "batchnorm", "hidden-dropout"])
def test_lamda_zero_is_plain_training_and_lamda_to_zero_tends_to_it(net):
    x, y = nets.data(net)
    plain = nets.classifier(net)
    with torch.random.fork_rng():
        plain_training(plain, x, y, nb_epochs=3, batch_size=16, seed=4)
    for lamda, atol in ((0.0, 1e-6), (1e-9, 1e-6), (1e-3, None)):
        classifier = nets.classifier(net)
        CLIPTrainer(classifier, lamda=lamda, seed=4).fit(x, y, batch_size=16, nb_epochs=3)
        if atol is None:
            assert not nets.same_weights(nets.weights(plain), nets.weights(classifier), atol=1e-6)
        else:
            assert nets.same_weights(nets.weights(plain), nets.weights(classifier), atol=atol)


def test_no_pair_work_while_lamda_is_zero(monkeypatch):
    calls = []
    for name in ("start", "ascend", "quotients_of"):
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
    assert calls.count("quotients_of") == 1


@pytest.mark.parametrize("norm", [1, 2, np.inf, "inf"])
@pytest.mark.parametrize("output_norm", [1, 2, math.inf])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_every_norm_and_penalty_flattens(norm, output_norm, penalty, reduction):
    x, y = nets.data(n=120)

    def constant(lamda):
        classifier = nets.classifier("sigmoid", lr=0.5)
        options = {"penalty": penalty, "reduction": reduction, "pair_interval": 1, "norm": norm}
        trainer = CLIPTrainer(classifier, lamda=lamda, output_norm=output_norm, seed=0, **options)
        trainer.fit(x, y, batch_size=20, nb_epochs=10)
        assert np.isfinite(trainer.history[-1]["loss"])
        return lipschitz_lower_bound(classifier, x, norm, output_norm, nb_restarts=16, max_iter=20, seed=0).value

    assert constant(0.2) < 0.8 * constant(0.0)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_init_and_domain_flattens(init, domain):
    x, y = nets.data(n=120)
    constants = []
    for lamda in (0.0, 0.2):
        classifier = nets.classifier("sigmoid", lr=0.5)
        trainer = CLIPTrainer(classifier, lamda=lamda, pair_init=init, domain=domain, pair_interval=1, seed=0)
        trainer.fit(x, y, batch_size=20, nb_epochs=20)
        constants.append(lipschitz_lower_bound(classifier, x, nb_restarts=16, seed=0).value)
    assert constants[1] < 0.6 * constants[0]


def test_penalised_every_kth_step_with_k_times_the_weight(monkeypatch):
    weights = []
    original = epochs.Epochs._penalised
    monkeypatch.setattr(epochs.Epochs, "_penalised", lambda s, *a: (weights.append(a[-2] * a[-1]), original(s, *a))[1])
    CLIPTrainer(nets.classifier(), lamda=0.01, pair_interval=5).fit(*nets.data(n=40), batch_size=4, nb_epochs=1)
    assert weights == [pytest.approx(0.05)] * 2


def test_guard_lowers_the_interval_where_a_step_would_carry_too_much():
    trainer = CLIPTrainer(nets.classifier(), lamda=0.01, pair_interval=8)
    penalty = trainer._regularizer(adapter.TorchEstimator(trainer.classifier), nets.data(), 0)
    assert penalty.interval(0.01) == 8
    assert penalty.interval(MOST_STEP_WEIGHT / 4) == 4
    assert penalty.interval(1.0) == 1
    assert all(v * penalty.interval(v) <= max(MOST_STEP_WEIGHT, v) for v in np.geomspace(1e-4, 10, 50))


def test_target_accuracy_is_held():
    x, y = nets.data(n=400)
    for target in (0.8, 0.9):
        trainer = CLIPTrainer(nets.classifier(lr=0.5), target_accuracy=target, seed=0)
        trainer.fit(x, y, batch_size=20, nb_epochs=60)
        late = [r["accuracy"] for r in trainer.history[-10:]]
        assert np.mean(late) == pytest.approx(target, abs=0.03)
    assert trainer.lamda == trainer.history[-1]["lamda"]


def test_paper_rule_steps_once_an_epoch():
    trainer = CLIPTrainer(nets.classifier(), lamda=0.0, target_accuracy=1e-9, lamda_increment=0.01, seed=0)
    trainer.fit(*nets.data(n=200), batch_size=2, nb_epochs=3)
    assert [r["lamda"] for r in trainer.history] == [pytest.approx(v) for v in (0.01, 0.02, 0.03)]


def penalty_of(model, x, **options):
    return LipschitzPenalty(model, x, seed=0, **options)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_lipschitz_penalty_in_a_loop_of_ones_own(as_tensor):
    x, y = nets.data(n=120)
    constants = []
    for lamda in (0.0, 0.3):
        classifier = nets.classifier("sigmoid", lr=0.5)
        model, optimizer = classifier.model, classifier.optimizer
        xt, yt = torch.from_numpy(x), torch.from_numpy(y)
        penalty = penalty_of(model, xt if as_tensor else x, clip_values=(0, 1))
        for _ in range(100):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(xt), yt) + lamda * penalty(xt if as_tensor else None)
            loss.backward()
            optimizer.step()
        constants.append(lipschitz_lower_bound(classifier, x, seed=0).value)
    assert constants[1] < 0.6 * constants[0]
    assert penalty.quotients().max() <= constants[1] * 1.01


def test_lipschitz_penalty_equals_the_quotients_and_reaches_all_weights():
    classifier = nets.classifier("batchnorm")
    classifier.model.train()
    before = nets.weights(classifier)
    penalty = penalty_of(classifier, nets.data("batchnorm")[0])
    value = penalty()
    assert value.ndim == 0
    assert float(value.detach()) == pytest.approx((penalty.quotients() ** 2).mean(), rel=1e-5)
    value.backward()
    assert classifier.model[0].weight.grad.abs().sum() > 0
    assert nets.same_weights(before, nets.weights(classifier))
    assert all(m.training for m in classifier.model.modules())


def test_lipschitz_penalty_names_what_it_cannot_use():
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        LipschitzPenalty(lambda x: x, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="clip_values"):
        LipschitzPenalty(torch.nn.Linear(2, 2), np.zeros((3, 2)), clip_values=(1, 0))


def test_a_lazy_step_weighs_less_where_its_penalty_outweighs_guessing():
    classifier = nets.classifier()
    trainer, f = CLIPTrainer(classifier), adapter.TorchEstimator(classifier)
    regularizer = trainer._regularizer(f, nets.data(), 0)
    assert regularizer.most == pytest.approx(0.5 * math.log(nets.NB_CLASSES))
    weigh = epochs.Epochs(f, None, regularizer, None)._weight
    for penalty in (0.0, 0.1, 10.0, 50.0, 1e6):
        assert weigh(torch.tensor(penalty), 0.05, 1) == 0.05  # a step's own λ is its own
        expected = min(0.3, max(0.05, regularizer.most / max(penalty, 1e-9)))
        assert float(weigh(torch.tensor(penalty), 0.05, 6)) == pytest.approx(expected)


def test_guessing_costs_the_variance_in_least_squares():
    y = np.random.default_rng(0).normal(3, 2, (500, 2)).astype(np.float32)
    f = adapter.TorchEstimator(nets.regressor(outputs=2))
    assert f.blind_loss(y) == pytest.approx(y.var(axis=0).mean(), rel=1e-4)


@pytest.mark.parametrize("limited", [True, False])
def test_the_limit_keeps_a_lazy_penalty_from_wrecking_a_steep_net(limited, monkeypatch):
    x, y = nets.data(n=400)
    classifier = nets.classifier(lr=0.3)
    with torch.no_grad():
        for p in classifier.model.parameters():
            p.mul_(3)
    if not limited:
        monkeypatch.setattr("artclip.trainers.clip.MOST_PENALTY", math.inf)
    trainer = CLIPTrainer(classifier, lamda=0.03, pair_interval=12, seed=0)
    trainer.fit(x, y, batch_size=20, nb_epochs=30)
    assert (trainer.history[-1]["accuracy"] > 0.88) is limited


def test_lipschitz_penalty_sends_no_gradient_to_the_batch():
    classifier, (x, _) = nets.classifier(), nets.data()
    xt = torch.from_numpy(x).requires_grad_(True)
    penalty_of(classifier, x)(xt).backward()
    assert xt.grad is None
    assert classifier.model[0].weight.grad.abs().sum() > 0
