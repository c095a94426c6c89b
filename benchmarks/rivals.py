"""Defences that CLIP is measured against, each as a tight PyTorch loop: no trainer's overhead speaks for us.

All have the interface of :class:`artclip.CLIPTrainer`: ``fit``, ``classifier``, ``history``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

Objective = Callable[[torch.nn.Module, Tensor, Tensor], Tensor]


class Rival:
    """Minimises an objective of (net, x, y), batch by batch.

    Args:
        classifier: ART ``PyTorchClassifier`` with an optimizer.
        objective: the loss of a batch, a scalar.
        gradients: inputs through which a step takes gradients, for each sample.
        seed: of the order of the data and of the objective's randomness.
    """

    lamda = None
    share = 0.0
    """Of the steps, that are done."""

    def __init__(self, classifier: Any, objective: Objective, gradients: float, seed: int) -> None:
        self.classifier, self._objective, self._gradients, self._seed = classifier, objective, gradients, seed
        self.history: list[dict[str, Any]] = []

    def fit(self, x: np.ndarray, y: np.ndarray, batch_size: int, nb_epochs: int, scheduler: Any) -> None:
        """Train on x, shape (n, *input_shape), with class indices y, shape (n,)."""
        net, optimizer = self.classifier.model, self.classifier.optimizer
        inputs, labels = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.asarray(y, np.int64))
        torch.manual_seed(self._seed)
        net.train()
        nb_batches = math.ceil(len(inputs) / batch_size)
        for epoch in range(nb_epochs):
            start = time.perf_counter()
            for batch, index in enumerate(torch.randperm(len(inputs)).split(batch_size)):
                self.share = (epoch + batch / nb_batches) / nb_epochs
                loss = self._objective(net, inputs[index], labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            scheduler.step()
            self.history.append({"seconds": time.perf_counter() - start, "gradients": self._gradients * len(inputs)})


def gaussian(classifier: Any, seed: int, sigma: float) -> Rival:
    """Every sample with Gaussian noise."""

    def objective(net: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(net((x + sigma * torch.randn_like(x)).clamp(0, 1)), y)

    return Rival(classifier, objective, 1, seed)


def adversarial(classifier: Any, seed: int, eps: float, max_iter: int) -> Rival:
    """Madry et al. 2018 in L2 from a random start; with one iteration that of Wong et al. 2020, steps of 1.25·eps."""

    def objective(net: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(net(_climbed(x, eps, max_iter, lambda v: cross_entropy(net(v), y))), y)

    return Rival(classifier, objective, 1 + max_iter, seed)


def trades(classifier: Any, seed: int, eps: float, beta: float, max_iter: int = 7) -> Rival:
    """TRADES in L2 (Zhang et al. 2019, arXiv 1901.08573): the loss, and β times how far predictions can be moved."""

    def objective(net: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
        outputs = net(x)
        fixed = outputs.detach().softmax(1)
        v = _climbed(x, eps, max_iter, lambda v: kl_div(net(v).log_softmax(1), fixed, reduction="batchmean"))
        moved = kl_div(net(v).log_softmax(1), outputs.softmax(1), reduction="batchmean")
        return cross_entropy(outputs, y) + beta * moved

    return Rival(classifier, objective, 2 + max_iter, seed)


def plain(classifier: Any, seed: int) -> Rival:
    """The loss alone."""
    return Rival(classifier, lambda net, x, y: cross_entropy(net(x), y), 1, seed)


def one_lipschitz(input_shape: tuple[int, ...], learning_rate: float, seed: int, scale: float) -> Rival:
    """784-200-80-10 of deel-torchlip's 1-Lipschitz layers, times a scale, on cross-entropy.

    Its layers are kept 1-Lipschitz by their own parametrisation, and sort pairs of channels instead of a ReLU.
    """
    from art.estimators.classification import PyTorchClassifier
    from deel.torchlip import GroupSort2, SpectralLinear

    torch.manual_seed(seed)
    sizes, layers = (math.prod(input_shape), 200, 80), []
    for a, b in pairwise(sizes):
        layers += [SpectralLinear(a, b), GroupSort2()]
    net = torch.nn.Sequential(torch.nn.Flatten(), *layers, SpectralLinear(sizes[-1], 10), Scale(scale))
    options = {"optimizer": torch.optim.Adam(net.parameters(), learning_rate), "clip_values": (0.0, 1.0)}
    return plain(PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), input_shape, 10, **options), seed)


def gloro(classifier: Any, seed: int, eps: float) -> Rival:
    """GloRo (Leino, Wang, Fredrikson 2021, arXiv 2102.08452) for dense nets of 1-Lipschitz activations.

    A further logit stands for "not certified": the largest that another class can reach within eps, by the product of
    the layers' spectral norms, each by one power iteration a step. The radius rises over the first half of the steps,
    as ours does.
    """
    *layers, last = (m for m in classifier.model.modules() if isinstance(m, torch.nn.Linear))
    directions = [torch.randn(m.in_features, generator=torch.Generator().manual_seed(seed)) for m in layers]

    def norm(i: int) -> Tensor:
        w = layers[i].weight
        with torch.no_grad():
            directions[i] = torch.nn.functional.normalize(w.T @ (w @ directions[i]), dim=0)
        return (w @ directions[i]).norm()

    def objective(net: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
        outputs, bound = net(x), math.prod(norm(i) for i in range(len(layers)))
        found = outputs.argmax(1)
        apart = (last.weight[found, None] - last.weight).norm(dim=2) * bound
        reach = outputs + eps * min(1.0, 2 * rival.share) * apart
        other = reach.scatter(1, found[:, None], -math.inf).amax(1, keepdim=True)
        return cross_entropy(torch.cat((outputs, other), 1), y)

    rival = Rival(classifier, objective, 1, seed)
    return rival


class Scale(torch.nn.Module):
    """Outputs times a number."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x * self.scale


def _climbed(x: Tensor, eps: float, max_iter: int, goal: Callable[[Tensor], Tensor]) -> Tensor:
    """Inputs in the L2 ball around x, inside the box, that climbed a goal from a random start."""
    size = 1.25 * eps if max_iter == 1 else 2.5 * eps / max_iter
    radius = eps * torch.rand(len(x), *[1] * (x.ndim - 1)).sqrt()
    v = (x + radius * _unit(torch.randn_like(x))).clamp(0, 1)
    for _ in range(max_iter):
        v.requires_grad_(True)
        (gradient,) = torch.autograd.grad(goal(v), v)
        with torch.no_grad():
            away = v + size * _unit(gradient) - x
            v = (x + away * (eps / _length(away).clamp(min=eps))).clamp(0, 1)
    return v


def jacobian(classifier: Any, seed: int, lamda: float) -> Rival:
    """Jacobian regularisation with one random projection (Hoffman, Roberts, Yaida 2019, arXiv 1908.02729)."""

    def objective(net: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x.requires_grad_(True)
        outputs = net(x)
        v = _unit(torch.randn_like(outputs))
        (gradient,) = torch.autograd.grad(outputs, x, v, create_graph=True)
        squares = outputs.shape[1] * gradient.square().sum() / len(x)
        return cross_entropy(outputs, y) + lamda / 2 * squares

    return Rival(classifier, objective, 2, seed)


def _length(t: Tensor) -> Tensor:
    return t.flatten(1).norm(dim=1).view(-1, *[1] * (t.ndim - 1))


def _unit(t: Tensor) -> Tensor:
    return t / (_length(t) + 1e-12)
