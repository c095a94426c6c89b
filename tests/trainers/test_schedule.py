"""Schedulers that PyTorch's users bring: what they are called after, with what, and how they go back and on."""

import functools
import json
import types
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.optim import lr_scheduler

from artclip import CLIPTrainer
from artclip.frameworks import trainable_of
from artclip.trainers.loop import Epochs
from artclip.trainers.pair_penalty import REFRESH_INTERVAL, PairPenalty
from artclip.trainers.schedule import Schedule, _plain, _rebuilt
from tests.contract.test_resume import Interruption, control_c
from tests.nets import torch_nets as nets
from tests.nets.common import same_weights

NB_EPOCHS, NB_STEPS = 3, 18


def fit(classifier, scheduler, trainer=None, **options):
    trainer = trainer or CLIPTrainer(classifier, seed=0)
    settings = {"batch_size": 10, "nb_epochs": NB_EPOCHS, "scheduler": scheduler, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "The epoch parameter in")  # PyTorch 2.4's, of its own SequentialLR
        trainer.fit(*nets.data(n=60), **settings)
    return trainer


def transformers_like(optimizer):
    """A ``get_..._schedule`` of transformers: a LambdaLR of a partial function of theirs."""
    theirs = types.FunctionType((lambda step, total: 1 - step / total).__code__, {}, "_get_lambda")
    theirs.__module__ = "transformers.optimization"
    return lr_scheduler.LambdaLR(optimizer, functools.partial(theirs, total=NB_STEPS))


def warmed_up(optimizer):
    parts = [lr_scheduler.LinearLR(optimizer, total_iters=1), lr_scheduler.CosineAnnealingLR(optimizer, 3)]
    return lr_scheduler.SequentialLR(optimizer, parts, [1])


def one_cycle(optimizer, total=NB_STEPS):
    return lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=total)


# Name -> maker, and how often it is called in a fit.
SCHEDULERS = {
    "step": (lambda o: lr_scheduler.StepLR(o, 1), NB_EPOCHS),
    "multi-step": (lambda o: lr_scheduler.MultiStepLR(o, [1, 2]), NB_EPOCHS),
    "lambda": (lambda o: lr_scheduler.LambdaLR(o, lambda e: 0.5**e), NB_EPOCHS),
    "sequential": (warmed_up, NB_EPOCHS),
    "plateau": (lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="max"), NB_EPOCHS),
    "one cycle": (one_cycle, NB_STEPS),
    "cyclic": (lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=5), NB_STEPS),
    "transformers": (transformers_like, NB_STEPS),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_is_called_as_it_is_meant_to_be_and_its_state_survives_a_file(name):
    make, calls = SCHEDULERS[name]
    classifier = nets.classifier()
    scheduler = make(classifier.optimizer)
    fit(classifier, scheduler)
    assert scheduler.last_epoch == calls
    fresh = make(nets.classifier().optimizer)
    state = json.loads(json.dumps(_plain(scheduler.state_dict())))
    fresh.load_state_dict(_rebuilt(state, fresh.state_dict()))
    assert fresh.state_dict() == scheduler.state_dict()


def test_the_user_says_what_it_is_called_after():
    for interval, calls in (("step", NB_STEPS), ("epoch", NB_EPOCHS)):
        classifier, seen = nets.classifier(), []
        scheduler = lr_scheduler.ExponentialLR(classifier.optimizer, 0.9)
        fit(classifier, scheduler, scheduler_interval=interval)
        assert scheduler.last_epoch == calls
        fit(nets.classifier(), seen.append, scheduler_interval=interval)
        assert seen == list(range(calls))


def test_a_plateau_gets_accuracy_where_it_maximises_and_loss_where_it_minimises():
    for mode, name in (("max", "accuracy"), ("min", "loss")):
        for validation in (None, nets.data(n=20, seed=1)):
            classifier, seen = nets.classifier(), []
            scheduler = lr_scheduler.ReduceLROnPlateau(classifier.optimizer, mode=mode)
            original = scheduler.step

            def step(metrics, original=original, seen=seen):
                seen.append(metrics)
                original(metrics)

            scheduler.step = step
            history = fit(classifier, scheduler, validation_data=validation).history
            assert seen == [record[f"val_{name}" if validation else name] for record in history]
    regressor = nets.regressor()
    scheduler = lr_scheduler.ReduceLROnPlateau(regressor.optimizer, mode="max")
    x = np.zeros((4, 1), np.float32)
    with pytest.raises(ValueError, match="a regressor has not"):
        CLIPTrainer(regressor).fit(x, x, scheduler=scheduler)


def test_a_step_of_the_epoch_gets_the_epoch():
    """As timm's schedulers, which take the number of epochs, or updates, that are done."""

    class Timm:
        def __init__(self):
            self.seen = []

        def step(self, epoch, metric=None):
            self.seen.append((epoch, metric))

        def step_update(self, num_updates, metric=None):
            self.seen.append(num_updates)

    by_epoch, by_step = Timm(), Timm()
    losses = [record["loss"] for record in fit(nets.classifier(), by_epoch).history]
    assert by_epoch.seen == [(i + 1, loss) for i, loss in enumerate(losses)]
    fit(nets.classifier(), by_step, scheduler_interval="step")
    assert by_step.seen == list(range(1, NB_STEPS + 1))


