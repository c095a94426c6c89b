"""Augmentation and averages of weights in comparisons: the same for all defences, or a refusal by name."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from artclip import compare
from artclip.cli.main import main
from artclip.comparison.art_trainers import EpochTrainer
from artclip.comparison.defences import DEFENCES, parse, register
from artclip.comparison.experiment import Experiment
from artclip.comparison.parallel import Job
from artclip.data import Uint8Images
from artclip.evaluation.result import Evaluation
from artclip.frameworks import nets_of
from artclip.frameworks.replaced import followed, replaced
from tests.images import as_folder, as_tar, encoded, two_parts
from tests.nets import FRAMEWORKS

QUICK = {"nb_epochs": 2, "nb_seeds": 1, "attacks": "noise", "curve_samples": 0, "lipschitz": False, "masking": False}


def images(framework, n=64):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (n, 3, 8, 8), np.uint8), np.arange(n) % 3
    x = x if nets_of(framework).CHANNELS_FIRST else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    return (Uint8Images(x), y), (Uint8Images(x[:20]), y[:20])


def run(framework, defences, **options):
    return compare(images(framework), "cnn", defences, framework=framework, verbose=False, **{**QUICK, **options})


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_defence_sees_augmented_images_and_ends_with_averages(framework):
    seen = []

    def brighter(x, rng):
        seen.append(len(x))
        return np.clip(x + rng.uniform(-0.1, 0.1), 0, 1).astype(np.float32)

    defences = ["standard", "weight", "madry:max_iter=1", "gaussian"]
    found = run(framework, defences, augmentation=brighter, ema_decay=0.5)
    assert [row["error"] for row in found.rows] == [""] * 4
    # Each of the four: 64 images in each of two epochs, and two for each trial.
    assert sum(n for n in seen if n > 2) == 4 * 2 * 64
    assert found.settings["ema_decay"] == 0.5
    assert found.settings["augmentation"].startswith(brighter.__qualname__)
    json.loads(found.to_json())


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("defence", ["standard", "madry:max_iter=1"])
def test_averages_are_of_the_whole_training(framework, defence):
    """With a decay of nearly one, the rule's start decides: (1 + t)/(10 + t)."""
    experiment = Experiment(nb_epochs=2, framework=framework, batch_size=32, learning_rate=0.05)
    data = images(framework)

    def weights(**options):
        trainer = replace(experiment, **options).train(data, "cnn", parse(defence), 0)
        model = trainer.classifier.model
        found = model.get_weights() if framework == "tensorflow" else [p.detach().numpy() for p in model.parameters()]
        return [np.array(w) for w in found]

    plain, averaged, followed = weights(), weights(ema_decay=0.9999), weights(ema_decay=1e-6)
    for a, b in zip(plain, followed, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert max(np.abs(a - b).max() for a, b in zip(plain, averaged, strict=True)) > 1e-3


def test_what_cannot_do_it_is_a_row_that_says_so():
    framework = FRAMEWORKS[0]

    class Own:
        def __init__(self, classifier):
            self.classifier = classifier

    register("own", lambda classifier, plan: Own(classifier))
    try:
        found = run(framework, ["clip@0.9", "own"], ema_decay=0.5)
    finally:
        del DEFENCES["own"]
    assert "ema_decay=0.5 with averages" in found.rows[0]["error"]
    assert "defence 'own' does not average weights" in found.rows[1]["error"]


@pytest.mark.skipif("torch" not in FRAMEWORKS, reason="ART has these trainers for PyTorch")
def test_averages_with_awp_are_of_the_weights_that_are_not_perturbed():
    """Perturbed by half their norm, weights are read after each batch; NumPy averages them."""
    experiment = Experiment(nb_epochs=2, framework="torch", batch_size=32, learning_rate=0.05, ema_decay=0.4)
    data, paths = images("torch"), []
    classifier = experiment.classifier("cnn", data, 0)
    trainer = parse("awp:max_iter=1,gamma=0.5").train(classifier, experiment.plan(0))

    def read():
        paths.append([p.detach().numpy().astype(np.float64) for p in classifier.model.parameters()])

    read()
    with followed(trainer._trainer, "_batch_process", read):
        trainer.fit(*data[0], batch_size=32, nb_epochs=2)
    expected = paths[0]
    for t, now in enumerate(paths[1:]):
        d = min(0.4, (1 + t) / (10 + t))
        expected = [d * a + (1 - d) * b for a, b in zip(expected, now, strict=True)]
    assert len(paths) == 5
    for found, average in zip(classifier.model.parameters(), expected, strict=True):
        np.testing.assert_allclose(found.detach().numpy(), average, atol=1e-5)


@pytest.mark.skipif("torch" not in FRAMEWORKS, reason="ART has these trainers for PyTorch")
def test_a_trainer_of_all_epochs_as_one_sees_each_image_augmented_once_an_epoch():
    data, experiment = images("torch", n=70), Experiment(nb_epochs=3, framework="torch", batch_size=32)
    ((x, y), _), taken = data, []
    x = np.asarray(x)

    def brighter(batch, rng):
        taken.append(batch)
        return np.clip(batch + rng.uniform(0, 0.2), 0, 1).astype(np.float32)

    trainers = []
    for _ in range(2):
        classifier = experiment.classifier("cnn", data, 0)
        trainers.append(parse("fbf:eps=0.01").train(classifier, experiment.plan(0)))
        with seen_by(trainers[-1]._trainer) as batches:
            trainers[-1].fit(x, y, batch_size=32, nb_epochs=3, augmentation=brighter)
        assert [len(b) for b in batches] == 3 * [32, 32, 6]
    first, second = ([p.detach().numpy() for p in t.classifier.model.parameters()] for t in trainers)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    of_epochs = [np.concatenate(taken[i : i + 3]) for i in (0, 3, 6)]
    for epoch in of_epochs:
        assert sorted(map(np.ndarray.tobytes, epoch)) == sorted(map(np.ndarray.tobytes, x))
    assert (of_epochs[0] != of_epochs[1]).any()
    assert not any(np.array_equal(a, b) for a, b in zip(batches, taken[9:], strict=True))


@contextmanager
def seen_by(trainer):
    """The images of each batch that a trainer of ART is given."""
    batches, process = [], trainer._batch_process
    with replaced([trainer], "_batch_process", lambda _: lambda x, *more: batches.append(x) or process(x, *more)):
        yield batches


def test_what_runs_all_epochs_as_one_and_takes_no_generator_is_refused():
    class Own:
        def fit(self, x, y, batch_size, nb_epochs): ...

    experiment = Experiment(framework=FRAMEWORKS[0])
    data = images(FRAMEWORKS[0])
    trainer = EpochTrainer(Own(), experiment.classifier("cnn", data, 0), experiment.plan(0), whole=True)
    with pytest.raises(ValueError, match=r"Own runs all epochs as one, .* compare without augmentation, or give"):
        trainer.fit(*data[0], batch_size=8, nb_epochs=1, augmentation=lambda x, rng: x)


def test_bad_settings_fail_before_any_training():
    framework = FRAMEWORKS[0]
    for options, message in (
        ({"augmentation": "mirror"}, "augmentation='mirror' is not known"),
        ({"ema_decay": 1}, "ema_decay=1"),
    ):
        with pytest.raises(ValueError, match=message):
            run(framework, ["standard"], **options)
    rows = np.random.default_rng(0).uniform(0, 1, (30, 6)).astype(np.float32), np.arange(30) % 3
    with pytest.raises(ValueError, match=r"crop-flip is of images, and inputs of shape \(6,\) are none"):
        compare(
            (rows, rows), "mlp", ["standard"], framework=framework, augmentation="crop-flip", verbose=False, **QUICK
        )


def test_the_key_of_a_cell_holds_both():
    def one(x, rng):
        return x

    def other(x, rng):
        return x + 0

    def key(**options):
        return Job(Experiment(framework=FRAMEWORKS[0], **options), "mlp", "mlp", parse("standard"), 0).key("d", 1)[0]

    given = [{}, {"ema_decay": 0.5}, *({"augmentation": a} for a in ("crop-flip", "crop-flip:padding=1", one, other))]
    keys = {key(**options) for options in given}
    assert "" not in keys
    assert len(keys) == len(given)
    assert key(augmentation="crop-flip") == key(augmentation="crop-flip")


@pytest.mark.parametrize("command", ["train", "compare"])
def test_the_command_line_says_what_was_taken(command, tmp_path, capsys, monkeypatch):
    files = {
        name.replace(".png", ".jpg"): encoded(a, "JPEG") for name, a in two_parts(nb_train=8, nb_test=4)[1].items()
    }
    path = as_tar(tmp_path / "photos.tar.gz", files, "w:gz")
    words = [command, "--data", str(path), "--nb-epochs", "1", "--attacks", "noise", "--json", "--model", "cnn"]
    words += ["--augmentation", "crop-flip:padding=1", "--ema-decay", "0.9", "--framework", FRAMEWORKS[0]]
    words += ["--defences", "standard", "--seeds", "1"] if command == "compare" else ["--defence", "standard"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    line = next(line for line in said.err.splitlines() if line.startswith("artclip: data: "))
    assert "JPEG copies in photos.tar.gz" in line
    assert "16 training and 8 test inputs" in line
    assert "2 classes: cat, dog" in line
    settings = json.loads(said.out)["settings"]
    assert settings["data_description"] in line
    assert (settings["augmentation"], settings["ema_decay"]) == ("crop-flip:padding=1,flip=1", 0.9)
    if command == "train":  # the names of the folders are those of the classes
        names = []
        monkeypatch.setattr(Evaluation, "to_html", lambda evaluation, path: names.extend(evaluation.class_names))
        words = [str(tmp_path / "out"), "--data", str(path), "--attacks", "noise", "--no-lipschitz", "--no-masking"]
        assert main(["evaluate", *words, "--html", str(tmp_path / "page.html")]) == 0
        assert "JPEG copies in photos.tar.gz" in capsys.readouterr().err
        assert names == ["cat", "dog"]
    bad = as_folder(tmp_path / "one", {"train/a/0.png": b"", "test/a/0.png": b""})
    assert main([command, "--data", str(bad)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
