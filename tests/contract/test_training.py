"""What every trainer promises, for every net of the registry, on every framework."""

import contextlib

import numpy as np
import pytest

from artclip import CLIPTrainer, WeightRegularizationTrainer
from artclip.frameworks import trainable_of
from tests.nets import FRAMEWORKS, NAMES, default
from tests.nets.common import NB_CLASSES, same_weights

LAZY = {"lamda": 0.01, "pair_interval": 3, "nb_pairs": 4}
TRAINERS = {
    "clip": lambda c, **kw: CLIPTrainer(c, **{"lamda": 0.05, "pair_interval": 2, "nb_pairs": 4, **kw}),
    "clip-near": lambda c, **kw: CLIPTrainer(c, **{**LAZY, "pair_init": "near", **kw}),
    "clip-data": lambda c, **kw: CLIPTrainer(c, **{**LAZY, "pair_init": "data", **kw}),
    "clip-noise": lambda c, **kw: CLIPTrainer(c, **{**LAZY, "pair_init": "noise", **kw}),
    "weight": lambda c, **kw: WeightRegularizationTrainer(c, **{"lamda": 0.01, **kw}),
    "spectral": lambda c, **kw: WeightRegularizationTrainer(c, **{"kind": "spectral", "lamda": 0.01, **kw}),
}
every_trainer = pytest.mark.parametrize("make", TRAINERS.values(), ids=TRAINERS.keys())
every_net = pytest.mark.parametrize("net", NAMES)
# Where what is tested lies before the penalty: trainers of both kinds, of which one has pairs that persist.
some_trainers = pytest.mark.parametrize("make", [TRAINERS[n] for n in ("clip", "clip-near", "weight")])


def trainers(names, others):
    """Those on the first framework, and fewer on the other: what is framework's own is the same for all of a kind."""
    chosen = [(f, n) for f in FRAMEWORKS for n in (names if f == FRAMEWORKS[0] else others)]
    parameters = [pytest.param(f, TRAINERS[n], id=f"{f}-{n}") for f, n in chosen]
    return pytest.mark.parametrize(("nets", "make"), parameters, indirect=["nets"])


# Of kinds that differ in what is trained: layers alone, statistics too, hidden randomness, some weights fixed.
KINDS = ("mlp", "batchnorm", "series", "hidden-dropout", "frozen")


# Nets of every kind by one trainer, and every trainer on one net: what one does with the other is not made of both.
# Where steps have to be compiled, of the trainers that differ in their pairs alone one that keeps them.
@pytest.mark.parametrize(
    ("nets", "make", "net"),
    [
        pytest.param(f, TRAINERS[t], n, id=f"{f}-{t}-{n}")
        for f in FRAMEWORKS
        for t in (TRAINERS if f == FRAMEWORKS[0] else ("clip", "clip-near", "weight", "spectral"))
        for n in (KINDS if t == "clip" else ("frozen",))
    ],
    indirect=["nets"],
)
def test_fit_changes_trainable_weights_only_and_leaves_global_rngs_as_found(nets, net, make, device):
    classifier = nets.classifier(net, device=device)
    before, frozen = nets.weights(classifier), nets.frozen(classifier)
    trainer = make(classifier, seed=0)
    x, y = nets.data(net, n=37)
    states = nets.rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert trainer.fit(x, y, validation_data=(x, y), batch_size=8, nb_epochs=3) is None
    assert nets.rng_state() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    after = nets.weights(classifier)
    assert not same_weights(before, after)
    assert bool(frozen) == (net == "frozen")
    assert all((before[k] == after[k]).all() for k in frozen)
    assert [r["epoch"] for r in trainer.history] == [1, 2, 3]
    for record in trainer.history:
        assert set(record) >= {"epoch", "loss", "accuracy", "val_accuracy", "lipschitz", "lamda", "seconds"}
        assert 0 <= record["accuracy"] <= 1
        assert np.isfinite(record["loss"])
    assert trainer.get_classifier() is trainer.classifier is classifier
    assert trainer.predict(x).shape == (37, NB_CLASSES)


@trainers(TRAINERS, ("clip", "clip-near"))
def test_same_seed_same_weights_whatever_the_global_rng(nets, make, device):
    many = ("batchnorm", "hidden-dropout") if nets is default else ("batchnorm",)
    for net in many if make is TRAINERS["clip"] else ("hidden-dropout",):
        results = []
        for global_seed, seed in ((1, 5), (2, 5), (2, 6)):
            nets.set_seed(global_seed)
            classifier = nets.classifier(net, device=device)
            make(classifier, seed=seed).fit(*nets.data(net), batch_size=16, nb_epochs=2)
            results.append(nets.weights(classifier))
        assert same_weights(results[0], results[1], atol=0 if device == "cpu" else 1e-5)
        assert not same_weights(results[0], results[2], atol=1e-3)


