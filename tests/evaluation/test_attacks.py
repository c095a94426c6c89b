"""Attacks: optima of linear models, budgets, names; every attack on every framework."""

import math

import numpy as np
import pytest

from artclip import evaluate, load_data
from artclip.evaluation.attack_classifier import AttackClassifier
from artclip.evaluation.attacks import ATTACKS, SETS, choose
from artclip.evaluation.runner import AttackRunner, distances
from artclip.evaluation.threat_model import ThreatModel
from artclip.frameworks import nets_of
from artclip.norms import dual_norm
from tests.nets import FRAMEWORKS
from tests.nets import default as nets

# Enough to see each work.
SHORT = {
    "pgd": ":max_iter=20,nb_restarts=2",
    "pgd-margin": ":max_iter=20,nb_restarts=2",
    "apgd-ce": ":max_iter=20",
    "apgd-dlr": ":max_iter=20",
    "apgd-t": ":max_iter=10",
    "deepfool": ":max_iter=10",
    "carlini": ":max_iter=10,binary_search_steps=3",
    "square": ":max_iter=100",
    "autoattack-set": ":max_iter=5,square_queries=20",
    "autoattack-art": ":max_iter=5,nb_starts=1,square_queries=20",
    "nes": ":max_iter=5,num_basis=40,sigma=0.05",
    "hopskipjump": ":max_iter=2,max_eval=100",
    "universal": ":max_iter=1",
    "patch": ":max_iter=10,nb_targets=3,scale=0.6",
}
EPS = {1: 4.0, 2: 1.0, math.inf: 0.2}


@pytest.fixture(scope="module", params=FRAMEWORKS)
def trained(request):
    """A small convolutional net of each framework, trained on digits, with samples that it gets right."""
    made = nets_of(request.param)
    (x, y), (x_test, y_test) = load_data("digits", channels_first=made.CHANNELS_FIRST)
    classifier = made.make_classifier("cnn", x.shape[1:], 10, learning_rate=5e-3, seed=0)
    classifier.fit(x, np.eye(10, dtype=np.float32)[y], nb_epochs=4, batch_size=64)
    right = classifier.predict(x_test).argmax(1) == y_test
    return classifier, x_test[right][:40], y_test[right][:40]


def attack_runner(classifier, x, y, norm, eps, seed=0):
    attacked = AttackClassifier(classifier, x[:4], 10, 64)
    return AttackRunner(
        ThreatModel(attacked, norm, eps), lambda a: classifier.predict(a).argmax(1), x, y, seed, nb_examples=100
    )


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in ("exhaustive", "coordinates")])
def test_every_attack_finds_examples_within_its_budget(trained, name):
    classifier, x, y = trained
    attack = ATTACKS[name]
    norm = 2 if 2 in attack.norms or not attack.norms else math.inf
    here = attack_runner(classifier, x, y, norm, EPS[norm])
    outcome = here.attack(choose([name + SHORT.get(name, "")], norm)[0], np.ones(len(x), bool))
    assert not outcome.error
    assert outcome.broken.any()
    assert not outcome.violations
    for i, example in outcome.examples.items():
        logits = classifier.predict(example[None])[0]  # those that look for the nearest end on the boundary itself,
        others = np.delete(logits, y[i]).max()  # where logits are equal but for the rounding of another batch
        assert others >= logits[y[i]] - 1e-5 * np.abs(logits).max()
        assert 0 <= example.min() <= example.max() <= 1
        if attack.norms:
            assert distances(example[None], x[i : i + 1], norm)[0] <= EPS[norm] * (1 + 1e-4) + 1e-5


@pytest.mark.parametrize("norm", [1, math.inf])
def test_attacks_work_in_the_other_norms(trained, norm):
    classifier, x, y = trained
    here, found = attack_runner(classifier, x, y, norm, EPS[norm]), {}
    for name in ("fgsm", "pgd", "pgd-margin", *(("apgd-ce", "square", "carlini") if norm != 1 else ())):
        some = np.arange(len(x)) < (2 if name == "carlini" else len(x))  # ART's goes sample by sample in Linf
        outcome = here.attack(choose([name + SHORT.get(name, "")], norm)[0], some)
        assert not outcome.error
        assert not outcome.violations
        found[name] = outcome.broken.mean()
    assert found["pgd"] >= found["fgsm"]
    assert found["pgd-margin"] > 0.2


