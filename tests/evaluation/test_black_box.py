"""Models that give outputs alone: they are attacked all the same, whatever the shape of their inputs."""

import json
import math

import numpy as np
import pytest
from art.estimators.classification import BlackBoxClassifier

from artclip import evaluate
from artclip.evaluation.attacks import choose
from artclip.evaluation.evaluated_model import EvaluatedModel
from artclip.evaluation.runner import AttackRunner

RNG = np.random.default_rng(0)
OPTIONS = {"seed": 0, "verbose": False}


def linear(shape, nb_classes=3, clip_values=(0.0, 1.0), outputs=lambda z: z):
    """A black box around a linear model; what it says of inputs, and how far the nearest other class is in L2."""
    matrix = np.random.default_rng(1).standard_normal((nb_classes, math.prod(shape)))

    def said(x):
        return x.reshape(len(x), -1) @ matrix.T

    box = BlackBoxClassifier(lambda x: outputs(said(x)), shape, nb_classes, clip_values=clip_values)
    x = RNG.uniform(0.3, 0.7, (24, *shape)).astype(np.float32)
    y = said(x).argmax(1)
    lead = said(x)[np.arange(24), y][:, None] - said(x)
    steep = np.linalg.norm(matrix[y][:, None] - matrix, axis=2)
    lead[np.arange(24), y] = np.inf
    return box, x, y, (lead / np.maximum(steep, 1e-9)).min(1)


@pytest.mark.parametrize("clip_values", [(0.0, 1.0), None])
@pytest.mark.parametrize(
    "shape", [(5,), (4, 16), (1, 4, 16), (3, 16, 32), (1, 9, 9), (1, 11, 11), (8, 3, 1), (1, 1, 7), (2, 3, 4, 5)]
)
def test_square_runs_on_inputs_of_any_shape(shape, clip_values):
    """It breaks what lies near, nothing that no attack can reach, and leaves neither ball nor range."""
    box, x, y, radius = linear(shape, clip_values=clip_values)
    eps = float(np.median(radius))
    evaluated = EvaluatedModel(box, x, y)
    for norm, reach in ((2, eps), (np.inf, eps / math.sqrt(x[0].size))):
        attack_runner = evaluated.runner(norm, reach, 0)
        outcome = attack_runner.attack(choose(["square:max_iter=1000"], norm)[0], np.ones(len(x), bool))
        assert not outcome.error
        assert not outcome.violations
        assert not outcome.broken[radius > eps * (1 + 1e-3)].any()
        assert outcome.broken[radius < 0.3 * eps].all()


@pytest.mark.parametrize("attacks", ["quick", "standard"])
@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_a_set_always_attacks(attacks, norm):
    """Five features, outputs alone: a set is then of attacks that need no more, and says which."""
    box, x, y, _ = linear((5,))
    eps = {1: 0.4, 2: 0.3, "inf": 0.15}[norm]
    found = evaluate(box, x, y, norm=norm, eps=eps, attacks=attacks, **OPTIONS)
    assert not any(o.error for o in found.outcomes)
    assert found.robust_accuracy < 0.9
    ran = [o.chosen.title for o in found.outcomes if o.in_budget]
    assert ran == [*["Square"] * (norm != 1), "coordinate search", "NES-PGD"]
    assert all(title in found.to_markdown() for title in ran)
    assert f"of the set '{attacks}' by outputs alone are {', '.join(ran)}" in found.to_markdown()
    (sign,) = [w for w in found.warnings if w.name == "no gradients"]
    assert ", ".join(ran) in sign.finding
    # A search by differences of outputs would have no end.
    assert found.lipschitz == {}
    assert "lipschitz_lower_bound does it" in found.to_markdown()


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_a_search_by_coordinates_is_exact_on_a_tree_of_one_split(norm):
    from art.estimators.classification import SklearnClassifier
    from sklearn.tree import DecisionTreeClassifier

    x = np.random.default_rng(0).uniform(0, 1, (200, 6)).astype(np.float32)
    tree = DecisionTreeClassifier(max_depth=1, random_state=0).fit(x, x[:, 3] > 0.4)
    away = np.abs(x[:, 3] - tree.tree_.threshold[0])
    y, eps = tree.predict(x).astype(int), 0.2
    box = SklearnClassifier(tree, clip_values=(0, 1))
    found = evaluate(box, x, y, norm=norm, eps=eps, attacks=["coordinates"], **OPTIONS)
    clear = np.abs(away - eps) > 1e-4
    np.testing.assert_array_equal(found.survivors[clear], (away > eps)[clear])


def test_a_search_by_coordinates_is_of_few_features():
    box, x, y, _ = linear((65,))
    found = evaluate(box, x, y, eps=0.3, attacks=["coordinates"], **OPTIONS)
    assert "coordinate search was not run: it takes vectors of up to 64 features" in str(found).replace("\n  ", " ")
    assert "coordinate search" not in str(evaluate(box, x[:5], y[:5], eps=0.3, attacks="quick", **OPTIONS))