@trainers(("clip", "clip-near", "weight"), ("clip",))
def test_label_formats_give_the_same_weights(nets, make):
    x, y = nets.data()
    one_hot = np.eye(NB_CLASSES)[y]
    results = []
    for labels in (y, y.astype(np.int32), y.astype(float), y[:, None], one_hot, one_hot.astype(np.float32)):
        classifier = nets.classifier()
        make(classifier, seed=0).fit(x, labels, nb_epochs=2, batch_size=16)
        results.append(nets.weights(classifier))
    assert all(same_weights(results[0], other) for other in results[1:])


@some_trainers
def test_model_dtype_is_kept(nets, make):
    classifier = nets.to_double()
    x, y = nets.data()
    trainer = make(classifier, seed=0)
    trainer.fit(x.astype(np.float64), y, validation_data=(x, y), nb_epochs=1)
    assert all(w.dtype == np.float64 for w in nets.weights(classifier).values())
    assert np.isfinite(trainer.history[0]["loss"])


@every_net
def test_pairs_see_the_model_in_eval_mode_and_leave_its_statistics_alone(nets, net):
    classifier = nets.classifier(net)
    f = trainable_of(classifier)
    x, _ = nets.data(net)
    expected, before = classifier.predict(x), nets.weights(classifier)
    with f.fitting(0):
        for _ in range(2):
            found = f.to_numpy([f.forward(f.tensor(x))]).reshape(expected.shape)
            np.testing.assert_allclose(found, expected, atol=1e-6)
        f.pullback(f.tensor(x))
    assert same_weights(before, nets.weights(classifier))


@trainers(("clip", "clip-near", "weight"), ("clip-near",))
def test_batches_of_any_size(nets, make):
    for n, batch_size in ((1, 128), (5, 1), (9, 4)):
        classifier = nets.classifier()
        trainer = make(classifier, seed=0)
        trainer.fit(*nets.data(n=n), batch_size=batch_size, nb_epochs=2)
        assert np.isfinite(trainer.history[-1]["loss"]), (n, batch_size)
        assert trainer.history[-1]["skipped_steps"] == 0


def test_batchnorm_survives_a_single_sample_left_over(nets):
    trainer = CLIPTrainer(nets.classifier("batchnorm"), seed=0)
    trainer.fit(*nets.data("batchnorm", n=17), batch_size=8, nb_epochs=1)
    assert np.isfinite(trainer.history[0]["loss"])


@trainers(("clip", "clip-data", "weight"), ("clip-data",))
def test_arrays_of_any_layout_and_dtype_give_the_same_weights(nets, make):
    x, y = nets.data(n=30)
    x = np.round(x * 4) / 4  # exact in float16 too
    readonly = x.copy()
    readonly.flags.writeable = False
    layouts = {
        "plain": x,
        "list": x.tolist(),
        "float64": x.astype(np.float64),
        "float16": x.astype(np.float16),
        "read-only": readonly,
        "fortran": np.asfortranarray(x),
        "reversed": x[::-1].copy()[::-1],
        "big-endian": x.astype(">f4"),
    }
    results = {}
    for name, variant in layouts.items():
        classifier = nets.classifier()
        make(classifier, seed=0).fit(variant, y, validation_data=(variant, y), nb_epochs=2, batch_size=8)
        results[name] = nets.weights(classifier)
    for name, result in results.items():
        assert same_weights(results["plain"], result, atol=1e-6), name


def test_integer_images_are_taken_as_they_are(nets):
    classifier = nets.classifier("cnn", clip_values=(0, 255), preprocessing=(0.0, 255.0))
    x, y = nets.data("cnn")
    trainer = CLIPTrainer(classifier, lamda=10.0, seed=0)
    trainer.fit((x * 255).astype(np.uint8), y, nb_epochs=2)
    assert trainer.history[-1]["lipschitz"] < 0.1  # per unit of 0..255


