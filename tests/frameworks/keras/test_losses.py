"""Losses of Keras: each learns, of classifiers and of regressors."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras

from artclip import CLIPTrainer
from artclip.frameworks import trainable_of
from tests.frameworks.keras.models import LOGITS, keras_classifier, mlp
from tests.nets import tensorflow_nets as nets


class Fourth(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return tf.reduce_mean((y_true - y_pred) ** 4, axis=-1)


@pytest.mark.parametrize(
    ("loss", "outputs", "activation", "compiled"),
    [
        (LOGITS, 3, None, False),
        (keras.losses.CategoricalCrossentropy(), 2, "softmax", True),
        (keras.losses.SparseCategoricalCrossentropy(), 3, "softmax", False),
        (Fourth(), 3, "softmax", True),
        (keras.losses.CategoricalHinge(), 3, None, False),
        (keras.losses.BinaryCrossentropy(from_logits=True), 1, None, True),
        (keras.losses.BinaryCrossentropy(), 1, "sigmoid", False),
        ("sparse_categorical_crossentropy", 3, "softmax", True),
        ("mse", 3, "softmax", True),
    ],
)
def test_losses_learn(loss, outputs, activation, compiled):
    """Of compiled models and of ART's loss_object in turn, from labels of the format that the loss does not take."""
    x, y = nets.data(n=200)
    y = y if outputs == 3 else (y > 1).astype(int)
    one_hot, net = np.eye(max(2, outputs))[y], mlp(outputs, activation)
    if compiled:
        classifier, labels, others = keras_classifier(loss, net, keras.optimizers.Adam(0.05)), y, one_hot
    else:
        classifier = nets.wrap(net, (6,), 0.05, keras.optimizers.Adam, loss, max(2, outputs))
        labels, others = one_hot, y
    trainer = CLIPTrainer(classifier, lamda=1e-4, seed=0)
    trainer.fit(x, labels, validation_data=(x, others), batch_size=20, nb_epochs=12)
    assert trainer.history[-1]["val_accuracy"] > 0.88
    assert trainer.history[-1]["accuracy"] > 0.88


@pytest.mark.parametrize(("loss", "outputs"), [("mean_squared_error", 1), (keras.losses.Huber(), 2)])
def test_regression_with_a_keras_classifier(loss, outputs):
    x = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    y = x[:, 0] ** 2 if outputs == 1 else np.hstack([x, -(x**2)])
    keras.utils.set_random_seed(0)
    stack = [keras.Input((1,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(outputs)]
    regressor = keras_classifier(loss, keras.Sequential(stack), keras.optimizers.Adam(0.02))
    trainer = CLIPTrainer(regressor, lamda=1e-4, seed=0)
    trainer.fit(x, y, validation_data=(x, y), batch_size=8, nb_epochs=40)
    assert trainer.history[-1]["val_loss"] < 1e-2
    assert trainer.history[-1]["accuracy"] is None
    with pytest.raises(ValueError, match="a regressor has no accuracy"):
        CLIPTrainer(regressor, target_accuracy=0.9)


def test_a_mean_squared_error_makes_a_regressor_only_of_linear_outputs():
    def classes(*last):
        net = keras.Sequential([keras.Input((6,)), *last])
        return trainable_of(nets.wrap(net, (6,), loss=keras.losses.MeanSquaredError())).nb_classes

    dense, softmax = keras.layers.Dense, keras.layers.Softmax
    assert classes(dense(3)) is classes(dense(1)) is classes(dense(1, "sigmoid")) is None
    assert classes(dense(3, "softmax")) == classes(dense(3), softmax()) == 3
    assert classes(dense(3), keras.layers.Activation("softmax")) == 3
