"""What `save` writes, `load_model` gives back, on every framework."""

import json

import numpy as np
import pytest

import artclip
from artclip import CLIPTrainer, load_model, save
from artclip.safety import Untrusted
from tests.nets import NAMES
from tests.nets import default as default_nets
from tests.nets.common import NB_CLASSES, same_weights

BATCHES = (1, 2, 7, 60)


@pytest.mark.parametrize("net", NAMES)
def test_predictions_are_those_of_the_model_that_was_saved(nets, net, tmp_path):
    if net == "hidden-dropout" and not nets.EXPORTS_OWN_LAYERS:
        pytest.skip("a layer of one's own has to be registered with Keras")
    classifier = nets.classifier(net, preprocessing=(0.25, 2.0))
    x, y = nets.data(net)
    CLIPTrainer(classifier, seed=0).fit(x, y, nb_epochs=1)
    assert save(classifier, tmp_path / "m") == tmp_path / "m"
    loaded = load_model(tmp_path / "m")
    for size in BATCHES:
        np.testing.assert_allclose(loaded.predict(x[:size]), classifier.predict(x[:size]), rtol=1e-5, atol=1e-6)
    assert loaded.input_shape == classifier.input_shape
    assert loaded.nb_classes == NB_CLASSES
    assert [float(np.min(v)) for v in loaded.clip_values] == [0.0, 1.0]


def test_weights_of_an_architecture_by_its_function(nets, tmp_path, monkeypatch):
    classifier = nets.classifier("batchnorm")
    x, y = nets.data("batchnorm")
    trainer = CLIPTrainer(classifier, seed=7)
    trainer.fit(x, y, nb_epochs=2)
    save(trainer, tmp_path, architecture=f"{nets.__name__}:bare_batchnorm")
    with pytest.raises(Untrusted, match="trust=True"):
        load_model(tmp_path)
    loaded = load_model(tmp_path, trust=True)
    assert same_weights(nets.weights(loaded), nets.weights(classifier), atol=0)
    np.testing.assert_array_equal(loaded.predict(x), classifier.predict(x))
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["history"] == trainer.history
    assert (record["seed"], record["lamda"]) == (7, trainer.lamda)
    assert record["versions"]["artclip"] == artclip.__version__


def test_clip_values_and_scaling_by_channel_come_back(nets, tmp_path):
    shape = nets.NETS["cnn"][0]
    low, high = np.zeros(shape, np.float32), np.linspace(1, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    classifier = nets.classifier("cnn", clip_values=(low, high))
    save(classifier, tmp_path)
    loaded = load_model(tmp_path)
    np.testing.assert_array_equal(np.broadcast_to(loaded.clip_values[1], shape), high)
    bound = artclip.lipschitz_lower_bound(loaded, nets.data("cnn")[0], seed=0, nb_restarts=4, max_iter=10)
    assert bound.value > 0


def test_what_cannot_be_saved_is_said(nets, tmp_path):
    with pytest.raises(TypeError, match="regressor"):
        save(nets.regressor(), tmp_path)
    with pytest.raises(TypeError, match="expected an ART"):
        save(object(), tmp_path)
    with pytest.raises(ValueError, match=r"architecture='mlp' is not of the form package\.module:factory"):
        save(nets.classifier(), tmp_path, architecture="mlp")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="it is a file; give a folder"):
        save(nets.classifier(), tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../../etc/passwd"}, "is not whole"),
        ({"architecture": "os:abort"}, "the function os:abort makes; loading it may run code"),
        ({"nb_classes": 9}, r"nb_classes is 9, but the model gives 3 outputs"),
        ({"input_shape": None}, "is not whole"),
    ],
)
def test_a_record_that_was_tampered_with_is_refused(change, message, tmp_path):
    save(default_nets.classifier(), tmp_path)
    path = tmp_path / "training.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)
