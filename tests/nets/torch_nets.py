"""Test models on PyTorch."""

from __future__ import annotations

import os

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from art.estimators.regression import PyTorchRegressor
from safetensors.torch import load_file
from torch import nn

from artclip.frameworks.pytorch.stiefel import StiefelMuon
from tests.nets.common import NB_CLASSES, labelled, same_weights, tokens  # noqa: F401


class ModeDependent(nn.Module):
    """A module of the user's own that looks at its mode in a hidden way."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, NB_CLASSES)

    def forward(self, x):
        return self.layer(nn.functional.dropout(x, 0.5, training=self.training))


class Branches(nn.Module):
    """A sum of two ways, then two ways side by side."""

    def __init__(self):
        super().__init__()
        self.first, self.beside, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(16, NB_CLASSES)

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        both = hidden + torch.relu(self.beside(hidden))
        return self.last(torch.cat([both, hidden], 1))


def _frozen():
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, NB_CLASSES))
    net[0].weight.requires_grad_(False)
    return net


# Where test models live: "cpu" or "gpu".
DEVICE = os.environ.get("ARTCLIP_TEST_DEVICE", "cpu")
ROUNDING = 1e-6  # relative difference that quotients may have between two ways to compute them
WEIGHTS_FILE = "model.safetensors"
EXPORTS_OWN_LAYERS = True  # whether a net with a layer of the user's own can be written
REPLAYS = True  # whether a seed alone decides what random operations draw

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
    "branches": ((6,), Branches),
    "hidden-dropout": ((6,), ModeDependent),
    "frozen": ((6,), _frozen),
}


def classifier(name="mlp", seed=0, lr=0.1, device=DEVICE, optimizer=torch.optim.SGD, **kwargs):
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


HAS_MUON = hasattr(torch.optim, "Muon")


def muon(parameters, lr):
    """As the docs say: matrices alone."""
    return torch.optim.Muon([p for p in parameters if p.ndim == 2], lr=lr, weight_decay=0.0)


def stiefel(parameters, lr, **options):
    """Keeps matrices orthogonal."""
    return StiefelMuon(parameters, lr=lr, **options)


def orthogonal(estimator):
    """The matrices that its optimizer keeps so, with outputs as rows."""
    return [p.detach().flatten(1).numpy() for p in estimator.optimizer.orthogonal]


def linear_classifier(matrix, lr=0.1, **kwargs):
    """An ART classifier whose logits are x·Wᵀ, for W of shape (k, d): its Lipschitz constants are known."""
    matrix = np.asarray(matrix)
    net = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    net.weight.data = torch.from_numpy(matrix.astype(np.float32))
    options = {"clip_values": (0.0, 1.0), "device_type": DEVICE, **kwargs}
    return PyTorchClassifier(
        net,
        nn.CrossEntropyLoss(),
        (matrix.shape[1],),
        matrix.shape[0],
        optimizer=torch.optim.SGD(net.parameters(), lr=lr),
        **options,
    )


def smoothed(classifier, scale):
    """The net of a classifier as an estimator that ART smooths."""
    from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    about = classifier.model, nn.CrossEntropyLoss(), classifier.input_shape, classifier.nb_classes
    options = {"clip_values": (0.0, 1.0), "device_type": DEVICE, "sample_size": 10}
    return PyTorchRandomizedSmoothing(*about, scale=scale, **options)


def linear_regressor(lr=0.1, **kwargs):
    """An ART regressor x·w from one input to one value, with w = 0.5."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 0.5)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    return PyTorchRegressor(net, nn.MSELoss(), (1,), optimizer=optimizer, device_type=DEVICE, **kwargs)


def regressor(hidden=16, seed=0, lr=0.05, outputs=1, **kwargs):
    """An ART regressor from one input to ``outputs`` values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, outputs))
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    return PyTorchRegressor(net, nn.MSELoss(), (1,), optimizer=optimizer, device_type=DEVICE, **kwargs)


def data(name="mlp", n=60, seed=0):
    """Inputs in [0, 1] for a net of the registry, and learnable labels."""
    return labelled(NETS[name][0], n, seed)


def weights(estimator):
    """All parameters and buffers as numpy arrays."""
    return {k: v.detach().cpu().numpy().copy() for k, v in estimator.model.state_dict().items()}


def load_weights(estimator, path):
    """Read what `save` wrote."""
    estimator.model.load_state_dict(load_file(path))


def frozen(estimator):
    """Names of the weights that must not be trained."""
    return [k for k, p in estimator.model.named_parameters() if not p.requires_grad]


def matrices(estimator):
    """Trainable weights of the layers, each as a matrix (outputs, inputs)."""
    parameters = [p for p in estimator.model.parameters() if p.ndim > 1 and p.requires_grad]
    return [p.detach().cpu().numpy().reshape(len(p), -1) for p in parameters]


def scale_weights(estimator, factor):
    """Multiply all trainable parameters."""
    with torch.no_grad():
        for p in estimator.model.parameters():
            p.mul_(factor)


def learning_rate(estimator, new=None):
    """The optimizer's learning rate, after setting it where a new one is given."""
    group = estimator.optimizer.param_groups[0]
    group["lr"] = group["lr"] if new is None else new
    return group["lr"]


