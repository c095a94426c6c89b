"""What is done with the gradient in a step, on every framework: its limit, averages of weights, optimizers' kinds."""

import numpy as np
import pytest

from artclip import CLIPTrainer
from tests.nets.common import same_weights


def moved(nets, max_grad_norm, lr):
    """How far one step of SGD went, over the rate: the norm of the gradient that it took."""
    classifier = nets.classifier(lr=lr)
    before = nets.weights(classifier)
    CLIPTrainer(classifier, lamda=0.1, seed=0).fit(
        *nets.data(n=20), batch_size=20, nb_epochs=1, max_grad_norm=max_grad_norm
    )
    after = nets.weights(classifier)
    return np.sqrt(sum(((after[k] - before[k]) ** 2).sum() for k in before)) / lr


def test_the_whole_gradient_is_scaled_down_to_its_limit(nets):
    free = moved(nets, None, 0.01)
    assert moved(nets, 0.1, 0.01) == pytest.approx(0.1, rel=1e-3)
    assert moved(nets, 2 * free, 0.01) == pytest.approx(free, rel=1e-3)


def test_a_limit_out_of_its_range_is_refused_untouched(nets):
    classifier = nets.classifier()
    before = nets.weights(classifier)
    for bad in (0, -1.0, float("nan"), "1"):
        with pytest.raises(ValueError, match="max_grad_norm="):
            CLIPTrainer(classifier).fit(*nets.data(n=20), nb_epochs=1, max_grad_norm=bad)
    assert same_weights(before, nets.weights(classifier))
