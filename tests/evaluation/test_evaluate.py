"""An evaluation: its figures are those one would get by hand, in one form for people and one for machines."""

import dataclasses
import json
import re
import threading

import numpy as np
import pytest
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
from art.estimators.classification import BlackBoxClassifier

from artclip import certified_radius, evaluate
from artclip.evaluation import runner
from artclip.evaluation.cache import Cache
from artclip.frameworks import global_random
from artclip.hashing.digests import digest
from artclip.reporting.intervals import wilson
from tests.nets import default as nets

QUICK = {"attacks": ["noise", "fgsm", "pgd:max_iter=20,nb_restarts=2"], "eps": 0.15, "seed": 0, "verbose": False}


@pytest.fixture(scope="module")
def model():
    classifier, (x, y) = nets.classifier(lr=0.3), nets.data(n=120)
    nets.set_seed(0)  # ART draws the order of its batches from the framework's generator, or from NumPy's
    with global_random.seeded(0):
        classifier.fit(x, np.eye(3, dtype=np.float32)[y], batch_size=20, nb_epochs=30)
    return classifier, x, y


@pytest.fixture(scope="module")
def found(model):
    return evaluate(*model, **QUICK)


def test_figures_are_shares_of_samples(model, found):
    classifier, x, y = model
    right = classifier.predict(x).argmax(1) == y
    assert found.accuracy["clean"] == pytest.approx(right.mean())
    assert list(found.accuracy) == ["clean", "noise", "fgsm", "pgd:max_iter=20,nb_restarts=2"]
    for name, kept in found.per_sample.items():
        assert kept.shape == (len(x),)
        assert found.accuracy[name] == pytest.approx(kept.mean())
    assert found.robust_accuracy == found.accuracy["pgd:max_iter=20,nb_restarts=2"] <= found.accuracy["fgsm"]
    assert 0 < found.robust_accuracy < found.accuracy["clean"]
    fgsm, pgd = found.outcomes[1:]
    assert (fgsm.tried == right).all()
    assert (pgd.tried == (right & ~fgsm.broken)).all()


def test_clip_values_of_other_units_are_a_likely_mistake():
    x, y = nets.data(n=5)
    words = "data fill .* of a range of 255; give the clip_values of the data"
    wide = nets.classifier(clip_values=(0.0, 255.0))
    options = {"attacks": "fgsm", "lipschitz": False, "masking": False, "verbose": False}
    with pytest.warns(RuntimeWarning, match=f"likely mistake: {words}"):
        found = evaluate(wide, x, y, **options)
    assert re.search(f"! Likely mistake: {words}", " ".join(str(found).split()))
    assert found.to_dict()["mistakes"] == found.mistakes


def test_full_gives_each_attack_its_own_figure(model, found):
    alone = evaluate(*model, **QUICK, full=True)
    assert alone.accuracy["fgsm"] == found.accuracy["fgsm"]
    assert (alone.outcomes[2].tried == alone.right).all()
    assert alone.robust_accuracy <= min(alone.accuracy["fgsm"], alone.accuracy["pgd:max_iter=20,nb_restarts=2"])
    assert "those before it" not in alone.to_markdown()
    assert "those before it" in found.to_markdown()


def test_a_certificate_and_bounds_stand_beside(model, found):
    classifier, x, y = model
    assert found.lipschitz["lower"].value <= found.lipschitz["upper"].value * (1 + 1e-5)
    by_constant = certified_radius(classifier, x, y, found.lipschitz["upper"]) >= 0.15
    local = certified_radius(classifier, x, y, method="local") >= 0.15
    assert found.certified[by_constant].all()
    assert np.mean(found.certified == (by_constant | local)) > 0.99
    assert found.certified_accuracy <= found.robust_accuracy
    (said,) = (line for line in found.notes() if line.startswith("Certified: "))
    assert said.startswith(f"Certified: {100 * by_constant.mean():.1f} % by the Lipschitz constant")
    other = evaluate(*model, **{**QUICK, "eps": 0.05}, norm=np.inf, masking=False)
    assert 0.3 < other.certified_accuracy <= other.robust_accuracy
    assert "Certified: by bounds of the layers in the ball (CROWN, among valid inputs)" in other.remarks
    assert other.lipschitz["upper"].norm == np.inf


