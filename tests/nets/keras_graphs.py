"""Keras models as graphs of layers: of every kind that has a bound."""

import keras
import numpy as np
import tensorflow as tf
from art.estimators.classification import TensorFlowV2Classifier
from keras import layers, ops

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


# Name -> (input shape, maker).
MODELS = {
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
            *(layer("ReLU", 2.0, 0.3), lambda: layers.Dense(3, layers.LeakyReLU(1.5)), layer("Activation", tf.nn.relu)),
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


def build(name, seed=0, models=MODELS):
    """The model with weights that follow from the seed: biases and statistics of BatchNorm too."""
    model = models[name][1]()
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.name:
            weight.assign(rng.uniform(0.2, 2, weight.shape))
        elif "seed" not in weight.name:
            weight.assign(rng.standard_normal(weight.shape) / np.sqrt(max(1, np.prod(weight.shape[:-1]))))
    return model


def wrap(model, shape, **kwargs):
    """An ART classifier around a model."""
    width = int(np.prod(model.output_shape[1:]))
    loss = keras.losses.MeanSquaredError()
    return TensorFlowV2Classifier(model, max(2, width), shape, loss_object=loss, **kwargs)
