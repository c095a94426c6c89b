"""Keras models built anew in float64, and lower bounds by them."""

import random

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")
from keras import layers

from artclip import lipschitz_lower_bound
from artclip.frameworks import function_of
from artclip.frameworks.keras.float64 import in_float64
from artclip.lipschitz.precision import precision_of, values

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(20, 6)).astype(np.float32)


def functional():
    x = keras.Input((6,), name="x")
    inside = keras.Sequential([layers.Dense(8, "gelu"), layers.BatchNormalization(), layers.Dropout(0.3)])
    again = layers.Dense(8, "relu", name="again")
    h = again(inside(x))
    return keras.Model(x, layers.Dense(3)(layers.Concatenate()([again(h), layers.Rescaling(0.5)(x)])))


def test_the_copy_computes_in_float64_and_the_model_is_left_as_it_is():
    model = functional()
    policy, numbers, state = keras.config.dtype_policy().name, random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    weights = [w.copy() for w in model.get_weights()]
    twin = in_float64(model, ())
    assert (policy, numbers) == (keras.config.dtype_policy().name, random.getstate())
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert all((a == b).all() and a.dtype == b.dtype for a, b in zip(weights, model.get_weights(), strict=True))
    assert all(v.dtype == "float64" for v in twin.weights if "seed" not in v.path)
    out = np.asarray(twin(X.astype(np.float64)))
    assert out.dtype == np.float64
    assert (out != out.astype(np.float32)).any()
    np.testing.assert_allclose(out, np.asarray(model(X)), atol=1e-6)


def test_models_of_the_users_own_have_no_copy():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = layers.Dense(3)

        def call(self, x):
            return self.layer(x)

    model = Own()
    model(X)
    assert in_float64(model, ()) is None
    found = precision_of(function_of(model), X, 0.05)
    assert found.fine is None
    assert found.unit == np.finfo(np.float32).eps


def test_normalisation_as_adapted_is_copied_too():
    adapted = layers.Normalization()
    adapted.adapt(10 * X)
    model = keras.Sequential([keras.Input((6,)), adapted, layers.Dense(3)])
    scale = 1 / np.sqrt(np.asarray(adapted.variance, dtype=np.float64).ravel())
    constant = np.linalg.norm(scale[:, None] * np.asarray(model.layers[1].kernel, dtype=np.float64), 2)
    est = lipschitz_lower_bound(model, X, nb_restarts=4, max_iter=10, seed=0)
    assert 0.999 * constant < est.value <= constant
    assert not est.notes


@pytest.mark.parametrize("seed", [1, 17])  # of 25, those whose rounding was once taken for steepness
def test_layers_that_compute_in_low_precision_unseen_are_noted(seed):
    keras.utils.set_random_seed(seed)
    inside = layers.Dense(50, "relu", dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((6,)), inside, layers.Dense(3, dtype="float32")])
    model.layers[0].bias.assign(np.full(50, 1e3))  # outputs of the units are rounded to 4
    first, second = (np.asarray(layer.kernel, dtype=np.float64) for layer in model.layers)
    est = lipschitz_lower_bound(model, X, nb_restarts=4, max_iter=10, seed=0)
    assert "copy in float64 differs from predict" in est.notes[0]
    assert 0 <= est.value <= np.linalg.norm(first, 2) * np.linalg.norm(second, 2)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("bias", [0.1, 3e5])
def test_large_outputs_and_low_precision_are_not_steepness(policy, bias):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, dtype=policy)])
    model.layers[0].bias.assign(np.full(3, bias))
    constant = np.linalg.norm(np.asarray(model.layers[0].kernel, dtype=np.float64), 2)
    est = lipschitz_lower_bound(model, X, nb_restarts=4, max_iter=10, seed=0)
    least = {("float32", 0.1): 1 - 1e-4, ("float32", 3e5): 1 - 1e-4, ("mixed_bfloat16", 3e5): -1.0}
    assert constant * least.get((policy, bias), 0.9) < est.value <= constant
    both = values(function_of(model), np.stack([est.u, est.v]))
    assert np.linalg.norm(both[1] - both[0]) >= est.value * np.linalg.norm(est.u.astype(np.float64) - est.v)
