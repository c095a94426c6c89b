"""Keras models read as graphs of layers: the graph computes what the model does, and its bounds hold."""

from contextlib import contextmanager

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras
from art.estimators.classification import KerasClassifier
from keras import layers, ops

from artclip import lipschitz_lower_bound, lipschitz_upper_bound
from artclip.frameworks import graph_of
from artclip.frameworks.keras.graph import read
from artclip.graph import through
from tests.nets import tensorflow_nets as nets
from tests.nets.keras_graphs import IMAGE, MODELS, SERIES, VECTOR, build, functional, layer, wrap
from tests.nets.keras_operations import ALL


@contextmanager
def floatx(name):
    """Models made meanwhile compute in a precision."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(name), keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0]), keras.config.set_dtype_policy(before[1])


SINGLE = ("solid", "resized", "bias-axis")  # TensorFlow has no float64 for these
ROUNDED = ("activations", "limited")  # in float64, but for TensorFlow's constants of GELU


@pytest.mark.parametrize("name", ALL)
def test_the_graph_computes_what_the_model_does(name):
    shape, precision = ALL[name][0], "float32" if name in SINGLE else "float64"
    tolerance = 1e-5 if name in SINGLE else 1e-7 if name in ROUNDED else 1e-12
    for seed in range(3):
        with floatx(precision):
            model = build(name, seed, ALL)
            x = np.random.default_rng(seed).standard_normal((5, *shape)).astype(precision)
            expected = model(x, training=False).numpy().reshape(5, -1)
        graph = read(model, shape)
        assert graph.inputs == np.prod(shape)
        assert graph.precision == np.finfo("float32" if name in (*SINGLE, *ROUNDED) else "float64").eps
        np.testing.assert_allclose(graph.evaluate(x), expected, rtol=tolerance, atol=tolerance)


def bound(graph, p):
    """The product bound of a graph."""

    def side_by_side(bounds):
        return max(bounds) if p == np.inf else sum(b**p for b in bounds) ** (1 / p)

    return through(graph.nodes, [node.operation.factor(p) for node in graph.nodes], 1.0, side_by_side)[-1]


def jacobians(graph, x, h=1e-6):
    """Of the graph at points (n, d), by differences: (n, k, d)."""
    steps = h * np.eye(graph.inputs)
    ends = [graph.evaluate((x[:, None] + s * steps).reshape(-1, graph.inputs)) for s in (1, -1)]
    return ((ends[0] - ends[1]) / (2 * h)).reshape(*x.shape, -1).swapaxes(1, 2)


@pytest.mark.parametrize("name", ALL)
def test_no_jacobian_is_larger_than_the_product_of_the_constants(name):
    graph = read(build(name, 1, ALL), ALL[name][0])
    x = np.random.default_rng(0).standard_normal((3, graph.inputs)) * np.array([[0.03], [1.0], [20.0]])
    found = jacobians(graph, x)
    for p in (1, 2, np.inf):
        assert np.linalg.norm(found, p, axis=(1, 2)).max() <= bound(graph, p) * 1.0001


@pytest.mark.parametrize(
    "make",
    [
        *(layers.GlobalAveragePooling2D, layers.Flatten),
        *(lambda p=p: layers.AveragePooling2D((3, 2), (2, 1), p) for p in ("valid", "same")),
        *(lambda i=i: layers.UpSampling2D((2, 3), interpolation=i) for i in ("nearest", "bilinear", "bicubic")),
        *(lambda: layers.ZeroPadding2D(((1, 0), (2, 3))), lambda: layers.Cropping2D(((1, 0), (2, 1)))),
        *(lambda: layers.AdaptiveAveragePooling2D((4, 4)), lambda: layers.Resizing(4, 9, antialias=True)),
        *(lambda: lambda x: ops.pad(x, ((0, 0), (2, 1), (0, 3), (1, 0)), "reflect"), lambda: lambda x: x[:, ::2, None]),
        *(lambda: lambda x: ops.sum(x, (1, 3)), lambda: lambda x: ops.mean(x, 2, keepdims=True)),
        *(lambda: lambda x: ops.repeat(x, 3, 2), lambda: lambda x: ops.roll(x, 2, 1)),
    ],
)
def test_linear_layers_without_weights_have_their_exact_constant(make):
    graph = read(functional(IMAGE, make())(), IMAGE)
    matrix = graph.evaluate(np.eye(84)).T
    assert np.linalg.norm(matrix) > 0
    for p in (1, 2, np.inf):
        assert bound(graph, p) == pytest.approx(np.linalg.norm(matrix, p), rel=1e-6)


# Values and Jacobians of all models are compared above; these go through all of it, from ART's classifier to a bound.
@pytest.mark.parametrize("name", list(MODELS)[1::6])
def test_bounds_hold(name):
    shape, seed = MODELS[name][0], list(MODELS).index(name)
    x = np.random.default_rng(0).standard_normal((16, *shape))
    model = wrap(build(name, seed), shape, preprocessing=(0.1, 0.4) if seed % 2 else (0.0, 1.0))
    for norm in (2, (1, "inf")[seed % 4 // 2]):
        lower = lipschitz_lower_bound(model, x, norm, norm, nb_restarts=2, max_iter=5, seed=0)
        upper = lipschitz_upper_bound(model, norm, norm, "eclipse")
        assert 0 < lower.value <= upper.value * (1 + nets.ROUNDING)


def layer_of(name, *args, **kwargs):
    told = "-".join(str(getattr(a, "__name__", getattr(a, "value", a))) for a in args)
    return pytest.param(layer(name, *args, **kwargs), id=f"{name}-{told}")


@pytest.mark.parametrize(
    "make",
    [
        *(layer_of("Activation", name) for name in ("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu")),
        *(layer_of("Activation", name) for name in ("mish", "tanh", "sigmoid", "softplus", "softsign", "hard_sigmoid")),
        *(layer_of("Activation", name) for name in ("hard_silu", "hard_tanh", "log_sigmoid", "tanh_shrink", "swish")),
        *(layer_of("Activation", name) for name in ("squareplus", "sparse_plus", "sparse_sigmoid", "linear")),
        *(layer_of("Activation", f) for f in (tf.nn.relu, tf.nn.leaky_relu, tf.nn.silu, tf.nn.gelu, tf.tanh, ops.gelu)),
        *(layer_of("Activation", name) for name in ("celu", "soft_shrink", "hard_swish")),
        *(layer_of("ELU", alpha) for alpha in (2.5, 0.5, -0.75)),
        *(layer_of("LeakyReLU", slope) for slope in (0.3, 1.5)),
        *(layer_of("ReLU", *of) for of in ((2.0, 0.3), (2.0, 1.5), (None, 0.3))),
        *(layer_of("PReLU", keras.initializers.Constant(slope)) for slope in (1.0, 0.25, -1.75)),
    ],
)
def test_slopes_of_activations(make):
    x = np.concatenate([[-500, -499], np.linspace(-12, 12, 48_001), [499, 500]])
    with floatx("float64"):
        model = keras.Sequential([keras.Input((1,)), layers.Dense(1), make()])
        outputs = model.layers[1](x[:, None]).numpy()
    slopes = np.diff(outputs[:, 0]) / np.diff(x)
    nodes, _ = read(model, (1,))
    if len(nodes) == 1:
        np.testing.assert_allclose(slopes, 1)
        return
    bound = nodes[-1].operation
    np.testing.assert_allclose(bound.apply(x[:, None]), outputs, rtol=1e-7, atol=1e-7)
    assert bound.low <= slopes.min() + 1e-6
    assert slopes.max() <= bound.high + 1e-6
    assert bound.factor(2) <= np.abs(slopes).max() * 1.001
    if bound.kinked:
        np.testing.assert_allclose(slopes, np.where(x[1:] > 1e-9, bound.high, bound.low), atol=1e-6)


@pytest.mark.parametrize(
    ("product", "slopes"),
    [
        (lambda x: layers.Multiply()([x, layers.Activation("hard_sigmoid")(x)]), (-0.5, 1.5)),
        (lambda x: x * (layers.ReLU(6.0)(x + 3) * (1 / 6)), (-0.5, 1.5)),
        (lambda x: ops.relu6(x + 3) / 6 * x, (-0.5, 1.5)),
        (lambda x: x * ops.clip(0.5 * x, -1, 2), (-2, 4)),
        (lambda x: x * ops.sigmoid(3 * x), (-0.0998394, 1.0998394)),
        (lambda x: x * ops.tanh(ops.softplus(x)), (-0.1125262, 1.0884982)),
        (lambda x: 0.5 * x * (1 + ops.erf(x / np.sqrt(2))), (-0.1289042, 1.1289042)),
        (lambda x: x / (1 + abs(x)), (0, 1)),
    ],
)
def test_a_tensor_times_a_function_of_it_is_one_activation(product, slopes):
    model = functional((3,), product)()
    graph = read(model, (3,))
    *before, last = graph.nodes
    assert not before
    assert (last.operation.low, last.operation.high) == pytest.approx(slopes, abs=1e-6)
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32) * 3
    np.testing.assert_allclose(graph.evaluate(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_along_an_axis_keeps_the_norm_of_one(name):
    make = layers.Softmax if name == "softmax" else lambda axis: layers.Activation(name)
    model = keras.Sequential([keras.Input(SERIES), make(axis=-1)])
    (node,), _ = read(model, SERIES)
    x = tf.constant(np.random.default_rng(0).standard_normal((200, *SERIES)) * 3, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reshape(model(x), (200, 30))
    jacobians = tf.reshape(tape.batch_jacobian(y, x), (200, 30, 30)).numpy()
    for p in (1, 2, np.inf):
        assert np.linalg.norm(jacobians, p, axis=(1, 2)).max() <= node.operation.factor(p) * (1 + 1e-6)


def test_linear_models_are_exact():
    matrix = np.random.default_rng(0).standard_normal((4, 9))
    model = nets.linear_classifier(matrix, preprocessing=(0.3, 0.25))
    for norm, value in (
        (1, np.abs(matrix).sum(0).max()),
        (2, np.linalg.norm(matrix, 2)),
        (np.inf, np.abs(matrix).sum(1).max()),
    ):
        assert lipschitz_upper_bound(model, norm, norm).value == pytest.approx(value / 0.25, rel=1e-5)


def test_preprocessing_is_part_of_the_graph():
    model = wrap(build("strided"), IMAGE, preprocessing=([0.1, 0.2], [0.4, 0.5]))
    graph = graph_of(model)
    x = np.random.default_rng(0).standard_normal((5, *IMAGE)).astype(np.float32)
    assert graph.inputs == 84
    np.testing.assert_allclose(graph.evaluate(x), model.predict(x), rtol=1e-5, atol=1e-5)


def test_keras_classifiers_and_models_with_a_step_of_their_own():
    class Own(keras.Model):
        def train_step(self, data):
            raise NotImplementedError

    inputs = keras.Input(VECTOR)
    model = Own(inputs, layers.Dense(3, "softmax")(layers.Dense(8, "relu")(inputs)))
    model.compile("sgd", "categorical_crossentropy")
    assert lipschitz_upper_bound(KerasClassifier(model)).value > 0


@pytest.mark.parametrize("name", ["residual", "resized", "rearranged", "adaptive", "steps"])
def test_a_model_is_left_as_found(name):
    model = build(name, models=ALL)
    weights, count = model.get_weights(), [len(operation._inbound_nodes) for operation in model.operations]
    read(model, ALL[name][0])
    assert [len(operation._inbound_nodes) for operation in model.operations] == count
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_sizes_that_the_model_leaves_open_are_those_of_the_estimator():
    inputs = keras.Input((None, None, 2))
    hidden = layers.Conv2D(3, 3, strides=2, padding="same", activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(hidden)))
    x = np.random.default_rng(0).standard_normal((4, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(read(model, IMAGE).evaluate(x), model(x), rtol=1e-5, atol=1e-5)


def test_low_rank_updates_count():
    model = build("dense")
    before = read(model, VECTOR).nodes[0].operation.weight
    model.layers[0].enable_lora(2)
    for weight in model.layers[0].trainable_weights:
        weight.assign(np.random.default_rng(0).standard_normal(weight.shape))
    x = np.random.default_rng(0).standard_normal((5, *VECTOR)).astype(np.float32)
    graph = read(model, VECTOR)
    assert not np.allclose(graph.nodes[0].operation.weight, before)
    np.testing.assert_allclose(graph.evaluate(x), model(x), rtol=1e-4, atol=1e-4)


def test_spectral_normalization_is_that_of_the_layer_in_it():
    model = keras.Sequential([keras.Input(VECTOR), layers.SpectralNormalization(layers.Dense(5)), layers.Dense(3)])
    model(np.ones((2, *VECTOR)), training=True)  # it is then that the kernel is normalised
    x = np.random.default_rng(0).standard_normal((5, *VECTOR)).astype(np.float32)
    np.testing.assert_allclose(read(model, VECTOR).evaluate(x), model(x), rtol=1e-5, atol=1e-5)


def test_the_twin_in_pytorch_has_the_same_bound():
    torch = pytest.importorskip("torch")
    from art.estimators.classification import PyTorchClassifier
    from torch import nn

    shape, rng = (9, 8, 2), np.random.default_rng(0)
    with floatx("float64"):
        twin = keras.Sequential(
            [
                *(keras.Input(shape), layers.Conv2D(4, 3, strides=2), layers.BatchNormalization(epsilon=1e-5)),
                *(layers.ReLU(), layers.Conv2D(3, 2), layers.LeakyReLU(0.25), layers.AveragePooling2D(2, 1)),
                *(layers.Flatten(), layers.Dense(6, "relu"), layers.Dense(3)),
            ]
        )
    net = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.LeakyReLU(0.25)),
        *(nn.AvgPool2d(2, 1), nn.Flatten(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)),
    ).double()
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.tensor(rng.uniform(0.2, 1, tensor.shape) * rng.choice([-1, 1], tensor.shape)))
        net[1].running_var.abs_()
    state = {k: v.numpy() for k, v in net.state_dict().items()}
    for i, place in enumerate((0, 3)):
        twin.layers[3 * i].set_weights([state[f"{place}.weight"].transpose(2, 3, 1, 0), state[f"{place}.bias"]])
    twin.layers[1].set_weights([state[f"1.{name}"] for name in ("weight", "bias", "running_mean", "running_var")])
    flat = state["7.weight"].reshape(6, 3, 2, 1).transpose(2, 3, 1, 0).reshape(6, 6)
    twin.layers[7].set_weights([flat, state["7.bias"]])
    twin.layers[8].set_weights([state["9.weight"].T, state["9.bias"]])
    x = rng.standard_normal((4, *shape))
    net.eval()
    np.testing.assert_allclose(twin(x), net(torch.tensor(x.transpose(0, 3, 1, 2))).detach(), rtol=1e-9)
    theirs = PyTorchClassifier(net, nn.CrossEntropyLoss(), (2, 9, 8), 3, device_type="cpu", preprocessing=(0.5, 0.25))
    ours = wrap(twin, shape, preprocessing=(0.5, 0.25))
    for norm in (1, 2, "inf"):
        for method in ("product", "lipsdp"):
            expected = lipschitz_upper_bound(theirs, norm, norm, method, max_iter=20).value
            assert lipschitz_upper_bound(ours, norm, norm, method, max_iter=20).value == pytest.approx(
                expected, rel=1e-6
            )


def test_entries_in_order_keep_a_bound():
    inputs = keras.Input(IMAGE)
    hidden = layers.Reshape((*IMAGE[:2], 3, 2))(layers.Conv2D(6, 3, padding="same")(inputs))
    model = wrap(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(ops.sort(hidden, axis=-1)))), IMAGE)
    x = np.random.default_rng(0).standard_normal((16, *IMAGE))
    for norm in (1, 2, "inf"):
        lower = lipschitz_lower_bound(model, x, norm, norm, nb_restarts=2, max_iter=5, seed=0)
        assert 0 < lower.value <= lipschitz_upper_bound(model, norm, norm, "product").value * (1 + nets.ROUNDING)
