"""A model as attacks see it: logits behind the last activation, true gradients, for every framework."""

import numpy as np
import pytest

from artclip.evaluation.attack_classifier import AttackClassifier
from artclip.evaluation.images import image_shape
from artclip.evaluation.losses import LOSSES
from artclip.evaluation.outputs import output_kind
from artclip.frameworks import function_of
from tests import nets as registries

Y = np.eye(3)[[0, 2, 1, 1, 0, 2]]


def heads():
    """Models that end in an activation, by framework: as a layer, in a layer, shared, nested, or out of reach."""
    found = []
    if "torch" in registries.FRAMEWORKS:
        import torch
        from art.estimators.classification import PyTorchClassifier
        from torch import nn

        class Inside(nn.Module):
            def __init__(self, net):
                super().__init__()
                self.net = net

            def forward(self, x):
                z = torch.exp(self.net(x))
                return z / z.sum(1, keepdim=True)

        class Steep(Inside):
            def forward(self, x):
                return torch.sigmoid(input=self.net(x)).reshape(-1, 3)

        def torch_model(kind):
            torch.manual_seed(0)
            act = nn.Sigmoid()
            body = nn.Sequential(nn.Linear(4, 8), act, nn.Linear(8, 3))
            bare = body
            model = {
                "sigmoid": lambda: nn.Sequential(body, act),  # the same module as in the body
                "softmax": lambda: nn.Sequential(body, nn.Softmax(1)),
                "relu": lambda: nn.Sequential(body, nn.ReLU()),
                "functional": lambda: Steep(body),
                "own call": lambda: nn.Sequential(nn.Flatten(), Steep(body), nn.Identity()),
                "out of reach": lambda: Inside(body),
            }[kind]()
            wrap = {"input_shape": (4,), "nb_classes": 3, "clip_values": (0, 1), "device_type": "cpu"}
            return [PyTorchClassifier(m, nn.CrossEntropyLoss(), **wrap) for m in (model, bare)]

        found.append(("torch", torch_model))
    if "tensorflow" in registries.FRAMEWORKS:
        import keras
        import tensorflow as tf
        from art.estimators.classification import TensorFlowV2Classifier

        class Calls(keras.Model):
            def __init__(self, net):
                super().__init__()
                self.net = net

            def call(self, x):
                z = keras.ops.exp(self.net(x))
                return z / keras.ops.sum(z, axis=1, keepdims=True)

        class SteepCalls(Calls):
            def call(self, x):
                return tf.sigmoid(self.net(x))

        def keras_model(kind):
            keras.utils.set_random_seed(0)
            body = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "sigmoid"), keras.layers.Dense(3)])
            last = keras.layers.Dense(3, kind if kind in ("sigmoid", "softmax", "relu") else None)
            model = keras.Sequential([keras.Input((4,)), body.layers[0], last])
            last.set_weights(body.layers[1].get_weights())
            if kind == "softmax":
                inputs = keras.Input((4,))
                model = keras.Model(inputs, keras.layers.Softmax()(body(inputs)))
            elif kind == "sigmoid":
                inputs = keras.Input((4,))
                model = keras.Model(inputs, model(inputs))
            elif kind == "functional":
                inputs = keras.Input((4,))
                model = keras.Model(inputs, keras.ops.sigmoid(body(inputs)))
            elif kind in ("out of reach", "own call"):
                model = (Calls if kind == "out of reach" else SteepCalls)(body)
                model(np.zeros((1, 4), np.float32))
            return [TensorFlowV2Classifier(m, 3, (4,), clip_values=(0, 1)) for m in (model, body)]

        found.append(("tensorflow", keras_model))
    return found


@pytest.mark.parametrize("kind", ["sigmoid", "softmax", "relu", "functional", "own call", "out of reach"])
@pytest.mark.parametrize(("framework", "make"), heads())
def test_logits_and_gradients_are_those_of_the_bare_model(framework, make, kind):
    model, bare = make(kind)
    x = np.random.default_rng(0).uniform(0, 1, (6, 4)).astype(np.float32)
    before = model.predict(x)
    ours, theirs = AttackClassifier(model, x, 3, 4), AttackClassifier(bare, x, 3, 4)
    assert (ours.head is None) == (kind == "out of reach")
    assert theirs.head is None
    logits, expected = ours.predict(x), theirs.predict(x)
    if kind == "out of reach":  # a softmax tells its logits but for a constant
        logits, expected = (z - z.mean(1, keepdims=True) for z in (logits, expected))
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    for loss in ("cross-entropy", "margin"):
        gradients = [v.with_loss(loss).loss_gradient(x, Y) for v in (ours, theirs)]
        scales = [np.abs(g).max(1, keepdims=True) for g in gradients]
        np.testing.assert_allclose(gradients[0] / scales[0], gradients[1] / scales[1], atol=1e-4)
    np.testing.assert_array_equal(model.predict(x), before)  # the head is there again


def test_gradients_are_those_of_the_loss(nets):
    classifier, (x, _) = nets.classifier("sigmoid"), nets.data("sigmoid", n=6)  # without kinks
    attacked = AttackClassifier(classifier, x, 3, 4)
    f = function_of(classifier)
    for loss in ("cross-entropy", "margin"):
        gradient = attacked.with_loss(loss).loss_gradient(x, Y)
        cotangents = LOSSES[loss](f.predict(x) * (attacked.scale if loss == "cross-entropy" else 1), Y)[1]
        scale = np.abs(cotangents).max(1) * (attacked.scale if loss == "cross-entropy" else 1)
        direction = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
        h = 1e-2
        values = [attacked.compute_loss(x + s * h * direction, Y) for s in (1, -1)]
        slopes = (values[0] - values[1]) / (2 * h)
        found = (gradient.astype(np.float64) * direction).reshape(6, -1).sum(1) * scale
        np.testing.assert_allclose(found, slopes, rtol=0.05, atol=0.02)


def test_class_gradients_are_the_rows_of_the_jacobian(nets):
    matrix = np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 3.0, -1.0], [2.0, 0.0, 0.0, 1.0]])
    attacked = AttackClassifier(nets.linear_classifier(matrix), np.full((2, 4), 0.5, np.float32), 3, 2)
    x = np.random.default_rng(0).uniform(0, 1, (5, 4)).astype(np.float32)
    np.testing.assert_allclose(attacked.class_gradient(x), np.broadcast_to(matrix, (5, 3, 4)), atol=1e-6)
    np.testing.assert_allclose(attacked.class_gradient(x, 1), np.broadcast_to(matrix[1:2], (5, 1, 4)), atol=1e-6)
    picked = attacked.class_gradient(x, np.array([0, 1, 2, 1, 0]))
    np.testing.assert_allclose(picked[:, 0], matrix[[0, 1, 2, 1, 0]], atol=1e-6)
    assert attacked.passes == 5 * 3 + 5 + 5


def test_kinds_of_outputs():
    z = np.random.default_rng(0).normal(0, 3, (20, 4))
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    kinds = [output_kind(a) for a in (z, softmax, 1 / (1 + np.exp(-z)), np.maximum(z, 0), z + 20)]
    assert kinds == ["logits", "probabilities", "sigmoid", "rectified", "logits"]


def test_images_among_inputs():
    assert image_shape((3, 8, 8), True) == (3, 8, 8)
    assert image_shape((784,), True) == (1, 28, 28)
    assert image_shape((784,), False) == (28, 28, 1)
    assert image_shape((10,), True) is None
    assert image_shape((9,), True) is None
