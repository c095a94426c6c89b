"""Test models on TensorFlow."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from art.estimators.classification import TensorFlowV2Classifier
from keras import layers
from tensorflow.python.eager import context

from artclip.frameworks.keras.stiefel import StiefelMuon
from tests.nets.common import NB_CLASSES, labelled, same_weights, tokens  # noqa: F401


class ModeDependent(keras.Model):
    """A subclassed model that looks at its mode in a hidden way, with TensorFlow's own randomness."""

    def __init__(self):
        super().__init__()
        self.layer = layers.Dense(NB_CLASSES)

    def call(self, x, training=False):
        return self.layer(tf.nn.dropout(x, 0.5) if training else x)


def _sequential(shape, *stack):
    return lambda: keras.Sequential([keras.Input(shape), *(make() for make in stack)])


def _dense(*args, **kwargs):
    return lambda: layers.Dense(*args, **kwargs)


def _functional(shape):
    def make():
        inputs = keras.Input(shape)
        hidden = layers.Conv1D(4, 5, strides=2, activation="gelu")(inputs)
        return keras.Model(inputs, layers.Dense(NB_CLASSES)(layers.Flatten()(hidden)))

    return make


def _branches():
    """A sum of two ways, then two ways side by side."""
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, activation="relu")(inputs)
    both = layers.Add()([hidden, layers.Dense(8, activation="relu")(hidden)])
    return keras.Model(inputs, layers.Dense(NB_CLASSES)(layers.Concatenate()([both, hidden])))


# Relative difference that quotients may have between a compiled pass, as ART's, and one that is not.
ROUNDING = 5e-4
WEIGHTS_FILE = "model.weights.h5"
EXPORTS_OWN_LAYERS = False  # whether a net with a layer of the user's own can be written
REPLAYS = False  # whether a seed alone decides what random operations draw

# Name -> (input shape, maker of the net)
NETS = {
    "linear": ((6,), _sequential((6,), _dense(NB_CLASSES))),
    "mlp": ((6,), _sequential((6,), _dense(8, activation="relu"), _dense(NB_CLASSES))),
    "sigmoid": ((6,), _sequential((6,), _dense(8, activation="sigmoid"), _dense(NB_CLASSES))),
    "cnn": (
        (6, 6, 2),
        _sequential(
            (6, 6, 2),
            lambda: layers.Conv2D(4, 3, activation="relu"),
            lambda: layers.MaxPooling2D(2),
            layers.Flatten,
            _dense(NB_CLASSES),
        ),
    ),
    "batchnorm": (
        (6, 6, 2),
        _sequential(
            (6, 6, 2),
            *(lambda: layers.Conv2D(4, 3), layers.BatchNormalization, layers.ReLU, lambda: layers.Dropout(0.3)),
            *(layers.Flatten, _dense(8), layers.BatchNormalization, layers.ReLU, _dense(NB_CLASSES)),
        ),
    ),
    "series": ((20, 1), _functional((20, 1))),
    "branches": ((6,), _branches),
    "hidden-dropout": ((6,), ModeDependent),
    "frozen": ((6,), _sequential((6,), _dense(8, activation="tanh", trainable=False), _dense(NB_CLASSES))),
}


def _seeded(make, shape, seed):
    """The net with weights that follow from the seed alone."""
    net = make()
    if not net.built:
        net(tf.zeros((1, *shape)))
    rng = np.random.default_rng(seed)
    for weight in net.weights:
        if "kernel" in weight.name or "bias" in weight.name:
            bound = 1 / np.sqrt(np.prod(weight.shape[:-1])) if len(weight.shape) > 1 else 0.1
            weight.assign(rng.uniform(-bound, bound, weight.shape))
    return net


def wrap(net, shape, lr=0.1, optimizer=keras.optimizers.SGD, loss=None, nb_classes=NB_CLASSES, **kwargs):
    """An ART classifier around a Keras net, inputs in [0, 1]."""
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    options = {"clip_values": (0.0, 1.0), **kwargs}
    return TensorFlowV2Classifier(net, nb_classes, shape, loss_object=loss, optimizer=optimizer(lr), **options)


