"""The worst case: none without an attack, never above what a short look finds, whoever brought the attacks."""

import json

import numpy as np
import pytest
from art.attacks.evasion import CarliniL2Method, FastGradientMethod, ProjectedGradientDescent

from artclip import compare, evaluate
from artclip.evaluation import evaluate as module
from artclip.evaluation import lipschitz_bounds, masking
from tests.nets import default as nets

OPTIONS = {"eps": 0.2, "seed": 0, "verbose": False, "lipschitz": False}


@pytest.fixture(scope="module")
def model():
    classifier, (x, y) = nets.classifier(lr=0.3), nets.data(n=120)
    classifier.fit(x, np.eye(3, dtype=np.float32)[y], batch_size=20, nb_epochs=30)
    return classifier, x[:60], y[:60]


@pytest.fixture(scope="module")
def strong(model):
    return evaluate(*model, attacks=["pgd-margin"], **OPTIONS).robust_accuracy


def test_noise_is_no_attack(model):
    found = evaluate(*model, attacks=["noise"], masking=False, **OPTIONS)
    assert found.robust_accuracy is None
    assert found.columns()["worst case"] is None
    record = json.loads(found.to_json())
    assert record["reported"] is record["robust_accuracy"] is record["survivors"] is None
    assert "no attack within the budget ran" in found.to_markdown()
    assert found.to_markdown().splitlines()[2].endswith("| – |")
    found.plot()
    page = found.to_html()
    assert "No attack within the budget ran" in page
    assert "at most" not in page


def test_a_set_whose_members_failed_is_no_attack(model, monkeypatch):
    from artclip.evaluation.runner import AttackRunner

    monkeypatch.setattr(AttackRunner, "_try", lambda *_: 1 / 0)
    found = evaluate(*model, attacks=["autoattack", "pgd"], **OPTIONS)
    assert all("ZeroDivisionError" in o.error for o in found.outcomes)
    assert found.robust_accuracy is None


def test_what_the_probe_breaks_counts(model, strong):
    weak = evaluate(*model, attacks=["square:max_iter=1"], **OPTIONS)
    alone = weak.accuracy["square:max_iter=1"]
    assert weak.nb_fell_to_probe > 3
    assert weak.robust_accuracy == pytest.approx(alone - weak.nb_fell_to_probe / 60)
    assert weak.robust_accuracy < alone
    assert weak.doubtful
    assert "weaker than the probe" in [w.name for w in weak.warnings]
    assert f"counts {weak.nb_fell_to_probe} samples" in weak.to_markdown()
    assert f"{weak.nb_fell_to_probe} samples fell to these alone" in weak.to_html()
    assert json.loads(weak.to_json())["fell_to_probe"] == weak.nb_fell_to_probe
    blind = evaluate(*model, attacks=["square:max_iter=1"], masking=False, nb_distances=0, **OPTIONS)
    assert blind.robust_accuracy == alone
    good = evaluate(*model, attacks=["pgd-margin"], **OPTIONS)
    assert "weaker than the probe" not in [w.name for w in good.warnings]
    assert good.robust_accuracy == pytest.approx(strong)


def test_a_targeted_attack_is_given_targets(model, strong):
    classifier, x, y = model
    asked = []

    class Watched(ProjectedGradientDescent):
        def generate(self, x, y=None, **kwargs):
            asked.append((len(x), y.argmax(1)))
            return super().generate(x, y, **kwargs)

    own = Watched(classifier, norm=2, eps=0.2, eps_step=0.05, max_iter=20, targeted=True, verbose=False)
    found = evaluate(classifier, x, y, attacks={"mine": own}, masking=False, **OPTIONS)
    (nb, first), (left, second) = asked
    right = classifier.predict(x).argmax(1) == y
    likely = np.argsort(-classifier.predict(x[right]), axis=1)
    assert nb == right.sum()
    assert left == nb - (~found.survivors & right).sum() + (len(second) - found.survivors.sum())
    np.testing.assert_array_equal(first, likely[:, 1])
    assert found.robust_accuracy <= strong + 0.05
    assert "at the likeliest wrong classes" in found.records()[0]["paper"]
    untargeted = ProjectedGradientDescent(classifier, norm=2, eps=0.2, eps_step=0.05, max_iter=20, verbose=False)
    assert (
        abs(
            evaluate(classifier, x, y, attacks={"mine": untargeted}, masking=False, **OPTIONS).robust_accuracy
            - found.robust_accuracy
        )
        < 0.05
    )
    carlini = CarliniL2Method(classifier, targeted=True, max_iter=1, binary_search_steps=1, verbose=False)
    few = evaluate(classifier, x[:5], y[:5], attacks={"cw": carlini}, masking=False, **OPTIONS)
    assert not few.outcomes[0].error


