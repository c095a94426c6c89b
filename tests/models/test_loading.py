"""Models in: by what they were saved as, with errors that say what to do."""

import json
import sys
from importlib import import_module

import numpy as np
import pytest

from artclip import evaluate, lipschitz_lower_bound, lipschitz_upper_bound, load_model, save
from artclip.cli.main import main
from artclip.frameworks import nets_of
from tests.nets import FRAMEWORKS
from tests.nets.common import smaller

TRAIN = ["train", "--data", "digits", "--nb-epochs", "1", "--attack-samples", "10"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shape_of(framework):
    return (1, 8, 8) if framework == "torch" else (8, 8, 1)


@pytest.mark.parametrize("net", [["cnn", "--activation", "sigmoid"], ["lipresnet"]], ids=["cnn", "lipresnet"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_trained_model_comes_back(here, framework, net, capsys, monkeypatch):
    smaller(monkeypatch)
    assert main([*TRAIN, "--framework", framework, "--model", *net, "-o", "out"]) == 0
    first, again = load_model("out"), load_model(here / "out", framework=framework)
    x = np.random.default_rng(0).uniform(size=(5, *shape_of(framework))).astype(np.float32)
    np.testing.assert_array_equal(first.predict(x), again.predict(x))
    accuracy = np.mean(first.predict(load(framework)[0]).argmax(1) == load(framework)[1])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| clip"))
    shown = float(row.split("|")[2])
    assert accuracy == pytest.approx(shown / 100, abs=6e-4)
    other = "tensorflow" if framework == "torch" else "torch"
    with pytest.raises(ValueError, match="holds a model of"):
        load_model("out", framework=other)


def load(framework):
    from artclip import load_data

    return load_data("digits", channels_first=framework == "torch")[1]


def test_a_factory_of_torch(here):
    torch = pytest.importorskip("torch")
    (here / "mine_torch.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, 4))\n"
        "def wrong():\n    return 7\n"
        "def broken():\n    raise KeyError('no such thing')\n"
    )
    net = torch.nn.Linear(6, 4)
    torch.save({"2.weight": net.weight, "2.bias": net.bias}, "w.pt")
    model = load_model("mine_torch:net", weights="w.pt", input_shape=(2, 3), clip_values=(0, 2), preprocessing=(1, 2))
    x = np.random.default_rng(0).uniform(size=(5, 2, 3)).astype(np.float32)
    expected = net(torch.from_numpy((x.reshape(5, 6) - 1) / 2)).detach().numpy()
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)
    assert (model.nb_classes, model.input_shape) == (4, (2, 3))
    with pytest.raises(ValueError, match="give input_shape"):
        load_model("mine_torch:net")
    with pytest.raises(ValueError, match=r"mine_torch:wrong gives a int; expected a torch.nn.Module or a Keras model"):
        load_model("mine_torch:wrong")
    with pytest.raises(ValueError, match="mine_torch:broken failed: 'no such thing'"):
        load_model("mine_torch:broken")
    with pytest.raises(ValueError, match="module mine_torch has no function 'other'"):
        load_model("mine_torch:other")
    with pytest.raises(FileNotFoundError, match=r"weights other.pt do not exist"):
        load_model("mine_torch:net", weights="other.pt", input_shape=(2, 3))
    torch.save({"weight": net.weight}, "w.pt")
    with pytest.raises(ValueError, match=r"cannot read the weights w.pt: Error\(s\) in loading"):
        load_model("mine_torch:net", weights="w.pt", input_shape=(2, 3))


def test_pickled_code_is_not_run(here):
    torch = pytest.importorskip("torch")
    (here / "mine_again.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(6, 4)\n")
    torch.save(torch.nn.Linear(6, 4), "whole.pt")
    with pytest.raises(ValueError, match=r"whole\.pt holds pickled objects, which may run code"):
        load_model("mine_again:net", weights="whole.pt", input_shape=(6,))


def test_a_pickled_module_whose_class_is_elsewhere_is_said(here, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(here)
    (here / "mine_moved.py").write_text("from torch import nn\nclass Net(nn.Linear): pass\n")
    net = import_module("mine_moved").Net(6, 4)
    torch.save(net, "whole.pt")
    torch.save(net.state_dict(), "w.pt")
    del sys.modules["mine_moved"].Net
    with pytest.raises(ValueError, match=r"whole\.pt holds .* cannot be imported here .* yourfile:Net --weights FILE"):
        load_model("whole.pt", trust=True, input_shape=(6,))


def test_a_file_that_is_not_there_is_said_before_data_are_loaded(capsys):
    for command in ("evaluate", "lipschitz"):
        assert main([command, "no.pt", "--data", "no.npz"]) == 2
        assert capsys.readouterr().err == "artclip: model file no.pt does not exist\n"


def test_torchscript_is_measured_without_a_warning(here, recwarn):
    torch = pytest.importorskip("torch")
    torch.jit.trace(torch.nn.Linear(6, 4), torch.zeros(2, 6)).save("program.pt")
    model = load_model("program.pt", trust=True, input_shape=(6,))
    x = np.random.default_rng(0).uniform(size=(20, 6)).astype(np.float32)
    steepest = np.linalg.norm(next(model.model.parameters()).detach().numpy(), 2)
    assert lipschitz_lower_bound(model, x, seed=0).value == pytest.approx(steepest, rel=1e-3)
    assert not [w for w in recwarn if "leaf" in str(w.message)]
    with pytest.raises(ValueError, match="give the module itself, as mynet:Net --weights FILE"):
        lipschitz_upper_bound(model)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_a_keras_file(here, suffix, activation):
    pytest.importorskip("tensorflow")
    import keras

    model = keras.Sequential([keras.Input((2, 3)), keras.layers.Flatten(), keras.layers.Dense(4, activation)])
    model.save(f"m{suffix}")
    classifier = load_model(f"m{suffix}")
    x = np.random.default_rng(0).uniform(size=(5, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(classifier.predict(x), model(x).numpy(), rtol=1e-6)
    y = np.array([0, 1, 2, 3, 0])
    expected = tape_gradient(model, x, y, activation is None)
    np.testing.assert_allclose(classifier.loss_gradient(x, np.eye(4, dtype=np.float32)[y]), expected, atol=1e-6)
    assert (classifier.nb_classes, classifier.input_shape) == (4, (2, 3))
    assert classifier.loss_object.get_config()["from_logits"] == (activation is None)
    with pytest.raises(ValueError, match="is a model of TensorFlow, not of PyTorch"):
        load_model(f"m{suffix}", framework="torch")
    with pytest.raises(ValueError, match=rf"m{suffix}: nb_classes is 5, but the model gives 4 outputs"):
        load_model(f"m{suffix}", nb_classes=5)
    model.layers[-1].bias.assign([1, 2, 3, 4])
    model.save_weights("w.weights.h5")
    np.testing.assert_allclose(load_model(f"m{suffix}", "w.weights.h5").predict(x), model(x).numpy(), rtol=1e-6)


def test_what_is_no_model_is_said(here):
    (here / "bad").mkdir()
    (here / "bad" / "training.json").write_text(json.dumps({"history": []}))
    for model, error, message in (
        ("nothing", ValueError, r"model 'nothing' is not known; expected a folder .*, FILE.keras"),
        ("no.keras", FileNotFoundError, r"model file no.keras does not exist"),
        ("no/run", FileNotFoundError, r"model no/run does not exist; expected a folder .*, FILE.keras"),
        ("bad", ValueError, r"lacks 'settings': it was not written by artclip train"),
        ("no_such_module:net", ValueError, "no module 'no_such_module' for 'no_such_module:net', neither installed"),
    ):
        with pytest.raises(error, match=message):
            load_model(model)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_command_tells_how_steep_a_model_is(here, framework, capsys):
    pytest.importorskip("matplotlib")
    save(nets_of(framework).make_classifier("mlp", shape_of(framework), 10), "out")
    assert main(["lipschitz", "out", "--data", "digits", "-o", "steep.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    low, high, ratio = (
        float(next(line for line in lines if line.startswith(start)).removeprefix(start).split()[0])
        for start in ("Lip >= ", "Lip <= ", "upper / lower")
    )
    assert low <= high
    assert ratio == pytest.approx(high / low, rel=1e-2)
    assert (here / "steep.png").stat().st_size > 10_000
    assert main(["lipschitz", "out", "--data", "digits", "--norm", "inf", "--json", "--method", "product"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["lower"]["kind"] == "lower"
    assert record["lower"]["norm"] == "inf"
    assert record["upper"]["method"] == "product of layer norms"
    assert record["lower"]["value"] <= record["upper"]["value"]


def test_a_model_without_an_upper_bound_still_has_a_lower_one(here, capsys):
    pytest.importorskip("torch")
    (here / "mine_norm.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Flatten(), nn.LayerNorm(64, eps=0.0), nn.Linear(64, 10))\n"
    )
    words = ["lipschitz", "mine_norm:net", "--data", "digits", "--framework", "torch"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("Lip >= ")
    assert "no upper bound: layer 1 (layer_norm): its eps is 0" in out
    assert main([*words, "--method", "lipsdp"]) == 2
    assert capsys.readouterr().err.startswith("artclip: layer 1 (layer_norm)")
    assert main(["lipschitz", "nothing", "--data", "digits"]) == 2
    assert capsys.readouterr().err.startswith("artclip: model 'nothing' is not known")


def tape_gradient(model, x, y, from_logits):
    import keras
    import tensorflow as tf

    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)(y, model(images))
    return tape.gradient(loss, images)


def test_a_saved_model_only_with_trust(here):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.export("saved", verbose=False)
    with pytest.raises(ValueError, match="is a SavedModel, a program that may read and write files"):
        load_model("saved")
    loaded = load_model("saved", trust=True)
    assert (loaded.input_shape, loaded.nb_classes) == ((4, 4, 1), 3)
    x, y = np.random.default_rng(0).uniform(size=(5, 4, 4, 1)).astype(np.float32), np.array([0, 1, 2, 0, 1])
    np.testing.assert_allclose(loaded.predict(x), model(x), atol=1e-6)
    found = loaded.loss_gradient(x, np.eye(3, dtype=np.float32)[y])
    np.testing.assert_allclose(found, tape_gradient(model, x, y, True), atol=1e-6)
    assert np.abs(found).max() > 1e-3
    found = evaluate(loaded, x, y, eps=0.5, attacks="quick", lipschitz=False, seed=0, verbose=False)
    assert not [r for r in found.records() if r["error"]]


def test_saved_models_of_other_kinds(here):
    tf = pytest.importorskip("tensorflow")

    class Model(tf.Module):
        def __init__(self):
            self.weight = tf.Variable(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32))

        @tf.function
        def __call__(self, x):
            return tf.nn.softmax(x @ self.weight)

    model, x, y = Model(), np.random.default_rng(1).uniform(size=(5, 4)).astype(np.float32), np.array([0, 1, 2, 0, 1])
    for name, module, shape in (("any", model, (None, 4)), ("one", Model(), (1, 4))):
        signature = module.__call__.get_concrete_function(tf.TensorSpec(shape))
        tf.saved_model.save(module, name, signatures=signature)
    loaded = load_model("any", trust=True)
    np.testing.assert_allclose(loaded.predict(x), model(x), atol=1e-6)
    found = loaded.loss_gradient(x, np.eye(3, dtype=np.float32)[y])
    np.testing.assert_allclose(found, tape_gradient(model, x, y, False), atol=1e-6)
    tf.saved_model.save(tf.Module(), "none")
    for name, message in (
        ("one", r"one takes inputs of float32, shape \(1, 4\); .* the first dimension must be None"),
        ("none", r"none has signatures none, .*write it with model\.export\(FOLDER\)"),
    ):
        with pytest.raises(ValueError, match=message):
            load_model(name, trust=True)


def test_safetensors_weights(here):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    (here / "mine_safe.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(6, 4)\n")
    other = torch.nn.Linear(6, 4)
    save_file(other.state_dict(), here / "w.safetensors")
    loaded = load_model("mine_safe:net", "w.safetensors", input_shape=(6,))
    x = torch.rand(3, 6)
    np.testing.assert_array_equal(loaded.predict(x.numpy()), other(x).detach())
    (here / "w.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ValueError, match=r"cannot read the weights w\.safetensors"):
        load_model("mine_safe:net", "w.safetensors", input_shape=(6,))
