"""Keras models without a bound: the message names the layer, and says why."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras
from keras import layers, ops

from artclip import lipschitz_upper_bound
from artclip.frameworks.keras_graph import read
from tests.nets import tensorflow_nets as nets
from tests.nets.keras_graphs import VECTOR, build, functional


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