HAS_MUON = hasattr(keras.optimizers, "Muon")


def muon(lr):
    """As the docs say."""
    return keras.optimizers.Muon(lr / 5, weight_decay=0.0, adam_weight_decay=0.0)


def stiefel(lr, **options):
    """Keeps matrices orthogonal."""
    return StiefelMuon(lr, **options)


def orthogonal(estimator):
    """The matrices that its optimizer keeps so, with outputs as rows."""
    variables = estimator.optimizer.orthogonal(estimator.model.trainable_variables)
    return [v.numpy().reshape(-1, v.shape[-1]).T for v in variables]


def classifier(name="mlp", seed=0, lr=0.1, device="cpu", **kwargs):
    """An ART classifier around a net of the registry, inputs in [0, 1]."""
    shape, make = NETS[name]
    return wrap(_seeded(make, shape, seed), shape, lr, **kwargs)


def linear_classifier(matrix, lr=0.1, **kwargs):
    """An ART classifier whose logits are x·Wᵀ, for W of shape (k, d): its Lipschitz constants are known."""
    matrix = np.asarray(matrix, dtype=np.float32)
    net = keras.Sequential([keras.Input((matrix.shape[1],)), layers.Dense(len(matrix), use_bias=False)])
    net.layers[0].kernel.assign(matrix.T)
    return wrap(net, (matrix.shape[1],), lr, nb_classes=len(matrix), **kwargs)


def smoothed(classifier, scale):
    """The net of a classifier as an estimator that ART smooths."""
    from art.estimators.certification.randomized_smoothing import TensorFlowV2RandomizedSmoothing

    about = classifier.model, classifier.nb_classes, classifier.input_shape
    options = {"loss_object": classifier.loss_object, "clip_values": (0.0, 1.0), "sample_size": 10}
    return TensorFlowV2RandomizedSmoothing(*about, scale=scale, **options)


def linear_regressor(lr=0.1, **kwargs):
    """A regressor x·w from one input to one value, with w = 0.5."""
    net = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False)])
    net.layers[0].kernel.assign([[0.5]])
    return wrap(net, (1,), lr, loss=keras.losses.MeanSquaredError(), nb_classes=2, **{"clip_values": None, **kwargs})


def regressor(hidden=16, seed=0, lr=0.05, outputs=1, **kwargs):
    """A regressor from one input to ``outputs`` values: with Keras 3 ART has none, so a classifier stands in."""
    net = _seeded(_sequential((1,), _dense(hidden, activation="tanh"), _dense(outputs)), (1,), seed)

    def momentum(rate):
        return keras.optimizers.SGD(rate, momentum=0.9)

    options = {"clip_values": None, "nb_classes": 2, **kwargs}
    return wrap(net, (1,), lr, momentum, keras.losses.MeanSquaredError(), **options)


def data(name="mlp", n=60, seed=0):
    """Inputs in [0, 1] for a net of the registry, and learnable labels."""
    return labelled(NETS[name][0], n, seed)


def weights(estimator):
    """All weights, moving averages included, as numpy arrays."""
    return {f"{i} {w.name}": w.numpy() for i, w in enumerate(estimator.model.weights)}


def load_weights(estimator, path):
    """Read what a checkpoint wrote."""
    estimator.model.load_weights(path)


def frozen(estimator):
    """Names of the weights that must not be trained."""
    trainable = {id(w) for w in estimator.model.trainable_variables}
    statistics = ("moving_mean", "moving_variance")
    named = zip(weights(estimator), estimator.model.weights, strict=True)
    return [k for k, w in named if id(w) not in trainable and w.name not in statistics]


def matrices(estimator):
    """Trainable weights of the layers, each as a matrix (outputs, inputs)."""
    kernels = [w.numpy() for w in estimator.model.trainable_variables if len(w.shape) > 1]
    return [k.reshape(-1, k.shape[-1]).T for k in kernels]


def scale_weights(estimator, factor):
    """Multiply all trainable variables."""
    for w in estimator.model.trainable_variables:
        w.assign(w * factor)


