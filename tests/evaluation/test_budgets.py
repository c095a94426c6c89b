"""Several eps in one evaluation, and a range of inputs for bare models."""

import numpy as np
import pytest

from artclip import evaluate, lipschitz_lower_bound
from artclip.cli.main import main
from artclip.evaluation.attacks import choose
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.report import rerun
from tests.nets import default

W = np.array([[1.0, 0, 0], [0, 1.0, 0]], np.float32)
PGD = "pgd-margin:max_iter=20,nb_restarts=1"
OPTIONS = {"norm": 2, "seed": 0, "verbose": False, "lipschitz": False}


def points(n=60):
    """Inputs of a linear classifier whose margins, over √2, spread from 0 to 0.7."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.3, 0.7, (n, 3)).astype(np.float32)
    return x, (x @ W.T).argmax(1), np.abs(x[:, 0] - x[:, 1]) / np.sqrt(2)


def test_a_list_of_eps_is_a_curve(nets):
    x, y, far = points()
    classifier = nets.linear_classifier(W)
    budgets = [0.15, 0.05, 0.1]
    found = evaluate(classifier, x, y, eps=budgets, attacks=["noise", PGD], **OPTIONS)
    assert [eps for eps, _ in found.by_eps] == [0, 0.05, 0.1, 0.15]
    for eps, accuracy in found.by_eps:
        assert (far > eps * 1.001).mean() <= accuracy <= (far > 0.95 * eps).mean() + 1e-9
    assert found.settings["eps"] == 0.15
    assert found.by_eps[-1][1] == found.robust_accuracy == found.accuracy[PGD]
    assert (found.survivors <= ~found.fell_below).all()
    (shares,) = found.robustness_curve().accuracy.values()
    assert shares == [a for _, a in found.by_eps] == sorted(shares, reverse=True)
    assert found.to_dict()["by_eps"][1] == {"eps": 0.05, "accuracy": shares[1]}
    assert "Worst case in % by eps: 0: 100.0, 0.05: " in found.to_markdown()
    assert "'eps'" not in rerun(found)
    assert "eps=[0.05, 0.1, 0.15]" in rerun(found)
    assert "Worst case in % by eps" in found.to_html()
    alone = evaluate(classifier, x, y, eps=0.15, attacks=["noise", PGD], **OPTIONS)
    assert alone.below == []
    assert len(alone.by_eps) == 2
    assert alone.robust_accuracy == pytest.approx(found.robust_accuracy, abs=0.02)


def test_a_break_within_a_small_eps_counts_within_the_larger(monkeypatch):
    """An attack that gets lost in a large ball does not lift the curve again."""
    from artclip.evaluation import runner

    x, y, _ = points()
    there = runner.AttackRunner.attack

    def lost(self, chosen, remaining, progress=None):
        return there(self, chosen, remaining & (self.threat.eps < 0.1), progress)

    monkeypatch.setattr(runner.AttackRunner, "attack", lost)
    found = evaluate(
        default.linear_classifier(W), x, y, eps=(0.05, 0.2), attacks=[PGD], masking=False, nb_distances=0, **OPTIONS
    )
    assert found.by_eps[1][1] == found.by_eps[2][1] < 1


@pytest.mark.parametrize(
    ("eps", "attacks", "message"),
    [
        ([], ["pgd"], "eps is empty"),
        ([0.1, 0], ["pgd"], "eps=0 must be"),
        ([0.1, None], ["pgd"], "eps=None must be"),
        ([0.1, 0.2], ["noise"], "asks for attacks within a budget by name"),
    ],
)
def test_bad_lists(eps, attacks, message):
    x, y, _ = points()
    with pytest.raises(ValueError, match=message):
        evaluate(default.linear_classifier(W), x, y, eps=eps, attacks=attacks, **OPTIONS)


def test_a_list_on_the_command_line(monkeypatch, capsys):
    from artclip.cli import options

    x, y, _ = points()
    data = ((x, y), (x, y))
    monkeypatch.setattr(options, "load", lambda arguments: (default.linear_classifier(W), data, []))
    main(["evaluate", "package:net", "--data", "digits", "--eps", "1/20,0.15", "--attacks", PGD, "--no-lipschitz"])
    assert "by eps: 0: 100.0, 0.05: " in capsys.readouterr().out


def test_a_bare_model_keeps_to_the_range_that_is_given(nets):
    """At a corner of the box the only way to the other class leads out of it."""
    bare = nets.linear_classifier(np.array([[1.0, 0, 0], [0, 0, 0]])).model
    x, y = np.full((8, 3), 1e-3, np.float32), np.zeros(8, int)
    attack = {"eps": 0.1, "attacks": [PGD], **OPTIONS}
    assert evaluate(bare, x, y, masking=False, **attack).robust_accuracy == 0
    held = evaluate(bare, x, y, clip_values=(0, 1), masking=False, **attack)
    assert held.robust_accuracy == 1
    assert held.settings["clip_values"] == [0, 1]
    assert "clip_values=(0, 1)" in rerun(held)
    per_entry = (np.zeros(3), np.array([1.0, 2.0, 3.0]))
    assert evaluate(bare, x, y, clip_values=per_entry, masking=False, **attack).robust_accuracy == 1
    with pytest.raises(ValueError, match="outside"):
        evaluate(bare, x - 1, y, clip_values=(0, 1), **attack)
    with pytest.raises(ValueError, match="finite, with low < high"):
        evaluate(bare, x, y, clip_values=(1, 0), **attack)
    with pytest.raises(ValueError, match="an ART estimator has its own"):
        evaluate(nets.linear_classifier(W), x, y, clip_values=(0, 1), **attack)
    found = lipschitz_lower_bound(bare, x, clip_values=(0, 1), nb_restarts=2, max_iter=5, seed=0)
    assert found.domain == "clip_values"
    assert min(found.u.min(), found.v.min()) >= 0
    assert max(found.u.max(), found.v.max()) <= 1


def test_range_is_in_the_key(tmp_path):
    """Figures of one range are not served for another."""
    bare = default.linear_classifier(np.array([[1.0, 0, 0], [0, 0, 0]])).model
    x, y = np.full((8, 3), 1e-3, np.float32), np.zeros(8, int)
    options = {"eps": 0.1, "attacks": [PGD], "cache": tmp_path, "masking": False, **OPTIONS}
    found = [evaluate(bare, x, y, clip_values=c, **options).robust_accuracy for c in ((0, 1), None, (-1, 1), (0, 1))]
    assert found == [1, 0, 0, 1]


def test_quick_looks_for_the_nearest_example():
    assert [c.name.partition(":")[0] for c in choose("quick", 2)] == ["noise", "minimum-norm"]
    assert EvaluatedModel(default.linear_classifier(W), *points()[:2]).clip_values is None
