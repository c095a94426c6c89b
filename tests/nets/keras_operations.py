"""Keras models as graphs of layers: of operations in many forms."""

import keras
import numpy as np
from keras import layers, ops

from tests.nets.keras_graphs import IMAGE, MODELS, VECTOR, functional, head


def reduced(x):
    y = layers.Conv2D(4, 2, padding="same")(x)
    sums = ops.sum(y, 1), ops.sum(y, [2, 3]), ops.mean(y, (1, 3)), ops.average(y, 3, weights=np.arange(1.0, 5.0))
    most = ops.max(y, 1), ops.amax(y, [1, 2]), ops.min(y, -1), ops.max(y, (2, 3), initial=0.5)
    kept = ops.sum(y, 2, keepdims=True), ops.max(y, 3, keepdims=True), ops.amin(y, (1, 2), keepdims=True)
    return layers.Dense(3)(layers.Concatenate()([layers.Flatten()(t) for t in (*sums, *most, *kept)]))


def rearranged(x):
    y = layers.Conv2D(4, 2, padding="same")(x)
    first, second = ops.split(y, 2, axis=-1)
    y = ops.stack([first, ops.flip(second, (1, 2)), ops.roll(x, 2, axis=2)], axis=3)
    y = ops.moveaxis(ops.concatenate([y, ops.repeat(y, 2, axis=1)], 1), 1, -1)
    y = ops.expand_dims(ops.tile(y[..., ::3], (1, 1, 2, 1, 1)), 2)
    parts = ops.unstack(ops.take(ops.squeeze(y, 2), [0, 2, 2], axis=1), axis=1)
    return layers.Dense(3)(layers.Flatten()(ops.swapaxes(layers.Average()(parts), 1, 2)))


def padded(x):
    y = layers.Conv2D(2, 2)(x)
    y = ops.pad(ops.pad(y, ((0, 0), (2, 1), (0, 3), (0, 0)), "reflect"), ((0, 0), (1, 0), (2, 2), (1, 1)), "symmetric")
    return head(ops.pad(y, ((0, 0), (0, 1), (1, 0), (1, 0)), constant_values=2.0))


def matrices(x):
    rng = np.random.default_rng(0)
    y = layers.Conv2D(4, 2, padding="same")(x)
    y = ops.matmul(rng.standard_normal((5, 6)), ops.matmul(y, rng.standard_normal((4, 3))))
    y = ops.einsum("kl,bijk->blji", rng.standard_normal((3, 2)), y)
    y = layers.EinsumDense("abcd,cde->abe", (2, 4), bias_axes="be", activation="relu")(y)
    return ops.dot(layers.EinsumDense("...x,xy->...y", 4, bias_axes="y")(y), rng.standard_normal(4)) @ np.ones((2, 3))


def normalised(x):
    y = layers.LayerNormalization(epsilon=0.1)(layers.Conv2D(4, 2)(x))
    y = layers.GroupNormalization(2, epsilon=0.2)(layers.LayerNormalization([1, 3], center=False, epsilon=0.3)(y))
    y = layers.GroupNormalization(-1, axis=2, epsilon=0.5, scale=False)(layers.RMSNormalization(epsilon=0.4)(y))
    return head(layers.LayerNormalization([1, 2, 3], scale=False, epsilon=0.1)(y))


def swishes(x):
    y = layers.Conv2D(2, 2)(x)
    y = layers.Multiply()([y, layers.Activation("hard_sigmoid")(y)])
    y = layers.Multiply()([layers.ReLU(6.0)(y + 3.0) * (1 / 8), y])
    y = y * ops.sigmoid(1.5 * y - 0.5) + y * ops.tanh(ops.softplus(y))
    return head((2 * y - 1) * ops.clip(0.5 * y, -1, 2) - y / (1 + abs(y)) + 0.5 * y * (1 + ops.erf(y * 0.7)))


