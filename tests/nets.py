"""Test models, one registry for all tests: small nets of every kind, wrapped as ART estimators."""

from __future__ import annotations

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from art.estimators.regression import PyTorchRegressor
from torch import nn

NB_CLASSES = 3


class ModeDependent(nn.Module):
    """A module of the user's own that looks at its mode in a hidden way."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, NB_CLASSES)

    def forward(self, x):
        return self.layer(nn.functional.dropout(x, 0.5, training=self.training))


def _frozen():
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, NB_CLASSES))
    net[0].weight.requires_grad_(False)
    return net


# Name -> (input shape, maker of the net)
NETS = {
    "linear": ((6,), lambda: nn.Linear(6, NB_CLASSES)),
    "mlp": ((6,), lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, NB_CLASSES))),
    "sigmoid": ((6,), lambda: nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, NB_CLASSES))),
    "cnn": (
        (2, 6, 6),
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, NB_CLASSES)),
    ),
    "batchnorm": (
        (2, 6, 6),
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()),
            *(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, NB_CLASSES)),
        ),
    ),
    "series": (
        (1, 20),
        lambda: nn.Sequential(nn.Conv1d(1, 4, 5, stride=2), nn.GELU(), nn.Flatten(), nn.Linear(32, NB_CLASSES)),
    ),
    "hidden-dropout": ((6,), ModeDependent),
    "frozen": ((6,), _frozen),
}


def classifier(name="mlp", seed=0, lr=0.1, device="cpu", optimizer=torch.optim.SGD, **kwargs):
    """An ART classifier around a net of the registry, inputs in [0, 1]."""
    shape, make = NETS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make()
    parameters = [p for p in net.parameters() if p.requires_grad]
    options = {"clip_values": (0.0, 1.0), "device_type": device, **kwargs}
    return PyTorchClassifier(
        net, nn.CrossEntropyLoss(), shape, NB_CLASSES, optimizer=optimizer(parameters, lr=lr), **options
    )


def linear_classifier(matrix, lr=0.1, **kwargs):
    """An ART classifier whose logits are x·Wᵀ, for W of shape (k, d): its Lipschitz constants are known."""
    matrix = np.asarray(matrix)
    net = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    net.weight.data = torch.from_numpy(matrix.astype(np.float32))
    options = {"clip_values": (0.0, 1.0), "device_type": "cpu", **kwargs}
    return PyTorchClassifier(
        net,
        nn.CrossEntropyLoss(),
        (matrix.shape[1],),
        matrix.shape[0],
        optimizer=torch.optim.SGD(net.parameters(), lr=lr),
        **options,
    )


def regressor(hidden=16, seed=0, lr=0.05, outputs=1, **kwargs):
    """An ART regressor from one input to ``outputs`` values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, outputs))
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    return PyTorchRegressor(net, nn.MSELoss(), (1,), optimizer=optimizer, device_type="cpu", **kwargs)


def data(name="mlp", n=60, seed=0):
    """Inputs in [0, 1] for a net of the registry, and learnable labels."""
    shape = NETS[name][0]
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (n, *shape)).astype(np.float32)
    y = np.argmax(x.reshape(n, -1) @ rng.standard_normal((int(np.prod(shape)), NB_CLASSES)), axis=1)
    return x, y


def weights(estimator):
    """All parameters and buffers as numpy arrays."""
    return {k: v.detach().cpu().numpy().copy() for k, v in estimator.model.state_dict().items()}


def same_weights(a, b, atol=0.0):
    """Whether two results of :func:`weights` agree."""
    return a.keys() == b.keys() and all(np.allclose(a[k], b[k], rtol=0, atol=atol) for k in a)
