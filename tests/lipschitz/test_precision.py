"""Copies in float64: used where they are the same function, computed in float64 throughout, and not elsewhere."""

import numpy as np
import pytest

from artclip.lipschitz.precision import has_gradient, precision_of, values

torch = pytest.importorskip("torch")
from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip.frameworks import function_of
from tests.lipschitz.test_lower_kinds import Call, linear, points

X = points(20, 6)
EPS = float(np.finfo(np.float32).eps)


def of(model, x=X):
    return precision_of(function_of(model), x, 0.05)


def deep(*activations):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*[m for a in activations for m in (nn.Linear(6, 6), a)], nn.Linear(6, 3))


@pytest.mark.parametrize("model", [deep(nn.ReLU(), nn.ReLU()), deep(nn.GELU(), nn.Softplus(20)), nn.Identity()])
def test_the_copy_is_the_function_to_the_digits_of_float64(model):
    found = of(model)
    assert found.unit == EPS
    exact = nn.Sequential(model).double()(torch.from_numpy(X).double()).detach().numpy()
    model.float()
    np.testing.assert_allclose(values(found.fine, X), exact, rtol=1e-14)


def test_scaling_is_part_of_it_as_predict_has_it():
    layer, _ = linear(6, 3)
    classifier = PyTorchClassifier(
        layer, nn.CrossEntropyLoss(), (6,), 3, preprocessing=(0.1307, 0.3081), device_type="cpu"
    )
    fine = of(classifier).fine
    scaled = (X.astype(np.float64) - float(np.float32(0.1307))) / float(np.float32(0.3081))
    weight, bias = (t.detach().numpy().astype(np.float64) for t in (layer.weight, layer.bias))
    np.testing.assert_allclose(values(fine, X), scaled @ weight.T + bias, rtol=1e-13)
    assert layer.weight.dtype == torch.float32
    assert (classifier.predict(X) == function_of(classifier).predict(X)).all()


class Stubborn(nn.Linear):
    def __deepcopy__(self, memo):
        raise TypeError("not copyable")


def under_autocast(layer, x):
    with torch.autocast("cpu", torch.bfloat16):
        return layer(x).float()


@pytest.mark.parametrize(
    "model",
    [
        Stubborn(6, 3),
        Call(lambda layer, x: layer(x.float()), nn.Linear(6, 3)),  # fails with weights in float64
        Call(lambda layer, x: layer(x).float(), nn.Linear(6, 3)),  # rounds in the end
        Call(lambda layer, x: layer(layer(x).float().to(layer.weight.dtype)), nn.Linear(6, 6)),  # rounds inside
        Call(lambda layer, x: layer(x.float().to(layer.weight.dtype)), nn.Linear(6, 3)),  # rounds its inputs
        Call(lambda layer, x: layer(x) + (0.1 if x.dtype == torch.float64 else 0), nn.Linear(6, 3)),  # another function
    ],
)
def test_what_is_not_the_same_in_float64_has_no_copy(model):
    found = of(model)
    assert found.fine is None
    assert found.unit >= EPS


def test_a_model_in_float64_is_its_own_copy_unless_it_rounds_inside():
    model = deep(nn.ReLU()).double()
    f = function_of(model)
    assert precision_of(f, X, 0.05).fine is f
    rounding = Call(lambda layer, x: layer(x.float().double()), model)
    assert of(rounding).fine is None
    assert of(rounding).unit == EPS


@pytest.mark.parametrize("bias", [0.0, 1e3])
def test_what_is_computed_in_16_bits_is_seen(bias):
    """By how far it is from the copy, or by the outputs themselves; the copy of 32-bit weights is the truth then."""
    layer, _ = linear(6, 3, bias)
    found = of(Call(under_autocast, layer))
    assert found.unit > 1e-4
    if found.fine is not None:
        exact = X @ layer.weight.detach().numpy().T.astype(np.float64) + bias
        np.testing.assert_allclose(values(found.fine, X), exact, rtol=1e-12, atol=1e-12)


def test_whether_there_are_gradients():
    layer, _ = linear(6, 3)
    assert has_gradient(function_of(layer), X)
    assert not has_gradient(function_of(Call(lambda layer, x: layer(x).detach(), layer)), X)
