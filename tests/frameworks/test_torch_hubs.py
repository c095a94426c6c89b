"""Models by name: what each library is asked for, and that the answer is the library's own."""

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from artclip import load_model

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5)).eval()


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(0, 1, (4, 3, 8, 8)).astype(np.float32)


def scaled(x):
    return torch.tensor((x - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1)), dtype=torch.float32)


def check(classifier, model, x):
    """The classifier scales raw inputs as the library says."""
    assert classifier.input_shape == (3, 8, 8)
    assert classifier.nb_classes == 5
    np.testing.assert_allclose(classifier.predict(x), model(scaled(x)).detach(), atol=1e-5)


@pytest.fixture
def libraries(monkeypatch):
    """Stand-ins with the interface of torchvision and timm, which may not fit the torch that is installed."""
    torchvision, models, timm = ModuleType("torchvision"), ModuleType("torchvision.models"), ModuleType("timm")
    like = SimpleNamespace(crop_size=[8], mean=MEAN, std=STD)
    default = SimpleNamespace(transforms=lambda: like)
    models.get_model_weights = lambda name: SimpleNamespace(DEFAULT=default)
    models.get_model = lambda name, weights=None: net() if weights in (None, default) else None
    torchvision.models = models

    def create_model(name, pretrained):
        model = net()
        model.pretrained_cfg = {"mean": MEAN, "std": STD, "input_size": (3, 8, 8)}
        return model

    timm.create_model = create_model
    for module in (torchvision, models, timm):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("name", ["torchvision:small", "timm:small"])
def test_a_name_brings_weights_and_scaling(libraries, name, x):
    check(load_model(name), net(), x)


@pytest.mark.parametrize("name", ["torchvision:small", "timm:small"])
def test_own_weights_and_own_scaling_win(libraries, name, x, tmp_path):
    other = net()
    with torch.no_grad():
        other[1].weight.mul_(2)
    torch.save(other.state_dict(), tmp_path / "w.pt")
    classifier = load_model(name, tmp_path / "w.pt", input_shape=(3, 8, 8), preprocessing=(0.0, 2.0))
    np.testing.assert_allclose(classifier.predict(x), other(torch.tensor(x / 2)).detach(), atol=1e-5)


def test_a_library_that_is_missing_is_named(monkeypatch):
    for library, name in (("timm", "timm:resnet18"), ("torchvision.models", "torchvision:resnet18")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ImportError, match=r"pip install 'artclip\[(timm|torchvision)\]'"):
            load_model(name)


def test_hugging_face_from_the_cache(tmp_path, monkeypatch, x):
    """A classifier laid out as the hub's cache keeps it: found by name, with no network."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=5
    )
    torch.manual_seed(0)
    model = transformers.ResNetForImageClassification(config).eval()
    repository, commit = tmp_path / "models--some--net", "0" * 40
    snapshot = repository / "snapshots" / commit
    model.save_pretrained(snapshot)
    processor = {"image_mean": MEAN, "image_std": STD, "size": {"height": 8, "width": 8}, "do_resize": True}
    (snapshot / "preprocessor_config.json").write_text(json.dumps(processor))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    import transformers.utils.hub as hub

    monkeypatch.setattr(hub, "TRANSFORMERS_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check(load_model("hf:some/net"), lambda a: model(a).logits, x)


def onnx_file(path, batch):
    onnx = pytest.importorskip("onnx")
    model = net()
    weight, bias = (p.detach().numpy() for p in model[1].parameters())
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Flatten", ["x"], ["flat"]),
            onnx.helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=1),
        ],
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, 5])],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, path)
    return model


@pytest.mark.parametrize("batch", ["n", 1, 3])
def test_onnx_without_a_converter_is_a_closed_box(tmp_path, monkeypatch, x, batch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    model = onnx_file(tmp_path / "net.onnx", batch)
    with pytest.warns(UserWarning, match="without gradients, so only closed-box attacks apply"):
        classifier = load_model(tmp_path / "net.onnx")
    np.testing.assert_allclose(classifier.predict(x), model(torch.tensor(x)).detach(), atol=1e-5)
    assert classifier.nb_classes == 5


def test_onnx_with_a_converter_has_gradients(tmp_path, monkeypatch, x):
    """onnx2torch is stood in for: it gives a module."""
    converter = ModuleType("onnx2torch")
    converter.convert = lambda graph: net()
    monkeypatch.setitem(sys.modules, "onnx2torch", converter)
    onnx_file(tmp_path / "net.onnx", 3)
    classifier = load_model(tmp_path / "net.onnx")
    np.testing.assert_allclose(classifier.predict(x), net()(torch.tensor(x)).detach(), atol=1e-5)
    assert np.abs(classifier.class_gradient(x, 0)).max() > 0
