"""Adversarial training and double backpropagation: what they minimise, on a net whose gradients are known."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from artclip import AdversarialLossTrainer, CLIPTrainer, GradientPenaltyTrainer, NoiseTrainer
from artclip.frameworks import trainable_of
from artclip.trainers.adversarial_examples import AdversarialExamples
from artclip.trainers.losses import AdversarialLoss, AlignmentLoss, TradesLoss
from tests.nets.common import same_weights

RNG = np.random.default_rng(0)
W = RNG.normal(size=(3, 5)).astype(np.float32)
X, Y = RNG.uniform(0.3, 0.7, (8, 5)).astype(np.float32), np.arange(8) % 3
EPS, RATE, H = 0.2, 0.1, 1e-3


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropies(w, x, y):
    return -np.log(softmax(x @ w.T)[np.arange(len(y)), y])


def loss_gradients(w, x, y):
    """Of each sample's cross-entropy in x, at logits x·wᵀ."""
    return (softmax(x @ w.T) - np.eye(len(w))[y]) @ w


def stepped(objective, w=W):
    """The matrix after a step of SGD down an objective, with its gradient by central differences in float64."""
    w, gradient = w.astype(np.float64), np.zeros(w.shape)
    for index in np.ndindex(*w.shape):
        aside = np.zeros(w.shape)
        aside[index] = H
        gradient[index] = (objective(w + aside) - objective(w - aside)) / (2 * H)
    return w - RATE * gradient


def fitted(nets, make, x=X, y=Y, w=W):
    """The matrix after one step on all samples, and the trainer."""
    classifier = nets.linear_classifier(w, lr=RATE)
    trainer = make(classifier)
    trainer.fit(x, y, batch_size=len(x), nb_epochs=1)
    return nets.matrices(classifier)[0], trainer


@pytest.mark.parametrize(
    ("norm", "direction"), [(2, lambda g: g / np.linalg.norm(g, axis=1)[:, None]), ("inf", np.sign)]
)
def test_a_single_step_goes_to_where_the_loss_is_largest_to_first_order(nets, norm, direction):
    at = X + EPS * direction(loss_gradients(W, X, Y))  # inside the box
    found, trainer = fitted(nets, lambda c: AdversarialLossTrainer(c, EPS, norm=norm, start=0, seed=0))
    np.testing.assert_allclose(found, stepped(lambda w: cross_entropies(w, at, Y).mean()), atol=1e-5)
    assert trainer.history[-1]["loss"] == pytest.approx(cross_entropies(W, at, Y).mean(), rel=1e-5)
    assert trainer.history[-1]["gradients"] == 2 * len(X)


@pytest.mark.parametrize("norm", [1, 2, math.inf])
@pytest.mark.parametrize("settings", [{}, {"max_iter": 5}, {"start": 2.0, "project": False}])
def test_examples_lie_in_the_ball_and_in_the_box_and_raise_the_loss(nets, norm, settings):
    f = trainable_of(nets.linear_classifier(4 * W))
    x = np.concatenate([X, np.round(X)]).astype(np.float32)  # some on the border
    y = f.labels(np.concatenate([Y, Y]))
    examples = AdversarialExamples(EPS, norm, **settings)
    with f.fitting(0):
        xb, yb = f.batch(x, y)
        at = [f.host(AdversarialLoss(f, examples).points(xb, yb, float(step))) for step in range(2)]
    lengths = np.linalg.norm((at[0] - x), norm, axis=1)
    most = EPS if examples.project else 3 * EPS
    assert (lengths <= most * (1 + 1e-4)).all()
    assert lengths.max() > 0.5 * EPS
    assert at[0].min() >= 0
    assert at[0].max() <= 1
    assert not np.allclose(at[0], at[1])  # the start is drawn anew
    labels = np.concatenate([Y, Y])
    assert cross_entropies(4 * W, at[0], labels).mean() > cross_entropies(4 * W, x, labels).mean()


def distances(f, norm, max_iter):
    """Exact distances of examples from samples of many features, some on the border of the box, and the samples."""
    x = np.random.default_rng(0).uniform(0, 1, (8, 784))
    x[:4] = np.concatenate([np.round(x[:2]), 0.01 * x[2:4]])
    examples = AdversarialExamples(0.1, norm, max_iter)
    with f.fitting(0):
        x = f.tensor(x)
        at = examples.of(f, x, lambda points: f.sum(points * x + points * points * points), 0.0, (0.0, 1.0))
    x, at = (f.to_numpy([t]).reshape(8, -1) for t in (x, at))
    return np.linalg.norm(at - x, norm, axis=1), x


