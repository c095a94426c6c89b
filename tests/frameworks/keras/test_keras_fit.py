"""``fit`` of Keras itself, with the penalty beside the loss."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras

from artclip import LipschitzPenalty, lipschitz_lower_bound
from tests.frameworks.keras.models import LOGITS, Subclassed, functional, mlp
from tests.nets import tensorflow_nets as nets


@pytest.mark.parametrize("make", [functional, Subclassed])
def test_keras_fit_with_the_penalty(make):
    x, y = nets.data(n=200)
    model, plain = make(), make()
    wrapped = LipschitzPenalty(model, x, clip_values=(0, 1), seed=0).keras_model(0.3)
    wrapped.compile(keras.optimizers.SGD(0.3), LOGITS, metrics=["accuracy"])
    logs = wrapped.fit(x, y, validation_data=(x, y), epochs=10, batch_size=20, verbose=0).history
    assert {"loss", "accuracy", "penalty", "val_loss", "val_accuracy"} == set(logs)
    np.testing.assert_allclose(wrapped.predict(x, verbose=0), model(x).numpy(), atol=1e-6)
    assert logs["val_loss"][-1] == pytest.approx(LOGITS(y, model(x)).numpy(), rel=1e-4)
    plain.compile(keras.optimizers.SGD(0.3), LOGITS)
    plain.fit(x, y, epochs=10, batch_size=20, verbose=0)
    found = [lipschitz_lower_bound(m, x, nb_restarts=8, max_iter=5, seed=0).value for m in (model, plain)]
    assert found[0] < 0.6 * found[1]


def test_keras_fit_lets_callbacks_change_lamda_and_names_misuse():
    x, y = nets.data()
    wrapped = LipschitzPenalty(mlp(), x, seed=0).keras_model(0.0)
    wrapped.compile("sgd", LOGITS)
    rise = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: wrapped.lamda.assign(epoch + 1.0))
    wrapped.fit(x, y, epochs=2, callbacks=[rise], verbose=0)
    assert float(wrapped.lamda) == 2.0
    with pytest.raises(ValueError, match="lamda=-1"):
        LipschitzPenalty(mlp(), x).keras_model(-1)
    with pytest.raises(TypeError, match="bare Keras model"):
        LipschitzPenalty(nets.classifier(), x).keras_model()
