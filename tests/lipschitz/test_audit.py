"""A true claim is never broken, a false one is, and the pair shows it; layers are told apart."""

import itertools
import json

import numpy as np
import pytest

import artclip
from artclip.frameworks import function_of, single_layers_of
from artclip.lipschitz import audit as room
from artclip.lipschitz.audit_result import AuditedLayer
from artclip.lipschitz.estimate import LipschitzEstimate
from tests.nets import FRAMEWORKS

ENOUGH = {"max_seconds": 60.0, "seed": 0}  # for whole searches, after which a verdict ends the audit
SHORT = {"max_seconds": 2.0, "seed": 0}
MATRIX = np.diag([2.0, 1.0, 0.5]) @ np.linalg.qr(np.random.default_rng(0).standard_normal((6, 3)))[0].T
X = np.random.default_rng(1).uniform(size=(12, 6)).astype(np.float32)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Searches of layers as short as they can be."""
    monkeypatch.setattr(room, "_LEAST", 0.2)


def quotient(estimator, lower):
    """What ``predict`` shows at the pair, in L2."""
    outputs = np.asarray(estimator.predict(np.stack([lower.u, lower.v])), np.float64)
    return np.linalg.norm(outputs[1] - outputs[0]) / np.linalg.norm((lower.v.astype(np.float64) - lower.u).ravel())


def test_a_true_claim_is_proved_and_a_false_one_broken(nets):
    estimator = nets.linear_classifier(MATRIX)
    true = artclip.audit(estimator, X, 2.0, layers=False, **ENOUGH)
    assert (true.verdict, true.broken) == ("proved", False)
    false = artclip.audit(estimator, X, 1.99, layers=False, **ENOUGH)
    assert (false.verdict, false.broken) == ("broken", True)
    assert false.lower.value == pytest.approx(2.0, rel=1e-5)
    assert quotient(estimator, false.lower) >= 1.99


def test_the_tolerance_is_what_a_claim_may_be_missed_by():
    pair = LipschitzEstimate(2.0, "lower", 2, 2, "free", "a search", 0.1, u=np.zeros(3), v=np.ones(3))
    assert not artclip.Audit(1.99, 0.01, None, pair, None).broken
    assert artclip.Audit(1.99, 0.001, None, pair, None).broken
    assert artclip.Audit(0.0, 0.001, None, pair, None).message().endswith("and 0 was claimed.")


def test_each_layer_has_its_own_figures(nets):
    estimator = nets.classifier("mlp")
    true = [float(np.linalg.norm(m, 2)) for m in nets.matrices(estimator)]
    found = artclip.audit(estimator, X, 100.0, claimed_layers=max(true) * 0.99, **ENOUGH)
    dense = [of for of in found.layers if of.kind in ("Linear", "Dense")]
    for of, norm in zip(dense, true, strict=True):
        assert of.at_least == pytest.approx(norm, rel=1e-3)
        assert norm * (1 - 1e-6) <= of.at_most
    assert [of.name for of in found.broken_layers] == [dense[int(np.argmax(true))].name]
    assert (found.verdict, found.broken) == ("proved", True)
    assert "1 break it" in str(found)


def test_layers_of_a_convolutional_net_are_bracketed(nets):
    x, _ = nets.data("batchnorm", n=8)
    estimator = nets.classifier("batchnorm")
    before = np.asarray(estimator.predict(x))
    found = artclip.audit(estimator, x, 1e-3, **SHORT)
    assert found.verdict == "broken"
    assert len(found.layers) >= 8
    for of in found.layers:
        assert of.at_least is not None, of.why
        assert of.at_least <= of.at_most * (1 + 1e-6)
    assert np.array_equal(np.asarray(estimator.predict(x)), before)


def test_scaling_is_a_layer(nets):
    estimator = nets.classifier("mlp", preprocessing=(0.5, 0.25))
    first, *_ = single_layers_of(function_of(estimator), X)
    assert (first.name, first.constant) == ("preprocessing", 4.0)
    row = AuditedLayer(first.name, first.kind, constant=first.constant)
    assert (row.at_least, row.at_most) == (4.0, 4.0)


@pytest.mark.parametrize("nets", FRAMEWORKS[:1], indirect=True)
def test_without_a_proof_the_search_goes_on(nets, monkeypatch):
    estimator = nets.classifier("mlp")
    seeds = []
    whole = room.lipschitz_lower_bound

    def counted(f, x, *args, **kwargs):
        seeds.append((kwargs["seed"], kwargs["nb_restarts"]))
        return whole(f, x, *args, **{**kwargs, "nb_restarts": 2, "max_iter": 2})

    monkeypatch.setattr(room, "lipschitz_lower_bound", counted)
    monkeypatch.setattr(room, "_bounded", lambda *_: (None, "no rule"))
    found = artclip.audit(estimator, X, 1e6, layers=False, max_seconds=20.0, seed=5)
    assert (found.verdict, found.no_upper) == ("open", "no rule")
    assert seeds == [(5, 64), *((6 + i, 64 << i) for i in range(room._SEARCHES))]
    assert "No upper bound: no rule" in str(found)


def test_a_pair_says_whether_it_is_valid(nets):
    estimator = nets.linear_classifier(MATRIX)
    valid = artclip.audit(estimator, X, 1.0, domain="clip_values", layers=False, **ENOUGH)
    assert valid.valid
    assert (valid.lower.u >= 0).all()
    assert (valid.lower.u <= 1).all()
    assert "both valid inputs" in valid.message()


def test_a_pair_of_valid_inputs_is_shown_first(nets):
    estimator = nets.linear_classifier(MATRIX)
    found = artclip.audit(estimator, X, 1.0, layers=False, **ENOUGH)
    assert (found.domain, found.lower.domain, found.valid) == ("free", "clip_values", True)
    assert "all inputs" in str(found)


@pytest.mark.parametrize("nets", FRAMEWORKS[:1], indirect=True)
def test_what_an_audit_is_written_as(nets, tmp_path):
    found = artclip.audit(nets.linear_classifier(MATRIX), X, 1.0, **ENOUGH)
    record = json.loads(found.to_json(tmp_path / "a.json"))
    assert json.loads((tmp_path / "a.json").read_text()) == record
    assert (record["verdict"], record["claimed"], record["broken"]) == ("broken", 1.0, True)
    found.save_pair(tmp_path / "pair.npz")
    with np.load(tmp_path / "pair.npz") as pair:
        assert np.array_equal(pair["u"], found.lower.u)
        assert float(pair["quotient"]) == found.lower.value
    assert repr(found).startswith("<Audit: Lip <= 1 is broken; Lip >= ")
    assert max(map(len, str(found).splitlines())) <= 100


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"claimed": -1.0}, "claimed"),
        ({"claimed": "1"}, "claimed"),
        ({"claimed": float("nan")}, "claimed"),
        ({"claimed_layers": "1"}, "claimed_layers"),
        ({"claimed_layers": 1.0, "layers": False}, "claimed_layers"),
        ({"claimed_layers": 1.0, "norm": np.inf}, "claimed_layers"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"domain": "all"}, "domain"),
        ({"norm": 3}, "norm"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"layers": "no"}, "layers"),
        ({"clip_values": (0, 1)}, "clip_values"),
    ],
)
def test_bad_arguments_are_refused_by_name(nets, options, word):
    with pytest.raises((ValueError, TypeError), match=word):
        artclip.audit(nets.linear_classifier(MATRIX), X, **options)


@pytest.mark.parametrize("nets", FRAMEWORKS[:1], indirect=True)
def test_with_two_norms_there_is_no_constant_of_a_layer(nets):
    found = artclip.audit(nets.linear_classifier(MATRIX), X, 100.0, norm=np.inf, **ENOUGH)
    assert found.layers == []
    assert found.verdict == "proved"


def test_a_model_is_left_as_it_was(nets):
    estimator, (x, _) = nets.classifier("batchnorm"), nets.data("batchnorm", n=8)
    before, state = nets.weights(estimator), nets.rng_state()
    layers = single_layers_of(function_of(estimator), x)
    again = single_layers_of(function_of(estimator), x)
    assert [of.name for of in layers] == [of.name for of in again]
    assert all(np.array_equal(a, b) for a, b in zip(before.values(), nets.weights(estimator).values(), strict=True))
    assert str(state) == str(nets.rng_state())


def test_inputs_of_a_layer_are_outputs_of_the_one_before(nets):
    estimator, (x, _) = nets.classifier("cnn"), nets.data("cnn", n=8)
    layers = single_layers_of(function_of(estimator), x)
    assert np.array_equal(layers[0].inputs.ravel(), x.ravel())
    for first, second in itertools.pairwise(layers):
        outputs = first.f.predict(first.inputs)
        assert np.allclose(outputs, second.inputs.reshape(outputs.shape), atol=1e-6)
    assert np.allclose(layers[-1].f.predict(layers[-1].inputs), estimator.predict(x), atol=1e-5)


def test_a_layer_of_several_tensors_is_said_to_be_one(nets):
    estimator, (x, _) = nets.classifier("branches"), nets.data("branches", n=8)
    found = artclip.audit(estimator, x, 1e-3, **SHORT)
    for of in found.layers:
        assert (of.at_least is None) == bool(of.why)


def test_inputs_that_do_not_fit_are_said_so(nets):
    with pytest.raises(ValueError, match="shape"):
        artclip.audit(nets.classifier("mlp").model, X[:, :5], max_seconds=2.0)


def test_a_torchscript_program_has_no_layers_to_look_at():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    found = artclip.audit(torch.jit.trace(net, torch.zeros(1, 6)), X, 100.0, max_seconds=2.0)
    assert (found.verdict, found.layers) == ("open", [])
    assert "TorchScript" in found.no_upper