@pytest.mark.parametrize("norm", [1, 2, math.inf])
@pytest.mark.parametrize("attack", ["fgsm", "pgd:max_iter=60,nb_restarts=1", "pgd-margin:max_iter=60,nb_restarts=1"])
def test_attacks_reach_the_optimum_of_a_linear_model(norm, attack):
    """For two classes the worst perturbation of logits x·Wᵀ lowers the margin by eps·‖w₀ − w₁‖ in the dual norm."""
    matrix = np.array([[1.0, -2.0, 0.5, 0.1], [0.3, 0.4, -0.5, 0.0]])
    difference = matrix[0] - matrix[1]
    classifier = nets.linear_classifier(matrix, clip_values=(-10.0, 10.0))
    x = np.random.default_rng(0).uniform(-1, 1, (200, 4)).astype(np.float32)
    y = classifier.predict(x).argmax(1)
    eps = 0.3
    reach = eps * np.linalg.norm(difference, dual_norm(norm))
    margins = abs(x @ difference)
    broken = ~evaluate(
        classifier, x, y, norm, eps, [attack], lipschitz=False, masking=False, seed=0, verbose=False
    ).survivors
    assert not broken[margins > reach * (1 + 1e-3)].any()
    assert broken[margins < reach * 0.98].all()
    assert 0 < broken.mean() < 1


def test_sparse_steps_in_l1_fill_the_box():
    """Within [0, 1] one coordinate cannot take the whole budget; the best is to spend it on the steepest ones."""
    weights = np.array([4.0, 3.0, 2.0, 1.0, 0.5])
    classifier = nets.linear_classifier(np.stack([weights, -weights]))
    x = np.full((1, 5), 0.8, np.float32)
    here = AttackRunner(
        ThreatModel(AttackClassifier(classifier, x, 2, 8), 1, 2.0),
        lambda a: np.ones(len(a), int),
        x,
        np.zeros(1, int),
        0,
        nb_examples=1,
    )
    outcome = here.attack(choose(["pgd:max_iter=200,nb_restarts=1"], 1)[0], np.ones(1, bool))
    lowered = float((x[0] - outcome.examples[0]) @ weights)
    best = 4 * 0.8 + 3 * 0.8 + 2 * 0.4
    assert best * 0.95 < lowered <= best * (1 + 1e-4)


