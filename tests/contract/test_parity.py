"""One algorithm: from the same weights, batches and pairs, PyTorch and TensorFlow follow the same trajectory."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorflow")

import keras
from art.estimators.classification import PyTorchClassifier, TensorFlowV2Classifier
from torch import nn

from artclip import CLIPTrainer, lipschitz_lower_bound
from artclip.frameworks import trainable_of
from artclip.frameworks.keras import nets as keras_nets
from artclip.frameworks.pytorch import nets as torch_nets
from artclip.trainers.loop import Epochs
from artclip.trainers.losses import EstimatorLoss

NB_STEPS, BATCH_SIZE, NB_CLASSES = 20, 32, 4
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def mlp():
    net = nn.Sequential(
        *(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 16), nn.Sigmoid(), nn.Linear(16, NB_CLASSES))
    )
    # Keras sees channels last, so it must bring the axes of an image into PyTorch's order.
    layers = [
        *(keras.layers.Permute((3, 1, 2)), keras.layers.Flatten(), keras.layers.Dense(32, activation="relu")),
        *(keras.layers.Dense(16, activation="sigmoid"), keras.layers.Dense(NB_CLASSES)),
    ]
    return net, layers


def cnn():
    net = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(8, NB_CLASSES)),
    )
    layers = [
        *(keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(6, 3, strides=2, activation="relu")),
        *(keras.layers.Conv2D(8, 3, activation="tanh"), keras.layers.AveragePooling2D(2)),
        *(keras.layers.Permute((3, 1, 2)), keras.layers.Flatten(), keras.layers.Dense(NB_CLASSES)),
    ]
    return net, layers


def twins(make, dtype, preprocessing=(0.2, 0.7)):
    """An ART classifier on each framework, of the same function."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net, layers = make()
        model = keras.Sequential([keras.Input((8, 8, 3), dtype=dtype), *layers])
    finally:
        keras.config.set_dtype_policy(policy)
    net = net.to(getattr(torch, dtype))
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2)  # steep from the start, so that float32 has digits enough for differences of outputs
    weights = [p.detach().numpy() for p in net.parameters()]
    model.set_weights([w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T for w in weights])
    options = {"clip_values": (0.0, 1.0), "preprocessing": preprocessing}
    sgd = torch.optim.SGD(net.parameters(), lr=1 / 32, momentum=0.875)
    return (
        PyTorchClassifier(
            net, nn.CrossEntropyLoss(), (3, 8, 8), NB_CLASSES, optimizer=sgd, device_type="cpu", **options
        ),
        TensorFlowV2Classifier(
            model,
            NB_CLASSES,
            (8, 8, 3),
            loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype),
            optimizer=keras.optimizers.SGD(1 / 32, momentum=0.875),
            **options,
        ),
    )


def last(images):
    """Channels last."""
    return np.moveaxis(images, 1, -1)


def data(n=BATCH_SIZE * NB_STEPS):
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, (n, 3, 8, 8))
    return x, np.argmax(x.reshape(n, -1) @ rng.standard_normal((192, NB_CLASSES)), axis=1)


def trajectory(classifier, x, y, first_pairs=None, **options):
    """Per step: loss, quotients, ends of the pairs, λ; and the pairs at the start."""
    trainer = CLIPTrainer(classifier, lamda=0.002, target_accuracy=0.9, pair_interval=2, nb_pairs=6, **options)
    f, records = trainable_of(classifier), []
    with f.fitting(0):
        regularizer = trainer._regularizer(f, (x, y), 0, 1)
        start = [f.host(t) for t in regularizer.state]
        if first_pairs is not None:
            regularizer.state = tuple(f.tensor(t) for t in first_pairs)
        regularizer._start.state = regularizer.state  # begin() settles these
        epochs, controller = Epochs(f, None, EstimatorLoss(f), regularizer, None), trainer._controller
        for i in range(NB_STEPS):
            index = np.arange(i * BATCH_SIZE, (i + 1) * BATCH_SIZE - (i % 4 == 3) * 29)  # some batches are short
            batch = f.batch(x, f.labels(y), index)
            _, ends = regularizer.advance(regularizer.state, batch[0], epochs._nb_penalised)
            values = epochs._step(*batch, controller.value)
            loss, correct = (f.to_numpy([v]).item() for v in values[:2])
            if i % 3 == 2:
                controller.check(correct / len(index), correct / len(index))
            quotients = f.to_numpy(values[2:]) if len(values) > 2 else np.zeros(0)
            records.append((loss, quotients, f.host(ends), controller.value, [f.host(t) for t in regularizer.state]))
    return records, start, regularizer


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("make", "pair_init"), [(mlp, "batch"), (cnn, "near"), (cnn, "data")])
def test_same_trajectory(make, dtype, pair_init):
    check(make, dtype, pair_init)


