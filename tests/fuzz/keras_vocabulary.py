"""Random Keras nets: layers and operations with random arguments on random shapes, in rows and with branches."""

import keras
import numpy as np
from keras import layers, ops

from tests.fuzz.choices import number, pick


def padding(rng):
    return pick(rng, "valid", "same")


def convolution(rng, shape):
    d = len(shape) - 1
    kinds = {
        1: (layers.Conv1D, layers.DepthwiseConv1D, layers.SeparableConv1D, layers.Conv1DTranspose),
        2: (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Conv2DTranspose),
    }[d]
    kind, stride = pick(rng, kinds[0], *kinds), pick(rng, 1, 1, 2, 3)
    mode = pick(rng, "valid", "same", "causal") if kind is layers.Conv1D else padding(rng)
    options = {"strides": stride, "padding": mode, "use_bias": pick(rng, True, False)}
    if stride == 1 and kind in kinds[:3]:
        options["dilation_rate"] = pick(rng, 1, 1, 2)
    sizes = tuple(int(k) for k in rng.integers(1, 4, d))
    if kind in (layers.DepthwiseConv1D, layers.DepthwiseConv2D):
        return kind(sizes if d > 1 else sizes[0], depth_multiplier=pick(rng, 1, 2), **options)
    if kind in (layers.Conv1D, layers.Conv2D):
        options["groups"] = pick(rng, 1, 1, shape[-1])
    return kind(options.get("groups", 1) * int(rng.integers(1, 4)), sizes if d > 1 else sizes[0], **options)


def pool(rng, shape):
    d = len(shape) - 1
    kinds = ((layers.MaxPooling1D, layers.AveragePooling1D), (layers.MaxPooling2D, layers.AveragePooling2D))[d - 1]
    return pick(rng, *kinds)(int(rng.integers(1, 4)), pick(rng, None, 1, 2, 3), padding(rng))


def moved(rng, shape):
    d, c = len(shape) - 1, int(np.prod(shape))
    kinds = [layers.Flatten(), layers.Reshape((c,)), layers.Reshape((1, c)), layers.Permute((*range(2, d + 2), 1))]
    if d == 1:
        kinds += [layers.ZeroPadding1D((1, 2)), layers.Cropping1D((1, 0)), layers.UpSampling1D(2)]
        kinds += [layers.GlobalAveragePooling1D(), layers.GlobalMaxPooling1D()]
    if d == 2:
        how = pick(rng, "nearest", "bilinear", "bicubic")
        kinds += [layers.ZeroPadding2D(((1, 0), (2, 1))), layers.Cropping2D(((1, 0), (0, 1)))]
        kinds += [layers.UpSampling2D((2, 3), interpolation=how)] * 2
        kinds += [layers.GlobalAveragePooling2D(keepdims=pick(rng, True, False)), layers.GlobalMaxPooling2D()]
    return pick(rng, *kinds)


def normalised(rng, shape):
    eps = pick(rng, 1e-3, 0.1, 1.0)
    last = shape[-1]
    kinds = [layers.BatchNormalization(epsilon=eps), layers.BatchNormalization(scale=False)]
    kinds += [layers.LayerNormalization(epsilon=eps), layers.LayerNormalization(axis=1, epsilon=eps)]
    kinds += [layers.GroupNormalization(pick(rng, 1, last), epsilon=eps), layers.RMSNormalization(epsilon=eps)]
    kinds += [layers.Normalization(mean=0.3, variance=0.5), layers.Rescaling(-0.7, 0.2), layers.UnitNormalization()]
    return pick(rng, *kinds)


NAMES = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus", "softsign"),
    *("hard_sigmoid", "hard_silu", "hard_tanh", "log_sigmoid", "tanh_shrink", "squareplus", "sparse_plus", "linear"),
    *("celu", "soft_shrink", "sparse_sigmoid", "softmax", "log_softmax", "exponential", "hard_shrink", "glu"),
)


def activation(rng, shape):
    a = number(rng)
    kinds = [layers.Activation(name) for name in NAMES]
    kinds += [layers.ReLU(pick(rng, None, 2.0), a, pick(rng, 0.0, 0.0, 0.5)), layers.LeakyReLU(abs(a)), layers.ELU(a)]
    kinds += [layers.PReLU("uniform"), layers.Softmax(pick(rng, -1, 1, 0)), layers.Dropout(0.4)]
    kinds += [layers.GaussianNoise(0.3)]
    return pick(rng, *kinds)