def test_where_nothing_ran_nothing_is_said():
    box, x, y, _ = linear((5,))
    found = evaluate(box, x, y, eps=0.3, attacks=["pgd", "apgd-ce"], **OPTIONS)
    assert found.robust_accuracy is None
    assert json.loads(found.to_json())["reported"] is None
    (sign,) = found.warnings
    assert sign.name == "no gradients"
    assert sign.finding.endswith("that ran without: none")


def test_labels_alone_are_walked_along():
    """One-hot outputs: margins are flat, so the standard set takes HopSkipJump along."""
    box, x, y, radius = linear((4,), outputs=lambda z: np.eye(3)[z.argmax(1)])
    eps = float(np.median(radius))
    found = evaluate(box, x, y, eps=eps, attacks="standard", **OPTIONS)
    assert [o.chosen.title for o in found.outcomes][-1] == "HopSkipJump"
    assert np.mean(radius > eps) <= found.robust_accuracy <= np.mean(radius > 0.6 * eps)


def test_nes_does_not_depend_on_the_units():
    """The same model and data in other units: sigma is a share of the range."""
    shares = []
    for unit in (1.0, 255.0):
        box, x, y, radius = linear((12,))
        wide = BlackBoxClassifier(lambda a, b=box, u=unit: b.predict(a / u), (12,), 3, clip_values=(0.0, unit))
        eps = unit * float(np.median(radius))
        found = evaluate(wide, unit * x, y, eps=eps, attacks=["nes:max_iter=10"], masking=False, **OPTIONS)
        shares.append(found.robust_accuracy)
    assert abs(shares[0] - shares[1]) < 0.1
    assert shares[0] < 0.7


def test_a_member_that_fails_leaves_the_set():
    """The others keep the column, and the one that failed is named."""
    torch = pytest.importorskip("torch")
    from art.estimators.classification import PyTorchClassifier

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
    classifier = PyTorchClassifier(
        net, torch.nn.CrossEntropyLoss(), (1, 4, 16), 4, clip_values=(0, 1), device_type="cpu"
    )
    x = RNG.uniform(size=(12, 1, 4, 16)).astype(np.float32)
    y = classifier.predict(x).argmax(1)
    evaluated, chosen = EvaluatedModel(classifier, x, y), choose(["autoattack:max_iter=5,square_queries=20"], 2)[0]
    attack_runner = evaluated.runner(2, 0.02, 0)
    stages = chosen.stages(attack_runner.threat)
    assert [stage.member for stage in stages] == ["APGD-CE", *["APGD-T"] * 3, "Square"]

    def fails(*_):
        raise RuntimeError("no luck")

    for stage in stages[1:]:
        object.__setattr__(stage, "stage", fails)
    found = attack_runner._fresh(chosen, stages, np.arange(12), 0)
    assert not found["error"]
    assert dict(found["left_out"]) == {"APGD-T": "RuntimeError: no luck", "Square": "RuntimeError: no luck"}
    object.__setattr__(stages[0], "stage", fails)
    found = attack_runner._fresh(chosen, stages, np.arange(12), 0)
    assert found["error"].startswith("APGD-CE: RuntimeError: no luck; APGD-T")
    assert not len(found["left_out"])
    assert isinstance(attack_runner, AttackRunner)
    both = ["square:max_iter=30", "autoattack:max_iter=5,square_queries=20"]
    whole = evaluate(classifier, x, y, eps=0.3, attacks=both, lipschitz=False, **OPTIONS)
    assert not any(o.error or o.left_out for o in whole.outcomes)


@pytest.mark.parametrize("kind", ["detached", "whole numbers", "rounded"])
def test_models_that_cut_their_gradients_off(kind):
    """No traceback: attacks by outputs run, and a sign says why."""
    torch = pytest.importorskip("torch")
    from art.estimators.classification import PyTorchClassifier

    class Cut(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.last = torch.nn.Linear(6, 3)

        def forward(self, x):
            if kind == "detached":
                return self.last(x).detach()
            return self.last((10 * x).long().float() / 10 if kind == "whole numbers" else torch.round(10 * x) / 10)

    torch.manual_seed(0)
    classifier = PyTorchClassifier(Cut(), torch.nn.CrossEntropyLoss(), (6,), 3, clip_values=(0, 1), device_type="cpu")
    x = RNG.uniform(size=(40, 6)).astype(np.float32)
    y = classifier.predict(x).argmax(1)
    found = evaluate(classifier, x, y, eps=0.3, attacks="quick", **OPTIONS)
    assert {"zero gradients" if kind == "rounded" else "no gradients"} <= {w.name for w in found.warnings}
    assert found.settings["access"] == ("backpropagation" if kind == "rounded" else "none")
    titles = [o.chosen.title for o in found.outcomes if o.in_budget]
    assert {"Square", "NES-PGD"} <= set(titles)
    assert ("minimum norm" in titles) == (kind == "rounded")
    assert found.robust_accuracy < 0.9
