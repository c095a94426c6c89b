"""Models of six inputs, and classifiers of Keras made of them."""

import keras
from art.estimators.classification import KerasClassifier

from tests.nets.common import NB_CLASSES

LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def mlp(outputs=NB_CLASSES, activation=None, **kwargs):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(16, "tanh", **kwargs), keras.layers.Dense(outputs, activation, **kwargs)]
    )


def keras_classifier(loss=LOGITS, model=None, optimizer=None, **kwargs):
    model = model or mlp()
    model.compile(optimizer or keras.optimizers.SGD(0.3), loss, metrics=["accuracy"])
    return KerasClassifier(model, use_logits=True, clip_values=(0.0, 1.0), **kwargs)


def functional():
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(16, "tanh")(inputs)
    return keras.Model(inputs, keras.layers.Dense(NB_CLASSES)(keras.layers.Concatenate()([inputs, hidden])))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.last = keras.layers.Dense(16, "tanh"), keras.layers.Dense(NB_CLASSES)

    def call(self, x):
        return self.last(self.first(x))