def dense(rng, shape):
    return layers.Dense(int(rng.integers(1, 8)), pick(rng, None, "relu", "tanh"), use_bias=pick(rng, True, False))


def function(rng, shape):
    a, b = number(rng), number(rng, 0.1, 2.0)
    last = shape[-1]
    functions = [
        lambda x: ops.abs(x),
        lambda x: ops.clip(x, min(a, b), b),
        lambda x: ops.maximum(x, a),
        lambda x: ops.minimum(x, np.linspace(-1, 1, last)),
        lambda x: 1.5 - a * x / b,
        lambda x: x * ops.sigmoid(x),
        lambda x: layers.Multiply()([x, layers.Activation("hard_sigmoid")(x)]),
        lambda x: x * (ops.relu6(x + 3) / 6),
        lambda x: layers.Subtract()([x, layers.Activation("tanh")(x)]),
        lambda x: layers.Add()([x, layers.Dense(last)(x)]),
        lambda x: layers.Average()([x, x, layers.Activation("relu")(x)]),
        lambda x: layers.Maximum()([x, layers.Dense(last)(x)]),
        lambda x: layers.Concatenate(pick(rng, 1, -1))([x, layers.Activation("tanh")(x)]),
        lambda x: ops.flip(x, -1) + x,
        lambda x: ops.roll(x, 1, -1) - x,
        lambda x: ops.sum(x, axis=-1, keepdims=True) + x,
        lambda x: x - ops.mean(x, axis=1, keepdims=True),
        lambda x: ops.max(x, axis=-1, keepdims=True) - x,
        lambda x: ops.min(x, axis=1),
        lambda x: ops.sort(x, axis=-1),
        lambda x: x[:, 1:],
        lambda x: ops.stack([x, b * x], axis=1),
        lambda x: ops.split(x, [1], axis=-1)[0],
        lambda x: ops.repeat(x, 2, axis=-1),
        lambda x: ops.pad(x, [[0, 0], *[[1, 0]] * len(shape)], pick(rng, "constant", "reflect", "symmetric")),
        lambda x: ops.matmul(x, np.linspace(-1, 1, last * 3).reshape(last, 3)),
        # without a constant
        lambda x: x * x,
        lambda x: x * ops.mean(x, axis=-1, keepdims=True),
        lambda x: x / (1 + ops.exp(x)),
        lambda x: ops.round(x),
        lambda x: x - ops.mean(x, axis=0),
        lambda x: ops.cast(ops.cast(x, "float16"), x.dtype),
    ]
    odds = np.array([1.0] * (len(functions) - 6) + [0.25] * 6)
    return functions[rng.choice(len(functions), p=odds / odds.sum())]


FLAT = (dense, activation, activation, normalised, function, function)
SPATIAL = (convolution, convolution, convolution, pool, moved, activation, normalised, function, dense)
ERRORS = (ValueError, IndexError, TypeError, NotImplementedError, AttributeError)


def net(seed):
    """A random net and the shape of one input."""
    from tensorflow.errors import OpError

    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    shape = pick(rng, (5,), (7,), (6, 2), (8, 3), (6, 6, 1), (5, 7, 2), (4, 4, 3))
    inputs = x = keras.Input(shape)
    for _ in range(int(rng.integers(1, 6))):
        make = pick(rng, *(SPATIAL if len(x.shape) in (3, 4) else FLAT))
        try:
            y = make(rng, tuple(x.shape[1:]))(x)
            keras.Model(inputs, y)(np.zeros((2, *shape)))  # on a CPU some arguments have no kernel
        except (*ERRORS, OpError):
            continue
        out = tuple(y.shape[1:])
        if y.shape[0] is None and out and None not in out and 0 < min(out) <= max(out) <= 64:
            x = y
    outputs = layers.Flatten()(x)
    if pick(rng, True, True, False):
        outputs = layers.Dense(int(rng.integers(1, 5)))(outputs)
    model = keras.Model(inputs, outputs)
    for weight in model.weights:
        if "variance" in weight.name:
            weight.assign(rng.uniform(0.1, 2, weight.shape))
        elif "seed" not in weight.name:
            weight.assign(rng.standard_normal(weight.shape) / np.sqrt(max(1, np.prod(weight.shape[:-1]))))
    return model, shape
