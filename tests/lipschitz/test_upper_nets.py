"""Nets by name: their bounds hold for pairs of inputs, on every framework."""

import math

import numpy as np
import pytest

from artclip import lipschitz_upper_bound
from artclip.frameworks import function_of, nets_of
from tests.nets import FRAMEWORKS


def pre_activation(framework):
    """Two blocks of ``resnet18``, narrow: one whose shortcut is a convolution, and one whose shortcut is the input."""
    nets = nets_of(framework)
    if framework == "torch":
        from torch import nn

        def make(shape, nb_classes):
            blocks = [nets._PreActivation(*sizes, nn.ReLU) for sizes in ((3, 4, 2), (4, 4, 1))]
            return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(64, nb_classes))

        return make

    from keras import layers

    def make(shape, nb_classes):
        init = nets._Seeds(0)
        blocks = [nets._pre_activation(*sizes, "relu", init) for sizes in ((3, 4, 2), (4, 4, 1))]
        return nets._net([*blocks, layers.Flatten(), layers.Dense(nb_classes, **init(64))], shape)

    return make


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", ["convnet", "blocks of resnet18"])
def test_the_bound_is_finite_and_holds_for_pairs(framework, name):
    nets = nets_of(framework)
    size = 2 if name == "convnet" else 8
    shape = (3, size, size) if nets.CHANNELS_FIRST else (size, size, 3)
    classifier = nets.make_classifier(name if name == "convnet" else pre_activation(framework), shape, 3)
    x = np.random.default_rng(0).uniform(0, 1, (40, *shape)).astype(np.float32)
    outputs = function_of(classifier).predict(x)
    upper = lipschitz_upper_bound(classifier, method="product").value
    steepest = max(
        np.linalg.norm(outputs[i] - outputs[j]) / np.linalg.norm(x[i] - x[j]) for i in range(20) for j in range(20, 40)
    )
    assert 0 < steepest <= upper < math.inf
