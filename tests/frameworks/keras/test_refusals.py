"""Keras models without a bound: the message names the layer, and says why."""

import importlib

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras
from keras import layers, ops

from artclip import lipschitz_upper_bound
from artclip.frameworks.keras.calls import OWN, RULES, arguments_of, is_common
from artclip.frameworks.keras.graph import read
from artclip.frameworks.keras.refused import REASONS
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


def bias_by_chance(x):
    return layers.Add(name="it")([layers.Dense(3)(x), layers.Dense(1)(x)])


def gated(x):
    return layers.Multiply(name="it")([x, layers.Dense(12, "sigmoid")(x)])


def sequence(name, *args, **kwargs):
    return lambda x: getattr(layers, name)(*args, name="it", **kwargs)(layers.Reshape((4, 3))(x))


def attention(x):
    y = layers.Reshape((4, 3))(x)
    return layers.MultiHeadAttention(2, 3, name="it")(y, y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (layers.LayerNormalization(epsilon=0.0, name="it"), "layer it: with epsilon 0 it is not globally Lipschitz"),
        (layers.LayerNormalization(rms_scaling=True, name="it"), "layer it: with rms_scaling it divides"),
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
        (gated, "layer it: a product of two activations is not globally Lipschitz: .* .squeeze-and-excite, gates and"),
        (
            lambda x: ops.matmul(ops.expand_dims(x, 2), ops.expand_dims(x, 1)),
            "layer matmul.*: it multiplies activations",
        ),
        (lambda x: ops.einsum("bi,bi->b", x, x), "layer einsum.*: it multiplies activations with each other"),
        (lambda x: ops.einsum("bi,i->bi", x, np.ones(12)), "layer einsum.*: no rule for the equation 'bi,i->bi'"),
        (attention, "layer it: attention: it multiplies activations with each other, which is not globally Lipschitz"),
        (lambda x: ops.cast(x, "int32"), "layer cast.*: it rounds to int32"),
        (lambda x: layers.Rescaling(2, dtype="uint8", name="it")(x), "layer it: it computes in uint8"),
        (
            lambda x: ops.concatenate([x, np.ones((1, 12), "float32")], 1),
            "layer concat.*: no rule for .* with a constant",
        ),
        (
            lambda x: ops.average(x, 1, np.ones((1, 12))),
            r"layer average.*: no rule for 'Average' with weights of shape",
        ),
        (lambda x: ops.concatenate([x, ops.softmax(x, 0)], 1), "layer softmax.*: it joins samples"),
        (
            lambda x: layers.Softmax(name="it")(x, mask=np.ones((1, 12), bool)),
            "layer it: no rule for 'Softmax' with a mask",
        ),
        (lambda x: ops.roll(x, 3, 0), "layer roll.*: it moves entries between samples"),
        (lambda x: ops.reshape(x, (-1, 6)), "layer reshape.*: it moves entries between samples"),
        (lambda x: ops.clip(x, 1, -1), "layer clip.*: clip needs x_min <= x_max, got 1 and -1"),
        (lambda x: x / 0.0, "layer .*divide.*: a division by 0"),
        (lambda x: x * np.nan, "layer multiply.*: its constants have NaN or infinite entries"),
        (lambda x: ops.celu(x, -1.0), "layer celu.*: a CELU with alpha -1 <= 0 grows exponentially"),
        (layers.Activation("hard_shrink", name="it"), "layer it: hard_shrink is not Lipschitz: it jumps"),
        (layers.Activation("glu", name="it"), "layer it: glu is not globally Lipschitz: it multiplies"),
        (
            sequence("Resizing", 2, 2, crop_to_aspect_ratio=True),
            "layer it: no rule for 'Resizing' that keeps the aspect",
        ),
        (sequence("Resizing", 2, 2), "layer it: it joins samples of a batch: images need"),
        (lambda x: ops.cast(ops.cast(x, "float16"), "float32"), "layer cast.*: it computes in float16, whose rounding"),
        (
            lambda x: layers.Dense(3, dtype="mixed_bfloat16", name="it")(x),
            "layer it: it computes in bfloat16, whose round",
        ),
        (lambda x: ops.mean(x) + x, "layer mean.*: it joins samples"),
        (lambda x: ops.flip(x, 0), "layer flip.*: it moves entries between samples"),
        (
            lambda x: layers.Reshape((12, 1))(x) + np.ones((5, 1, 1), "float32"),
            r"layer add.*: no rule for 'Add' of shapes \(None, 12, 1\), \(5, 1, 1\)",
        ),
        (bias_by_chance, r"layer it: Keras's add takes the tensor of shape \(None, 1\) for a bias"),
        (sequence("LSTM", 2), "layer it: its gates multiply activations with each other at each step"),
        (sequence("GRU", 2), "layer it: its gates multiply activations with each other at each step"),
        (sequence("SimpleRNN", 2), "layer it: no rule goes through the steps of a recurrence"),
        (sequence("Bidirectional", layers.GRU(2)), "layer it: no rule goes through the steps of the recurrence in it"),
        (sequence("TimeDistributed", layers.UnitNormalization(name="inner")), "layer inner: it divides by the norm of"),
        (sequence("Masking"), "layer it: the mask that it makes switches steps off"),
        (
            lambda x: keras.Sequential([keras.Input(VECTOR), layers.UnitNormalization(name="it")], name="inside")(x),
            "layer inside/it: it divides by the norm of its input, so its slope near 0",
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


@pytest.mark.parametrize("place", [0, 1, 5, 9])
def test_weights_that_are_no_numbers_are_refused(place):
    model = build("batchnorm")
    weights = model.get_weights()
    weights[place].flat[0] = np.inf if place else np.nan
    model.set_weights(weights)
    name = next(layer.name for layer in model.layers if any(w is model.weights[place] for w in layer.weights))
    with pytest.raises(
        ValueError, match=f"layer {name}: its weights have NaN or infinite entries, so there is no bound"
    ):
        read(model, (7, 6, 2))


def test_a_variance_below_zero_is_refused():
    model = keras.Sequential([keras.Input(VECTOR), layers.BatchNormalization(name="it")])
    model.layers[0].moving_variance.assign(np.full(12, -1.0))
    with pytest.raises(ValueError, match=r"layer it: its variance plus epsilon is -0.999, not > 0"):
        read(model, VECTOR)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16"])
def test_models_in_low_precision_are_refused(dtype):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        inputs = keras.Input(VECTOR, dtype="float32")
        model = keras.Model(inputs, layers.Dense(3, dtype="float32")(inputs), name="it")
    finally:
        keras.config.set_dtype_policy(before)
    with pytest.raises(ValueError, match=r"it: it computes in b?float16, whose rounding is far above that of float32"):
        read(model, VECTOR)


def test_layers_whose_call_was_replaced_are_refused():
    model = build("dense")
    model.layers[1].call = lambda x: x**2
    with pytest.raises(ValueError, match=f"layer {model.layers[1].name}: no rule for 'Dense'"):
        read(model, VECTOR)


def classes():
    """Of all layers and operations of Keras, by the names that rules have."""
    places = ["numpy", "nn", "core", "math", "linalg", "image"]
    modules = [importlib.import_module(f"keras.src.ops.{name}") for name in places]
    modules += [importlib.import_module("keras.src.activations.activations"), layers]
    modules += [importlib.import_module(f"keras.src.applications.{n}") for n in ("convnext", "inception_resnet_v2")]
    found = {}
    for module in modules:
        for name, kind in vars(module).items():
            if isinstance(kind, type) and issubclass(kind, keras.Operation):
                found.setdefault(f"{'layers' if issubclass(kind, layers.Layer) else 'ops'}.{name}", kind)
    return found | {f"layers.{kind.__name__}": kind for kind in OWN}


@pytest.mark.parametrize("kind", RULES)
def test_a_rule_names_all_arguments_of_its_layer_and_no_others(kind):
    rule, arguments = RULES[kind], arguments_of(classes()[kind])
    in_kwargs = dict.fromkeys(
        (f"layers.{n}" for n in ("RandomBrightness", "RandomContrast", "Solarization")), "data_format"
    )
    in_kwargs["layers.LayerNormalization"] = "rms_scaling"
    assert {a for a in (*arguments, in_kwargs.get(kind, "name")) if not is_common(a)} == rule.takes


def test_an_argument_that_a_rule_does_not_name_is_refused(monkeypatch):
    rule = RULES["layers.Dense"]
    monkeypatch.setitem(RULES, "layers.Dense", rule._replace(takes=rule.takes - {"units"}))
    with pytest.raises(ValueError, match=r"layer dense.*: no rule for the argument 'units' of 'Dense'"):
        read(build("dense"), VECTOR)
    monkeypatch.setitem(RULES, "layers.Dense", rule)
    monkeypatch.setattr(layers.Dense, "get_config", lambda self: {"novel": 1})  # in the configuration alone
    with pytest.raises(ValueError, match=r"layer dense.*: no rule for the argument 'novel' of 'Dense'"):
        read(build("dense"), VECTOR)


def test_what_is_refused_by_name_is_there_and_has_no_rule():
    assert REASONS.keys() <= classes().keys()
    assert not REASONS.keys() & RULES.keys()


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
