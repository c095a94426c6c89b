"""Keras models read as graphs of layers: the graph computes what the model does, and its bounds hold."""

from contextlib import contextmanager

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras
from art.estimators.classification import KerasClassifier, TensorFlowV2Classifier
from keras import layers, ops

from artclip import lipschitz_lower_bound, lipschitz_upper_bound
from artclip.frameworks import graph_of
from artclip.frameworks.keras_graph import read
from tests.nets import graph
from tests.nets import tensorflow_nets as nets

IMAGE, SERIES, VECTOR, SOLID = (7, 6, 2), (10, 3), (12,), (3, 4, 3, 2)


def stack(shape, *inside):
    return lambda: keras.Sequential([keras.Input(shape), *inside_of(inside)])


def inside_of(inside):
    return [make() for make in inside]


def layer(name, *args, **kwargs):
    return lambda: getattr(layers, name)(*args, **kwargs)


def functional(shape, call):
    def make():
        inputs = keras.Input(shape)
        return keras.Model(inputs, call(inputs))

    return make


def head(x):
    return layers.Dense(3)(layers.Flatten()(x))


HEAD = layer("Flatten"), layer("Dense", 3)


def residual(x):
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(2, 3, padding="same")(x)))
    y = layers.Conv2D(2, 3, padding="same")(layers.Dropout(0.5)(y))
    return head(layers.LeakyReLU(0.2)(layers.Add()([x, y])))


def arithmetic(x):
    weights = np.linspace(-1, 2, 12).astype("float32").reshape(6, 2)
    y = (x * 0.5 + weights) / np.array([2.0, 4.0], "float32") - 1
    return head(ops.negative(2 - layers.Conv2D(2, 1)(y)) + ops.relu(y * weights) - y)


def side_by_side(axis):
    def call(x):
        y = layers.Conv2D(2, 3, padding="same", activation="relu")(x)
        return layers.Dense(3)(layers.ReLU()(layers.BatchNormalization()(head(layers.Concatenate(axis)([x, y, x])))))

    return call


def always_training(x):
    return layers.Dense(3)(layers.Dropout(0.5)(layers.BatchNormalization()(x, training=True), training=True))


def merged(x):
    parts = [layers.Conv2D(2, 2, padding="same")(x) for _ in range(2)]
    return head(layers.ReLU()(layers.Average()([layers.Subtract()(parts), *parts])))


def shared(x):
    again = layers.Dense(12, "relu")
    inside = keras.Sequential([keras.Input((12,)), layers.Dense(5, "relu"), layers.Dense(12)])
    return layers.Dense(3)(inside(again(again(x))) + inside(x))


def two_inputs(x):
    a, b = keras.Input((6,), name="a"), keras.Input((4,), name="b")
    join = keras.Model({"a": a, "b": b}, layers.Dense(3)(layers.Concatenate()([b, a])))
    return join({"b": layers.Dense(4)(x), "a": layers.Dense(6, "relu")(x)})


def two_outputs(x):
    inputs = keras.Input((12,))
    split = keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(3)(inputs)])
    return split(x)[1]


def moved(x):
    y = layers.Permute((2, 3, 1))(layers.Conv2D(3, 3)(x))
    y = ops.transpose(layers.Cropping2D(((1, 0), (0, 1)))(y), (0, 2, 1, 3))
    y = ops.flip(y, 1)[:, 1:]
    return layers.Dense(3)(layers.ReLU()(layers.BatchNormalization()(layers.Flatten()(y))))


def averaged(x):
    y = layers.Conv2D(4, 2, activation="relu")(x)
    kept = layers.GlobalAveragePooling2D(keepdims=True)(y)
    return layers.Dense(3)(layers.Concatenate()([layers.Flatten()(kept), ops.mean(y, [1, 3])]))


def activations(x):
    for name in ("gelu", "silu", "mish", "softplus", "sigmoid", "softsign", "selu", "hard_sigmoid", "hard_silu"):
        x = layers.Dense(6, name)(x)
    for name in ("relu6", "log_sigmoid", "tanh_shrink", "squareplus", "hard_tanh", "swish", "elu", "sparse_plus"):
        x = layers.Activation(name)(layers.Dense(6)(x))
    return layers.Dense(3, "log_softmax")(layers.Dense(6, "tanh")(x))


