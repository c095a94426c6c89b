"""What the loop does around the steps: history, schedulers, callbacks, best model, generators, faults."""

import warnings

import numpy as np
import pytest
from art.data_generators import NumpyDataGenerator

from artclip import CLIPTrainer
from artclip.frameworks import trainable_of
from artclip.trainers.batches import ArrayBatches
from tests.nets import default as nets


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
    picked = logits[np.arange(len(y)), y].astype(float)
    loss = np.mean(np.log(np.exp(logits.astype(float)).sum(1)) - picked)
    for record in trainer.history:
        assert record["loss"] == pytest.approx(loss, rel=1e-5)
        assert record["accuracy"] == pytest.approx(np.mean(logits.argmax(1) == y))
        assert record["val_accuracy"] == pytest.approx(np.mean(logits[:20].argmax(1) == y[:20]))
        assert record["seconds"] > 0


def test_second_fit_continues_history_and_order():
    trainer = fit(fit(CLIPTrainer(nets.classifier(), seed=0)))
    assert [r["epoch"] for r in trainer.history] == [1, 2, 3, 4, 5, 6]


def test_any_object_with_a_step_is_a_scheduler():
    class Counter:
        calls = 0

        def step(self):
            self.calls += 1

    counter = Counter()
    fit(CLIPTrainer(nets.classifier()), scheduler=counter)
    assert counter.calls == 3


def test_another_limit_of_gradients_is_another_training(tmp_path):
    fit(CLIPTrainer(nets.classifier(), checkpoint=tmp_path, seed=0), max_grad_norm=np.float32(1))
    trainer = CLIPTrainer(nets.classifier(), checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"max_grad_norm=1\.0, and now it is 2\.0"):
        fit(trainer, max_grad_norm=2.0, resume=True)
    assert len(fit(trainer, max_grad_norm=1.0, resume=True).history) == 3


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
            nets.scale_weights(trainer.classifier, 0.0)
            nets.learning_rate(trainer.classifier, 0.0)

    x, y = nets.data(n=200)
    classifier = nets.classifier(lr=0.3)
    trainer = CLIPTrainer(classifier, restore_best=True, callbacks=[spoil], seed=0)
    trainer.fit(x, y, validation_data=(x[:50], y[:50]), batch_size=8, nb_epochs=5)
    accuracies = [r["val_accuracy"] for r in trainer.history]
    assert max(accuracies[:3]) > accuracies[-1] + 0.1
    assert np.mean(classifier.predict(x[:50]).argmax(1) == y[:50]) == pytest.approx(max(accuracies))


def test_restore_best_with_a_target_takes_the_flattest_that_holds_it():
    trainer = CLIPTrainer(nets.classifier(), target_accuracy=0.9)
    record = {"loss": 1.0, "val_loss": None, "val_accuracy": None, "deployed_accuracy": None, "penalty": None}
    flat, steep = ({**record, "accuracy": a, "lipschitz": q} for a, q in ((0.91, 1.0), (0.99, 2.0)))
    below = {**record, "accuracy": 0.85, "lipschitz": 0.1}
    warm_up = {**record, "accuracy": 0.99, "lipschitz": None}
    assert trainer._score(flat) > trainer._score(steep) > trainer._score(warm_up) > trainer._score(below)
    light, heavy = ({**warm_up, "penalty": p} for p in (1.0, 2.0))
    assert trainer._score(light) > trainer._score(heavy)


def test_generator_batches_are_checked():
    x, y = nets.data(n=32)
    with pytest.raises(TypeError, match="DataGenerator"):
        CLIPTrainer(nets.classifier()).fit_generator([(x, y)])
    with pytest.raises(ValueError, match="label 7"):
        CLIPTrainer(nets.classifier()).fit_generator(NumpyDataGenerator(x, y + 7, batch_size=8), nb_epochs=1)
    with pytest.raises(TypeError, match=r"^fit_generator got an unknown argument 'drop_last'"):
        CLIPTrainer(nets.classifier()).fit_generator(NumpyDataGenerator(x, y, batch_size=8), drop_last=True)


def test_batches_cover_the_data_once_an_epoch():
    f = trainable_of(nets.classifier())
    x, y = np.arange(23.0)[:, None], np.arange(23)
    for batch_size in (1, 2, 7, 11, 22, 23, 50):
        batches = ArrayBatches(f, x, y, batch_size, drop_last=False, seed=0)
        sizes = [len(b[0]) for b in batches.epoch()]
        assert len(sizes) == batches.nb_batches
        assert batch_size == 1 or min(sizes) > 1
        seen = np.concatenate([f.host(b[1]) for b in batches.epoch()])
        assert sorted(seen) == list(range(23))
        assert (seen != np.arange(23)).any()
    assert [len(b[0]) for b in ArrayBatches(f, x, y, 7, drop_last=True, seed=0).epoch()] == [7, 7, 7]


def test_a_nan_without_penalty_leaves_lamda_alone():
    trainer = CLIPTrainer(nets.faulty({2}), lamda=0.08, warmup_epochs=1, seed=0)
    with pytest.warns(RuntimeWarning, match="steps are undone and counted"):
        fit(trainer, nb_epochs=2)
    assert trainer.lamda == 0.08


def test_training_that_stays_nan_ends_with_an_error_and_the_last_finite_model():
    classifier = nets.faulty(range(30, 10_000))
    trainer = CLIPTrainer(classifier, seed=0)
    with pytest.warns(RuntimeWarning), pytest.raises(FloatingPointError, match="last finite state"):
        fit(trainer, n=200, batch_size=4, nb_epochs=20)
    after = nets.weights(classifier)
    assert all(np.isfinite(w).all() for w in after.values())
    assert not nets.same_weights(after, nets.weights(nets.faulty(())))  # the 20 good steps were kept


def test_exploding_learning_rate_never_leaves_nan_behind():
    regressor = nets.regressor(lr=1e6, clip_values=(0.0, 1.0))
    x = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(FloatingPointError):
            CLIPTrainer(regressor, seed=0).fit(x, x[:, 0] * 100, nb_epochs=200, batch_size=4)
    assert all(np.isfinite(w).all() for w in nets.weights(regressor).values())


def test_a_fit_of_which_nothing_is_left_is_an_error():
    trainer = CLIPTrainer(nets.faulty(range(10_000)), seed=0)
    with pytest.warns(RuntimeWarning), pytest.raises(FloatingPointError, match="every step"):
        fit(trainer, nb_epochs=2)
    assert [r["loss"] for r in trainer.history] == [None, None]


def test_an_interrupted_fit_leaves_the_global_rng_as_found():
    def interrupt(trainer, record):
        raise KeyboardInterrupt

    classifier = nets.classifier("batchnorm")
    state = nets.rng_state()
    with pytest.raises(KeyboardInterrupt):
        CLIPTrainer(classifier, callbacks=[interrupt]).fit(*nets.data("batchnorm"), nb_epochs=2)
    assert nets.rng_state() == state


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
