"""Model files that would run code, are broken or are of another kind are refused, and nothing in them runs."""

import json
import os
import pickle
import re
import zipfile
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

from artclip import load_model, safety
from artclip.safety import ModelFileError, Untrusted, archive
from tests.archives import rewritten
from tests.nets import FRAMEWORKS

torch = import_module("torch") if find_spec("torch") else None
needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
NEEDS = {".keras": "tensorflow", ".h5": "tensorflow", ".onnx": "onnxruntime"}  # others need torch


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()


def keras_net():
    import keras

    return keras.Sequential([keras.Input((4, 4)), keras.layers.Flatten(), keras.layers.Dense(3)])


def refused(path, message=r"model\.\w+", weights=None, **kwargs):
    """What is said in one line of a file that is not loaded."""
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path, weights, **{"input_shape": (4, 4), **kwargs})
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Writers of small, whole files, by suffix.
def write_exported(path):
    torch.export.save(torch.export.export(net(), (torch.zeros(2, 4, 4),)), path)


def write_script(path):
    torch.jit.script(net()).save(path)


def write_onnx(path):
    import onnx
    from onnx import helper

    arrays = {"w": np.ones((3, 16), np.float32), "b": np.zeros(3, np.float32)}
    weights = [onnx.numpy_helper.from_array(value, name) for name, value in arrays.items()]
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1)]
    shapes = {"x": ["n", 4, 4], "y": ["n", 3]}
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


WRITERS = {
    ".pt2": write_exported,
    ".pt": write_script,
    ".pth": lambda path: torch.save(net(), path),
    ".keras": lambda path: keras_net().save(path),
    ".h5": lambda path: keras_net().save(path),
    ".onnx": write_onnx,
}


def written(folder, suffix):
    pytest.importorskip(NEEDS.get(suffix, "torch"))
    WRITERS[suffix](folder / f"model{suffix}")
    return folder / f"model{suffix}"


@needs_torch
@pytest.mark.parametrize("kind", ["pickle", "zip", "weights", "inside weights", "pt2 member", "script"])
def test_a_pickle_that_runs_code_is_refused(tmp_path, marker, kind):
    path, weights = tmp_path / "model.pt", None
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(marker), protocol=2))
    else:
        torch.save({"state_dict": {"0.weight": Evil(marker)}} if kind == "inside weights" else Evil(marker), path)
    if "weights" in kind:
        path, weights = "tests.test_safety:net", path
    if kind == "pt2 member":
        evil, path = path.read_bytes(), written(tmp_path, ".pt2")
        rewritten(path, path, lambda name, data: evil if name.endswith("inputs/model.pt") else data)
    if kind == "script":
        write_script(path)
        rewritten(path, path, lambda name, data: pickle.dumps(Evil(marker)) if name.endswith("data.pkl") else data)
    refused(path, r"may run code", weights)


@needs_torch
def test_whole_modules_and_programs_need_trust(tmp_path):
    torch.save(net(), tmp_path / "whole.pt")
    write_script(tmp_path / "program.pt")
    x = np.random.default_rng(0).uniform(size=(5, 4, 4)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]
    images = torch.tensor(x, requires_grad=True)
    torch.nn.functional.cross_entropy(net()(images), torch.tensor(y)).backward()
    for name, what in (("whole", "holds a pickled model"), ("program", "is a TorchScript program")):
        with pytest.raises(Untrusted, match=rf"{name}\.pt {what}.*If you trust them, say trust=True"):
            load_model(tmp_path / f"{name}.pt", input_shape=(4, 4))
        trusted = load_model(tmp_path / f"{name}.pt", input_shape=(4, 4), trust=True)
        np.testing.assert_allclose(trusted.predict(x), net()(images).detach(), atol=1e-6)
        np.testing.assert_allclose(trusted.loss_gradient(x, y), images.grad, atol=1e-6)


@needs_torch
def test_weights_without_a_model_say_what_to_do(tmp_path):
    torch.save(net().state_dict(), tmp_path / "model.pt")
    refused(tmp_path / "model.pt", r"holds weights without a model; give package\.module:factory as the model")
    torch.save([torch.zeros(3)], tmp_path / "model.pt")
    refused(tmp_path / "model.pt", r"holds a list, not a model")
    write_script(tmp_path / "model.pt")
    refused("tests.test_safety:net", r"is a TorchScript program, not weights", tmp_path / "model.pt")