def limited(x):
    rng = np.random.default_rng(0)
    y = layers.PReLU(shared_axes=[1])(layers.Conv2D(4, 2)(x))
    y = ops.clip(layers.PReLU(shared_axes=[1, 2])(y), -2 * rng.random((5, 4)), rng.random(4))
    y = ops.minimum(ops.maximum(y, -rng.random((6, 5, 4))), layers.Maximum()([y, layers.Conv2D(4, 1)(y)]))
    y = ops.celu(ops.soft_shrink(y, 0.1), 0.7) + ops.squareplus(y, 0.5) + ops.leaky_relu(y, 1.75)
    return head(layers.LeakyReLU(1.0)(ops.gelu(layers.Softmax([1, 3])(y))))


def broadcast(x):
    y = layers.Conv2D(4, 2, padding="same")(x)
    y = layers.Add()([y, layers.GlobalMaxPooling2D(keepdims=True)(y)])
    y = layers.Subtract()([ops.mean(y, 3, keepdims=True), y]) + np.linspace(0, 1, 7).reshape(7, 1, 1)
    return head(ops.maximum(y, ops.mean(y, (1, 2), keepdims=True)) * np.linspace(-1, 1, 6).reshape(1, 6, 1))


def steps(x):
    image = keras.Input(IMAGE)
    y = layers.Conv2DTranspose(2, 2, activation="relu")(layers.Conv2D(3, 2)(image))
    y = layers.BatchNormalization()(layers.Concatenate()([y, layers.MaxPooling2D(2, 1, "same")(y), image]))
    y = layers.Concatenate(1)([layers.PReLU()(layers.LayerNormalization([1, 2])(y)), ops.sort(y, -1)])
    inside = keras.Model(image, layers.Softmax()(layers.Dense(4)(layers.AveragePooling2D((3, 2))(y))))
    y = layers.Reshape((3, *IMAGE))(layers.Dense(3 * 84)(x))
    y = layers.TimeDistributed(layers.Flatten())(layers.TimeDistributed(inside)(y))
    return head(layers.TimeDistributed(layers.Dense(4, "relu"))(y))


def resized(x):
    y = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(3, 2)(x))
    y = layers.UpSampling2D((1, 2), "channels_first", "bicubic")(layers.Resizing(4, 9, antialias=True)(y))
    return head(ops.image.resize(layers.Resizing(5, 5, "nearest")(y), (7, 4), "lanczos3"))


def adaptive(x):
    y = layers.AdaptiveAveragePooling2D((5, 4))(layers.Conv2D(3, 2)(x))
    return head(layers.AdaptiveMaxPooling2D((3, 3), "channels_first")(y))


def bias_axis(x):
    """Keras adds the bias along the last axis: it is as long as that of the channels."""
    y = layers.Conv2D(2, 1, data_format="channels_first")(x)
    return head(y + np.array([1.0, -3.0]).reshape(2, 1, 1))


# Name -> (input shape, maker); of their constants alone, compared with Jacobians, is known that they hold.
MORE = {
    "reduced": (IMAGE, functional(IMAGE, reduced)),
    "rearranged": (IMAGE, functional(IMAGE, rearranged)),
    "padded-modes": (IMAGE, functional(IMAGE, padded)),
    "matrices": (IMAGE, functional(IMAGE, matrices)),
    "normalised": (IMAGE, functional(IMAGE, normalised)),
    "swishes": (IMAGE, functional(IMAGE, swishes)),
    "limited": (IMAGE, functional(IMAGE, limited)),
    "broadcast": (IMAGE, functional(IMAGE, broadcast)),
    "steps": (VECTOR, functional(VECTOR, steps)),
    "resized": (IMAGE, functional(IMAGE, resized)),
    "adaptive": (IMAGE, functional(IMAGE, adaptive)),
    "bias-axis": (IMAGE, functional(IMAGE, bias_axis)),
    "identity": (VECTOR, functional(VECTOR, lambda x: layers.Identity()(x))),
}
ALL = MODELS | MORE
