"""What the loop does around the steps: history, schedulers, callbacks, best model, generators, faults."""

import json
import warnings

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from torch import nn

from artclip import CLIPTrainer, WeightRegularizationTrainer
from artclip.frameworks import trainable_of
from artclip.trainers.batches import ArrayBatches
from tests import nets


def fit(trainer, n=60, **kwargs):
    trainer.fit(*nets.data(n=n), **{"batch_size": 16, "nb_epochs": 3, **kwargs})
    return trainer


def test_history_figures_are_those_of_the_epoch():
    """With a learning rate of 0 the model stands still, so the epoch's figures can be had by hand."""
    x, y = nets.data(n=61)
    classifier = nets.classifier(lr=0.0)
    trainer = CLIPTrainer(classifier, lamda=0.0, seed=0)
    trainer.fit(x, y, validation_data=(x[:20], y[:20]), batch_size=8, nb_epochs=2)
    logits = classifier.predict(x)
    loss = nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(y)).item()
    for record in trainer.history:
        assert record["loss"] == pytest.approx(loss, rel=1e-5)
        assert record["accuracy"] == pytest.approx(np.mean(logits.argmax(1) == y))
        assert record["val_accuracy"] == pytest.approx(np.mean(logits[:20].argmax(1) == y[:20]))
        assert record["seconds"] > 0


def test_second_fit_continues_history_and_order():
    trainer = fit(fit(CLIPTrainer(nets.classifier(), seed=0)))
    assert [r["epoch"] for r in trainer.history] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.1),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.1, patience=0, threshold=10.0),
    ],
)
def test_scheduler_steps_once_an_epoch(make):
    classifier = nets.classifier(lr=1.0)
    trainer = CLIPTrainer(classifier, seed=0)
    fit(trainer, scheduler=make(classifier.optimizer), nb_epochs=4)
    assert classifier.optimizer.param_groups[0]["lr"] in (pytest.approx(1e-4), pytest.approx(1e-3))


def test_any_object_with_a_step_is_a_scheduler():
    class Counter:
        calls = 0

        def step(self):
            self.calls += 1

    counter = Counter()
    fit(CLIPTrainer(nets.classifier()), scheduler=counter)
    assert counter.calls == 3


def test_callbacks_see_records_and_can_stop():
    seen = []

    def callback(trainer, record):
        seen.append((trainer.lamda, record["epoch"]))
        return record["epoch"] == 2

    trainer = fit(CLIPTrainer(nets.classifier(), lamda=0.1, callbacks=[callback]), nb_epochs=5)
    assert seen == [(0.1, 1), (0.1, 2)]
    assert len(trainer.history) == 2


def test_restore_best_ends_with_the_best_validation_accuracy():
    def spoil(trainer, record):
        if record["epoch"] == 3:
            with torch.no_grad():
                for p in trainer.classifier.model.parameters():
                    p.zero_()
            trainer.classifier.optimizer.param_groups[0]["lr"] = 0.0

    x, y = nets.data(n=200)
    classifier = nets.classifier(lr=0.3)
    trainer = CLIPTrainer(classifier, restore_best=True, callbacks=[spoil], seed=0)
    trainer.fit(x, y, validation_data=(x[:50], y[:50]), batch_size=8, nb_epochs=5)
    accuracies = [r["val_accuracy"] for r in trainer.history]
    assert max(accuracies[:3]) > accuracies[-1] + 0.1
    assert np.mean(classifier.predict(x[:50]).argmax(1) == y[:50]) == pytest.approx(max(accuracies))


def test_restore_best_with_a_target_takes_the_flattest_that_holds_it():
    trainer = CLIPTrainer(nets.classifier(), target_accuracy=0.9)
    record = {"loss": 1.0, "val_loss": None, "val_accuracy": None, "penalty": None}
    flat, steep = ({**record, "accuracy": a, "lipschitz": q} for a, q in ((0.91, 1.0), (0.99, 2.0)))
    below = {**record, "accuracy": 0.85, "lipschitz": 0.1}
    warm_up = {**record, "accuracy": 0.99, "lipschitz": None}
    assert trainer._score(flat) > trainer._score(steep) > trainer._score(warm_up) > trainer._score(below)
    light, heavy = ({**warm_up, "penalty": p} for p in (1.0, 2.0))
    assert trainer._score(light) > trainer._score(heavy)