def test_an_attack_of_art_is_run_as_it_is(model):
    classifier, x, y = model
    mine = FastGradientMethod(classifier, norm=2, eps=0.15, eps_step=0.15)
    found = evaluate(classifier, x, y, eps=0.15, attacks={"mine": mine, "pgd": "pgd"}, seed=0, verbose=False)
    adversarial = mine.generate(x, np.eye(3, dtype=np.float32)[y])
    by_hand = (classifier.predict(x).argmax(1) == y) & (classifier.predict(adversarial).argmax(1) == y)
    assert found.accuracy["mine"] == pytest.approx(by_hand.mean())
    assert (found.outcomes[1].tried == (found.right & ~found.outcomes[0].broken)).all()


def test_an_attack_that_leaves_its_budget_does_not_count(model):
    classifier, x, y = model
    wide = ProjectedGradientDescent(classifier, norm=2, eps=5.0, eps_step=1.0, max_iter=20, verbose=False)
    found = evaluate(classifier, x, y, eps=0.01, attacks={"wide": wide}, lipschitz=False, seed=0, verbose=False)
    assert found.outcomes[0].violations["outside the budget"] > 100
    assert found.robust_accuracy > 0.9
    assert "examples that do not count" in [w.name for w in found.warnings]


def test_an_attack_that_fails_leaves_the_others(model):
    classifier, x, y = model
    broken = FastGradientMethod(classifier, norm=2, eps=0.15)
    broken.generate = lambda x, y: 1 / 0
    found = evaluate(classifier, x, y, eps=0.15, attacks={"broken": broken, "pgd": "pgd"}, seed=0, verbose=False)
    assert found.records()[0]["error"] == "ZeroDivisionError: division by zero"
    assert "broken" not in found.accuracy
    assert "failed midway" in found.to_markdown()
    assert found.accuracy["pgd"] < found.accuracy["clean"]
    three = evaluate(classifier, x, y, eps=0.1, attacks=["spatial", "fgsm"], seed=0, verbose=False, lipschitz=False)
    assert "spatial was not run: it needs images of 4×4 or more" in three.to_markdown()
    assert three.columns()["spatial"] is None


def test_a_model_without_gradients_is_attacked_through_its_outputs(model):
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    classifier, x, y = model
    box = BlackBoxClassifierNeuralNetwork(
        lambda a: classifier.predict(a.astype(np.float32)), x.shape[1:], 3, clip_values=(0.0, 1.0)
    )
    names = ["pgd", "nes:max_iter=5,num_basis=30,sigma=0.05"]
    found = evaluate(box, x[:40], y[:40], eps=0.15, attacks=names, seed=0, verbose=False, lipschitz=False)
    assert found.records()[0]["error"] == (
        "the model gives no gradients; only black-box attacks apply, as square, nes, hopskipjump"
    )
    assert found.robust_accuracy < found.accuracy["clean"]
    assert [w.name for w in found.warnings] == ["no gradients"]


def test_json_holds_a_robustbench_record_and_all_settings(found, tmp_path):
    text = found.to_json(tmp_path / "e.json")
    record = json.loads((tmp_path / "e.json").read_text())
    assert record == json.loads(text)
    assert record["clean_acc"] == pytest.approx(100 * found.accuracy["clean"])
    assert record["reported"] == pytest.approx(100 * found.robust_accuracy)
    for field in ("name", "dataset", "eps", "threat_model", "autoattack_acc", "architecture", "number_forward_passes"):
        assert field in record
    assert record["autoattack_acc"] is None  # that of the standard AutoAttack, which ART does not have
    assert record["autoattack_set_of_art_acc"] is None
    assert record["intervals"]["worst"] == list(wilson(found.robust_accuracy, 120))
    assert record["intervals"].keys() == {*found.accuracy, "worst", *["certified"] * (found.certified is not None)}
    low, high = (100 * end for end in wilson(found.robust_accuracy, 120))
    assert f"{100 * found.robust_accuracy:.1f} [{low:.1f}, {high:.1f}]" in found.to_markdown(intervals=True)
    assert f"[{low:.1f}" not in found.to_markdown()
    assert f"{low:.1f} – {high:.1f}" in found.to_html()
    assert record["survivors"] == found.survivors.astype(int).tolist()
    assert record["settings"]["seed"] == 0
    assert len(record["settings"]["data_sha256"]) == 64
    assert "adversarial-robustness-toolbox" in record["settings"]["versions"]
    assert record["attacks"][2]["parameters"] == {"max_iter": 20, "nb_restarts": 2}


