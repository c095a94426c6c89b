"""Model files that would run code, or are broken, are refused, and nothing in them runs."""

import io
import json
import os
import pickle
import zipfile

import pytest

from artclip import load_model
from artclip.safety import MOST_BYTES, Untrusted, _is_arithmetic

torch = pytest.importorskip("torch")
nn = torch.nn


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def marker(tmp_path):
    """A path at which a file appears where code of a model ran; it must not."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()


def exported(path, example=None):
    program = torch.export.export(net(), (torch.zeros(1, 4, 4) if example is None else example,))
    torch.export.save(program, path)
    return path


def rewritten(path, change):
    """The archive with each member as ``change(name, data)`` gives it."""
    with zipfile.ZipFile(path) as file:
        members = [(name, change(name, file.read(name))) for name in file.namelist()]
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def graph_with(path, **strings):
    def change(name, data):
        if not name.endswith("models/model.json"):
            return data
        record = json.loads(data)
        if "target" in strings:
            record["graph_module"]["graph"]["nodes"][0]["target"] = strings["target"]
        if "guard" in strings:
            record["guards_code"] = [strings["guard"]]
        if "expr" in strings:
            sizes = record["graph_module"]["graph"]["tensor_values"]
            next(iter(sizes.values()))["sizes"][0] = {"as_expr": {"expr_str": strings["expr"], "hint": None}}
        return json.dumps(record)

    return rewritten(path, change)


@pytest.mark.parametrize("kind", ["pickle", "zip", "weights", "pt2 member"])
def test_a_pickle_that_runs_code_is_refused(tmp_path, marker, kind):
    path, weights = tmp_path / "model.pt", None
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(marker)))
    else:
        torch.save({"0.weight": Evil(marker)}, path)
    if kind == "weights":
        path, weights = "tests.test_safety:net", path
    if kind == "pt2 member":
        evil = path.read_bytes()
        path = rewritten(
            exported(tmp_path / "model.pt2"), lambda name, data: evil if name.endswith("inputs/model.pt") else data
        )
    with pytest.raises(ValueError, match="may run code of whoever made it" if weights is None else "pickled objects"):
        load_model(path, weights, input_shape=(4, 4))


@pytest.mark.parametrize(
    "change",
    [
        {"target": "torch.hub.load"},
        {"target": "torch.load"},
        {"target": "torch.ops.aten.from_file.default"},
        {"target": "_operator.methodcaller"},
        {"guard": "__import__('os').system('true')"},
        {"expr": "exit()"},
        {"expr": "().__class__.__bases__"},
    ],
)
def test_an_exported_program_calls_tensor_operators_alone(tmp_path, change):
    path = graph_with(exported(tmp_path / "model.pt2"), **change)
    with pytest.raises(ValueError, match=r"which is no tensor operator|more than arithmetic on sizes"):
        load_model(path)


def test_expressions_of_sizes():
    for good in ("s31", "Symbol('s31', positive=True, integer=True)", "2*s0 + 1", "Max(1, s0 // 2)", ""):
        assert _is_arithmetic(good)
    for bad in ("exit()", "s0.__class__", "Symbol('s0'); print", "open('x')", "lambda: 0", "eval('1')"):
        assert not _is_arithmetic(bad)


def test_whole_modules_and_programs_need_trust(tmp_path):
    torch.save(net(), tmp_path / "whole.pt")
    torch.jit.trace(net(), torch.zeros(2, 4, 4)).save(tmp_path / "program.pt")
    x = torch.rand(5, 4, 4)
    for name, what in (("whole", "holds a pickled model"), ("program", "is a TorchScript program")):
        with pytest.raises(ValueError, match=what):
            load_model(tmp_path / f"{name}.pt", input_shape=(4, 4))
        trusted = load_model(tmp_path / f"{name}.pt", input_shape=(4, 4), trust=True)
        torch.testing.assert_close(torch.tensor(trusted.predict(x.numpy())), net()(x).detach())


def test_weights_without_a_model_say_what_to_do(tmp_path):
    torch.save(net().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"give package\.module:factory, and this file as weights"):
        load_model(tmp_path / "weights.pt")


@pytest.mark.parametrize("suffix", [".pt2", ".keras", ".h5", ".pt", ".onnx"])
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(200), b"hello", b"PK\x03\x04" + bytes(40)])
def test_files_of_another_kind_or_cut_off(tmp_path, suffix, content):
    if suffix == ".onnx":
        pytest.importorskip("onnx")
    if suffix in (".keras", ".h5"):
        pytest.importorskip("tensorflow")
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.\w+") as caught:
        load_model(path, input_shape=(4, 4))
    assert "\n" not in str(caught.value)


def test_a_truncated_program(tmp_path):
    whole = exported(tmp_path / "model.pt2").read_bytes()
    (tmp_path / "model.pt2").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"is not a whole \.pt2 file"):
        load_model(tmp_path / "model.pt2")


@pytest.mark.parametrize("suffix", [".pt2", ".keras", ".pt"])
def test_a_zip_bomb_is_not_unpacked(tmp_path, suffix):
    if suffix == ".keras":
        pytest.importorskip("tensorflow")
    path = tmp_path / f"model{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model/models/model.json", bytes(100 << 20))
    with pytest.raises(ValueError, match="zip bomb"):
        load_model(path, input_shape=(4, 4))
    assert MOST_BYTES > 1 << 30


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "model.pt2").mkdir()
    with pytest.raises(ValueError, match="is a folder, not a file"):
        load_model(tmp_path / "model.pt2")


class TestKeras:
    """What a Keras file may ask for."""

    @pytest.fixture(autouse=True)
    def keras(self):
        return pytest.importorskip("keras")

    @pytest.mark.parametrize("suffix", [".keras", ".h5"])
    def test_a_lambda_layer_is_refused(self, tmp_path, marker, suffix, keras):
        run = eval(f"lambda x: __import__('os').system('touch {marker}') or x")
        model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x), keras.layers.Dense(3)])
        model.layers[0].function = run
        model.save(tmp_path / f"model{suffix}")
        with pytest.raises(Untrusted.__base__, match="has a Lambda layer, which holds code"):
            load_model(tmp_path / f"model{suffix}")

    def test_modules_that_are_not_kerass_are_refused(self, tmp_path, keras, marker):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        model.save(tmp_path / "model.keras")

        def change(name, data):
            if name != "config.json":
                return data
            record = json.loads(data)
            record["config"]["layers"][1].update(module="os", class_name="system")
            return json.dumps(record)

        rewritten(tmp_path / "model.keras", change)
        with pytest.raises(ValueError, match=r"asks for os\.system, which is not Keras's"):
            load_model(tmp_path / "model.keras")

    def test_weights_alone(self, tmp_path, keras):
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(tmp_path / "m.weights.h5")
        with pytest.raises(ValueError, match="holds weights without a model"):
            load_model(tmp_path / "m.weights.h5")


def test_what_a_safe_file_holds_is_loaded(tmp_path):
    """The screen lets through what it should: one sample at a time, and any number of them."""
    x = torch.rand(7, 4, 4)
    fixed = load_model(exported(tmp_path / "fixed.pt2"))
    program = torch.export.export(net(), (torch.zeros(2, 4, 4),), dynamic_shapes=({0: torch.export.Dim("n")},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    (tmp_path / "any.pt2").write_bytes(buffer.getvalue())
    for classifier in (fixed, load_model(tmp_path / "any.pt2")):
        assert classifier.input_shape == (4, 4)
        torch.testing.assert_close(torch.tensor(classifier.predict(x.numpy())), net()(x).detach())