def learning_rate(estimator, new=None):
    """The optimizer's learning rate, after setting it where a new one is given."""
    if new is not None:
        estimator.optimizer.learning_rate = new
    return float(estimator.optimizer.learning_rate)


def to_half(name="mlp", **kwargs):
    """A classifier that computes in float16."""
    return to_double(name, policy="float16", **kwargs)


def to_double(name="mlp", policy="float64", **kwargs):
    """A classifier that computes in float64."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return classifier(name, **kwargs)
    finally:
        keras.config.set_dtype_policy(before)


def rng_state():
    """The framework's global randomness, as something comparable."""
    rng = vars(context.context()).get("_rng")
    return context.global_seed(), rng and rng.getstate()


def set_seed(seed):
    """Seed the framework's global randomness."""
    tf.random.set_seed(seed)


def has_gpu():
    """Whether the framework sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def gradients(estimator, value):
    """Gradient of the scalar that ``value()`` returns in each trainable variable, or None."""
    with tf.GradientTape() as tape:
        result = value()
    found = tape.gradient(result, estimator.model.trainable_variables)
    return [None if g is None else g.numpy() for g in found]


def nudge(estimator, index, at, step):
    """Add to one entry of one trainable variable."""
    variable = estimator.model.trainable_variables[index]
    array = variable.numpy().copy()
    array[at] += step
    variable.assign(array)


def loop(classifier, x, y, nb_steps, penalty):
    """A training loop of one's own on all the data, compiled; ``penalty(x)`` is added to the loss."""
    model, xt, yt = classifier.model, tf.constant(x), tf.constant(y)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = classifier.loss_object(yt, model(xt, training=True)) + penalty(xt)
        gradients = tape.gradient(loss, model.trainable_variables)
        classifier.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    for _ in range(nb_steps):
        step()


def plain_training(classifier, x, y, orders, seed):
    """Plain training on the batches whose indices ``orders`` lists, in Keras."""
    from artclip.frameworks import trainable_of

    with trainable_of(classifier).seeded(seed):  # the generators of Dropout layers are the model's own
        classifier.model.compile(classifier.optimizer, classifier.loss_object)
        for index in orders:
            classifier.model.train_on_batch(x[index], y[index])


class _Faulty(layers.Layer):
    def __init__(self, at, in_forward):
        super().__init__()
        self._at, self._in_forward = tf.constant(list(at) or [0]), in_forward
        self._calls = tf.Variable(0, trainable=False)

    def call(self, x, training=False):
        if not training:
            return x
        self._calls.assign_add(1)
        bad = tf.reduce_any(self._calls == self._at)
        factor = tf.where(bad, np.nan, 1.0)

        @tf.custom_gradient
        def spoilt(t):
            return tf.identity(t), lambda upstream: upstream * factor

        return x * factor if self._in_forward else spoilt(x)


def faulty(at, forward=True):
    """An MLP whose outputs, or their gradients, are NaN at some calls in train mode."""
    net = _seeded(NETS["mlp"][1], (6,), 0)
    return wrap(keras.Sequential([keras.Input((6,)), *net.layers, _Faulty(at, forward)]), (6,))


def halving_scheduler(estimator):
    """Halves the learning rate each epoch, as a function of the epoch."""
    first = learning_rate(estimator)
    return lambda epoch: learning_rate(estimator, first * 0.5 ** (epoch + 1))


def bare_batchnorm():
    """The net "batchnorm" as a function makes it."""
    return NETS["batchnorm"][1]()


def bare_normalisation(nb=6):
    """One BatchNorm layer, as a model."""
    return keras.Sequential([keras.Input((nb,)), layers.BatchNormalization()])


def of_tokens():
    """A classifier of :func:`tokens`."""
    layers = [keras.layers.Embedding(10, 8), keras.layers.Flatten(), keras.layers.Dense(NB_CLASSES)]
    return wrap(keras.Sequential([keras.Input((4,)), *layers]), (4,), 0.05, keras.optimizers.Adam, clip_values=(0, 9))