def test_a_seed_gives_the_same_again(model, found):
    again = evaluate(*model, **QUICK)
    assert all((again.per_sample[name] == found.per_sample[name]).all() for name in found.per_sample)
    drawn = evaluate(*model, **{**QUICK, "seed": None}, lipschitz=False)
    assert drawn.settings["seed"] != evaluate(*model, **{**QUICK, "seed": None}, lipschitz=False).settings["seed"]


class TestCache:
    """Outcomes on disk: resumed, and never those of something else."""

    @pytest.fixture
    def attacked(self, monkeypatch):
        """Names of the attacks that were run, not read."""
        names, fresh = [], runner.AttackRunner._fresh

        def watched(self, c, *rest):
            names.append(c.name)
            return fresh(self, c, *rest)

        monkeypatch.setattr(runner.AttackRunner, "_fresh", watched)
        return names

    def options(self, tmp_path, **changes):
        return {**QUICK, "cache": tmp_path, "lipschitz": False, "masking": False, **changes}

    def test_an_evaluation_is_read_back(self, model, tmp_path, attacked):
        first = evaluate(*model, **self.options(tmp_path))
        assert len(attacked) == 3
        again = evaluate(*model, **self.options(tmp_path))
        assert len(attacked) == 3
        assert again.accuracy == first.accuracy
        assert again.outcomes[1].seconds == first.outcomes[1].seconds
        np.testing.assert_array_equal(again.examples[0].adversarial, first.examples[0].adversarial)

    def test_an_interrupted_one_goes_on(self, model, tmp_path, attacked, monkeypatch):
        fresh = runner.AttackRunner._fresh

        def interrupted(self, c, *rest):
            if c.name.startswith("pgd"):
                raise KeyboardInterrupt
            return fresh(self, c, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(runner.AttackRunner, "_fresh", interrupted)
            with pytest.raises(KeyboardInterrupt):
                evaluate(*model, **self.options(tmp_path))
        del attacked[:]
        evaluate(*model, **self.options(tmp_path))
        assert attacked == ["pgd:max_iter=20,nb_restarts=2"]

    @pytest.mark.parametrize("change", ["weights", "data", "labels", "eps", "seed", "settings"])
    def test_nothing_old_is_served_after_a_change(self, tmp_path, attacked, change):
        classifier, (x, y) = nets.classifier(), nets.data(n=40)
        options = self.options(tmp_path)
        evaluate(classifier, x, y, **options)
        if change == "weights":
            nets.scale_weights(classifier, 1.001)
        elif change == "data":
            x = x.copy()
            x[-1, 0] += 1e-4 if x[-1, 0] < 0.5 else -1e-4
        elif change == "labels":
            y = (y + 1) % 3
        elif change == "eps":
            options["eps"] = 0.16
        elif change == "seed":
            options["seed"] = 1
        else:
            options["attacks"] = ["noise:sigma=0.4", "fgsm", "pgd:max_iter=21,nb_restarts=2"]
        del attacked[:]
        evaluate(classifier, x, y, **options)
        fresh = 2 if change == "settings" else 3  # fgsm has no settings
        assert len(attacked) == fresh

    @pytest.mark.parametrize("change", ["predict function", "clip_values", "preprocessing", "batch size", "attack"])
    def test_nothing_of_another_model_is_served(self, tmp_path, attacked, change, monkeypatch):
        (x, y), weights = nets.data(n=40), np.random.default_rng(0).normal(size=(2, 3))
        options = {**self.options(tmp_path), "attacks": ["noise", "hopskipjump:max_iter=1,max_eval=100"]}

        def made(factor=1.0, **more):
            def predict(z):  # the largest stays the largest: same answers
                return np.eye(3)[(factor * (z.reshape(len(z), -1)[:, :2] @ weights)).argmax(1)]

            return BlackBoxClassifier(predict, x.shape[1:], 3, **{"clip_values": (0, 1), **more})

        y = made().predict(x).argmax(1)
        evaluate(made(), x, y, **options)
        evaluate(made(), x, y, **options)
        assert len(attacked) == 2
        other = made()
        if change == "predict function":
            other = made(2.0)
        elif change == "clip_values":
            other = made(clip_values=(0, 2))
        elif change == "preprocessing":
            other = made(preprocessing=(0.0, 2.0))
        elif change == "attack":
            from artclip.evaluation import attacks

            own = dataclasses.replace(attacks.ATTACKS["hopskipjump"], stages=lambda threat, *, max_iter, max_eval: [])
            monkeypatch.setitem(attacks.ATTACKS, "hopskipjump", own)
        else:
            options["batch_size"] = 16
        evaluate(other, x, y, **options)
        assert len(attacked) == (3 if change == "attack" else 4)

    @pytest.mark.parametrize("kind", ["random", "locked"])
    def test_what_cannot_be_told_apart_is_not_kept(self, tmp_path, attacked, kind):
        (x, y), rng, lock = nets.data(n=20), np.random.default_rng(0), threading.Lock()

        def predict(z):
            with lock:
                return np.eye(3)[rng.integers(0, 3, len(z))]

        if kind == "random":
            predict = np.random.default_rng(0).random
            found = BlackBoxClassifier(lambda z: predict((len(z), 3)), x.shape[1:], 3, clip_values=(0, 1))
        else:
            found = BlackBoxClassifier(predict, x.shape[1:], 3, clip_values=(0, 1))
        options = {**self.options(tmp_path), "attacks": ["noise", "hopskipjump:max_iter=1,max_eval=100"]}
        ev = evaluate(found, x, y, **options)
        assert not list(tmp_path.glob("*.npz"))
        assert any("Nothing was kept in the cache" in note for note in ev.notes())

    def test_a_damaged_file_counts_as_none(self, tmp_path):
        cache = Cache(tmp_path / "new")
        cache.put("a", x=np.arange(3))
        assert cache.get("a")["x"].tolist() == [0, 1, 2]
        (tmp_path / "new" / "a.npz").write_bytes(b"PK\x03\x04 cut off")
        assert cache.get("a") is None
        assert cache.get("b") is None
        (tmp_path / "file").write_text("")
        with pytest.raises(NotADirectoryError, match="is a file; give a folder"):
            Cache(tmp_path / "file")

    def test_a_digest_tells_arrays_apart(self):
        zeros = np.zeros(4, np.float32)
        others = [zeros.reshape(2, 2), zeros.astype(np.float64), zeros[:3], b"", {"a": 1}]
        assert len({digest(a) for a in (zeros, *others)}) == 6
        assert digest(zeros, zeros) != digest(np.zeros(8, np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": 0}, "eps=0 must be"),
        ({"norm": 3}, "norm=3"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"x": np.full((120, 6), 2.0)}, "outside the clip_values"),
        ({"x": np.zeros((120, 5))}, "input_shape asks for"),
        ({"x": np.full((120, 6), np.nan)}, "NaN or infinite"),
        ({"y": np.full(120, 7)}, "label 7"),
        ({"y": np.zeros(3)}, "120 samples, but y has 3 labels"),
        ({"class_names": ["a"]}, "class_names has 1 names for 3 classes"),
    ],
)
def test_bad_input_fails_before_any_attack(model, change, message, monkeypatch):
    monkeypatch.setattr(runner.AttackRunner, "attack", None)
    classifier, x, y = model
    arguments = {"x": x, "y": y, **QUICK, **change}
    with pytest.raises((ValueError, TypeError), match=message):
        evaluate(classifier, **arguments)


def test_a_regressor_of_one_output_is_refused():
    classifier, (x, y) = nets.linear_regressor(), nets.data()
    with pytest.raises(ValueError, match=r"is a regressor.*output_change"):
        evaluate(classifier, x[:, : classifier.input_shape[0]], y, verbose=False)