def test_what_does_not_fit_is_refused_before_the_model_is_touched():
    classifier = nets.classifier()
    optimizer, before = classifier.optimizer, nets.weights(classifier)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer)
    cases = (
        (one_cycle(optimizer, NB_EPOCHS), {}, ValueError, "make it with total_steps=18"),
        (lr_scheduler.StepLR(nets.classifier().optimizer, 1), {}, ValueError, "made for another optimizer"),
        (plateau, {"scheduler_interval": "step"}, ValueError, "scheduler_interval='epoch'"),
        (plateau, {"scheduler_interval": "batch"}, ValueError, "'epoch', 'step'"),
        (lr_scheduler.StepLR, {}, TypeError, "is the class StepLR"),
        (lambda epoch, rate: rate, {}, TypeError, "expected one of the epoch alone"),
    )
    for scheduler, options, error, message in cases:
        with pytest.raises(error, match=message):
            fit(classifier, scheduler, **options)
    assert same_weights(before, nets.weights(classifier))
    with pytest.warns(RuntimeWarning, match="made for 100 steps, and after this fit 18 are done"):
        Schedule(one_cycle(optimizer, 100)).check(optimizer, NB_EPOCHS, NB_STEPS, True)
    with pytest.warns(RuntimeWarning, match=r"gave back 0\.05, and the learning rate is 0\.1"):
        CLIPTrainer(nets.classifier(), seed=0).fit(*nets.data(), nb_epochs=1, scheduler=lambda epoch: 0.05)


def test_a_schedule_of_each_step_goes_on_from_the_very_step(tmp_path, monkeypatch):
    def run(seed, interrupted=False, **options):
        made = nets.classifier(seed=seed, optimizer=functools.partial(torch.optim.SGD, momentum=0.9))
        cycle = one_cycle(made.optimizer, 2 * 53)
        trainer = CLIPTrainer(made, lamda=0.01, seed=3, checkpoint=options.pop("checkpoint", None))
        settings = {"batch_size": 4, "nb_epochs": 2, "scheduler": cycle, **options}
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                trainer.fit(*nets.data(n=210), **settings)
        else:
            trainer.fit(*nets.data(n=210), **settings)
        return nets.weights(made), cycle.state_dict(), made.optimizer.param_groups[0]["lr"]

    expected = run(0)
    with monkeypatch.context() as patch:
        Interruption(patch, 30, control_c)
        assert run(0, True, checkpoint=tmp_path)[1]["last_epoch"] == 20  # with the model, at the last check
    found = run(5, checkpoint=tmp_path, resume=True)
    assert same_weights(found[0], expected[0], atol=0)
    assert found[1:] == expected[1:]


def test_steps_that_are_undone_are_undone_in_the_schedule():
    classifier = nets.faulty([3])
    scheduler = lr_scheduler.CyclicLR(classifier.optimizer, 0.01, 0.1, step_size_up=50, cycle_momentum=False)
    with pytest.warns(RuntimeWarning, match="undone"):
        CLIPTrainer(classifier, seed=0).fit(*nets.data(n=60), batch_size=10, nb_epochs=NB_EPOCHS, scheduler=scheduler)
    assert scheduler.last_epoch == NB_STEPS - 6
    assert classifier.optimizer.param_groups[0]["lr"] == pytest.approx(scheduler.get_last_lr()[0])


def test_an_undone_stretch_takes_pairs_and_schedule_back_with_the_model(monkeypatch):
    seen, original = [], Epochs.undo

    def undo(epochs):
        changed = epochs._regularizer.state is not epochs.point.pairs
        original(epochs)
        seen.append((changed, epochs._regularizer.state is epochs.point.pairs, epochs._schedule.state()))
        assert seen[-1][2] == epochs.point.outer["scheduler"]

    monkeypatch.setattr(Epochs, "undo", undo)
    classifier = nets.faulty({25})
    scheduler = lr_scheduler.LambdaLR(classifier.optimizer, lambda step: 1 / (1 + step))
    trainer = CLIPTrainer(classifier, lamda=0.08, pair_init="near", pair_interval=1, seed=0)
    with pytest.warns(RuntimeWarning, match="20 steps are undone"):
        trainer.fit(*nets.data(n=200), batch_size=4, nb_epochs=1, scheduler=scheduler, scheduler_interval="step")
    assert [s[:2] for s in seen] == [(True, True)]


def test_a_batch_shorter_than_the_pairs_renews_as_many_as_it_has():
    f, x = trainable_of(nets.classifier()), nets.data()[0]
    options = CLIPTrainer(nets.classifier(), pair_init="near", nb_pairs=8, pair_steps=0).options
    penalty = PairPenalty(options.pairs(f, x, 0), options)
    penalty.begin()
    state, ends = penalty.advance(penalty.state, f.tensor(x[:3]), REFRESH_INTERVAL)
    assert [len(t) for t in state] == [8, 8]
    assert len(ends) == 16