def test_a_later_stage_sees_only_what_stands():
    seen = []

    def stage(x, y):
        seen.append(len(x))
        return np.where(np.arange(len(x)).reshape(-1, 1) < len(x) / 2, 1 - x, x)

    classifier = nets.linear_classifier(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    x = np.tile([[0.9, 0.1]], (64, 1)).astype(np.float32)
    here = AttackRunner(
        ThreatModel(AttackClassifier(classifier, x[:2], 2, 64), 2, 5.0),
        lambda a: classifier.predict(a).argmax(1),
        x,
        np.zeros(64, int),
        0,
    )
    one = choose(["pgd"], 2)[0]
    found = here._fresh(one, [stage, stage, stage], np.arange(64), 0)
    assert seen == [64, 32, 16]
    assert found["broken"].sum() == 56


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x: 1 - x, "outside the budget"),
        (lambda x: x * np.nan, "not finite"),
        (lambda x: np.array([[-0.001, 0.0]]) - x * 0, "outside clip_values"),
    ],
)
def test_examples_that_break_the_rules_do_not_count(change, reason):
    classifier = nets.linear_classifier(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    x = np.full((3, 2), [0.001, 0.0], np.float32)
    eps = 5.0 if reason == "outside clip_values" else 0.1
    decide = lambda a: np.where(np.isfinite(a).all(1), classifier.predict(a).argmax(1), 1)  # noqa: E731
    here = AttackRunner(ThreatModel(AttackClassifier(classifier, x, 2, 64), 2, eps), decide, x, np.zeros(3, int), 0)
    one = choose(["pgd"], 2)[0]
    found = here._fresh(one, [lambda x, y: change(x)], np.arange(3), 0)
    assert not found["broken"].any()
    assert dict(zip(("not finite", "outside clip_values", "outside the budget"), found["violations"], strict=True)) == {
        r: 3 * (r == reason) for r in ("not finite", "outside clip_values", "outside the budget")
    }


def test_a_smaller_batch_is_taken_where_memory_ends():
    sizes = []
    classifier, (x, y) = nets.classifier(), nets.data(n=20)
    here = AttackRunner(
        ThreatModel(AttackClassifier(classifier, x[:2], 3, 64), 2, 0.1),
        lambda a: classifier.predict(a).argmax(1),
        x,
        y,
        0,
    )

    def greedy(x, y):
        sizes.append(here.threat.classifier.batch_size)
        if sizes[-1] > 16:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        return x

    found = here._fresh(choose(["pgd"], 2)[0], [greedy], np.arange(20), 0)
    assert sizes == [64, 32, 16]
    assert not found["error"]


def test_global_random_generators_are_left_as_found():
    x, y = nets.data()
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy(), nets.rng_state()  # noqa: NPY002
    runs = [
        evaluate(nets.classifier(), x, y, eps=0.2, attacks="quick", seed=3, lipschitz=False, verbose=False).per_sample
        for _ in range(2)
    ]
    assert all((runs[0][name] == runs[1][name]).all() for name in runs[0])
    assert (before[0] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert before[1] == nets.rng_state()


def test_noise_has_its_standard_deviation_and_range():
    x = np.full((100, 64), 0.5, np.float32)
    attacked = AttackClassifier(nets.linear_classifier(np.eye(2, 64)), x[:2], 2, 64)
    for sigma, spread in ((0.1, 0.1), (5.0, None)):
        (stage,) = choose([f"noise:sigma={sigma}"], 2)[0].stages(ThreatModel(attacked, 2, 1.0))
        noisy = stage(x, np.zeros(100, int))
        assert noisy.min() >= 0
        assert noisy.max() <= 1
        assert spread is None or (noisy - x).std() == pytest.approx(spread, rel=0.02)


def test_names_and_settings():
    chosen = choose(["square", "pgd:max_iter=7", "noise:sigma=0.25"], 2)
    assert [c.name for c in chosen] == ["noise:sigma=0.25", "pgd:max_iter=7", "square"]  # from cheap to dear
    assert chosen[1].options == {"max_iter": 7, "nb_restarts": 5}
    assert [c.title for c in chosen] == ["noise 0.25", "PGD-7 ×5", "Square"]
    for name in SETS:
        assert choose(name, 2)
        assert all(1 in c.attack.norms or not c.attack.norms for c in choose(name, 1))


@pytest.mark.parametrize(
    ("attacks", "norm", "message"),
    [
        (["pgdd"], 2, "attack 'pgdd' is not known; use one of quick, standard, noise"),
        (["pgd:max_iter=3,max_iter=4"], 2, "has the setting 'max_iter' twice"),
        (["pgd:steps=3"], 2, "has the setting 'steps'; known for pgd: max_iter, nb_restarts"),
        (["pgd:max_iter=many"], 2, "max_iter='many' is not an integer"),
        (["pgd:max_iter=0"], 2, "must be a finite number > 0"),
        (["deepfool"], math.inf, "attack 'deepfool' works in L2, not in Linf"),
        ([], 2, "attacks is empty"),
        ({"mine": 3}, 2, "attack 'mine' is a int; expected a name or an ART evasion attack"),
    ],
)
def test_bad_attacks(attacks, norm, message):
    with pytest.raises((ValueError, TypeError), match=message):
        choose(attacks, norm)


def test_autoattack_is_called_what_it_is():
    (one,) = choose(["autoattack:max_iter=5"], 2)
    assert (one.name, one.title) == ("autoattack-set:max_iter=5", "AutoAttack set of ART")
    assert one.attack is ATTACKS["autoattack-set"]
    assert not any(a.title.endswith("AutoAttack") for a in ATTACKS.values())
