"""ONNX files: black boxes where nothing converts them, modules with gradients where onnx2torch does."""

import re
import sys
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from art.estimators.classification import BlackBoxClassifierNeuralNetwork
from onnx import TensorProto, helper

from artclip import evaluate, load_model


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5)).eval()


def onnx_file(path, batch="n", dtype=TensorProto.FLOAT, inputs=1, name="", side=8, opset=17):
    """The net as a file; ``inputs`` = 2 adds one that is not used, ``name`` is that of a node."""
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    weights = [
        onnx.numpy_helper.from_array(p.detach().numpy().astype(kind), n)
        for n, p in zip("wb", net().parameters(), strict=True)
    ]
    nodes = [
        helper.make_node("Flatten", ["x0"], ["flat"], name=name),
        helper.make_node("Identity", ["b"], ["bias"]),
        helper.make_node("Gemm", ["flat", "w", "bias"], ["y"], transB=1),
    ]
    ends = [helper.make_tensor_value_info(f"x{i}", dtype, [batch, 3, 8, side]) for i in range(inputs)]
    graph = helper.make_graph(nodes, "net", ends, [helper.make_tensor_value_info("y", dtype, [batch, 5])], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(0, 1, (4, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def alone(monkeypatch):
    """onnx2torch cannot be imported."""
    monkeypatch.setitem(sys.modules, "onnx2torch", None)


@pytest.fixture
def converter(monkeypatch):
    """A stand-in for onnx2torch, which gives the net, and the graphs that it was asked to convert."""
    module = ModuleType("onnx2torch")
    module.asked = []
    module.convert = lambda graph: module.asked.append(graph) or net()
    monkeypatch.setitem(sys.modules, "onnx2torch", module)
    return module


@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_without_a_converter_it_is_a_closed_box(tmp_path, alone, x, batch, dtype):
    with pytest.warns(
        UserWarning, match=r"net\.onnx runs in onnxruntime, .* onnx2torch cannot .*; pip install onnx2torch, or"
    ):
        loaded = load_model(onnx_file(tmp_path / "net.onnx", batch, dtype), preprocessing=(0.5, 0.5))
    assert isinstance(loaded, BlackBoxClassifierNeuralNetwork)
    assert (loaded.input_shape, loaded.nb_classes) == ((3, 8, 8), 5)
    expected = net()(torch.tensor((x - 0.5) / 0.5)).detach()
    np.testing.assert_allclose(loaded.predict(x.astype(np.float64)), expected, atol=1e-5)
    assert loaded.predict(x[:0]).shape[0] == 0


@pytest.mark.filterwarnings("ignore:.*runs in onnxruntime")
def test_a_closed_box_can_be_attacked(tmp_path, alone, x):
    loaded = load_model(onnx_file(tmp_path / "net.onnx"))
    y = loaded.predict(x).argmax(1)
    attacks = ["square:max_iter=5"]
    found = evaluate(loaded, x, y, norm="inf", eps=0.3, attacks=attacks, lipschitz=False, seed=0, verbose=False)
    assert not [r["error"] for r in found.records() if r["error"]]


@pytest.mark.parametrize("batch", ["n", 3])
def test_with_a_converter_it_has_gradients(tmp_path, converter, x, batch):
    loaded = load_model(onnx_file(tmp_path / "net.onnx", batch))
    y = np.eye(5, dtype=np.float32)[[0, 1, 2, 3]]
    images = torch.tensor(x, requires_grad=True)
    torch.nn.functional.cross_entropy(net()(images), torch.tensor(y)).backward()
    np.testing.assert_allclose(loaded.predict(x), net()(images).detach(), atol=1e-5)
    np.testing.assert_allclose(loaded.loss_gradient(x, y), images.grad, atol=1e-6)


def test_a_converter_that_is_wrong_is_not_used(tmp_path, converter, x):
    converter.convert = lambda graph: torch.nn.Sequential(net(), torch.nn.ReLU())
    with pytest.warns(UserWarning, match="its outputs differ from those of onnxruntime"):
        loaded = load_model(onnx_file(tmp_path / "net.onnx"))
    np.testing.assert_allclose(loaded.predict(x), net()(torch.tensor(x)).detach(), atol=1e-5)


@pytest.mark.parametrize("opset", [17, 20])
def test_the_converter_gets_a_plain_graph(tmp_path, converter, opset):
    """It writes names into Python code, knows no new opsets, and wants weights where they are used."""
    load_model(onnx_file(tmp_path / "net.onnx", name='a", 0) or print(1) or getattr(self, "b', opset=opset))
    (model,) = converter.asked
    assert [node.op_type for node in model.graph.node] == ["Flatten", "Gemm"]
    assert all(re.fullmatch(r"node_\d+", node.name) for node in model.graph.node)
    assert list(model.graph.node[1].input)[1:] == ["w", "b"]
    assert model.opset_import[0].version == 17


def test_what_is_no_classifier_of_images_is_said(tmp_path, alone):
    path = tmp_path / "net.onnx"
    with pytest.raises(ValueError, match=r"net\.onnx takes 2 inputs \(x0, x1\); expected one batch of floats"):
        load_model(onnx_file(path, inputs=2))
    with (
        pytest.warns(UserWarning, match="black-box"),
        pytest.raises(ValueError, match=r"net\.onnx does not tell the shape of one input; give input_shape"),
    ):
        load_model(onnx_file(path, side="w"))
    with (
        pytest.warns(UserWarning, match="black-box"),
        pytest.raises(ValueError, match=r"gives outputs of shape \(1, 5\) for 1 input; expected \(1, 7\)"),
    ):
        load_model(onnx_file(path), nb_classes=7)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch, missing):
    path = onnx_file(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        ImportError, match=rf"{missing} cannot be imported .*; pip install {missing}, .* its extra 'onnx'"
    ):
        load_model(path)
