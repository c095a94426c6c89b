"""What batches are made of, on every framework: pixels of 8 bits, and augmentation by a seed."""

import random

import numpy as np
import pytest

from artclip import CLIPTrainer, WeightRegularizationTrainer
from artclip.data import RandomCropFlip, Uint8Images
from artclip.frameworks import nets_of
from artclip.trainers.augmented import Augmented
from tests.contract.test_resume import Interruption, control_c
from tests.nets import FRAMEWORKS
from tests.nets.common import same_weights


def images(framework, n=90):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (n, 3, 8, 8), np.uint8), np.arange(n) % 3
    x[:, 0] //= (1 + y[:, None, None]).astype(np.uint8)
    return (x if nets_of(framework).CHANNELS_FIRST else np.ascontiguousarray(np.moveaxis(x, 1, -1))), y


def classifier(framework, x, seed=0):
    return nets_of(framework).make_classifier("cnn", x.shape[1:], 3, seed=seed)


@pytest.mark.parametrize(("nets", "framework"), [(f, f) for f in FRAMEWORKS], indirect=["nets"])
@pytest.mark.parametrize("options", [{}, {"target_accuracy": 0.9}])
def test_pixels_of_8_bits_train_to_the_same_bits_as_floats_and_are_never_whole(nets, framework, options, monkeypatch):
    x, y = images(framework)
    found = []
    for given in (x.astype(np.float32) / 255, Uint8Images(x)):
        if isinstance(given, Uint8Images):
            monkeypatch.delattr(Uint8Images, "__array__")
        trained = classifier(framework, x)
        trainer = CLIPTrainer(trained, seed=0, **options)
        with np.errstate(all="raise"):
            trainer.fit(given, y, validation_data=(given, y), batch_size=16, nb_epochs=2)
        found.append((nets.weights(trained), [r["val_loss"] for r in trainer.history], trainer.deployed_accuracy))
    assert found[0][1:] == found[1][1:]
    assert same_weights(found[0][0], found[1][0])


def seen_by(framework, **options):
    """The batches that a training got from its augmentation."""
    x, y = images(framework)
    crop, batches = RandomCropFlip(2), []

    def augmentation(batch, rng):
        batches.append(crop(batch, rng))
        return batches[-1]

    trained = classifier(framework, x)
    trainer = CLIPTrainer(trained, seed=5)
    trainer.fit(Uint8Images(x), y, batch_size=16, nb_epochs=2, augmentation=augmentation, **options)
    first = nets_of(framework).CHANNELS_FIRST
    return [b if first else np.moveaxis(b, -1, 1) for b in batches[1:]]  # after the first, which is a trial


@pytest.mark.skipif(len(FRAMEWORKS) < 2, reason="needs both frameworks")
def test_both_frameworks_see_the_same_images_and_no_step_those_of_another():
    first, second = (seen_by(framework) for framework in FRAMEWORKS[:2])
    assert len(first) == len(second) == 12
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({b.tobytes() for b in first}) == 12


@pytest.mark.parametrize(("nets", "framework"), [(f, f) for f in FRAMEWORKS], indirect=["nets"])
def test_an_augmented_training_resumes_bit_for_bit(nets, framework, tmp_path, monkeypatch):
    x, y = images(framework)

    def fit(seed, folder, **options):
        trained = classifier(framework, x, seed)
        trainer = WeightRegularizationTrainer(trained, seed=3, checkpoint=folder)
        options = {"augmentation": RandomCropFlip(2), **options}
        trainer.fit(Uint8Images(x), y, batch_size=2, nb_epochs=2, **options)
        return nets.weights(trained)

    expected = fit(0, tmp_path / "whole")
    with monkeypatch.context() as patch:
        Interruption(patch, 70, control_c)
        with pytest.raises(KeyboardInterrupt):
            fit(0, tmp_path / "parts")
    for other in (None, RandomCropFlip(1)):
        with pytest.raises(ValueError, match="augmentation='crop-flip:padding=2,flip=1'"):
            fit(1, tmp_path / "parts", resume=True, augmentation=other)
    assert same_weights(fit(1, tmp_path / "parts", resume=True), expected)
    assert not same_weights(fit(0, tmp_path / "plain", augmentation=None), expected)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda x, rng: x[:, :, :4], "of shape"),
        (lambda x, rng: x * np.nan, "NaN"),
        (lambda x, rng: x + 1, "outside the clip_values"),
        (lambda x, rng: None, "None"),
        ("crop-flip", "augmentation='crop-flip' is a str"),
    ],
)
@pytest.mark.parametrize(("nets", "framework"), [(f, f) for f in FRAMEWORKS], indirect=["nets"])
def test_an_augmentation_that_does_not_fit_is_refused_untouched(nets, framework, bad, message):
    x, y = images(framework)
    trained = classifier(framework, x)
    before = nets.weights(trained)
    with pytest.raises((ValueError, TypeError), match=message):
        CLIPTrainer(trained).fit(Uint8Images(x), y, nb_epochs=1, augmentation=bad)
    assert same_weights(before, nets.weights(trained))


def drawing(batch, rng):
    """Draws from global generators instead of the one that it is given."""
    return (batch * np.random.uniform(0.5, 1) * random.uniform(0.9, 1)).astype(batch.dtype)  # noqa: NPY002


@pytest.mark.parametrize(("nets", "framework"), [(f, f) for f in FRAMEWORKS], indirect=["nets"])
def test_an_augmentation_that_draws_from_global_generators_follows_the_seed_too(nets, framework):
    x, y = images(framework)
    results = []
    for state in (1, 2):
        np.random.seed(state)  # noqa: NPY002
        random.seed(state)
        before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
        trained = classifier(framework, x)
        CLIPTrainer(trained, seed=0).fit(Uint8Images(x), y, batch_size=32, nb_epochs=1, augmentation=drawing)
        assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
        assert random.getstate() == before[1]
        results.append(nets.weights(trained))
    assert same_weights(*results)


def test_functions_of_one_name_are_told_apart():
    first, second, again = (Augmented(lambda b, rng, k=k: b * k) for k in (0.5, 0.9, 0.5))
    assert str(first) == str(again) != str(second)