@pytest.mark.parametrize("max_iter", [1, 5])
@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_no_rounding_takes_an_example_out_of_the_ball(nets, norm, max_iter):
    found, x = distances(trainable_of(nets.linear_classifier(np.ones((3, 784)))), norm, max_iter)
    roundings = np.linalg.norm(np.spacing(np.abs(x) + 0.1, dtype=np.float32) / 2, norm, axis=1)
    assert (found <= 0.1 + roundings).all()
    assert found.max() > 0.03


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("max_iter", [1, 5])
@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_in_16_bits_examples_lie_in_the_ball_exactly(norm, max_iter, dtype):
    torch = pytest.importorskip("torch")
    from tests.nets import torch_nets

    classifier = torch_nets.linear_classifier(np.ones((3, 784)))
    classifier.model.to(getattr(torch, dtype))
    found, _ = distances(trainable_of(classifier), norm, max_iter)
    assert (found <= 0.1).all()
    assert found.max() > 0.01


@pytest.mark.parametrize("norm", [2, math.inf])
def test_starts_are_drawn_uniformly_from_the_ball(nets, norm):
    """The share of starts in a ball of half the radius is 2⁻ᵈ."""
    f = trainable_of(nets.linear_classifier(W[:, :2], clip_values=(-9.0, 9.0)))
    x = np.zeros((4000, 2), np.float32)
    with f.fitting(0):
        drawn = f.host(AdversarialExamples(EPS, norm).drawn(f, f.tensor(x), 0.0, 1.0))
    lengths = np.linalg.norm(drawn, norm, axis=1)
    assert lengths.max() <= EPS * (1 + 1e-5)
    assert (lengths < EPS / 2).mean() == pytest.approx(0.25, abs=0.03)
    assert np.abs(drawn.mean(0)).max() < 0.02 * EPS * 3


def test_trades_weighs_how_far_predictions_move(nets):
    beta, classifier = 3.0, nets.linear_classifier(W, lr=RATE)
    f = trainable_of(classifier)
    loss = TradesLoss(f, AdversarialExamples(EPS, max_iter=4), beta)
    with f.fitting(0):
        x, y = f.batch(X, f.labels(Y))
        points = loss.points(x, y, 0.0)
        f.update([loss.objective(x, y, points, 0.0, None)])
    at = f.host(points)

    def objective(w):
        p, q = softmax(X @ w.T), softmax(at @ w.T)
        return cross_entropies(w, X, Y).mean() + beta * (p * np.log(p / q)).sum(1).mean()

    np.testing.assert_allclose(nets.matrices(classifier)[0], stepped(objective), atol=1e-5)
    moved = (softmax(X @ W.T) * np.log(softmax(X @ W.T) / softmax(at @ W.T))).sum(1)
    aside = X + EPS * RNG.normal(size=X.shape) / math.sqrt(5)
    assert moved.mean() > (softmax(X @ W.T) * np.log(softmax(X @ W.T) / softmax(aside @ W.T))).sum(1).mean()


@pytest.mark.parametrize("sure", [1, 4])  # how sure the net is: with 4 gradients differ in length
def test_gradient_alignment_is_how_far_the_gradient_turns(nets, sure):
    weight, w = 20.0 * sure**2, sure * W
    classifier = nets.linear_classifier(w, lr=RATE)
    f = trainable_of(classifier)
    examples = AdversarialExamples(EPS, start=0.0)
    loss, aside = AlignmentLoss(f, examples, weight), np.clip(X + 2 * EPS, 0, 1)  # into the box
    with f.fitting(0):
        x, y = f.batch(X, f.labels(Y))
        loss.examples = _Fixed(examples, f.tensor(np.full_like(X, 2 * EPS)))
        points = loss.points(x, y, 0.0)
        f.update([loss.objective(x, y, points, 0.0, None)])
    at = f.host(points)

    def objective(w):
        here, there = loss_gradients(w, X, Y), loss_gradients(w, aside, Y)
        cosine = (here * there).sum(1) / np.linalg.norm(here, axis=1) / np.linalg.norm(there, axis=1)
        return cross_entropies(w, at, Y).mean() + weight * (1 - cosine).mean()

    found, without = nets.matrices(classifier)[0], stepped(lambda v: cross_entropies(v, at, Y).mean(), w)
    lengths = np.linalg.norm(loss_gradients(w, X, Y), axis=1)
    assert sure == 1 or lengths.max() > 5 * lengths.min()
    np.testing.assert_allclose(found - without, stepped(objective, w) - without, rtol=0.02, atol=5e-5)
    assert np.abs(found - without).max() > 1e-3


