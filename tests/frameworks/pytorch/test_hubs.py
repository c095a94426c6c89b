"""Models by name: what each library is asked for, and that the answer is the library's own."""

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from artclip import load_model
from artclip.frameworks.pytorch.hubs import _processing, _shape
from artclip.safety import Untrusted

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def net(nb_classes=5):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, nb_classes)).eval()


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
    models.get_model = lambda name, weights, num_classes=5: net(num_classes) if weights in (None, default) else None
    torchvision.models = models

    def create_model(name, pretrained, num_classes=5):
        model = net(num_classes)
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
        with pytest.raises(ImportError, match=r"pip install (timm|torchvision), or .* its extra '\1'"):
            load_model(name)


def test_the_number_of_classes_is_that_of_own_weights(libraries, tmp_path, x):
    other = net(7)
    state = {f"module.{name}": value for name, value in other.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    for name in ("torchvision:small", "timm:small"):
        classifier = load_model(name, tmp_path / "w.pt", nb_classes=7, input_shape=(3, 8, 8))
        np.testing.assert_allclose(classifier.predict(x), other(torch.tensor(x)).detach(), atol=1e-5)
        with pytest.raises(ValueError, match=r"cannot read the weights .*: size mismatch for 1.weight"):
            load_model(name, tmp_path / "w.pt", input_shape=(3, 8, 8))
    with pytest.raises(ValueError, match=r"torchvision:small: nb_classes is 7, but the model gives 5 outputs"):
        load_model("torchvision:small", nb_classes=7)


def test_inputs_must_be_those_that_the_scaling_is_for(libraries, x):
    for name in ("torchvision:small", "timm:small"):
        with pytest.raises(ValueError, match=rf"{name}: its mean and std are for inputs in \[0, 1\]"):
            load_model(name, clip_values=(0, 255))
    check(load_model("timm:small", clip_values=None), net(), x)
    plain = load_model("timm:small", clip_values=(0, 255), preprocessing=None)
    np.testing.assert_allclose(plain.predict(x), net()(torch.tensor(x)).detach(), atol=1e-5)


class TestHuggingFace:
    """Repositories laid out as the hub's cache keeps them: found by name, with no network."""

    @pytest.fixture(autouse=True)
    def transformers(self):
        return pytest.importorskip("transformers")

    @pytest.fixture
    def repository(self, tmp_path, monkeypatch):
        """The folder of files of ``hf:some/net``."""
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        home, commit = tmp_path / "models--some--net", "0" * 40
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text(commit)
        (home / "snapshots" / commit).mkdir(parents=True)
        return home / "snapshots" / commit

    @pytest.fixture
    def model(self, transformers):
        torch.manual_seed(0)
        sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}
        config = transformers.ResNetConfig(**sizes, layer_type="basic", num_labels=5)
        return transformers.ResNetForImageClassification(config).eval()

    def processor(self, folder, **settings):
        settings = {"image_mean": MEAN, "image_std": STD, "size": {"height": 8, "width": 8}, **settings}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))

    def test_a_name_brings_weights_and_scaling(self, repository, model, x):
        model.save_pretrained(repository)
        self.processor(repository)
        classifier = load_model("hf:some/net")
        check(classifier, lambda a: model(a).logits, x)
        y = np.eye(5, dtype=np.float32)[[0, 1, 2, 3]]
        images = torch.tensor(x, requires_grad=True)
        logits = model((images - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor(y)).backward()
        np.testing.assert_allclose(classifier.loss_gradient(x, y), images.grad, atol=1e-6)

    def test_own_weights(self, repository, model, x, tmp_path):
        model.save_pretrained(repository)
        with torch.no_grad():
            model.classifier[1].bias.add_(1)
        torch.save(model.state_dict(), tmp_path / "w.pt")
        classifier = load_model("hf:some/net", tmp_path / "w.pt", input_shape=(3, 8, 8))
        np.testing.assert_allclose(classifier.predict(x), model(torch.tensor(x)).logits.detach(), atol=1e-5)

    def test_without_a_processor_nothing_is_scaled(self, repository, model, x):
        model.save_pretrained(repository)
        with pytest.raises(ValueError, match=r"hf:some/net: .*give input_shape"):
            load_model("hf:some/net")
        classifier = load_model("hf:some/net", input_shape=(3, 8, 8))
        np.testing.assert_allclose(classifier.predict(x), model(torch.tensor(x)).logits.detach(), atol=1e-5)

    def test_channels_in_another_order_and_range(self, repository, model, x):
        model.save_pretrained(repository)
        self.processor(repository, do_flip_channel_order=True, do_normalize=False, do_rescale=False)
        classifier = load_model("hf:some/net")
        flipped = torch.tensor(255 * np.ascontiguousarray(x[:, ::-1]))
        np.testing.assert_allclose(classifier.predict(x), model(flipped).logits.detach(), rtol=1e-5, atol=1e-4)

    def test_pickled_weights_are_refused(self, repository, model, tmp_path):
        model.config.save_pretrained(repository)
        torch.save(model.state_dict(), repository / "pytorch_model.bin")
        with pytest.raises(Untrusted, match="hf:some/net has no weights as safetensors, and others are pickled"):
            load_model("hf:some/net", input_shape=(3, 8, 8))
        assert load_model("hf:some/net", input_shape=(3, 8, 8), trust=True).nb_classes == 5

    def test_code_in_a_repository_is_refused(self, repository, model, tmp_path):
        model.save_pretrained(repository)
        config = json.loads((repository / "config.json").read_text())
        config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
        (repository / "config.json").write_text(json.dumps(config))
        (repository / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        with pytest.raises(Untrusted, match="hf:some/net has a model in code of its own"):
            load_model("hf:some/net", input_shape=(3, 8, 8))
        assert not (tmp_path / "ran").exists()

    def test_a_name_that_is_not_there(self, repository):
        with pytest.raises(ValueError, match="cannot get hf:some/other: "):
            load_model("hf:some/other")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"image_mean": MEAN, "image_std": STD}, lambda x: (x - np.array(MEAN)) / np.array(STD)),
        ({"image_mean": MEAN, "image_std": STD, "do_normalize": False}, lambda x: x),
        (
            {"image_mean": MEAN, "image_std": STD, "include_top": True},
            lambda x: (x - np.array(MEAN)) / np.array(STD) ** 2,
        ),
        ({"do_rescale": False}, lambda x: 255 * x),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True}, lambda x: 2 * x - 1),
        (
            {"rescale_factor": 1 / 127.5, "rescale_offset": True, "image_mean": MEAN, "image_std": STD},
            lambda x: (2 * x - 1 - np.array(MEAN)) / np.array(STD),
        ),
    ],
)
def test_what_a_processor_does_to_pixels(settings, expected):
    x = np.random.default_rng(0).uniform(size=(4, 3))
    mean, std = _processing(settings) or (0, 1)
    np.testing.assert_allclose((x - mean) / std, expected(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"size": 8}, (3, 8, 8)),
        ({"size": {"height": 8, "width": 9}}, (3, 8, 9)),
        ({"size": {"shortest_edge": 10}, "crop_size": {"height": 8, "width": 8}}, (3, 8, 8)),
        ({"size": {"shortest_edge": 10}, "crop_size": {"height": 8, "width": 8}, "do_center_crop": False}, (3, 10, 10)),
        ({"size": {"longest_edge": 10}}, None),
        ({}, None),
    ],
)
def test_the_shape_that_a_processor_gives(settings, shape):
    assert _shape(SimpleNamespace(config=SimpleNamespace()), settings) == shape