@pytest.mark.parametrize("net", ["mlp", "batchnorm", "hidden-dropout"])
def test_lamda_zero_is_plain_training_and_lamda_to_zero_tends_to_it(nets, net):
    if net == "hidden-dropout" and not nets.REPLAYS:
        pytest.skip("randomness of this kind follows from the graph it is traced in")
    x, y = nets.data(net)
    fit_seed = int(np.random.SeedSequence([4, 0]).generate_state(1)[0])
    order = np.random.default_rng(fit_seed)
    orders = [p[i : i + 16] for p in (order.permutation(len(x)) for _ in range(3)) for i in range(0, len(x), 16)]
    plain = nets.classifier(net)
    nets.plain_training(plain, x, y, orders, fit_seed)
    for lamda, atol in ((0.0, 1e-6), (1e-9, 1e-6), (1e-3, None)):
        classifier = nets.classifier(net)
        CLIPTrainer(classifier, lamda=lamda, seed=4).fit(x, y, batch_size=16, nb_epochs=3)
        if atol is None:
            assert not same_weights(nets.weights(plain), nets.weights(classifier), atol=1e-6)
        else:
            assert same_weights(nets.weights(plain), nets.weights(classifier), atol=atol)


def test_large_lamda_on_a_regression_drives_the_constant_to_zero(nets):
    from artclip import lipschitz_lower_bound

    x = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    y = np.sin(6 * x[:, 0])
    constants = []
    for lamda in (0.0, 0.1, 10.0):
        regressor = nets.regressor(clip_values=(0.0, 1.0))
        trainer = CLIPTrainer(regressor, lamda=lamda, pair_interval=1, nb_pairs=8, seed=0)
        trainer.fit(x, y, nb_epochs=150 if lamda == 10 else 80, batch_size=10)
        constants.append(lipschitz_lower_bound(regressor, x, nb_restarts=8, max_iter=10, seed=0).value)
    assert constants[0] > 1
    assert constants[1] < constants[0]
    assert constants[2] < 0.02


def test_linear_regression_with_squared_penalty_meets_its_closed_form(nets):
    """min s·(w - 1)² + λ·(2·w)² on y = x, in a box of side 2: the optimum is w = s / (s + 4·λ), s = mean x²."""
    x = np.random.default_rng(0).uniform(-1, 1, (64, 1)).astype(np.float32)
    regressor = nets.linear_regressor(clip_values=(-1.0, 1.0))
    lamda, s = 0.2, float((x**2).mean())
    trainer = CLIPTrainer(regressor, lamda=lamda, pair_interval=1, seed=0)
    trainer.fit(x, x[:, 0], batch_size=64, nb_epochs=200)
    (weight,) = nets.weights(regressor).values()
    assert weight.item() == pytest.approx(s / (s + 4 * lamda), rel=1e-3)
    assert trainer.history[-1]["lipschitz"] == pytest.approx(s / (s + 4 * lamda), rel=1e-3)


def test_regression_with_one_and_several_targets(nets):
    x = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    for outputs, y in ((1, x[:, 0] ** 2), (1, x**2), (2, np.hstack([x, x**2]))):
        regressor = nets.regressor(outputs=outputs, clip_values=(0.0, 1.0))
        trainer = CLIPTrainer(regressor, lamda=1e-4, seed=0)
        trainer.fit(x, y, validation_data=(x, y), batch_size=8, nb_epochs=40)
        assert trainer.history[-1]["loss"] < 1e-2
        assert trainer.history[-1]["accuracy"] is None
        assert trainer.history[-1]["val_accuracy"] is None
        assert trainer.history[-1]["val_loss"] < 1e-2
        assert trainable_of(regressor).chance_loss(y.reshape(40, -1)) == pytest.approx(y.var(axis=0).mean(), rel=1e-4)


def test_what_guessing_costs_of_a_summed_loss_is_of_one_step(nets):
    """A sum over the samples of a batch, and not over those that it is measured on."""
    y = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    for made, mean in ((nets.regressor(), y.var()), (nets.classifier("mlp"), np.log(3))):
        f = trainable_of(made)
        assert f.chance_loss(y) == pytest.approx(mean, rel=1e-4)
        (made.loss if hasattr(made, "loss") else made.loss_object).reduction = "sum"
        f = trainable_of(made)
        f.batch_size = 8
        assert f.chance_loss(y) == pytest.approx(8 * mean, rel=1e-4)


@pytest.mark.parametrize("net", ["linear", "cnn", "batchnorm", "series", "frozen"])
def test_weight_penalties_equal_numpy(nets, net):
    classifier = nets.classifier(net)
    f, matrices = trainable_of(classifier), nets.matrices(classifier)

    def penalty(kind):
        regularizer = WeightRegularizationTrainer(classifier, kind=kind)._regularizer(f, (None, None), 0, 1)
        state = regularizer.state
        for _ in range(200 if kind == "spectral" else 1):
            state, _ = regularizer.advance(state, None, 0)
        return f.to_numpy(f.constants(regularizer.penalty(state, None, None)[:1])).item()

    assert penalty("l2") == pytest.approx(sum((m**2).sum() for m in matrices), rel=1e-5)
    assert penalty("spectral") == pytest.approx(np.prod([np.linalg.norm(m, 2) for m in matrices]), rel=1e-4)