@dataclass
class _Fixed:
    """Adversarial examples as usual, and a perturbation that is not drawn."""

    examples: AdversarialExamples
    perturbation: Any

    def of(self, *args):
        return self.examples.of(*args)

    def drawn(self, *args):
        return self.perturbation

    def inside(self, *args):
        return self.examples.inside(*args)


@pytest.mark.parametrize(("norm", "dual"), [(2, 2), ("inf", 1), (1, math.inf)])
def test_the_gradient_penalty_is_what_the_loss_gains_to_first_order(nets, norm, dual):
    def objective(w):
        return (cross_entropies(w, X, Y) + 0.7 * EPS * np.linalg.norm(loss_gradients(w, X, Y), dual, axis=1)).mean()

    found, trainer = fitted(nets, lambda c: GradientPenaltyTrainer(c, 0.7, eps=EPS, norm=norm, seed=0))
    np.testing.assert_allclose(found, stepped(objective), atol=1e-4)
    assert trainer.history[-1]["loss"] == pytest.approx(cross_entropies(W, X, Y).mean(), rel=1e-5)
    assert trainer.lamda == trainer.history[-1]["lamda"] == 0.7


def test_the_jacobian_penalty_is_its_squared_norm_on_average(nets):
    """Of a linear net the Jacobian is the matrix, and random projections of many samples are close to it."""
    x, y = np.tile(X, (400, 1)), np.tile(Y, 400)
    plain, _ = fitted(nets, lambda c: GradientPenaltyTrainer(c, 0.0, "jacobian", seed=0), x, y)
    found, _ = fitted(nets, lambda c: GradientPenaltyTrainer(c, 0.5, "jacobian", seed=0), x, y)
    np.testing.assert_allclose(plain - found, RATE * 0.5 * W, atol=0.1 * RATE * np.abs(W).max())


def test_noise_is_gaussian_and_leaves_the_box(nets):
    x, y = np.tile(X, (4000, 1)), np.tile(Y, 4000)
    found, _ = fitted(nets, lambda c: NoiseTrainer(c, 1.0, seed=0), x, y)
    noisy = x + np.random.default_rng(1).standard_normal(x.shape)
    np.testing.assert_allclose(found, stepped(lambda w: cross_entropies(w, noisy, y).mean()), atol=0.02 * RATE)
    plain, _ = fitted(nets, lambda c: NoiseTrainer(c, 1e-6, seed=0), x, y)
    assert np.abs(found - plain).max() > 0.1 * RATE


@pytest.mark.parametrize(
    "make",
    [
        lambda c, s: CLIPTrainer(c, adversarial_eps=0.1, seed=s),
        lambda c, s: AdversarialLossTrainer(c, 0.1, max_iter=2, beta=2.0, seed=s),
        lambda c, s: GradientPenaltyTrainer(c, 0.1, "jacobian", seed=s),
        lambda c, s: NoiseTrainer(c, 0.1, seed=s),
    ],
    ids=["clip", "trades", "jacobian", "noise"],
)
def test_the_same_seed_gives_the_same_weights(nets, make):
    results = []
    for seed in (1, 1, 2)[: 3 if nets.REPLAYS else 2]:
        classifier = nets.classifier("mlp")
        make(classifier, seed).fit(*nets.data("mlp", n=40), batch_size=20, nb_epochs=1)
        results.append(nets.weights(classifier))
    assert same_weights(results[0], results[1])
    assert not same_weights(results[0], results[-1], atol=1e-5) or len(results) == 2


def test_batchnorm_and_dropout_learn_at_adversarial_examples(nets):
    classifier, (x, y) = nets.classifier("batchnorm"), nets.data("batchnorm")
    before = nets.weights(classifier)
    trainer = AdversarialLossTrainer(classifier, 0.05, seed=0)
    trainer.fit(x, y, batch_size=20, nb_epochs=2)
    assert trainer.history[1]["loss"] < trainer.history[0]["loss"]
    assert not same_weights(before, nets.weights(classifier))


def test_clip_beside_adversarial_examples_penalises_and_perturbs(nets):
    """The examples of the loss are those of adversarial training alone, and the pairs flatten the net further."""
    (x, y), steep = nets.data(n=100), {}
    for name, lamda, eps in (("plain", 0.0, 0.0), ("fgsm", 0.0, 0.2), ("both", 0.3, 0.2)):
        classifier = nets.classifier(lr=0.5)
        trainer = CLIPTrainer(classifier, lamda=lamda, adversarial_eps=eps, seed=0)
        trainer.fit(x, y, batch_size=20, nb_epochs=15)
        steep[name] = np.prod([np.linalg.norm(w, 2) for w in nets.matrices(classifier)])
    assert steep["both"] < steep["fgsm"] < steep["plain"]