@pytest.mark.parametrize("make", [CLIPTrainer, WeightRegularizationTrainer])
def test_fit_generator_learns_from_numpy_and_torch_generators(make):
    x, y = nets.data(n=64)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=16, shuffle=False
    )
    generators = (NumpyDataGenerator(x, y, batch_size=16), PyTorchDataGenerator(loader, size=64, batch_size=16))
    for generator in generators:
        trainer = make(nets.classifier(lr=0.5), lamda=1e-3, seed=0)
        trainer.fit_generator(generator, validation_data=(x, y), nb_epochs=30)
        assert trainer.history[-1]["val_accuracy"] > 0.8
        assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]


def test_generator_batches_are_checked():
    x, y = nets.data(n=32)
    with pytest.raises(TypeError, match="DataGenerator"):
        CLIPTrainer(nets.classifier()).fit_generator([(x, y)])
    with pytest.raises(ValueError, match="label 7"):
        CLIPTrainer(nets.classifier()).fit_generator(NumpyDataGenerator(x, y + 7, batch_size=8), nb_epochs=1)


def test_batches_cover_the_data_once_an_epoch():
    f = trainable_of(nets.classifier())
    x, y = np.arange(23.0)[:, None], np.arange(23)
    for batch_size in (1, 2, 7, 11, 22, 23, 50):
        batches = ArrayBatches(f, x, y, batch_size, drop_last=False, seed=0)
        sizes = [len(b[0]) for b in batches.epoch()]
        assert len(sizes) == batches.nb_batches
        assert batch_size == 1 or min(sizes) > 1
        seen = np.concatenate([b[1] for b in batches.epoch()])
        assert sorted(seen) == list(range(23))
        assert (seen != np.arange(23)).any()
    assert [len(b[0]) for b in ArrayBatches(f, x, y, 7, drop_last=True, seed=0).epoch()] == [7, 7, 7]


class Faulty(nn.Module):
    """A layer that returns NaN, or passes a gradient of NaN, at some calls in train mode."""

    def __init__(self, at, forward=True):
        super().__init__()
        self.at, self.in_forward, self.calls = at, forward, 0

    def forward(self, x):
        if self.training:
            self.calls += 1
            if self.calls in self.at:
                return x * float("nan") if self.in_forward else _NaNGradient.apply(x)
        return x


class _NaNGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


def with_layer(layer, **kwargs):
    classifier = nets.classifier(**kwargs)
    classifier.model.append(layer)
    return classifier


@pytest.mark.parametrize("forward", [True, False])
def test_a_nan_undoes_its_stretch_is_reported_and_halves_lamda(forward):
    classifier = with_layer(Faulty({25, 47}, forward))
    trainer = CLIPTrainer(classifier, lamda=0.08, seed=0)
    with pytest.warns(RuntimeWarning, match="steps undone; λ is halved to") as caught:
        fit(trainer, n=200, batch_size=4, nb_epochs=4)
    assert len(caught) == 2
    assert trainer.lamda == pytest.approx(0.02)
    assert sum(r["skipped_steps"] for r in trainer.history) == 20 + 10  # stretches of 20, 20, 10
    assert all(np.isfinite(w).all() for w in nets.weights(classifier).values())
    assert trainer.history[-1]["accuracy"] > 0.5


def test_a_nan_without_penalty_leaves_lamda_alone():
    trainer = CLIPTrainer(with_layer(Faulty({2})), lamda=0.08, warmup_epochs=1, seed=0)
    with pytest.warns(RuntimeWarning, match="steps undone; a lower learning rate"):
        fit(trainer, nb_epochs=2)
    assert trainer.lamda == 0.08


def test_training_that_stays_nan_ends_with_an_error_and_the_last_finite_model():
    classifier = with_layer(Faulty(range(30, 10_000)))
    trainer = CLIPTrainer(classifier, seed=0)
    with pytest.warns(RuntimeWarning), pytest.raises(FloatingPointError, match="last finite state"):
        fit(trainer, n=200, batch_size=4, nb_epochs=20)
    after = nets.weights(classifier)
    assert all(np.isfinite(w).all() for w in after.values())
    assert not nets.same_weights(after, nets.weights(with_layer(Faulty(()))))  # the 20 good steps were kept


def test_exploding_learning_rate_never_leaves_nan_behind():
    regressor = nets.regressor(lr=1e6, clip_values=(0.0, 1.0))
    x = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(FloatingPointError):
            CLIPTrainer(regressor, seed=0).fit(x, x[:, 0] * 100, nb_epochs=200, batch_size=4)
    assert all(np.isfinite(w).all() for w in nets.weights(regressor).values())


def test_a_fit_of_which_nothing_is_left_is_an_error():
    trainer = CLIPTrainer(with_layer(Faulty(range(10_000))), seed=0)
    with pytest.warns(RuntimeWarning), pytest.raises(FloatingPointError, match="every step"):
        fit(trainer, nb_epochs=2)
    assert [r["loss"] for r in trainer.history] == [None, None]


