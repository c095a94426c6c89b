"""Defences by name: settings reach their trainers, ART's trainers train, and gradients are counted."""

import math

import numpy as np
import pytest

from artclip import compare, load_data
from artclip.comparison import art_trainers, defences
from artclip.comparison.defences import DEFENCES, parse, register, split
from artclip.comparison.experiment import Experiment
from tests.nets import FRAMEWORKS

SMALL = {
    "nb_epochs": 2,
    "batch_size": 32,
    "eps": 0.5,
    "noise": 0.3,
    "attacks": "quick",
    "lipschitz": False,
    "masking": False,
}

# Gradients to a pass forward, where gradients are derived once more; of alignment in two passes of four.
DOUBLE_BACKPROPAGATION = {"gradient-norm": 2, "jacobian": 2, "grad-align": 1.5}
# Samples that show first that the outputs depend on the input.
TRIED = dict.fromkeys(("clip", "clip+fgsm", "fgsm", "n-fgsm", "pgd", "trades", *DOUBLE_BACKPROPAGATION), 2)


def data(framework, nb=96):
    return tuple((x[:nb], y[:nb]) for x, y in load_data("digits", channels_first=framework == "torch"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("standard", {}),
        ("clip", {}),
        ("clip@0.9", {"target_accuracy": 0.9}),
        ("weight:lamda=1e-3", {"lamda": 1e-3}),
        ("clip:lamda=0.1@0.9", {"lamda": 0.1, "target_accuracy": 0.9}),
        ("clip@0.9:nb_pairs=8,pair_init=near", {"target_accuracy": 0.9, "nb_pairs": 8, "pair_init": "near"}),
        ("clip:norm=inf", {"norm": math.inf}),
        ("adversarial:eps=8/255,max_iter=3", {"eps": 8 / 255, "max_iter": 3}),
    ],
)
def test_defence_names(name, options):
    assert parse(name).options == options
    assert parse(name).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clop", "defence 'clop' is not known; use one of standard, weight, spectral, clip"),
        ("clip@95", "must lie in"),
        ("clip@much", "'much' is not a number"),
        ("clip:lamda=-1", "defence 'clip:lamda=-1': lamda=-1.0 must be"),
        ("clip:norm=3", "norm='3' is not known"),
        ("clip:lamda=1,lamda=2", "has the setting 'lamda' twice"),
        ("clip@0.9:target_accuracy=0.8", "has the setting 'target_accuracy' twice"),
        ("clip:eps=1", "has the setting 'eps'; known for clip: lamda, target_accuracy"),
        ("standard@0.9", "has the setting 'target_accuracy'; known for standard: none"),
        ("adversarial@0.9", "has the setting 'target_accuracy'"),
        ("clip:penalty=cubic", "defence 'clip:penalty=cubic': penalty='cubic' is not known"),
        ("no_such_module:function", "neither one of standard, .* nor a function"),
        ("math:no_such_function", "nor a function"),
    ],
)
def test_bad_defence_names(name, message):
    with pytest.raises(ValueError, match=message):
        parse(name)


def test_a_setting_goes_with_its_defence():
    text = "standard, clip@0.95,adversarial:eps=1,max_iter=7,clip:lamda=0.03"
    assert split(text) == ["standard", "clip@0.95", "adversarial:eps=1,max_iter=7", "clip:lamda=0.03"]


def test_settings_reach_the_trainer():
    e = Experiment(**SMALL)
    classifier = e.nets.make_classifier("mlp", (1, 8, 8), 10)
    trainer = parse("clip@0.9:nb_pairs=8,pair_interval=3").train(classifier, e.plan(seed=5))
    assert (trainer.options.nb_pairs, trainer.options.pair_interval) == (8, 3)
    assert (trainer.target_accuracy, trainer.seed) == (0.9, 5)


