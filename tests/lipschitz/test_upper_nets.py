"""Nets by name: their bounds hold what is found from below, on every framework."""

import math

import numpy as np
import pytest

from artclip import lipschitz_bracket
from artclip.frameworks import nets_of
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
def test_the_bracket_is_finite_and_in_order(framework, name):
    nets = nets_of(framework)
    size = 2 if name == "convnet" else 8
    shape = (3, size, size) if nets.CHANNELS_FIRST else (size, size, 3)
    classifier = nets.make_classifier(name if name == "convnet" else pre_activation(framework), shape, 3)
    x = np.random.default_rng(0).uniform(0, 1, (20, *shape)).astype(np.float32)
    lower, upper = lipschitz_bracket(classifier, x, nb_restarts=2, max_iter=5, method="product", seed=0)
    assert 0 < lower.value <= upper.value < math.inf
