"""Steps are traced without AutoGraph, and with it where a loss or a model of the user's own needs it."""

from types import SimpleNamespace

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import keras

from artclip import CLIPTrainer, lipschitz_lower_bound
from artclip.frameworks.keras import function, tracing
from tests.nets import tensorflow_nets as nets


def branching_loss(y, logits):
    """Looks at a tensor in plain Python, which TensorFlow alone cannot trace."""
    loss = tf.reduce_mean(keras.losses.categorical_crossentropy(y, logits, from_logits=True))
    if loss > 0.5:
        loss = 2.0 * loss
    return loss


@pytest.mark.parametrize("loss", [None, branching_loss])
def test_autograph_is_at_work_where_a_loss_needs_it_alone(loss, monkeypatch):
    used = []

    def recorded(*args, autograph=True, **kwargs):
        used.append(autograph)
        return tf.function(*args, autograph=autograph, **kwargs)

    monkeypatch.setattr(tracing, "tf", SimpleNamespace(function=recorded))
    classifier = nets.classifier("mlp", loss=loss) if loss else nets.classifier("mlp")
    trainer = CLIPTrainer(classifier, pair_interval=2, nb_pairs=4, seed=0)
    trainer.fit(*nets.data("mlp"), batch_size=20, nb_epochs=3)
    assert set(used) == ({False, True} if loss else {False})
    assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]


def test_both_branches_of_a_traced_function_are_there():
    def doubled_where_large(x):
        if tf.reduce_mean(x) > 0.5:
            x = 2 * x
        return x

    _, trace = tracing.traced(doubled_where_large, [tf.TensorSpec((None,))])
    for value, factor in ((0.2, 1), (0.8, 2)):
        np.testing.assert_allclose(trace(tf.constant([value])), [factor * value], rtol=1e-6)


def test_what_is_wrong_with_a_function_is_said():
    def wrong(x):
        raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        tracing.traced(wrong, [tf.TensorSpec((None, 6))])


def test_calls_fit_the_signature_of_their_trace_whatever_the_number_of_rows(monkeypatch):
    """TensorFlow takes others too, but by way of an error whose message holds all of the arguments."""
    seen = []

    def traced(step, signature):
        graph, trace = tracing.traced(step, signature)

        def call(*arguments):
            specs, tensors = tf.nest.flatten(signature), tf.nest.flatten(arguments)
            assert all(spec.is_compatible_with(t) for spec, t in zip(specs, tensors, strict=True))
            seen.append(len(arguments[0]))
            return trace(*arguments)

        return graph, call

    monkeypatch.setattr(function, "traced", traced)
    classifier, (x, y) = nets.classifier("mlp"), nets.data("mlp", n=50)
    lipschitz_lower_bound(classifier, x, nb_restarts=8, max_iter=3, seed=0)
    assert len(set(seen)) > 1
    seen.clear()
    CLIPTrainer(classifier, lamda=0.01, pair_init="near", pair_interval=2, seed=0).fit(x, y, batch_size=20, nb_epochs=1)
    assert set(seen) == {10, 20}