SEVERAL_STEPS = ("pgd", "trades", "adversarial", "madry", "art-trades", "awp")


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", DEFENCES)
def test_every_defence_trains_or_says_that_it_is_not_there(framework, name):
    e = Experiment(**SMALL, framework=framework)
    named = parse(f"{name}:max_iter=2" if name in SEVERAL_STEPS else name)
    if framework not in named.defence.frameworks:
        found = e.run(data(framework), "cnn", "cnn", named, 0)
        assert found.error == f"NotImplementedError: ART has this trainer for torch only, not for {framework}"
        return
    # Where each has to compile its steps, twice only those whose randomness is not that of all of artclip's trainers.
    twice = framework == FRAMEWORKS[0] or name in (*named_in(art_trainers), "standard", "clip", "trades")
    trainers = [e.train(data(framework), "cnn", named, 0) for _ in range(1 + twice)]
    first, second = (_weights(t.classifier) for t in (trainers[0], trainers[-1]))
    start = _weights(e.nets.make_classifier("cnn", data(framework)[0][0].shape[1:], 10, seed=0))
    assert any(not np.array_equal(a, b) for a, b in zip(first, start, strict=True))
    for a, b in zip(first, second, strict=True):  # the same seed, the same weights
        np.testing.assert_array_equal(a, b)
    history = trainers[0].history
    assert [record["epoch"] for record in history] == [1, 2]
    assert all(record["seconds"] > 0 and record["gradients"] >= 96 for record in history)


def named_in(module):
    """The defences that a module makes."""
    return [name for name, defence in DEFENCES.items() if defence.make.__module__ == module.__name__]


def _weights(classifier):
    model = classifier.model
    return model.get_weights() if hasattr(model, "get_weights") else [p.detach().numpy() for p in model.parameters()]


@pytest.mark.parametrize("name", DEFENCES)
def test_gradients_are_those_that_the_model_meets(name):
    """Samples that go through the model with a gradient, counted by a hook, are those in the history."""
    torch = pytest.importorskip("torch")
    e, count = Experiment(**SMALL, framework="torch"), [0]
    classifier = e.nets.make_classifier("mlp", (1, 8, 8), 10)

    def hook(module, inputs, output):
        if output.requires_grad and torch.is_grad_enabled():
            count[0] += len(output)

    (x, y), _ = data("torch")
    classifier.model[1].register_forward_hook(hook)
    trainer = parse(name).train(classifier, e.plan(0))  # that of AWP copies the model, and the hook with it
    trainer.fit(x, y, batch_size=32, nb_epochs=1)
    count[0] = 0  # pairs are settled before the first penalised step
    trainer.fit(x, y, batch_size=32, nb_epochs=1)
    assert (count[0] - TRIED.get(name, 0)) * DOUBLE_BACKPROPAGATION.get(name, 1) == trainer.history[-1]["gradients"]


def test_global_generators_are_left_as_found():
    e = Experiment(**SMALL)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    e.train(data(e.framework), "mlp", parse("adversarial"), 0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_adversarial_training_is_more_robust_than_plain_training():
    found = compare(
        "digits", "mlp", "standard,madry", nb_seeds=1, **{**SMALL, "nb_epochs": 6}, attack_samples=200, verbose=False
    )
    standard, madry = found.rows
    assert madry["worst"]["mean"] > standard["worst"]["mean"] + 0.05


def test_a_defence_of_ones_own_is_one_function(monkeypatch):
    monkeypatch.setattr(defences, "DEFENCES", dict(DEFENCES))
    seen = []

    def mine(classifier, plan, *, strength=1.0):
        seen.append((plan.eps, plan.seed, strength))
        return DEFENCES["standard"].make(classifier, plan)

    register("mine", mine, paper="none")
    found = compare(data(FRAMEWORKS[0]), "mlp", ["mine:strength=2"], nb_seeds=2, verbose=False, **SMALL)
    assert not found.rows[0]["error"]
    assert seen == [(0.5, 0, 2), (0.5, 1, 2)]
    with pytest.raises(ValueError, match="name 'a@b' of a defence"):
        register("a@b", mine)
    with pytest.raises(TypeError, match="make is a int"):
        register("ab", 3)