def check(make, dtype, pair_init, norm=2, output_norm=2):
    (x, y), tolerance = data(), TOLERANCE[dtype]
    first, second = twins(make, dtype)
    options = {"pair_init": pair_init, "norm": norm, "output_norm": output_norm, "seed": 0}
    ours, start, _ = trajectory(first, x, y, **options)
    theirs, *_ = trajectory(second, last(x), y, [last(t) for t in start], **options)
    assert all(quotients.max() > 0.01 for _, quotients, *_ in ours if len(quotients))  # nothing has collapsed
    assert sum(len(quotients) > 0 for _, quotients, *_ in ours) >= NB_STEPS // 2
    assert len({lamda for *_, lamda, _ in ours}) > 3  # λ does move
    for a, b in zip(ours, theirs, strict=True):
        assert a[0] == pytest.approx(b[0], rel=tolerance)
        np.testing.assert_allclose(a[1], b[1], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(last(a[2]), b[2], rtol=0, atol=tolerance)
        assert a[3] == pytest.approx(b[3], rel=tolerance)
        for s, t in zip(a[4], b[4], strict=True):
            np.testing.assert_allclose(last(s), t, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("norm", "output_norm"), [(1, 2), ("inf", 1), (2, "inf")])
def test_same_trajectory_in_every_norm(norm, output_norm):
    check(cnn, "float64", "near", norm, output_norm)


@pytest.mark.parametrize("options", [{}, {"upper_penalty": 0.01, "certify_eps": 0.2}], ids=["pairs", "certificate"])
@pytest.mark.parametrize("make", [mlp, cnn], ids=["mlp", "cnn"])
def test_same_fit(make, options):
    """Through the front door: the order of the batches follows from the seed, and fresh pairs need no other chance."""
    x, y = data(200)
    first, second = twins(make, "float64")
    histories = []
    for classifier, images in ((first, x), (second, last(x))):
        trainer = CLIPTrainer(classifier, target_accuracy=0.5, nb_pairs=8, seed=3, **options)
        trainer.fit(images, y, validation_data=(images, y), batch_size=32, nb_epochs=4)
        histories.append(trainer.history)
    for a, b in zip(*histories, strict=True):
        for key in ("loss", "accuracy", "lipschitz", "lamda", "val_loss", "val_accuracy"):
            assert a[key] == pytest.approx(b[key], rel=1e-8), key


def test_same_lower_bound():
    x, _ = data(50)
    first, second = twins(cnn, "float64")
    bounds = [lipschitz_lower_bound(c, images, nb_restarts=24, seed=0) for c, images in ((first, x), (second, last(x)))]
    assert bounds[0].value == pytest.approx(
        bounds[1].value, rel=0.03
    )  # the random starts differ: axes are in another order


@pytest.mark.parametrize(
    ("name", "parameters", "products"), [("convnet", 205_994, 10.9e6), ("resnet18", 11.17e6, 555e6)]
)
def test_nets_for_images_of_cifar_are_as_large_as_they_say(name, parameters, products):
    net, found = torch_nets.make_classifier(name, (3, 32, 32), 10).model.eval(), []

    def count(module, _, outputs):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            found.append(outputs[0].numel() * module.weight[0].numel() if outputs.ndim == 4 else module.weight.numel())

    for module in net.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(parameters, rel=3e-4)
    assert sum(found) == pytest.approx(products, rel=3e-3)
    kinds = {type(m) for m in net.modules()}
    assert (nn.BatchNorm2d in kinds) == (name == "resnet18")


@pytest.mark.parametrize("name", torch_nets.NETS)
def test_nets_by_name_have_the_same_shapes(name):
    assert torch_nets.NETS.keys() == keras_nets.NETS.keys()
    one = torch_nets.make_classifier(name, (1, 8, 8), 10).model
    other = keras_nets.make_classifier(name, (8, 8, 1), 10).model
    sizes = sorted(p.numel() for p in one.parameters()), sorted(int(np.prod(w.shape)) for w in other.trainable_weights)
    assert sizes[0] == sizes[1]
    with torch.no_grad():
        assert one.eval()(torch.zeros(3, 1, 8, 8)).shape == other(np.zeros((3, 8, 8, 1), np.float32)).shape == (3, 10)
