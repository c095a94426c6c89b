"""Which Keras models take a batch and points beside it in one pass."""

import keras
import pytest
import tensorflow as tf
from art.defences.preprocessor import SpatialSmoothingTensorFlowV2

from artclip.frameworks import trainable_of
from tests.nets import tensorflow_nets
from tests.nets.tensorflow_nets import wrap


def of(*layers, shape=(6,)):
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(3)])


def centred():
    """A functional model with an operation over the batch."""
    inputs = keras.Input((6,))
    return keras.Model(inputs, keras.layers.Dense(3)(inputs - keras.ops.mean(inputs, 0, keepdims=True)))


class Own(keras.layers.Dense):
    """A layer of the user's own."""


@pytest.mark.parametrize(
    ("make", "joins"),
    [
        (lambda: of(keras.layers.Dense(9, "relu")), True),
        (lambda: of(keras.Sequential([keras.layers.Dense(9), keras.layers.ReLU()])), True),
        (lambda: of(keras.layers.Dense(9, lambda x: x - tf.reduce_mean(x, 0))), False),
        (lambda: of(keras.layers.Dense(9, activity_regularizer="l2")), False),
        (lambda: of(keras.layers.Activation("gelu")), True),
        (lambda: of(keras.layers.Dense(9, keras.layers.Dropout(0.5))), False),
        (lambda: of(keras.layers.Activation(keras.ops.flip)), False),
        (lambda: of(keras.layers.Dropout(0.5)), False),
        (lambda: of(Own(9)), False),
        (centred, False),
    ],
)
def test_a_model_that_may_see_more_than_one_sample_or_has_modes_does_not(make, joins):
    assert trainable_of(wrap(make(), (6,))).joins_passes(1) is joins


def test_a_defence_at_predict_alone_keeps_passes_apart():
    for fit, predict in ((True, False), (False, True)):
        defence = SpatialSmoothingTensorFlowV2(window_size=3, apply_fit=fit, apply_predict=predict)
        net = of(keras.layers.Flatten(), shape=(6, 6, 1))
        assert trainable_of(wrap(net, (6, 6, 1), preprocessing_defences=[defence])).joins_passes(1) is fit


def test_a_train_step_of_ones_own_makes_its_own_pass():
    classifier = tensorflow_nets.classifier("mlp")
    assert trainable_of(classifier).joins_passes(1)
    classifier._train_step = lambda model, images, labels: None
    assert not trainable_of(classifier).joins_passes(1)
