"""A look before the measurement: what fits is let alone, what does not is named."""

import numpy as np
import pytest

from artclip.evaluation.preflight import preflight
from tests.nets import default as nets


def coloured(n=200, seed=0):
    """Images (n, 3, 4, 4) whose class is their strongest channel."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = rng.uniform(0, 0.6, (n, 3, 4, 4))
    x[np.arange(n), y] += 0.4
    return x.astype(np.float32), y


def channel_means(order=(0, 1, 2), scale=1.0, shift=0.0, **kwargs):
    """A classifier that finds the strongest channel of images scaled as it wants them; confused by other scales."""
    torch = pytest.importorskip("torch")
    from art.estimators.classification import PyTorchClassifier

    class Means(torch.nn.Module):
        def forward(self, x):
            means = ((x - shift) / scale).mean((2, 3))[:, list(order)]
            odd = (means.amax(1, keepdim=True) > 1.2) | (means.amax(1, keepdim=True) < 0.05)
            return torch.where(odd, torch.zeros_like(means), means)

    model = torch.nn.Sequential(Means())
    options = {"clip_values": (0, 1), "device_type": "cpu", **kwargs}
    return PyTorchClassifier(model, torch.nn.CrossEntropyLoss(), (3, 4, 4), 3, **options)


def test_a_model_that_fits():
    found = preflight(channel_means(), *coloured())
    assert found.accuracy == 1
    assert found.bare_accuracy == 1
    assert not found.mistakes
    assert found.nb_classes == 3
    assert found.outputs == "logits"  # that they lie in [0, 1] makes no sigmoid
    assert "clean accuracy  100.0% (200 samples)" in str(found)  # the bare model is the same one


def test_a_net_that_has_learnt_little_is_not_taken_for_one_of_other_pixels():
    """Its biases are wrong: larger inputs outweigh them, but it tells inputs apart as they are."""
    torch = pytest.importorskip("torch")
    from art.estimators.classification import PyTorchClassifier

    x, y = coloured()
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3))
    with torch.no_grad():
        model[2].weight.copy_(torch.eye(3))
        model[2].bias.copy_(torch.tensor([0.0, 0.5, 0.45]))
    classifier = PyTorchClassifier(
        model, torch.nn.CrossEntropyLoss(), (3, 4, 4), 3, clip_values=(0, 1), device_type="cpu"
    )
    found = preflight(classifier, x, y)
    assert found.alternatives["multiplying by 255"] > found.accuracy + 0.15
    assert not [m for m in found.mistakes if "255" in m]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"order": (2, 1, 0)}, "reversing the channels raises the accuracy from .* to 100.0%"),
        ({"scale": 255.0}, r"multiplying by 255 raises the accuracy .* preprocessing=\(0, 1/255\)"),
        ({"scale": 2.0, "shift": -1.0, "order": (0, 1, 2)}, None),
    ],
)
def test_wrong_preprocessing_is_named(model, message):
    found = preflight(channel_means(**model), *coloured())
    if message is None:
        assert not found.mistakes
    else:
        assert found.accuracy < 0.7
        (mistake,) = [m for m in found.mistakes if "raises" in m]
        assert max(map(len, str(found).splitlines())) <= 100
        import re

        assert re.search(message, mistake)


def test_a_model_that_wants_standardised_data_is_told_apart():
    """Each channel by its own mean and std, which are those of no other data."""
    torch = pytest.importorskip("torch")
    from art.estimators.classification import PyTorchClassifier

    x, y = coloured()
    spread, middle = np.array([0.2, 1.0, 0.5]).reshape(3, 1, 1), np.array([0.1, 0.0, 0.4]).reshape(3, 1, 1)
    seen = (spread * x + middle).astype(np.float32)

    class Means(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    classifier = PyTorchClassifier(Means(), torch.nn.CrossEntropyLoss(), (3, 4, 4), 3, device_type="cpu")
    found = preflight(classifier, seen, y)
    assert found.accuracy < 0.8
    (mistake,) = [m for m in found.mistakes if "raises" in m]
    assert "(1 sample)" in str(preflight(classifier, seen[:1], y[:1]))
    assert "the mean and std of the data raises the accuracy" in mistake
    mean = np.round(seen.mean((0, 2, 3), dtype=float), 4).tolist()
    assert f"wrap it with preprocessing=({mean}, " in mistake
    row = preflight(classifier, seen[:, None], y)
    assert row.accuracy == found.accuracy
    assert "was taken as inputs of shape (3, 4, 4)" in str(row)


def test_the_bare_model_is_measured_too():
    x, y = coloured()
    right = channel_means(scale=255.0, preprocessing=(0.0, 1 / 255))
    found = preflight(right, x, y)
    assert found.accuracy == 1
    assert found.bare_accuracy < 0.7
    assert "% without ART's preprocessing (200 samples)" in str(found)
    assert not found.mistakes


def test_near_chance_and_out_of_range():
    classifier, (x, _) = nets.classifier(), nets.data(n=300)
    y = np.random.default_rng(0).integers(0, 3, 300)
    assert any("near chance" in m for m in preflight(classifier, x, y).mistakes)
    assert any("outside clip_values" in m for m in preflight(classifier, 300 * x, y).mistakes)
    assert any("data fill" in m for m in preflight(nets.classifier(clip_values=(0.0, 255.0)), x, y).mistakes)


def test_bad_input():
    classifier, (x, y) = nets.classifier(), nets.data()
    with pytest.raises(ValueError, match="input_shape asks for"):
        preflight(classifier, x[:, :3], y)
    with pytest.raises(ValueError, match="label 9"):
        preflight(classifier, x, np.full(len(x), 9))