@pytest.mark.parametrize(
    ("forward", "at", "skipped", "lamda"), [(False, {25}, 20, 0.08), (True, {25, 47}, 20 + 10, 0.04)]
)
def test_a_nan_undoes_its_stretch_and_a_second_one_soon_after_halves_lamda(nets, forward, at, skipped, lamda):
    classifier = nets.faulty(at, forward)
    trainer = CLIPTrainer(classifier, lamda=0.08, seed=0)
    with pytest.warns(RuntimeWarning) as caught:
        trainer.fit(*nets.data(n=200), batch_size=4, nb_epochs=4)
    messages = [str(warning.message) for warning in caught]
    seen = 25 if forward else 26  # a gradient shows in the next loss
    assert messages[0].startswith(f"numbers failed (loss of nan in step {seen}): 20 steps are undone and counted")
    assert [m.startswith("numbers fail again and again: λ is halved, to 0.04") for m in messages[1:]] == [True] * (
        len(at) - 1
    )
    assert trainer.lamda == pytest.approx(lamda)
    assert sum(r["skipped_steps"] for r in trainer.history) == skipped  # stretches of 20, 20, 10
    assert all(np.isfinite(w).all() for w in nets.weights(classifier).values())
    assert trainer.history[-1]["accuracy"] > 0.5


def test_faults_far_apart_leave_lamda_alone_and_warn_once(nets):
    trainer = CLIPTrainer(nets.faulty({25, 265}), lamda=0.08, seed=0)  # 14 checks lie between
    with pytest.warns(RuntimeWarning) as caught:
        trainer.fit(*nets.data(n=200), batch_size=4, nb_epochs=6)
    assert len(caught) == 1
    assert trainer.lamda == 0.08
    assert sum(r["skipped_steps"] for r in trainer.history) == 40
    assert caught[0].filename == __file__


def test_a_penalty_that_explodes_is_tamed(nets):
    """Of w² with weight λ, steps of 0.1 diverge where λ > 10: λ comes down until they do not."""
    x = np.random.default_rng(0).uniform(-1, 1, (64, 1)).astype(np.float32)
    regressor = nets.linear_regressor(clip_values=(-1.0, 1.0))
    trainer = WeightRegularizationTrainer(regressor, lamda=100.0, seed=0)
    with pytest.warns(RuntimeWarning, match="numbers fail again and again: λ is halved, to 50, each time"):
        trainer.fit(x, x[:, 0], batch_size=4, nb_epochs=60)
    assert 1 < trainer.lamda < 10
    (weight,) = nets.weights(regressor).values()
    assert 0 < weight.item() < 0.5


def test_the_limit_keeps_the_same_from_happening_to_pairs(nets):
    x = np.random.default_rng(0).uniform(-1, 1, (64, 1)).astype(np.float32)
    regressor = nets.linear_regressor(clip_values=(-1.0, 1.0))
    trainer = CLIPTrainer(regressor, lamda=100.0, pair_interval=1, seed=0)
    trainer.fit(x, x[:, 0], batch_size=4, nb_epochs=15)
    assert sum(r["skipped_steps"] for r in trainer.history) == 0
    assert trainer.lamda == 100
    (weight,) = nets.weights(regressor).values()
    assert abs(weight.item()) < 3  # it swings, but does not leave


def test_float16_overflows_without_leaving_a_trace(nets):
    classifier = nets.to_half("mlp", lr=1e4)
    x, y = nets.data()
    trainer = CLIPTrainer(classifier, lamda=0.1, pair_interval=1, nb_pairs=8, seed=0)
    with pytest.warns(RuntimeWarning, match="numbers failed"), contextlib.suppress(FloatingPointError):
        trainer.fit(x.astype(np.float16), y, batch_size=4, nb_epochs=10)
    assert all(np.isfinite(w).all() for w in nets.weights(classifier).values())
    assert all(w.dtype == np.float16 for w in nets.weights(classifier).values())
    with_care = nets.to_half("mlp", lr=0.3)
    trainer = CLIPTrainer(with_care, lamda=1e-3, pair_interval=1, nb_pairs=8, seed=0)
    trainer.fit(x.astype(np.float16), y, batch_size=8, nb_epochs=10)
    assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]
