"""A training that is interrupted and taken up again ends as one that was not, on every framework."""

import os
import signal

import pytest
from art.data_generators import NumpyDataGenerator

from artclip import CLIPTrainer, WeightRegularizationTrainer
from artclip.trainers.checkpoint import GENERATIONS
from artclip.trainers.loop import Epochs
from tests.nets import FRAMEWORKS, of
from tests.nets.common import same_weights

NB_EPOCHS, NB_STEPS = 3, 43  # steps of an epoch
MAKERS = {
    "clip": lambda c, **kw: CLIPTrainer(c, lamda=0.05, pair_interval=2, nb_pairs=4, **kw),
    "persistent": lambda c, **kw: CLIPTrainer(c, lamda=0.01, pair_init="near", pair_interval=3, nb_pairs=4, **kw),
    "target": lambda c, **kw: CLIPTrainer(
        c, lamda=0.001, target_accuracy=0.6, pair_interval=2, nb_pairs=4, warmup_epochs=1, **kw
    ),
    "bracket": lambda c, **kw: CLIPTrainer(
        c, lamda=0.001, pair_interval=3, nb_pairs=4, upper_penalty=0.01, certify_eps=0.1, **kw
    ),
    "additive, best": lambda c, **kw: CLIPTrainer(
        c, lamda=0.01, target_accuracy=0.6, lamda_increment=0.01, restore_best=True, pair_interval=3, nb_pairs=4, **kw
    ),
    "averages": lambda c, **kw: CLIPTrainer(c, lamda=0.05, pair_interval=2, nb_pairs=4, ema_decay=0.9, **kw),
    "examples": lambda c, **kw: CLIPTrainer(c, lamda=0.05, pair_interval=3, nb_pairs=4, adversarial_eps=0.1, **kw),
    "weight": lambda c, **kw: WeightRegularizationTrainer(c, lamda=0.01, target_accuracy=0.6, **kw),
    "spectral": lambda c, **kw: WeightRegularizationTrainer(c, kind="spectral", lamda=0.01, **kw),
}

# What a framework keeps of a training: the state of a compiled step, pairs; averages, duals.
TOGETHER = {
    "persistent, target, examples": lambda c, **kw: MAKERS["persistent"](
        c, target_accuracy=0.6, warmup_epochs=1, adversarial_eps=0.1, **kw
    ),
    "bracket, averages": lambda c, **kw: MAKERS["bracket"](c, ema_decay=0.9, **kw),
}


class Interruption:
    """Does something at one of the steps, counted over all."""

    def __init__(self, monkeypatch, at, what):
        self.left, self.what = at, what
        original = Epochs._step

        def step(epochs, *arguments):
            self.left -= 1
            if self.left == 0:
                self.what()
            return original(epochs, *arguments)

        monkeypatch.setattr(Epochs, "_step", step)


def control_c():
    raise KeyboardInterrupt


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def fit(trainer, nets, net="batchnorm", n=170, **options):
    """Checks come after steps 20, 40 and 43 of each epoch."""
    x, y = nets.data(net, n=n)
    scheduler = nets.halving_scheduler(trainer.classifier)
    settings = {"validation_data": (x[:20], y[:20]), "batch_size": 4, "nb_epochs": NB_EPOCHS, "scheduler": scheduler}
    trainer.fit(x, y, **{**settings, **options})
    return trainer


def outcome(trainer, nets):
    history = [{k: v for k, v in record.items() if "seconds" not in k} for record in trainer.history]
    return nets.weights(trainer.classifier), history, trainer.lamda, trainer.seed


def assert_same(a, b):
    assert a[1:] == b[1:]
    assert same_weights(a[0], b[0], atol=0)