def to_double(name="mlp", **kwargs):
    """A classifier that computes in float64."""
    made = classifier(name, **kwargs)
    made.model.double()
    return made


def to_half(name="mlp", **kwargs):
    """A classifier that computes in float16."""
    made = classifier(name, **kwargs)
    made.model.half()
    return made


def rng_state():
    """The framework's global randomness, as something comparable."""
    return torch.get_rng_state().tolist(), torch.cuda.get_rng_state().tolist() if has_gpu() else None


def set_seed(seed):
    """Seed the framework's global randomness."""
    torch.manual_seed(seed)


def has_gpu():
    """Whether the framework sees a GPU."""
    return torch.cuda.is_available()


def gradients(estimator, value):
    """Gradient of the scalar that ``value()`` returns in each trainable parameter, or None."""
    parameters = [p for p in estimator.model.parameters() if p.requires_grad]
    found = torch.autograd.grad(value(), parameters, allow_unused=True)
    return [None if g is None else g.cpu().numpy() for g in found]


def nudge(estimator, index, at, step):
    """Add to one entry of one trainable parameter."""
    with torch.no_grad():
        [p for p in estimator.model.parameters() if p.requires_grad][index][at] += step


def tiny_deep_net(seed, trained):
    """A 2-8-8-1 ReLU net, with random weights or fitted to a function with a jump, and inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        x = 2 * torch.rand(256, 2) - 1
        if trained:
            y = torch.sin(3 * x[:, :1]) * torch.cos(2 * x[:, 1:]) + (x[:, :1] * x[:, 1:] > 0)
            optimizer = torch.optim.Adam(net.parameters(), 1e-2)
            for _ in range(400):
                optimizer.zero_grad()
                nn.functional.mse_loss(net(x), y).backward()
                optimizer.step()
        else:
            for parameter in net.parameters():
                nn.init.normal_(parameter, std=0.7)
    return PyTorchClassifier(net, nn.MSELoss(), (2,), 2, clip_values=(-1.0, 1.0), device_type=DEVICE), x.numpy()


def small_relu_net(seed):
    """A bare net 2-8-1, and its layers (weight, bias, last weight) as numpy arrays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    return net, [t.detach().numpy() for t in (net[0].weight, net[0].bias, net[2].weight)]


def loop(classifier, x, y, nb_steps, penalty):
    """A training loop of one's own on all the data; ``penalty(x)`` is added to the loss."""
    xt, yt = torch.from_numpy(x).to(classifier.device), torch.from_numpy(y).to(classifier.device)
    for _ in range(nb_steps):
        classifier.optimizer.zero_grad()
        (classifier.loss(classifier.model(xt), yt) + penalty(xt)).backward()
        classifier.optimizer.step()


def plain_training(classifier, x, y, orders, seed):
    """Plain training on the batches whose indices ``orders`` lists, in five lines."""
    model = classifier.model.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for index in orders:
            classifier.optimizer.zero_grad()
            xb, yb = (torch.from_numpy(a[index]).to(classifier.device) for a in (x, y))
            classifier.loss(model(xb), yb).backward()
            classifier.optimizer.step()


class _NaNGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


class _Faulty(nn.Module):
    def __init__(self, at, in_forward):
        super().__init__()
        self.at, self.in_forward, self.calls = at, in_forward, 0

    def forward(self, x):
        if self.training:
            self.calls += 1
            if self.calls in self.at:
                return x * float("nan") if self.in_forward else _NaNGradient.apply(x)
        return x


def faulty(at, forward=True):
    """An MLP whose outputs, or their gradients, are NaN at some calls in train mode."""
    made = classifier()
    made.model.append(_Faulty(at, forward))
    return made


def halving_scheduler(estimator):
    """Halves the learning rate each epoch; its state is its own."""
    return torch.optim.lr_scheduler.StepLR(estimator.optimizer, 1, gamma=0.5)


def bare_batchnorm():
    """The net "batchnorm" as a function makes it."""
    return NETS["batchnorm"][1]()


def bare_normalisation(nb=6):
    """One BatchNorm layer in train mode, as a model."""
    return nn.BatchNorm1d(nb)


class _Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.last = nn.Embedding(10, 8), nn.Linear(32, NB_CLASSES)

    def forward(self, x):
        return self.last(self.embedding(x.long()).flatten(1))


def of_tokens():
    """A classifier of :func:`tokens`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _Tokens()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    return PyTorchClassifier(net, nn.CrossEntropyLoss(), (4,), NB_CLASSES, optimizer=optimizer, device_type=DEVICE)