def test_a_target_is_one_of_clean_accuracy(nets):
    x, y = nets.data(n=400)
    trainer = CLIPTrainer(nets.classifier(lr=0.5), target_accuracy=0.8, adversarial_eps=0.05, seed=0)
    trainer.fit(x, y, batch_size=20, nb_epochs=30)
    assert trainer.deployed_accuracy == pytest.approx(0.8, abs=0.06)
    clean = (trainer.predict(x).argmax(1) == y).mean()
    assert clean == pytest.approx(trainer.deployed_accuracy, abs=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: AdversarialLossTrainer(c, 0.0), r"eps=0.0 .*> 0|eps=0.0 must"),
        (lambda c: NoiseTrainer(c, 0.0), r"sigma=0.0 .*> 0|sigma=0.0 must"),
        (lambda c: AdversarialLossTrainer(c, 0.1, norm=3), r"norm=3 is not a norm"),
        (lambda c: AdversarialLossTrainer(c, 0.1, max_iter=0), r"max_iter=0"),
        (lambda c: AdversarialLossTrainer(c, 0.1, beta=-1), r"beta=-1"),
        (lambda c: AdversarialLossTrainer(c, 0.1, beta=1, alignment=1), r"beta=1 and alignment=1: give one"),
        (lambda c: GradientPenaltyTrainer(c, kind="hessian"), r"kind='hessian' is not known"),
        (lambda c: CLIPTrainer(c, adversarial_eps=-1), r"adversarial_eps=-1"),
        (lambda c: CLIPTrainer(c, adversarial_steps=0), r"adversarial_steps=0"),
        (lambda c: CLIPTrainer(c, adversarial_steps=3), r"adversarial_steps=3 does nothing without adversarial_eps"),
        (lambda c: GradientPenaltyTrainer(c, kind="jacobian", norm="inf"), r"norm='inf' are of kind='gradient'"),
        (lambda c: GradientPenaltyTrainer(c, kind="jacobian", eps=0.5), r"eps=0.5 and norm=2 are of kind='gradient'"),
    ],
)
def test_bad_settings_are_refused_by_name(nets, make, message):
    with pytest.raises(ValueError, match=message):
        make(nets.classifier())


def test_a_regressor_has_no_predictions_to_move(nets):
    classifier = nets.regressor()
    x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
    before = nets.weights(classifier)
    with pytest.raises(ValueError, match=r"needs a classifier with an output for each of two classes"):
        AdversarialLossTrainer(classifier, 0.1, beta=1.0).fit(x, x)
    assert same_weights(before, nets.weights(classifier))
    AdversarialLossTrainer(classifier, 0.1, seed=0).fit(x, x[:, 0], nb_epochs=1)  # its loss has a gradient all the same
    GradientPenaltyTrainer(classifier, 0.1, seed=0).fit(x, x[:, 0], nb_epochs=1)
    assert not same_weights(before, nets.weights(classifier))


@pytest.mark.parametrize("low", [0.0, [0.0, 0.0, 0.0, 0.1, 0.0]])
def test_a_box_of_which_one_end_is_alike_in_all_features_is_kept(nets, low):
    high = np.array([1.0, 0.9, 1.0, 0.8, 1.0], np.float32)
    classifier = nets.linear_classifier(W, clip_values=(np.float32(low) + 0 * high, high))
    f = trainable_of(classifier)
    with f.fitting(0):
        x, y = f.batch(np.clip(X, 0.3, 0.7), f.labels(Y))
        at = f.host(AdversarialLoss(f, AdversarialExamples(3.0)).points(x, y, 0.0))
    assert (at <= high).all()
    assert (at >= low).all()
    CLIPTrainer(classifier, adversarial_eps=0.1, seed=0).fit(X, Y, nb_epochs=1)


def test_trades_needs_logits():
    torch = pytest.importorskip("torch")
    from art.estimators.classification import PyTorchClassifier

    net = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Softmax(1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    classifier = PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (5,), 3, optimizer=optimizer, clip_values=(0, 1))
    with pytest.raises(ValueError, match="needs logits, and the model ends in a softmax"):
        AdversarialLossTrainer(classifier, 0.1, beta=6).fit(X, Y, nb_epochs=1)
