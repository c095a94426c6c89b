"""Inputs outside clip_values are refused wherever a figure would be made of them, with what to write."""

import numpy as np
import pytest
from art.data_generators import NumpyDataGenerator

import artclip
from artclip import CLIPTrainer, LipschitzPenalty, checks, ranges
from tests.nets import default as default_nets
from tests.nets.common import same_weights

OUTSIDE = r"lies in \[0\.\d+, 254\.\d+\], outside the clip_values 0 to 1; write x / 255 for values of 0 to 255, or give"


def data(nets):
    """Inputs in [0, 1], and the same in [0, 255]."""
    x, y = nets.data(n=40)
    x[0, 0] = 254.5 / 255
    return x, y, x * 255


def test_training_refuses_before_it_changes_anything(nets, tmp_path):
    x, y, wide = data(nets)
    classifier = nets.classifier()
    before = nets.weights(classifier)
    for fit, message in (
        (lambda t: t.fit(wide, y, nb_epochs=1), f"^x {OUTSIDE}"),
        (lambda t: t.fit(x, y, validation_data=(wide, y), nb_epochs=1), f"^validation x {OUTSIDE}"),
        (lambda t: t.fit_generator(NumpyDataGenerator(wide, y, batch_size=40), nb_epochs=1), f"^x {OUTSIDE}"),
    ):
        trainer = CLIPTrainer(classifier, checkpoint=tmp_path, seed=0)
        with pytest.raises(ValueError, match=message):
            fit(trainer)
        assert trainer.history == []
    assert same_weights(before, nets.weights(classifier))
    assert list(tmp_path.iterdir()) == []


def test_a_later_batch_of_a_generator_is_looked_at_too(nets):
    x, y, _ = data(nets)
    generator = NumpyDataGenerator(x, y, batch_size=40)
    trainer = CLIPTrainer(nets.classifier(), seed=0)
    batches = iter([(x, y), (x, y), (x - 1, y)])
    generator.get_batch = lambda: next(batches)
    with pytest.raises(ValueError, match=r"outside the clip_values 0 to 1; .*preprocessing=\(mean, std\)"):
        trainer.fit_generator(generator, nb_epochs=3)


def test_bounds_and_certificates_refuse_too(nets):
    _, y, wide = data(nets)
    classifier = nets.classifier()
    for figure in (
        lambda: artclip.lipschitz_lower_bound(classifier, wide),
        lambda: artclip.lipschitz_bracket(classifier, wide),
        lambda: artclip.certified_radius(classifier, wide),
        lambda: artclip.clever(classifier, wide[0], 2, 2, 0.1),
        lambda: artclip.evaluate(classifier, wide, y, eps=0.1, attacks=["noise"], verbose=False),
        lambda: LipschitzPenalty(classifier.model, wide, clip_values=(0, 1), nb_classes=3),
    ):
        with pytest.raises(ValueError, match="outside the clip_values 0 to 1; write x / 255"):
            figure()
    free = {"domain": "free", "nb_restarts": 1, "max_iter": 2, "seed": 0}
    assert artclip.lipschitz_lower_bound(classifier, wide, **free).value > 0


def test_rounding_is_no_fault_and_each_feature_has_its_range():
    for low, high in ((0.0, 1.0), (0.1, 0.3), (-123.7, 151.1), (1000.1, 1001.1)):
        x = np.array([[low, high]], np.float32)
        ranges.in_range("x", x, (np.float64(low), np.float64(high)))
        with pytest.raises(ValueError, match="x lies in"):
            ranges.in_range("x", x + np.float32([0, 0.01]), (low, high))
    box = np.zeros(2), np.array([1.0, 10.0])
    ranges.in_range("x", np.array([[1.0, 10.0]]), box)
    with pytest.raises(ValueError, match=r"outside the clip_values 0 to \(1 … 10, by feature\)"):
        ranges.in_range("x", np.array([[2.0, 2.0]]), box)


def test_a_mapped_file_is_looked_at_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "_CHUNK", 8)
    seen = []
    inside = ranges._inside
    monkeypatch.setattr(ranges, "_inside", lambda x, *box: seen.append(x.size) or inside(x, *box))
    np.save(tmp_path / "x.npy", np.zeros((10, 4), np.float32))
    ranges.in_range("x", np.load(tmp_path / "x.npy", mmap_mode="r"), (0, 1))
    assert seen == [8] * 5


@pytest.mark.parametrize(
    ("given", "wanted", "write"),
    [
        ((8, 8, 3), (3, 8, 8), r"its channels come last: write np\.moveaxis\(x, -1, 1\)"),
        ((3, 8, 8), (8, 8, 3), r"its channels come first: write np\.moveaxis\(x, 1, -1\)"),
        ((8, 8), (1, 8, 8), r"write x\.reshape\(-1, 1, 8, 8\)"),
        ((64,), (1, 8, 8), r"write x\.reshape\(-1, 1, 8, 8\)"),
        ((1, 8, 8), (64,), r"write x\.reshape\(-1, 64\)"),
        ((63,), (1, 8, 8), r"\(n, 1, 8, 8\)$"),
        ((7, 8), (1, 8, 8), r"\(n, 1, 8, 8\)$"),
    ],
)
def test_a_shape_that_does_not_fit_says_what_to_write(given, wanted, write):
    with pytest.raises(ValueError, match=write):
        checks.inputs(np.zeros((2, *given)), wanted)


@pytest.mark.parametrize(("said", "meant"), [("l2", 2), ("L2", 2), ("linf", np.inf), ("Linf", np.inf), ("l1", 1)])
def test_norms_may_be_said_with_their_letter(said, meant):
    assert checks.norm("norm", said) == meant
    for other in ("l3", "lp", "l", "l 2x"):
        with pytest.raises(ValueError, match=f"norm='{other}' is not a norm known here; use 1, 2 or inf"):
            checks.norm("norm", other)


def test_words_for_labels_say_what_to_write():
    x, y = default_nets.data(n=20)
    with pytest.raises(TypeError, match=r"holds words, as 'a'; write names, y = np\.unique\(y, return_inv"):
        CLIPTrainer(default_nets.classifier()).fit(x, np.full(len(y), "a"), nb_epochs=1)


@pytest.mark.parametrize(
    ("scaling", "message"), [((0, 0), "std of 0"), ((0, np.nan), "std of nan"), ((np.inf, 1), "mean of inf")]
)
def test_a_scaling_that_is_none_is_refused_by_all_before_any_work(nets, scaling, message):
    classifier, (x, y) = nets.classifier(preprocessing=scaling), nets.data()
    before = nets.weights(classifier)
    for call in (
        lambda: CLIPTrainer(classifier),
        lambda: artclip.lipschitz_lower_bound(classifier, x),
        lambda: artclip.lipschitz_upper_bound(classifier),
        lambda: artclip.certified_radius(classifier, x, y),
        lambda: artclip.evaluate(classifier, x, y, eps=0.1, verbose=False),
        lambda: LipschitzPenalty(classifier, x),
    ):
        with pytest.raises(ValueError, match=f"preprocessing has a {message}; give it a finite mean"):
            call()
    assert same_weights(before, nets.weights(classifier))
