"""What a comparison needs of PyTorch: ART's own trainers, and a number of threads."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip.frameworks.pytorch.averaging import averaged

__all__ = ["averaged", "awp", "fbf", "plain", "threads", "trades", "training"]


class _Plain(nn.Module):
    """A net as a module of one piece: ART takes the first layer of an ``nn.Sequential`` for its output."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the net says of x."""
        return self.net(x)


def plain(classifier: Any, optimizer: str = "") -> PyTorchClassifier:
    """A classifier on the same weights, as ART's trainers want it; ``optimizer="SGD"`` for one of its own."""
    chosen = classifier.optimizer
    if optimizer == "SGD":
        chosen = torch.optim.SGD(classifier.model.parameters(), lr=0.01, momentum=0.9)
    return _wrapped(classifier, _Plain(classifier.model), chosen)


def _wrapped(classifier: Any, net: nn.Module, optimizer: Any) -> PyTorchClassifier:
    return PyTorchClassifier(
        net,
        classifier.loss,
        classifier.input_shape,
        classifier.nb_classes,
        optimizer=optimizer,
        clip_values=classifier.clip_values,
        preprocessing=classifier.preprocessing,
        device_type="cpu" if str(classifier.device) == "cpu" else "gpu",
    )


@contextlib.contextmanager
def training(classifier: Any) -> Iterator[None]:
    """Around a ``fit`` of ART; afterwards the model is in the mode in which it was."""
    mode = classifier.model.training
    try:
        yield
    finally:
        classifier.model.train(mode)


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads for each operation; as before, afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def trades(classifier: Any, attack: Any, beta: float) -> Any:
    """ART's TRADES of a :func:`plain` classifier."""
    from art.defences.trainer import AdversarialTrainerTRADESPyTorch

    return AdversarialTrainerTRADESPyTorch(classifier, attack, beta)


def awp(classifier: Any, attack: Any, gamma: float) -> Any:
    """ART's AWP of a :func:`plain` classifier, on PGD examples."""
    from art.defences.trainer import AdversarialTrainerAWPPyTorch

    proxy = copy.deepcopy(classifier.model)
    worst = _wrapped(classifier, proxy, torch.optim.SGD(proxy.parameters(), lr=0.01))
    return AdversarialTrainerAWPPyTorch(classifier, worst, attack, "PGD", gamma, beta=6.0, warmup=0)


def fbf(classifier: Any, eps: float) -> Any:
    """ART's "fast is better than free" of a :func:`plain` classifier with SGD."""
    from art.defences.trainer import AdversarialTrainerFBFPyTorch

    return AdversarialTrainerFBFPyTorch(classifier, eps)