def test_weights_for_a_file_that_has_its_own_are_refused(tmp_path):
    path = written(tmp_path, ".pt2")
    refused(path, r"has weights of its own; weights go with package\.module:factory", path)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("part", [0.5, 0.97])
def test_a_truncated_file(tmp_path, suffix, part):
    path = written(tmp_path, suffix)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    assert "it may be cut off or of another kind: write" in refused(path, trust=True)
    refused(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".weights.h5"])
def test_truncated_weights(tmp_path, suffix):
    pytest.importorskip("tensorflow" if suffix.endswith("h5") else "torch")
    path, factory = tmp_path / f"w{suffix}", "tests.test_safety:net"
    if suffix == ".pt":
        torch.save(net().state_dict(), path)
    elif suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(net().state_dict(), path)
    else:
        factory = "tests.test_safety:keras_net"
        keras_net().save_weights(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(factory, r"w\.\w+", path)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(200), b"hello", b"PK\x03\x04" + bytes(40)])
def test_a_file_of_another_kind(tmp_path, suffix, content):
    pytest.importorskip(NEEDS.get(suffix, "torch"))
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    assert re.search(r"write|fetch", refused(path))


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_folder_is_no_file(tmp_path, suffix):
    (tmp_path / f"model{suffix}").mkdir()
    refused(tmp_path / f"model{suffix}", "is a folder, not a file; give the file itself")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(200)])
def test_a_saved_model_that_is_none(tmp_path, content):
    pytest.importorskip("tensorflow")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(content)
    refused(tmp_path / "saved", "is a SavedModel, a program that may read and write files")
    refused(tmp_path / "saved", r"cannot read the model .*saved", trust=True)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"settings": {', "is not whole"),
        ('{"history": []}', "lacks 'settings'"),
        ('{"settings": {"framework": "torch", "model": "os:abort", "activation": "relu"}', "is not whole"),
        ("[]", "is not whole"),
    ],
)
def test_a_folder_that_artclip_did_not_write(tmp_path, record, message):
    (tmp_path / "training.json").write_text(record)
    refused(tmp_path, rf"{message}.*: it was not written by artclip train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "os:abort"}, "has a net that the function os:abort makes; loading it may run code"),
        ({"framework": "os"}, "artclip has no such net"),
        ({"activation": "exec"}, "artclip has no such net"),
    ],
)
def test_a_folder_with_a_net_that_artclip_does_not_have(tmp_path, change, message):
    settings = {"framework": FRAMEWORKS[0], "model": "mlp", "activation": "relu", **change}
    record = {"settings": settings, "input_shape": [4], "nb_classes": 3}
    (tmp_path / "training.json").write_text(json.dumps(record))
    refused(tmp_path, message)


@pytest.mark.parametrize("suffix", [".pt2", ".keras", ".pt", ".npz"])
def test_a_zip_bomb_is_not_unpacked(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"model{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model/models/model.json", bytes(80 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(ModelFileError, match="zip bomb"):
        archive(path)
    if suffix != ".npz" and find_spec(NEEDS.get(suffix, "torch")):
        refused(path, r"would unpack to 83,886,080 bytes from .*: a zip bomb, or no model; it was not unpacked")
    if suffix == ".pt" and torch is not None:
        refused("tests.test_safety:net", "zip bomb", path)


def test_a_limit_on_all_that_is_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as file:
        file.writestr("weights", bytes(2000))
    archive(tmp_path / "model.pt2").close()
    monkeypatch.setattr(safety, "MOST_BYTES", 1000)
    with pytest.raises(ModelFileError, match="would unpack to 2,000 bytes"):
        archive(tmp_path / "model.pt2")


def test_two_members_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as file:
        file.writestr("config.json", b"{}")
        file.writestr("CONFIG.json", b"[]")
    with pytest.raises(ModelFileError, match="holds two members of one name; it was made to deceive"):
        archive(tmp_path / "model.keras")