def channels_first(x):
    y = layers.Permute((3, 1, 2))(x)
    y = layers.DepthwiseConv2D(3, padding="same", data_format="channels_first", activation="relu")(y)
    y = layers.BatchNormalization(axis=1)(y)
    y = layers.AveragePooling2D(2, padding="same", data_format="channels_first")(y)
    return layers.Dense(3)(layers.GlobalAveragePooling2D(data_format="channels_first")(y) + 1)


def same(name, *args, **kwargs):
    return layer(name, *args, padding="same", **kwargs)


# Name -> (input shape, maker); of each node of these graphs the test knows what it computes.
EXACT = {
    "dense": (VECTOR, stack(VECTOR, layer("Dense", 9, "relu"), layer("Dense", 8, "leaky_relu"), layer("Dense", 3))),
    "no-bias": (VECTOR, stack(VECTOR, layer("Dense", 9, "relu", use_bias=False), layer("Dense", 3, use_bias=False))),
    "valid": (IMAGE, stack(IMAGE, layer("Conv2D", 4, 3, activation="relu"), layer("Conv2D", 3, (2, 3)), *HEAD)),
    "strided": (IMAGE, stack(IMAGE, same("Conv2D", 4, 3, strides=2), layer("ReLU"), same("Conv2D", 3, 2), *HEAD)),
    "even": (IMAGE, stack(IMAGE, same("Conv2D", 3, 4), same("Conv2D", 2, (2, 5), strides=3), *HEAD)),
    "one-tap": (IMAGE, stack(IMAGE, same("Conv2D", 3, 1, strides=3, activation="relu"), *HEAD)),
    "dilated": (IMAGE, stack(IMAGE, same("Conv2D", 4, 3, dilation_rate=(2, 1), groups=2, activation="relu"), *HEAD)),
    "depthwise": (IMAGE, stack(IMAGE, same("DepthwiseConv2D", 3, 2, depth_multiplier=3, activation="relu"), *HEAD)),
    "separable": (IMAGE, stack(IMAGE, same("SeparableConv2D", 5, 3, 2, depth_multiplier=2, activation="relu"), *HEAD)),
    "transposed": (IMAGE, stack(IMAGE, same("Conv2DTranspose", 3, 3, 2, activation="relu"), *HEAD)),
    "spread": (IMAGE, stack(IMAGE, layer("Conv2DTranspose", 3, (1, 2), (2, 3)), same("Conv2DTranspose", 2, 2), *HEAD)),
    "output-padding": (IMAGE, stack(IMAGE, same("Conv2DTranspose", 3, 4, 3, output_padding=1), *HEAD)),
    "batchnorm": (
        IMAGE,
        stack(
            *(IMAGE, layer("Conv2D", 4, 3), layer("BatchNormalization"), layer("ReLU"), layer("Dropout", 0.3), HEAD[0]),
            *(layer("Dense", 8), layer("BatchNormalization", scale=False), layer("ReLU"), layer("Dense", 4)),
            *(layer("BatchNormalization", center=False), layer("GaussianNoise", 0.2), layer("Dense", 3)),
        ),
    ),
    "batchnorm-axis": (IMAGE, stack(IMAGE, layer("Conv2D", 4, 3), layer("BatchNormalization", axis=2), *HEAD)),
    "average": (IMAGE, stack(IMAGE, layer("Conv2D", 3, 2), layer("AveragePooling2D", 2, 1), layer("ReLU"), *HEAD)),
    "average-same": (IMAGE, stack(IMAGE, same("Conv2D", 3, 2), same("AveragePooling2D", 3, 2), layer("ReLU"), *HEAD)),
    "averages": (IMAGE, functional(IMAGE, averaged)),
    "global-average": (
        IMAGE,
        stack(IMAGE, layer("Conv2D", 4, 3, activation="relu"), layer("GlobalAveragePooling2D"), layer("Dense", 3)),
    ),
    "dense-on-image": (
        IMAGE,
        stack(IMAGE, layer("Conv2D", 4, 3), layer("Dense", 5, "relu"), layer("Conv2D", 2, 2), *HEAD),
    ),
    "image-out": (IMAGE, stack(IMAGE, layer("Conv2D", 4, 3), layer("Permute", (2, 1, 3)))),
    "reshaped": (
        VECTOR,
        stack(VECTOR, layer("Dense", 24, "relu"), layer("Reshape", (4, 3, 2)), same("Conv2D", 3, 3), *HEAD),
    ),
    "moved": (IMAGE, functional(IMAGE, moved)),
    "padded": (IMAGE, stack(IMAGE, layer("ZeroPadding2D", ((1, 0), (2, 1))), layer("Conv2D", 3, 3, strides=2), *HEAD)),
    "rescaled": (
        IMAGE,
        stack(
            *(IMAGE, layer("Rescaling", [0.5, 2.0], offset=-0.25), layer("Conv2D", 3, 3)),
            *(layer("Normalization", mean=[0.1, 0.2, -0.3], variance=[0.5, 2.0, 1.0]), layer("ReLU")),
            *(layer("Normalization", mean=0.5, variance=0.2, invert=True), *HEAD),
        ),
    ),
    "residual": (IMAGE, functional(IMAGE, residual)),
    "arithmetic": (IMAGE, functional(IMAGE, arithmetic)),
    **{f"concat{axis}": (IMAGE, functional((7, 6, 2), side_by_side(axis))) for axis in (1, 2, -1)},
    "always-training": (VECTOR, functional(VECTOR, always_training)),  # training=False of the model has the last word
    "merged": (IMAGE, functional(IMAGE, merged)),
    "shared": (VECTOR, functional(VECTOR, shared)),
    "two-inputs": (VECTOR, functional(VECTOR, two_inputs)),
    "two-outputs": (VECTOR, functional(VECTOR, two_outputs)),
    "channels-first": (IMAGE, functional(IMAGE, channels_first)),
    "causal": (
        SERIES,
        stack(
            *(SERIES, layer("Conv1D", 4, 3, padding="causal", dilation_rate=2, activation="relu")),
            *(layer("Conv1D", 3, 2, strides=2), layer("BatchNormalization"), layer("ReLU"), *HEAD),
        ),
    ),
    "series": (
        SERIES,
        stack(
            *(SERIES, same("DepthwiseConv1D", 4, 3), layer("ReLU"), same("SeparableConv1D", 4, 2), layer("ReLU")),
            *(same("Conv1DTranspose", 2, 3, 2), layer("ZeroPadding1D", (2, 1)), layer("Cropping1D", (1, 0))),
            *(same("AveragePooling1D", 3, 2), layer("Dense", 4, "relu"), layer("GlobalAveragePooling1D")),
        ),
    ),
    "solid": (
        SOLID,
        stack(
            *(SOLID, same("Conv3D", 3, 2, strides=2, activation="relu"), same("Conv3DTranspose", 2, 3, 2)),
            *(layer("ZeroPadding3D", 1), same("AveragePooling3D", 2), layer("GlobalAveragePooling3D")),
        ),
    ),
    "activations": (VECTOR, functional(VECTOR, activations)),
}
# Some nodes of these graphs are known by their Lipschitz constants alone.
BOUNDED = {
    "cnn": (IMAGE, stack(IMAGE, layer("Conv2D", 4, 3, activation="relu"), layer("MaxPooling2D", 2), *HEAD)),
    "overlapping": (IMAGE, stack(IMAGE, layer("Conv2D", 4, 3), same("MaxPooling2D", 3, 2), *HEAD)),
    "global-max": (IMAGE, stack(IMAGE, layer("Conv2D", 4, 3), layer("GlobalMaxPooling2D"), layer("Dense", 3))),
    "upsampled": (IMAGE, stack(IMAGE, layer("UpSampling2D", (2, 3)), layer("Conv2D", 2, 3), *HEAD)),
    "repeated": (VECTOR, stack(VECTOR, layer("RepeatVector", 3), layer("Conv1D", 2, 2), *HEAD)),
    "softmax": (SERIES, stack(SERIES, layer("Softmax", axis=1), layer("MaxPooling1D", 2), HEAD[0], layer("Softmax"))),
    "softmax-out": (VECTOR, stack(VECTOR, layer("Dense", 5, "sigmoid"), layer("Dense", 3, "softmax"))),
    "kinks": (
        VECTOR,
        stack(
            *(VECTOR, layer("Dense", 9), layer("PReLU"), layer("Dense", 8), layer("ELU", 2.5), layer("Dense", 8)),
            *(layer("ReLU", 2.0, 0.3), layer("Dense", 3, layers.LeakyReLU(1.5)), layer("Activation", tf.nn.relu)),
        ),
    ),
    "maximum": (
        IMAGE,
        functional(
            IMAGE, lambda x: head(ops.maximum(layers.Minimum()([x, layers.Conv2D(2, 3, padding="same")(x)]), 0))
        ),
    ),
    "absolute": (VECTOR, functional(VECTOR, lambda x: layers.Dense(3)(abs(layers.Dense(6)(x))))),
}
MODELS = EXACT | BOUNDED