# Each on the first framework; on the other, which has to compile its steps, several at once.
@pytest.mark.parametrize(
    ("nets", "name"),
    [(f, n) for f in FRAMEWORKS for n in (MAKERS if f == FRAMEWORKS[0] else TOGETHER)],
    indirect=["nets"],
)
def test_a_resumed_training_ends_bit_for_bit_as_one_without_interruption(nets, name, tmp_path, monkeypatch):
    make, net = {**MAKERS, **TOGETHER}[name], "cnn" if "bracket" in name else "batchnorm"
    expected = outcome(fit(make(nets.classifier(net), seed=3), nets, net), nets)
    interruptions = (1, control_c, KeyboardInterrupt), (70, terminate, SystemExit)
    for at, what, error in interruptions:
        with monkeypatch.context() as patch:
            Interruption(patch, at, what)
            first = at == 1  # the others start from weights of their own, which they must not keep
            trainer = make(nets.classifier(net, seed=0 if first else at), checkpoint=tmp_path, seed=3)
            with pytest.raises(error):
                fit(trainer, nets, net, resume=not first)
    resumed = fit(make(nets.classifier(net, seed=1), checkpoint=tmp_path), nets, net, resume=True)
    assert_same(outcome(resumed, nets), expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(GENERATIONS)


@pytest.mark.parametrize("optimizer", ["muon", "stiefel"])
def test_optimizers_of_matrices_train_certificates_and_resume(nets, optimizer, tmp_path, monkeypatch):
    if optimizer == "muon" and not (nets.HAS_MUON and nets is of(FRAMEWORKS[0])):
        pytest.skip("once is enough, and a framework may have no Muon")
    make = MAKERS["bracket"]
    classifiers = [nets.classifier(lr=0.02, optimizer=getattr(nets, optimizer)) for _ in range(3)]
    before = nets.weights(classifiers[0])
    expected = outcome(fit(make(classifiers[0], seed=3), nets, "mlp"), nets)
    assert not same_weights(expected[0], before, atol=0.05)
    Interruption(monkeypatch, NB_STEPS + 22, control_c)
    with pytest.raises(KeyboardInterrupt):
        fit(make(classifiers[1], checkpoint=tmp_path, seed=3), nets, "mlp")
    assert_same(outcome(fit(make(classifiers[2], checkpoint=tmp_path), nets, "mlp", resume=True), nets), expected)


@pytest.mark.parametrize("nets", FRAMEWORKS[:1], indirect=True)
def test_every_moment_of_a_training_can_be_its_last(nets, tmp_path, monkeypatch):
    make = MAKERS["target"]
    expected = outcome(fit(make(nets.classifier("batchnorm"), seed=3), nets), nets)
    for at in (NB_STEPS + 21, NB_STEPS * NB_EPOCHS - 20):
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            Interruption(patch, at, control_c)
            with pytest.raises(KeyboardInterrupt):
                fit(make(nets.classifier("batchnorm"), checkpoint=folder, seed=3), nets)
        resumed = fit(make(nets.classifier("batchnorm", seed=8), checkpoint=folder, seed=3), nets, resume=True)
        assert_same(outcome(resumed, nets), expected)


def test_an_interrupted_model_is_that_of_the_last_check(nets, monkeypatch):
    classifier, seen = nets.classifier("batchnorm"), []
    original = Epochs._mark
    monkeypatch.setattr(Epochs, "_mark", lambda e, *a: (original(e, *a), seen.append(nets.weights(classifier)))[0])
    Interruption(monkeypatch, 70, control_c)
    with pytest.raises(KeyboardInterrupt):
        fit(CLIPTrainer(classifier, seed=0), nets)
    assert same_weights(nets.weights(classifier), seen[-1], atol=0)
    assert len(seen) > 3


def test_a_longer_fit_keeps_the_schedule_of_the_first(nets, tmp_path, monkeypatch):
    """Every 5th of 10 steps an epoch was penalised; planned for 40 steps it would have been every 12th."""
    monkeypatch.setattr("artclip.trainers.options.LEAST_PENALISED", 2)
    trainer = CLIPTrainer(nets.classifier(), lamda=0.01, checkpoint=tmp_path, seed=0)
    fit(trainer, nets, "mlp", n=40, nb_epochs=1)
    fit(trainer, nets, "mlp", n=40, nb_epochs=4, resume=True)
    gradients = [r["gradients"] for r in trainer.history]
    assert len(gradients) == 4
    assert len(set(gradients)) == 1
    trainer = CLIPTrainer(nets.classifier(), lamda=0.01, seed=0)
    fit(trainer, nets, "mlp", n=40, nb_epochs=4)
    assert sum(r["gradients"] for r in trainer.history) < sum(gradients)


def test_a_second_fit_and_a_longer_one_resume_too(nets, tmp_path, monkeypatch):
    def both(trainer, interrupted=False):
        fit(trainer, nets, "mlp", nb_epochs=2, scheduler=None)
        if interrupted:
            Interruption(monkeypatch, 60, terminate)
            with pytest.raises(SystemExit):
                fit(trainer, nets, "mlp", nb_epochs=2, scheduler=None)
            monkeypatch.undo()
            trainer = CLIPTrainer(nets.classifier(seed=5), checkpoint=tmp_path)
            fit(trainer, nets, "mlp", nb_epochs=2, scheduler=None, resume=True)
        else:
            fit(trainer, nets, "mlp", nb_epochs=2, scheduler=None)
        return trainer

    expected = outcome(both(CLIPTrainer(nets.classifier(), seed=1)), nets)
    resumed = both(CLIPTrainer(nets.classifier(), seed=1, checkpoint=tmp_path), interrupted=True)
    assert_same(outcome(resumed, nets), expected)
    assert len(resumed.history) == 4
    before = outcome(resumed, nets)
    fit(resumed, nets, "mlp", nb_epochs=2, scheduler=None, resume=True)  # it is done
    assert_same(outcome(resumed, nets), before)
    fit(resumed, nets, "mlp", nb_epochs=3, scheduler=None, resume=True)
    assert len(resumed.history) == 5


def test_what_a_callback_ended_stays_ended(nets, tmp_path):
    def make(**kw):
        return CLIPTrainer(nets.classifier(), checkpoint=tmp_path, callbacks=[lambda t, r: r["epoch"] == 2], **kw)

    stopped = fit(make(seed=0), nets, "mlp")
    again = fit(make(), nets, "mlp", resume=True)
    assert len(again.history) == 2
    assert_same(outcome(again, nets), outcome(stopped, nets))


def test_a_generator_goes_on_with_as_many_batches_as_it_lacked(nets, tmp_path, monkeypatch):
    x, y = nets.data(n=200)

    def train(**options):
        trainer = CLIPTrainer(nets.classifier(), checkpoint=tmp_path, seed=0)
        trainer.fit_generator(NumpyDataGenerator(x, y, batch_size=4), nb_epochs=2, **options)
        return trainer

    with monkeypatch.context() as patch:
        Interruption(patch, 75, terminate)
        with pytest.raises(SystemExit):
            train()
    resumed = train(resume=True)
    assert [r["epoch"] for r in resumed.history] == [1, 2]
    assert resumed.history[-1]["gradients"] >= 200


OTHERS = {
    "batch_size=4, and now it is 8": ({}, {"batch_size": 8}, "mlp"),
    "lamda=0.05, and now it is 0.1": ({"lamda": 0.1}, {}, "mlp"),
    "seed=3, and now it is 4": ({"seed": 4}, {}, "mlp"),
    "pair_steps=2, and now it is 1": ({"pair_steps": 1}, {}, "mlp"),
    "for another model": ({}, {}, "linear"),
    "nb_samples=170, and now it is 100": ({}, {"n": 100}, "mlp"),
}


def test_a_checkpoint_of_something_else_is_refused_and_changes_nothing(nets, tmp_path):
    fit(CLIPTrainer(nets.classifier(), lamda=0.05, checkpoint=tmp_path, seed=3), nets, "mlp", nb_epochs=1)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for message, (options, settings, net) in OTHERS.items():
        classifier = nets.classifier(net, seed=6)
        trainer = CLIPTrainer(classifier, **{"lamda": 0.05, "seed": 3, "checkpoint": tmp_path, **options})
        before = nets.weights(classifier)
        with pytest.raises(ValueError, match=message):
            fit(trainer, nets, "mlp", resume=True, **settings)
        assert same_weights(before, nets.weights(classifier), atol=0)
        assert trainer.history == []
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_other_data_of_the_same_shape_is_refused(nets, tmp_path):
    x, y = nets.data(n=60)
    CLIPTrainer(nets.classifier(), checkpoint=tmp_path, seed=0).fit(x, y, nb_epochs=1)
    with pytest.raises(ValueError, match="with other data"):
        CLIPTrainer(nets.classifier(), checkpoint=tmp_path).fit(x / 2, y, nb_epochs=2, resume=True)


def test_resume_without_a_folder_is_an_error_and_with_an_empty_one_a_start(nets, tmp_path):
    x, y = nets.data(n=20)
    with pytest.raises(ValueError, match="checkpoint=FOLDER"):
        CLIPTrainer(nets.classifier()).fit(x, y, nb_epochs=1, resume=True)
    trainer = CLIPTrainer(nets.classifier(), checkpoint=tmp_path, seed=0)
    trainer.fit(x, y, nb_epochs=1, resume=True)
    assert len(trainer.history) == 1


def test_the_handler_of_sigterm_is_put_back(nets, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    CLIPTrainer(nets.classifier(), checkpoint=tmp_path, seed=0).fit(*nets.data(n=20), nb_epochs=1)
    assert signal.getsignal(signal.SIGTERM) is before
