"""Signs of gradient masking: they show where gradients are masked, and nowhere else."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_numpy import (
    ProjectedGradientDescentNumpy,
)
from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip import CLIPTrainer, evaluate, load_data
from artclip.evaluation import masking
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.frameworks import nets_of

EPS = 0.6
OPTIONS = {"eps": EPS, "seed": 0, "verbose": False, "lipschitz": False}
(X, Y), (X_TEST, Y_TEST) = load_data("digits")


class SignGradient(ProjectedGradientDescentNumpy):
    """The published recipe: L2 PGD that steps along the sign of the gradient."""

    def _compute_perturbation(self, x, y, mask, decay=None, momentum=None):
        return np.sign(self.estimator.loss_gradient(x, y))


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def wrap(module):
    optimizer = torch.optim.Adam(module.parameters(), 5e-3)
    return PyTorchClassifier(
        module, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer, clip_values=(0, 1), device_type="cpu"
    )


def trained(activation, *tail, nb_epochs=60):
    torch.manual_seed(0)
    hidden = nn.Linear(64, 64), activation(), nn.Linear(64, 64), activation()
    classifier = wrap(nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10), *tail))
    CLIPTrainer(classifier, lamda=0.0, seed=0).fit(X, Y, nb_epochs=nb_epochs, batch_size=64)
    return classifier


@pytest.fixture(scope="module")
def plain():
    return trained(nn.ReLU)


@pytest.fixture(scope="module")
def strong(plain):
    """What an honest look at the plain net finds."""
    return evaluate(plain, X_TEST, Y_TEST, attacks=["pgd-margin"], **OPTIONS).robust_accuracy


def names(found):
    return [sign.name for sign in found.warnings]


def test_the_published_recipe_is_reported_as_weak():
    """An output sigmoid and a sign gradient: what it finds is far from what there is."""
    classifier = trained(nn.Sigmoid, nn.Sigmoid(), nb_epochs=100)
    published = SignGradient(
        classifier, norm=2, eps=EPS, eps_step=0.1, max_iter=20, num_random_init=1, batch_size=512, verbose=False
    )
    found = evaluate(
        classifier, X_TEST, Y_TEST, attacks={"published": published, "pgd-margin": "pgd-margin"}, **OPTIONS
    )
    assert "weak attack" in names(found)
    assert found.accuracy["published"] > found.robust_accuracy + 0.15
    bare = wrap(classifier.model[:-1])
    assert (bare.predict(X_TEST).argmax(1) == classifier.predict(X_TEST).argmax(1)).all()
    stripped = evaluate(bare, X_TEST, Y_TEST, attacks=["pgd-margin"], **OPTIONS)
    assert found.robust_accuracy == pytest.approx(stripped.robust_accuracy, abs=0.01)
    assert found.settings["outputs"] == "sigmoid"
    assert "attacks ran on the logits behind them" in found.to_markdown()


def test_large_logits_are_seen_through(plain, strong):
    """As after defensive distillation: the same labels, logits 200 times as large, a loss gradient of zero."""
    large = wrap(nn.Sequential(plain.model, Apply(lambda z: 200 * z)))
    ordinary = ProjectedGradientDescentNumpy(
        large, norm=2, eps=EPS, eps_step=0.075, max_iter=20, num_random_init=1, batch_size=512, verbose=False
    )
    attacks = {"ordinary": ordinary, "pgd": "pgd", "pgd-margin": "pgd-margin"}
    found = evaluate(large, X_TEST, Y_TEST, attacks=attacks, **OPTIONS)
    assert {"saturated loss", "weak attack"} <= set(names(found))
    assert not found.doubtful
    assert found.accuracy["ordinary"] > 0.6
    assert found.accuracy["pgd"] <= strong + 0.02
    assert found.robust_accuracy <= strong


def test_steps_without_gradients_are_reported(plain):
    rounded = wrap(nn.Sequential(Apply(lambda x: torch.round(4 * x) / 4), plain.model))
    found = evaluate(
        rounded, X_TEST, Y_TEST, attacks=["pgd:max_iter=20,nb_restarts=1", "square:max_iter=300"], **OPTIONS
    )
    assert {"zero gradients", "black box beats white box", "a large budget does not suffice"} <= set(names(found))
    assert found.doubtful
    assert json_of(found)["unreliable"] is True


def json_of(found):
    import json

    return json.loads(found.to_json())


def test_random_outputs_are_reported(plain):
    noisy = wrap(nn.Sequential(Apply(lambda x: x + 0.2 * torch.randn_like(x)), plain.model))
    assert "random outputs" in names(evaluate(noisy, X_TEST, Y_TEST, attacks="quick", **OPTIONS))


def test_a_softmax_that_cannot_be_taken_off_is_undone(plain, strong):
    """Outputs of a functional softmax: attacks undo it by its inverse, and no sign shows where it is not saturated."""
    soft = wrap(nn.Sequential(plain.model, Apply(lambda z: torch.softmax(z, 1))))
    found = evaluate(soft, X_TEST, Y_TEST, attacks=["pgd-margin"], **OPTIONS)
    assert found.settings["outputs"] == "probabilities"
    assert found.robust_accuracy == pytest.approx(strong, abs=0.01)
    assert not found.warnings


def test_honest_nets_raise_no_alarm():
    """Small and convolutional nets, with and without CLIP, of several activations, in two norms."""
    made = nets_of("torch")
    looked_at = 0
    l2, linf = (2, EPS), (np.inf, 0.1)
    for model, activation, lamda, budgets in (
        ("mlp", "relu", 0.0, [linf]),
        # Margins so small that PGD on the cross-entropy lags behind that on the margin.
        ("mlp", "relu", 0.15, [l2, linf]),
        ("mlp", "sigmoid", 0.03, [l2]),
        ("cnn", "relu", 0.0, [l2]),
        ("cnn", "softplus", 0.03, [linf]),
    ):
        classifier = made.make_classifier(model, (1, 8, 8), 10, activation=activation, learning_rate=5e-3)
        CLIPTrainer(classifier, lamda=lamda, seed=0).fit(X, Y, nb_epochs=8 if model == "cnn" else 40, batch_size=64)
        for norm, eps in budgets:
            found = evaluate(classifier, X_TEST, Y_TEST, attacks="quick", norm=norm, **{**OPTIONS, "eps": eps})
            assert not found.warnings, (model, activation, lamda, norm, found.verdict())
            assert found.curve[-1][1] == 0
            looked_at += 1
    assert looked_at == 6


def probe(**answers):
    """A probe whose short attacks leave what is said here."""

    class Told(masking.Probe):
        reference = answers.pop("reference", 0.5)

        def __init__(self):
            pass

        enough = True

        def accuracy(self, attack, eps=None, remaining=None):
            return answers[attack.split(":")[0] if "restarts" not in attack else attack]

    return Told()


def test_signs_of_attacks_that_get_lost():
    long, again = "pgd-margin:max_iter=100,nb_restarts=1", "pgd-margin:max_iter=100,nb_restarts=5"
    assert masking.more_steps(probe(**{long: 0.7, again: 0.7})).name == "more steps attack less"
    assert masking.more_steps(probe(**{long: 0.5, again: 0.3})).name == "restarts still find more"
    assert masking.more_steps(probe(**{long: 0.48, again: 0.47})) is None
    told = probe(fgsm=0.3)
    told.runner = type("AttackRunner", (), {"x": np.zeros((100, 2))})
    assert masking.single_step_beats_many(told).name == "one step beats many"
    told = probe(fgsm=0.5)
    told.runner = type("AttackRunner", (), {"x": np.zeros((100, 2))})
    assert masking.single_step_beats_many(told) is None


def test_examples_that_are_known_explain_what_a_large_budget_leaves():
    """Few large steps jump over examples of a rough net: the search for the nearest ones found them."""
    told = probe()
    told.curve, told.largest, told.index = [(0.0, 1.0), (0.1, 0.3), (1.0, 0.04)], 1.0, np.arange(50)
    told.runner = SimpleNamespace(threat=SimpleNamespace(classifier=SimpleNamespace(clip_values=(0, 1), rules=None)))
    for distance, shows in ((None, True), (np.full(60, np.nan), True), (np.full(60, 0.2), False)):
        told.distance = distance
        sign = masking.budget(told)
        assert (sign is not None) == shows
    told.distance = np.where(np.arange(60) < 2, np.inf, 0.2)
    sign = masking.budget(told)
    assert "attacks still leave 4% standing" in sign.finding
    assert str(sign).endswith("It concerns the worst case.")


def test_a_broken_certificate_is_our_error(plain):
    found = evaluate(plain, X_TEST[:50], Y_TEST[:50], attacks=["pgd"], **OPTIONS)
    told = probe()
    told.broken, told.certified = found.outcomes[0].broken, np.full(50, 10.0)
    told.runner = type("AttackRunner", (), {"threat": type("ThreatModel", (), {"eps": EPS})})
    assert masking.contradiction(told).name == "contradiction, an error of artclip's"
    told.certified = np.where(told.broken, 0.0, 10.0)
    assert masking.contradiction(told) is None


@pytest.mark.parametrize(("own", "saturated"), [(0.62, False), (0.8, True)])
def test_a_margin_that_finds_more_is_no_saturation(own, saturated, plain, monkeypatch):
    """What counts is how far the model's own loss lags behind the same loss without saturation."""
    monkeypatch.setattr(masking, "_through_own_loss", lambda p: own)
    told = probe(reference=0.45, **{"pgd:max_iter=20,nb_restarts=1": 0.58})
    evaluated = EvaluatedModel(plain, X_TEST[:20], Y_TEST[:20])
    told.estimator, told.runner, told.flat_margin = plain, evaluated.runner(2, EPS, 0), 0.0
    sign = masking.saturated_loss(told)
    assert (sign is not None) == saturated
    if sign is not None:
        assert "leaves 80%" in sign.finding
        assert "does not saturate 58%" in sign.finding