def build(name, seed=0):
    """The model with weights that follow from the seed: biases and statistics of BatchNorm too."""
    model = MODELS[name][1]()
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.name:
            weight.assign(rng.uniform(0.2, 2, weight.shape))
        elif "seed" not in weight.name:
            weight.assign(rng.standard_normal(weight.shape) / np.sqrt(max(1, np.prod(weight.shape[:-1]))))
    return model


@contextmanager
def floatx(name):
    """Models made meanwhile compute in a precision."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(name), keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0]), keras.config.set_dtype_policy(before[1])


def evaluate(nodes, x):
    """What the graph computes for points (n, d)."""
    return graph.evaluate(nodes, x, lambda name, t: keras.activations.get(name)(tf.constant(t)).numpy())


@pytest.mark.parametrize("name", EXACT)
def test_the_graph_computes_what_the_model_does(name):
    shape = EXACT[name][0]
    precision, tolerance = ("float32", 1e-5) if name == "solid" else ("float64", 1e-12)  # AvgPool3D has no float64
    for seed in range(3):
        with floatx(precision):
            model = build(name, seed)
            x = np.random.default_rng(seed).standard_normal((5, *shape)).astype(precision)
            expected = model(x, training=False).numpy().reshape(5, -1)
        nodes, size = read(model, shape)
        assert size == np.prod(shape)
        np.testing.assert_allclose(evaluate(nodes, x.reshape(5, -1)), expected, rtol=tolerance, atol=tolerance)


def wrap(model, shape, **kwargs):
    width = int(np.prod(model.output_shape[1:]))
    loss = keras.losses.MeanSquaredError()
    return TensorFlowV2Classifier(model, max(2, width), shape, loss_object=loss, **kwargs)


@pytest.mark.parametrize("name", MODELS)
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
        *(layer_of("ELU", alpha) for alpha in (2.5, 0.5)),
        *(layer_of("LeakyReLU", slope) for slope in (0.3, 1.5)),
        *(layer_of("ReLU", *of) for of in ((2.0, 0.3), (2.0, 1.5), (None, 0.3))),
        *(layer_of("PReLU", keras.initializers.Constant(slope)) for slope in (1.0, 0.25, -1.75)),
    ],
)
def test_slopes_of_activations(make):
    x = np.concatenate([[-500, -499], np.linspace(-12, 12, 48_001), [499, 500]])
    with floatx("float64"):
        model = keras.Sequential([keras.Input((1,)), layers.Dense(1), make()])
        slopes = np.diff(model.layers[1](x[:, None]).numpy()[:, 0]) / np.diff(x)
    nodes, _ = read(model, (1,))
    if len(nodes) == 1:
        np.testing.assert_allclose(slopes, 1)
        return
    bound = nodes[-1].operation
    assert bound.low <= slopes.min() + 1e-6
    assert slopes.max() <= bound.high + 1e-6
    assert bound.factor(2) <= np.abs(slopes).max() * 1.001
    if bound.kinked:
        np.testing.assert_allclose(slopes, np.where(x[1:] > 1e-9, bound.high, bound.low), atol=1e-6)


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
    nodes, size = graph_of(model)
    x = np.random.default_rng(0).standard_normal((5, *IMAGE)).astype(np.float32)
    assert size == 84
    np.testing.assert_allclose(evaluate(nodes, x.reshape(5, -1)), model.predict(x), rtol=1e-5, atol=1e-5)


def test_keras_classifiers_and_models_with_a_step_of_their_own():
    class Own(keras.Model):
        def train_step(self, data):
            raise NotImplementedError

    inputs = keras.Input(VECTOR)
    model = Own(inputs, layers.Dense(3, "softmax")(layers.Dense(8, "relu")(inputs)))
    model.compile("sgd", "categorical_crossentropy")
    assert lipschitz_upper_bound(KerasClassifier(model)).value > 0


def test_a_model_is_left_as_found():
    model = build("residual")
    weights, count = model.get_weights(), [len(operation._inbound_nodes) for operation in model.operations]
    read(model, IMAGE)
    assert [len(operation._inbound_nodes) for operation in model.operations] == count
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_sizes_that_the_model_leaves_open_are_those_of_the_estimator():
    inputs = keras.Input((None, None, 2))
    hidden = layers.Conv2D(3, 3, strides=2, padding="same", activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(hidden)))
    x = np.random.default_rng(0).standard_normal((4, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(evaluate(read(model, IMAGE)[0], x.reshape(4, -1)), model(x), rtol=1e-5, atol=1e-5)


def test_low_rank_updates_count():
    model = build("dense")
    before = read(model, VECTOR)[0][0].operation.weight
    model.layers[0].enable_lora(2)
    for weight in model.layers[0].trainable_weights:
        weight.assign(np.random.default_rng(0).standard_normal(weight.shape))
    x = np.random.default_rng(0).standard_normal((5, *VECTOR)).astype(np.float32)
    nodes, _ = read(model, VECTOR)
    assert not np.allclose(nodes[0].operation.weight, before)
    np.testing.assert_allclose(evaluate(nodes, x), model(x), rtol=1e-4, atol=1e-4)


def test_spectral_normalization_is_that_of_the_layer_in_it():
    model = keras.Sequential([keras.Input(VECTOR), layers.SpectralNormalization(layers.Dense(5)), layers.Dense(3)])
    model(np.ones((2, *VECTOR)), training=True)  # it is then that the kernel is normalised
    x = np.random.default_rng(0).standard_normal((5, *VECTOR)).astype(np.float32)
    np.testing.assert_allclose(evaluate(read(model, VECTOR)[0], x), model(x), rtol=1e-5, atol=1e-5)


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


class Dense(layers.Dense):
    def call(self, x):
        return super().call(x) ** 2


class Squared(keras.Sequential):
    def call(self, x, **kwargs):
        return super().call(x, **kwargs) ** 2


class Block(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inside = layers.Dense(12)

    def call(self, x):
        return self.inside(x)

    def compute_output_shape(self, shape):
        return shape


def broadcast(x):
    y = layers.Reshape((12, 1))(x)
    return layers.Flatten()(layers.Add(name="it")([y, layers.Dense(3)(y)]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (layers.LayerNormalization(name="it"), "layer it: no rule for 'LayerNormalization', .*lipschitz_lower_bound"),
        (Dense(4, name="it"), "layer it: no rule for 'Dense'"),
        (Squared([keras.Input(VECTOR), layers.Dense(2)], name="it"), "it is a .*Squared, not a graph of Keras layers"),
        (Block(name="it"), "it is a .*Block, not a graph of Keras layers.* Build it as keras.Sequential"),
        (layers.Lambda(lambda x: x**2, name="it"), "layer it: no rule for 'Lambda'"),
        (layers.Dense(4, lambda x: x**2, name="it"), "layer it: no rule for the activation '<lambda>'"),
        (layers.Dense(4, "exponential", name="it"), "layer it: exponential is not globally Lipschitz"),
        (layers.Dense(4, "sparsemax", name="it"), "layer it: no rule for 'sparsemax'"),
        (layers.ReLU(threshold=0.5, name="it"), "layer it: a ReLU with a threshold jumps"),
        (lambda x: layers.Multiply(name="it")([x, x]), "layer it: a product of two activations is not globally"),
        (lambda x: 1 / x, "layer .*divide.*: a division by an activation"),
        (lambda x: x**2, "layer .*power.*: power is not globally Lipschitz"),
        (lambda x: ops.matmul(x, np.ones((12, 2), "float32")), "layer .*matmul.*: no rule for 'Matmul'"),
        (lambda x: ops.cast(x, "int32"), "layer cast.*: it rounds to int32"),
        (lambda x: layers.Rescaling(2, dtype="uint8", name="it")(x), "layer it: it computes in uint8"),
        (
            lambda x: ops.concatenate([x, np.ones((1, 12), "float32")], 1),
            "layer concat.*: no rule for .* with a constant",
        ),
        (lambda x: ops.average(x, 1), "layer average.*: no rule for 'Average'"),
        (lambda x: ops.mean(x) + x, "layer mean.*: it joins samples"),
        (lambda x: ops.flip(x, 0), "layer flip.*: it moves entries between samples"),
        (
            lambda x: layers.Reshape((12, 1))(x) + np.ones(3, "float32"),
            "layer add.*: no rule for 'Add' of shape .*constant",
        ),
        (broadcast, "layer it: no rule for 'Add' of shapes"),
        (lambda x: layers.LSTM(2, name="it")(layers.Reshape((4, 3))(x)), "layer it: no rule for 'LSTM'"),
        (
            lambda x: layers.UpSampling2D(2, interpolation="bilinear", name="it")(layers.Reshape((3, 2, 2))(x)),
            "layer it: no rule for 'UpSampling2D' with interpolation 'bilinear'",
        ),
        (
            lambda x: keras.Sequential([keras.Input(VECTOR), layers.UnitNormalization(name="it")], name="inside")(x),
            "layer inside/it: no rule for 'UnitNormalization'",
        ),
    ],
)
def test_layers_without_a_constant_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        read(functional(VECTOR, call)(), VECTOR)


def test_quantized_layers_are_refused():
    model = build("dense")
    model.quantize("int8")
    with pytest.raises(ValueError, match=r"layer dense.*: it is quantized"):
        read(model, VECTOR)


def test_models_that_are_no_graph_are_refused():
    class Plain(tf.Module):
        def __call__(self, x, training=False):
            return x

    with pytest.raises(ValueError, match=r"is a .*Plain, not a graph of Keras layers, so there is no upper bound"):
        read(Plain(), VECTOR)
    with pytest.raises(ValueError, match=r"ModeDependent, not a graph of Keras layers"):
        lipschitz_upper_bound(nets.classifier("hidden-dropout"))
    a, b = keras.Input((6,)), keras.Input((6,))
    with pytest.raises(ValueError, match="the model has 2 inputs"):
        read(keras.Model([a, b], layers.Add()([a, b])), (6,))
    with pytest.raises(ValueError, match="the model has 2 outputs"):
        read(keras.Model(a, [layers.Dense(2)(a), layers.Dense(2)(a)]), (6,))
    whole = keras.Input((6,), dtype="uint8")
    with pytest.raises(ValueError, match=r"type uint8; expected floating-point numbers of shape \(None, 6\)"):
        read(keras.Model(whole, layers.Rescaling(0.5)(whole)), (6,))


def test_entries_in_order_keep_a_bound():
    inputs = keras.Input(IMAGE)
    hidden = layers.Reshape((*IMAGE[:2], 3, 2))(layers.Conv2D(6, 3, padding="same")(inputs))
    model = wrap(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(ops.sort(hidden, axis=-1)))), IMAGE)
    x = np.random.default_rng(0).standard_normal((16, *IMAGE))
    for norm in (1, 2, "inf"):
        lower = lipschitz_lower_bound(model, x, norm, norm, nb_restarts=2, max_iter=5, seed=0)
        assert 0 < lower.value <= lipschitz_upper_bound(model, norm, norm, "product").value * (1 + nets.ROUNDING)
