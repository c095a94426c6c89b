"""Figures of evaluations and curves: what is drawn is what was found."""

import io
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from artclip.evaluation.attacks import choose
from artclip.evaluation.curves import Curve
from artclip.evaluation.plots import plot_curves, plot_evaluation, plot_examples
from artclip.evaluation.result import Evaluation
from artclip.evaluation.runner import Example, Outcome

N = 20
TRIED = np.ones(N, bool)


def outcome(name, nb_broken, error=""):
    return Outcome(choose([name], 2)[0], TRIED & (not error), np.arange(N) < nb_broken, error=error)


def example(attack, index, shape=(1, 8, 8), step=0.1):
    x = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    adversarial = x.copy()
    adversarial.flat[0] += step
    return Example(attack, index, x, adversarial, 0, np.array([2.0, 0.0, 0.0]), np.array([0.0, 0.0, 3.0]))


def evaluation(**changes):
    fields = {
        "settings": {"norm": "2", "eps": 1.5, "nb_samples": N, "full": False, "outputs": "logits", "nb_probed": 18},
        "outcomes": [
            outcome("noise", 3),
            outcome("pgd", 8),
            outcome("square", 0, "it needs images"),
            outcome("carlini", 11),
            outcome("spatial", 14),
        ],
        "right": np.arange(N) < 18,
        "certified": np.arange(N) >= 15,
        "curve": [(0.0, 1.0), (0.75, 0.8), (1.5, 0.5), (3.0, 0.0)],
        "examples": [example("PGD-100 ×5", 0)],
    }
    return Evaluation(**{**fields, **changes})


def draw(figure):
    """Layout fails, if it does, only now."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return figure


def texts(axes):
    return [t.get_text() for t in axes.texts]


def test_bars_are_as_long_as_the_accuracies():
    ev = evaluation()
    bars, probe = draw(plot_evaluation(ev)).axes
    found = [value for value in ev.columns().values() if value is not None]
    assert [p.get_width() for p in bars.patches] == pytest.approx(found)
    assert [t.get_text() for t in bars.get_yticklabels()] == list(ev.columns())
    said = ["not run" if v is None else f"{v:.1f}" for v in ev.columns().values()]
    assert [t.lstrip("≤≥ ") for t in texts(bars)] == said
    colours = [p.get_facecolor() for p in bars.patches]
    clean, noise, pgd, carlini, spatial, worst, certified = colours
    assert clean == noise
    assert pgd == carlini
    assert len({clean, pgd, spatial, worst, certified}) == 5
    assert probe.lines[0].get_xydata() == pytest.approx(np.array(ev.curve) * [1, 100])
    assert probe.lines[1].get_xdata()[0] == 1.5
    assert "18 samples" in probe.get_title()


def test_a_probe_of_large_budgets_has_them_all_on_its_axis():
    curve = [(0.0, 1.0), *((0.375 * 2**i, 0.9) for i in range(8))]
    probe = draw(plot_evaluation(evaluation(curve=curve))).axes[1]
    assert probe.get_xscale() == "log"
    assert [t.get_text() for t in probe.get_xticklabels()][:3] == ["0.375", "0.75", "1.5"]


def test_without_a_probe_there_are_only_the_bars():
    assert len(draw(plot_evaluation(evaluation(curve=[]))).axes) == 1


def test_examples_are_of_different_samples_and_attacks_within_the_budget_first():
    pgd, carlini, spatial = "PGD-100 ×5", "Carlini-Wagner", "spatial"
    examples = [example(pgd, 0), example(pgd, 1), example(carlini, 1), example(spatial, 5), example(spatial, 0)]
    figure = draw(plot_examples(evaluation(examples=examples)))
    rows = [axes.get_ylabel().split("\n")[0] for axes in figure.axes[::3]]
    assert rows == [pgd, carlini, spatial]  # sample 0, 1 and 5, each once
    assert len(plot_examples(evaluation(examples=examples), nb=1).axes) == 3


def test_an_example_says_what_the_model_says():
    ev = evaluation(class_names=["panda", "cat", "$gibbon$ & a name that has no end"])
    before, difference, after = draw(plot_examples(ev)).axes
    sure = 100 * np.exp(2) / (np.exp(2) + 2)
    assert before.get_title() == f"label: panda\nmodel: panda, {sure:.1f} %"
    assert r"\$gibbon\$" in after.get_title()
    assert before.get_ylabel() == "PGD-100 ×5\nL2 distance 0.1"
    assert difference.get_title() == "difference ×5"  # 0.1 becomes half of the range
    assert difference.images[0].get_array().max() == pytest.approx(0.5, rel=1e-5)
    assert after.images[0].get_array()[0, 0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("kind", "sure"), [("logits", 87.0), ("rectified", 87.0), ("probabilities", 90.0), ("sigmoid", 90.0)]
)
def test_shares_are_taken_as_they_are(kind, sure):
    after = [0.05, 0.05, 0.9] if sure == 90 else [0.0, 0.0, np.log(2 * 0.87 / 0.13)]
    ev = evaluation(examples=[replace(example("PGD-100 ×5", 0), after=np.array(after))])
    ev.settings["outputs"] = kind
    assert plot_examples(ev).axes[2].get_title() == f"adversarial\nmodel: 2, {sure:.1f} %"


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8, 1), (3, 8, 8), (8, 8, 3), (64,)])
def test_images_of_every_layout(shape):
    before, difference, _ = draw(plot_examples(evaluation(examples=[example("PGD-100 ×5", 0, shape)]))).axes
    assert before.images[0].get_array().shape[:2] == (8, 8)
    shades = np.asarray(difference.images[0].get_array())
    assert shades.min() >= -0.5
    assert shades.max() <= 1


@pytest.mark.parametrize("shape", [(6,), (1, 20), (50, 2)])
def test_inputs_that_are_no_images(shape):
    before, difference, after = draw(plot_examples(evaluation(examples=[example("PGD-100 ×5", 0, shape)]))).axes
    assert not before.images
    assert difference.lines[0].get_ydata()[0] == pytest.approx(0.1)
    assert len(after.lines) == 2


def test_an_example_that_changed_nothing_can_be_shown():
    assert draw(plot_examples(evaluation(examples=[example("PGD-100 ×5", 0, step=0.0)]))).axes[1].images


def test_without_examples_there_is_nothing_to_show():
    with pytest.raises(ValueError, match="no attack found"):
        plot_examples(evaluation(examples=[]))


def test_several_models_give_as_many_lines():
    shares = {"plain": [0.9, 0.5, 0.1], "a $model$": [0.8, 0.7, 0.6]}
    over_eps = Curve({}, "PGD", "eps, L2", [0.0, 1.0, 2.0], 10, shares)
    noise = Curve({}, "noise", "sigma", [0.0, 0.1, 0.2], 10, shares, {name: [0.0, 0.1, 0.1] for name in shares})
    first, second = draw(plot_curves(over_eps, noise)).axes
    assert [line.get_label() for line in first.lines] == ["plain", r"a \$model\$"]
    assert len(first.lines) == len(second.lines) == 2
    assert [a.get_color() for a in first.lines] == [b.get_color() for b in second.lines]
    assert second.lines[0].get_ydata() == pytest.approx([90, 50, 10])
    assert (len(first.collections), len(second.collections)) == (0, 2)
    low, high = second.collections[0].get_datalim(second.transData).intervaly
    assert (low, high) == pytest.approx((0, 90))
    with pytest.raises(ValueError, match="at least one"):
        plot_curves()
