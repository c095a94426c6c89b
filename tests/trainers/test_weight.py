"""Weight regularisation: its penalties are the norms they claim to be."""

import numpy as np
import pytest
import torch

from artclip import WeightRegularizationTrainer
from artclip.frameworks import trainable_of
from tests import nets


def penalty(kind, net):
    classifier = nets.classifier(net)
    f = trainable_of(classifier)
    regularizer = WeightRegularizationTrainer(classifier, kind=kind)._regularizer(f, (None, None), 0)
    state, _ = regularizer.advance(regularizer.state, None, 0)
    for _ in range(200):
        state, _ = regularizer.advance(state, None, 0)
    return classifier, regularizer.penalty(state, None, None)[0]


@pytest.mark.parametrize("net", nets.NETS)
def test_penalties_equal_numpy(net):
    classifier, squares = penalty("l2", net)
    matrices = [
        p.detach().numpy().reshape(len(p), -1) for p in classifier.model.parameters() if p.ndim > 1 and p.requires_grad
    ]
    assert float(squares.detach()) == pytest.approx(sum((m**2).sum() for m in matrices), rel=1e-5)
    _, product = penalty("spectral", net)
    assert float(product.detach()) == pytest.approx(np.prod([np.linalg.norm(m, 2) for m in matrices]), rel=1e-4)


@pytest.mark.parametrize("kind", ["l2", "spectral"])
def test_penalty_has_a_gradient_in_the_weights_but_not_in_biases(kind):
    classifier, value = penalty(kind, "batchnorm")
    value.backward()
    for module in classifier.model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            assert module.weight.grad.abs().sum() > 0
            assert module.bias.grad is None
        elif isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            assert module.weight.grad is None


@pytest.mark.parametrize("kind", ["l2", "spectral"])
def test_larger_lamda_smaller_norms(kind):
    x, y = nets.data(n=100)
    norms = []
    for lamda in (0.0, 0.01, 1.0):
        classifier = nets.classifier()
        trainer = WeightRegularizationTrainer(classifier, lamda=lamda, kind=kind, seed=0)
        trainer.fit(x, y, batch_size=20, nb_epochs=20)
        norms.append(np.prod([np.linalg.norm(w, 2) for k, w in nets.weights(classifier).items() if "weight" in k]))
        assert trainer.history[-1]["lipschitz"] is None
        assert (trainer.history[-1]["penalty"] is None) == (lamda == 0)
    assert norms[0] > norms[1] > norms[2]


def test_target_accuracy_is_held():
    trainer = WeightRegularizationTrainer(nets.classifier(lr=0.5), target_accuracy=0.8, seed=0)
    trainer.fit(*nets.data(n=400), batch_size=20, nb_epochs=60)
    assert np.mean([r["accuracy"] for r in trainer.history[-10:]]) == pytest.approx(0.8, abs=0.05)


def test_transposed_convolution_counts_outputs_first():
    classifier = nets.classifier()
    classifier.model.add_module("up", torch.nn.ConvTranspose2d(3, 5, 2))
    assert [tuple(w.shape) for w in trainable_of(classifier).weights()][-1] == (5, 3 * 2 * 2)