def test_nothing_behind_the_attacks_costs_their_results(model, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the library\ngave up")

    plain = evaluate(*model, attacks=["fgsm"], **OPTIONS)
    monkeypatch.setattr(lipschitz_bounds, "lipschitz_lower_bound", broken)
    monkeypatch.setattr(module, "_examples", broken)
    monkeypatch.setattr(masking, "MASKING_WARNINGS", (broken, *masking.MASKING_WARNINGS))
    broken.__name__ = "sign_that_fails"
    found = evaluate(*model, attacks=["fgsm"], **{**OPTIONS, "lipschitz": True})
    assert found.accuracy == plain.accuracy
    text = found.to_markdown()
    assert "The sign 'sign that fails' could not be looked for: RuntimeError: the library gave up." in text
    assert "Adversarial examples could not be had: RuntimeError: the library gave up." in text
    assert "Nothing is said of the Lipschitz constant, and no certificate by it: RuntimeError" in text
    json.loads(found.to_json())
    monkeypatch.undo()
    monkeypatch.setattr(module, "certified_radii", broken)
    found = evaluate(*model, attacks=["fgsm"], **{**OPTIONS, "lipschitz": True})
    assert found.lipschitz["upper"] is not None
    assert found.certified is None
    assert "Certificates could not be had: RuntimeError: the library gave up." in found.to_markdown()


def test_a_comparison_has_no_worst_case_either():
    found = compare("digits", "mlp", ["standard"], nb_seeds=1, nb_epochs=1, attacks=["noise"], lipschitz=False)
    assert found.rows[0]["worst"]["mean"] is None
    assert " – |" in found.to_markdown()
    with pytest.raises(ValueError, match="'worst' was not run"):
        found.paired("standard", "standard")
    found.to_html(), found.to_json(), found.to_csv()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [[1, 1, 0]] * 60}, "Labels of several classes, or of none, are not supported"),
        ({"y": [[0.9, 0.8, 0.1]] * 60}, "label of sample 0 has 3 classes"),
        ({"y": np.array(["cat", "dog", "emu"] * 40)}, r"holds words, as 'cat'; .* np.unique\(y, return_inverse=True\)"),
        ({"x": np.zeros((60, 6), np.uint8) + 200}, "outside the clip_values 0 to 1; write x / 255"),
    ],
)
def test_what_to_write_instead(model, change, message):
    classifier, x, y = model
    with pytest.raises((ValueError, TypeError), match=message):
        evaluate(classifier, **{"x": x, "y": y, **change}, attacks=["fgsm"], **OPTIONS)


def test_axes_of_one_are_no_other_data(model):
    classifier, x, y = model
    found = evaluate(classifier, x[:, None, :, None], y, attacks=["fgsm"], masking=False, **OPTIONS)
    assert found.accuracy == evaluate(classifier, x, y, attacks=["fgsm"], masking=False, **OPTIONS).accuracy
    assert "x of shape (60, 1, 6, 1) was taken as inputs of shape (6,)." in found.to_markdown()


def test_channels_at_the_other_end_are_named():
    classifier, (x, y) = nets.classifier("cnn"), nets.data("cnn")
    source, target = (1, -1) if x.shape[1] == 2 else (-1, 1)
    with pytest.raises(ValueError, match=rf"its channels come .*: write np.moveaxis\(x, {target}, {source}\)"):
        evaluate(classifier, np.moveaxis(x, source, target), y, **OPTIONS)


def _moving(classifier, step, feature=0):
    attack = FastGradientMethod(classifier, norm=2, eps=0.1)

    def generate(x, y=None):
        x = x.copy()
        x[:, feature] += step
        return x

    attack.generate = generate
    return attack


@pytest.mark.parametrize("scale", [1e-6, 1.0, 255.0])
@pytest.mark.parametrize("norm", [2, np.inf])
def test_examples_outside_a_budget_of_any_unit_do_not_count(norm, scale):
    """The step turns every label, and is eight budgets long."""
    matrix = np.array([[1.0, 0.0], [-1.0, 0.0]]) / scale
    classifier = nets.linear_classifier(matrix, clip_values=(-2 * scale, 2 * scale))
    x = (scale * np.array([[-0.01, 0.3], [-0.02, 0.5]])).astype(np.float32)
    y = classifier.predict(x).argmax(1)
    about = {"eps": 0.01 * scale, "norm": norm, "masking": False, "lipschitz": False, "nb_distances": 0}
    found = evaluate(classifier, x, y, attacks={"mine": _moving(classifier, 0.08 * scale)}, verbose=False, **about)
    assert found.robust_accuracy == 1
    assert found.outcomes[0].violations == {"outside the budget": 2}


def test_a_feature_of_a_small_range_is_held_to_it():
    """The other feature's range is a million times as wide."""
    classifier = nets.linear_classifier(
        np.array([[1.0, 0.0], [-1.0, 0.0]]), clip_values=(np.array([-1.0, 0.0]), np.array([0.5, 1e6]))
    )
    x = np.array([[-0.1, 5.0], [-0.2, 9e5]], np.float32)
    y = classifier.predict(x).argmax(1)
    mine = {"mine": _moving(classifier, 0.9)}
    about = {"masking": False, "lipschitz": False, "nb_distances": 0, "verbose": False}
    found = evaluate(classifier, x, y, eps=1.0, attacks=mine, **about)
    assert found.robust_accuracy == 1
    assert found.outcomes[0].violations == {"outside clip_values": 2}


def test_inputs_that_float32_merges_are_named():
    classifier = nets.linear_classifier(np.array([[1.0, 0.0], [-1.0, 0.0]]), clip_values=None)
    x = np.array([[1.7e9, 0.1], [1.7e9 + 50, 0.2]])
    about = {"masking": False, "lipschitz": False, "nb_distances": 0, "verbose": False, "attacks": "quick"}
    assert "rounded to float32" in evaluate(classifier, x, np.zeros(2, int), eps=1.0, **about).to_markdown()
    assert (
        "rounded to float32"
        not in evaluate(classifier, x - [1.7e9, 0], np.zeros(2, int), eps=1.0, **about).to_markdown()
    )
