"""Keras files: what they may ask for. Layers of code, foreign classes and other files are refused, and nothing runs."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import h5py
import keras

from artclip import load_model
from artclip.safety import ModelFileError, Untrusted, check_hdf5, check_keras
from tests.archives import rewritten


def net():
    return keras.Sequential([keras.Input((4, 4)), keras.layers.Flatten(), keras.layers.Dense(3)])


def configured(path, change):
    """A file whose layers' configuration is changed in place."""

    def changed(text):
        record = json.loads(text)
        change(record["config"]["layers"])
        return json.dumps(record)

    net().save(path)
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = changed(file.attrs["model_config"])
        return path
    return rewritten(path, path, lambda name, data: changed(data) if name == "config.json" else data)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_lambda_layer_is_refused(tmp_path, marker, suffix, inside):
    layer = keras.layers.Lambda(eval(f"lambda x: __import__('os').system('touch {marker}') and x or x"))
    layer.compute_output_shape = lambda shape: shape
    layers = [keras.layers.TimeDistributed(layer) if inside else layer, keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((4, 4)), *layers]) if not inside else keras.Sequential(layers)
    marker.unlink(missing_ok=True)  # building the model ran it
    model.save(tmp_path / f"model{suffix}")
    with pytest.raises(Untrusted, match=r"has a Lambda layer, which holds code; .* trust=True"):
        load_model(tmp_path / f"model{suffix}", input_shape=(4, 4))


def test_a_lambda_layer_of_a_trusted_file_runs(tmp_path):
    model = keras.Sequential([keras.Input((4, 4)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Flatten()])
    model.save(tmp_path / "model.keras")
    x = np.ones((2, 4, 4), np.float32)
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras", trust=True).predict(x), np.full((2, 16), 2))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    "names",
    [
        {"module": "os", "class_name": "system"},
        {"module": "builtins", "class_name": "eval"},
        {"module": "builtins", "class_name": "function", "config": "exec"},
        {"module": "subprocess", "class_name": "Popen"},
        {"module": "keras.utils", "class_name": "get_file"},
        {"module": "keras.utils", "class_name": "function", "config": "get_file"},
        {"module": "keras.models", "class_name": "load_model"},
        {"module": "keras.models", "class_name": "model_from_json"},
        {"module": "keras.layers", "class_name": "function", "config": "deserialize"},
        {"module": "keras.layersevil", "class_name": "Dense"},
        {"module": "keras.src.utils.file_utils", "class_name": "Progbar"},
        {"module": None, "class_name": "__lambda__"},
        {"module": None, "class_name": "__typespec__"},
        {"module": "keras.layers", "class_name": "TFSMLayer"},
        {"module": "keras.layers", "class_name": "TorchModuleWrapper"},
        {"module": "keras.layers", "class_name": "StringLookup"},
        {"module": "mine", "class_name": "Dense", "registered_name": "mine>Unregistered"},
    ],
    ids=lambda names: "-".join(str(value) for value in names.values()),
)
def test_what_is_no_part_of_a_model_is_refused(tmp_path, names, suffix):
    path = configured(tmp_path / f"model{suffix}", lambda layers: layers[-1].update(names))
    with pytest.raises(Untrusted, match=r"asks for .*, which is no part of a Keras model|has a \w+ layer, which"):
        load_model(path)


def test_code_in_an_initializer_is_refused(tmp_path, marker):
    def change(layers):
        code = {"module": "os", "class_name": "system", "config": {"command": f"touch {marker}"}}
        layers[-1]["config"]["kernel_initializer"] = code

    with pytest.raises(Untrusted, match=r"asks for os\.system"):
        load_model(configured(tmp_path / "model.keras", change))


def test_a_class_that_the_user_registered_is_taken(tmp_path):
    @keras.saving.register_keras_serializable("safety")
    class Half(keras.layers.Layer):
        def call(self, x):
            return x / 2

    model = keras.Sequential([keras.Input((4, 4)), Half(), keras.layers.Flatten()])
    model.save(tmp_path / "model.keras")
    x = np.ones((2, 4, 4), np.float32)
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras").predict(x), np.full((2, 16), 0.5))
    with pytest.raises(Untrusted, match=r"asks for tests\.frameworks\.keras\.test_loading\.Half"):
        check_keras(tmp_path / "model.keras")


def test_layers_of_all_kinds_pass(tmp_path):
    layers, inputs = keras.layers, keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, kernel_regularizer="l2", activation="gelu")(layers.Rescaling(1 / 255)(inputs))
    x = keras.ops.relu(layers.BatchNormalization()(x)) + layers.SpectralNormalization(layers.Conv2D(4, 1))(x) * 2
    x = layers.Bidirectional(layers.LSTM(2))(layers.Reshape((36, 4))(x))
    model = keras.Model(inputs, layers.Dense(3, activation=keras.activations.softmax)(x))
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(), ["accuracy"])
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(load_model(tmp_path / "model.keras").predict(x), model(x), atol=1e-6)


def test_weights_alone(tmp_path):
    net().save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ModelFileError, match="holds weights without a model"):
        load_model(tmp_path / "m.weights.h5")


@pytest.mark.parametrize("how", ["link", "dataset"])
def test_weights_from_other_files_are_refused(tmp_path, how):
    (tmp_path / "secret").write_bytes(bytes(64))
    path = tmp_path / "w.weights.h5"
    net().save_weights(path)
    with h5py.File(path, "a") as file:
        if how == "link":
            file["more"] = h5py.ExternalLink(tmp_path / "secret", "/")
        else:
            file.create_dataset("more", (16,), "f4", external=[(tmp_path / "secret", 0, 64)])
    with pytest.raises(ModelFileError, match=r"takes /?more from elsewhere; weights in other files"):
        load_model("tests.frameworks.keras.test_loading:net", path)


def test_weights_that_unpack_to_too_much(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("w", (1 << 30,), "f4", chunks=(1 << 20,))
    with pytest.raises(ModelFileError, match="would unpack to 4,294,967,296 bytes"):
        check_hdf5(Path("w.h5"), io.BytesIO((tmp_path / "w.h5").read_bytes()))


@pytest.mark.parametrize("kind", ["Lambda", "TFSMLayer", "StringLookup"])
def test_a_registered_name_does_not_excuse_a_layer_of_code(tmp_path, kind):
    names = {"module": "keras.layers", "class_name": kind, "registered_name": "mine>Known"}
    path = configured(tmp_path / "model.keras", lambda layers: layers[-1].update(names))
    with pytest.raises(Untrusted, match=f"has a {kind} layer"):
        check_keras(path, lambda name: name == "mine>Known")