def test_an_interrupted_fit_leaves_modes_and_rng_as_found():
    def interrupt(trainer, record):
        raise KeyboardInterrupt

    classifier = nets.classifier("batchnorm")
    classifier.model.eval()
    state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        CLIPTrainer(classifier, callbacks=[interrupt]).fit(*nets.data("batchnorm"), nb_epochs=2)
    assert not any(m.training for m in classifier.model.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_progress_bar_only_when_verbose(capsys):
    fit(CLIPTrainer(nets.classifier(), seed=0))
    assert capsys.readouterr() == ("", "")
    fit(CLIPTrainer(nets.classifier(), seed=0, verbose=True))
    shown = capsys.readouterr().err
    assert all(word in shown for word in ("CLIPTrainer epoch 3/3", "accuracy=", "loss=", "lamda=", "lipschitz="))


def test_art_attacks_run_on_the_trained_classifier():
    from art.attacks.evasion import ProjectedGradientDescent

    trainer = fit(CLIPTrainer(nets.classifier(), seed=0))
    x, _ = nets.data()
    attack = ProjectedGradientDescent(
        trainer.get_classifier(), norm=2, eps=0.3, eps_step=0.1, max_iter=5, verbose=False
    )
    assert np.linalg.norm(attack.generate(x) - x, axis=1).max() <= 0.3 * (1 + 1e-5)


def test_fit_defences_of_art_are_applied():
    from art.defences.preprocessor import GaussianAugmentation

    x, y = nets.data(n=50)
    augmentation = GaussianAugmentation(sigma=0.01, augmentation=True, ratio=1.0)
    classifier = nets.classifier(preprocessing_defences=augmentation)
    assert len(trainable_of(classifier).training_data(x, y)[0]) == 100
    fit(CLIPTrainer(classifier, seed=0))


def test_numpy_defences_without_a_gradient_are_refused():
    from art.defences.preprocessor import FeatureSqueezing

    classifier = nets.classifier(preprocessing_defences=FeatureSqueezing(clip_values=(0, 1)))
    with pytest.raises(ValueError, match="FeatureSqueezing works in numpy"):
        CLIPTrainer(classifier)


def test_regression_with_one_and_several_targets():
    x = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    for outputs, y in ((1, x[:, 0] ** 2), (1, x**2), (2, np.hstack([x, x**2]))):
        regressor = nets.regressor(outputs=outputs, clip_values=(0.0, 1.0))
        trainer = CLIPTrainer(regressor, lamda=1e-4, seed=0)
        trainer.fit(x, y, validation_data=(x, y), batch_size=8, nb_epochs=100)
        assert trainer.history[-1]["loss"] < 1e-2
        assert trainer.history[-1]["accuracy"] is None
        assert trainer.history[-1]["val_accuracy"] is None
        assert trainer.history[-1]["val_loss"] < 1e-2


def test_checkpoint_holds_the_weights_and_the_history_so_far(tmp_path):
    seen = []

    def look(trainer, record):
        state = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
        assert nets.same_weights({k: v.numpy() for k, v in state.items()}, nets.weights(trainer.classifier))
        seen.append(json.loads((tmp_path / "run" / "training.json").read_text()))

    trainer = fit(CLIPTrainer(nets.classifier(), checkpoint=tmp_path / "run", callbacks=[look], seed=3))
    assert [len(s["history"]) for s in seen] == [1, 2, 3]
    assert seen[-1] == {"lamda": trainer.lamda, "seed": 3, "history": trainer.history}
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["model.pt", "training.json"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="it is a file; give a folder"):
        CLIPTrainer(nets.classifier(), checkpoint=tmp_path / "file")


def test_batchnorm_on_batches_of_one_is_refused_and_the_model_untouched():
    classifier = nets.classifier("batchnorm")
    before = nets.weights(classifier)
    with pytest.raises(ValueError, match="BatchNorm cannot train on a batch of one"):
        CLIPTrainer(classifier).fit(*nets.data("batchnorm"), batch_size=1)
    assert nets.same_weights(before, nets.weights(classifier))


def test_a_bad_batch_of_a_generator_undoes_the_stretch_it_is_in():
    class Generator:
        size, batch_size = 100, 10
        batches = 0

        def get_batch(self):
            self.batches += 1
            x, y = nets.data(n=10)
            return (x * np.nan if self.batches == 5 else x), y

    classifier = nets.classifier()
    before = nets.weights(classifier)
    with pytest.raises(ValueError, match="NaN"):
        CLIPTrainer(classifier).fit_generator(Generator(), nb_epochs=1)
    assert nets.same_weights(before, nets.weights(classifier))
