"""An upper bound of the Lipschitz constant as a smooth function of the weights, for training.

The spectral norm of a matrix has a gradient in its steepest direction alone. Held down by it, a layer ends with many
directions of about one norm, and training sees them in turns. A Schatten norm ‖W‖_p = (Σ σᵢᵖ)^(1/p) lies above it by a
factor r^(1/p) at most, where r is the rank, and its gradient D holds all steep directions down at once. It comes from
p/2 - 1 = 2^k powers of the Gram matrix, k matrix products; Delattre, Barthélemy, Araujo, Allauzen 2023 (arXiv
2305.16173) bound a spectral norm in this way. Since ‖W‖_p = ⟨D, W⟩, with D a matrix of dual norm 1, D may be carried on
for some steps: ⟨D, W⟩ stays a good value of the norm as long as W has not turned.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from artclip.frameworks import Trainable, layers_of
from artclip.frameworks.base import Tensor
from artclip.graph import Convolution, Dense, Gather, Node, through
from artclip.graph.convex_potential import blocks

DOUBLINGS = 5
ORDER = 2 ** (DOUBLINGS + 1) + 2  # p
FREQUENCIES = 4  # of a convolution that are looked at, for each tap of the kernel and axis
_TINY = 1e-12

Duals = list[Tensor]
"""One D for each layer that is trained, in the shape of its weights."""


class SmoothBound:
    """The bound of a net's layers: products along a row, sums where branches join, as in ``method="product"``.

    Layers that are not trained count by their factor, those that stay orthogonal, and blocks of them, by 1, activations
    by their steepest slope. Other convolutions are looked at by frequency, on some of them, so that here their bound is
    a close guess.

    Args:
        f: a classifier.
        estimator: the ART estimator of it.

    Raises:
        TypeError, ValueError: layers that cannot be read, or whose weights are not what they are trained by.
    """

    def __init__(self, f: Trainable, estimator: Any) -> None:
        self.f = f
        nodes, _ = layers_of(estimator)
        if isinstance(last := nodes[-1].operation, Gather) and last.index is None:  # outputs as they are
            nodes = nodes[: nodes[-1].parents[0] + 1]
        self._nodes: list[Node] = nodes
        trained = {i: n.operation for i, n in enumerate(nodes) if getattr(n.operation, "live", None)}
        self._layers = {i: _Layer(f, operation) for i, operation in trained.items() if not _stays_flat(f, operation)}
        self._fixed = [1.0 if i in trained else n.operation.factor(2) for i, n in enumerate(nodes)]
        self._flat = {
            i: block.parent for i, block in blocks(nodes).items() if block.is_tied and _stays_flat(f, block.inner)
        }
        self._one, last = f.tensor(np.ones(())), nodes[-1].operation
        if isinstance(last, Dense):  # constants are made once: a step is not to move any to the device
            self.ones, self._wide = (f.tensor(np.ones((n, 1))) for n in last.weight.shape)
        if f.has_batchnorm:
            raise ValueError("the model has BatchNorm, which scales up again what the bound holds down; leave it out")
        if not trained or len(trained) < len(f.weights()):
            raise ValueError(
                f"of {len(f.weights())} weights that are trained, {len(trained)} are those of layers as they are; "
                "others are computed from parameters, and cannot be bounded in training"
            )

    def duals(self) -> Duals:
        """D of each layer, of the weights as they are; no gradient is taken."""
        return [layer.dual() for layer in self._layers.values()]

    def value(self, duals: Duals) -> Tensor:
        """The bound from L2 to L2, a scalar."""
        return self._through(len(self._nodes), duals)

    def margins(self, duals: Duals) -> Tensor:
        """L_ij, shape (k, k): how fast outputs i and j part at most; ‖wᵢ - wⱼ‖ times the bound of what lies before.

        Raises:
            ValueError: the last layer is not a dense one, or has one output.
        """
        last, f = self._nodes[-1], self.f
        if not (isinstance(last.operation, Dense) and last.operation.copies == 1 and last.operation.live):
            raise ValueError(
                f"the last layer of the model is {last.name}, a {type(last.operation).__name__}; a margin is certified "
                "between logits, so it needs to be a dense layer that is trained, without an activation"
            )
        if len(last.operation.weight) < 2:
            raise ValueError("a certificate needs a classifier of two or more outputs; this one has 1")
        w = last.operation.live()
        squares = f.matmul(w * w, self._wide)
        apart = squares + f.matmul(self.ones, squares, transpose=True) - 2 * f.matmul(w, w, True)
        return f.clip(apart, _TINY, 1 / _TINY) ** 0.5 * self._through(len(self._nodes) - 1, duals)

    def _through(self, end: int, duals: Duals) -> Tensor:
        """The bound of the first nodes, up to that of the input of node ``end``."""
        norms = {i: layer.norm(dual) for (i, layer), dual in zip(self._layers.items(), duals, strict=True) if i < end}
        factors = [norms.get(i, fixed) for i, fixed in enumerate(self._fixed[:end])]
        flat = {i: parent for i, parent in self._flat.items() if i < end}
        at = through(self._nodes[:end], factors, self._one, lambda before: sum(b * b for b in before) ** 0.5, flat)
        parent = self._nodes[end].parents[0] if end < len(self._nodes) else end - 1
        return at[parent] if parent >= 0 else self._one


class _Layer:
    """The weights of one layer, and their Schatten norm.

    A convolution is the matrices that it has at each frequency (Sedghi, Gupta, Long 2019), written with real numbers:
    A + iB as the rows (A, -B) and (B, A).
    """

    def __init__(self, f: Trainable, operation: Dense | Convolution) -> None:
        self._f, self._live = f, operation.live
        array = operation.weight if isinstance(operation, Dense) else operation.kernel
        self._shape, self._waves = tuple(array.shape), None
        if isinstance(operation, Dense):
            self._matrices = (1, *self._shape)
            self._eye = self._turn()
            return
        waves, (outputs, inputs, *_), groups = _waves(operation), self._shape, operation.groups
        # (1, frequencies, 2, taps, parts of an input), against (groups, 1, 1, channels, taps) of the kernel.
        self._waves = f.tensor(waves[None])
        self._taps = (groups, 1, 1, outputs // groups * inputs, waves.shape[2])
        self._matrices = (groups * len(waves), 2 * outputs // groups, inputs * waves.shape[3])
        self._eye = self._turn()
        self._ones = f.tensor(np.ones((1, 2 * len(waves))))

    def _turn(self) -> Tensor | None:
        """What turns the matrices, where they are tall: the smaller Gram matrix is taken."""
        _, rows, columns = self._matrices
        return self._f.tensor(np.eye(columns)[None]) if rows > columns else None

    def norm(self, dual: Tensor) -> Tensor:
        """⟨D, W⟩."""
        return self._inner(dual, self._live())  # type: ignore[misc]

    def dual(self) -> Tensor:
        """D for the weights as they are."""
        f, count = self._f, self._matrices[0]
        (weight,) = f.constants([self._live()])  # type: ignore[misc]
        if self._waves is None:
            w = f.reshape(weight, self._matrices)
        else:
            w = f.reshape(f.matmul(f.reshape(weight, self._taps), self._waves), self._matrices)
        wide = self._eye is None
        power = f.matmul(w, w, True) if wide else f.matmul(f.matmul(self._eye, w, True), w)
        p, scale = float(ORDER), 1.0  # scale is the p-th root of what the power was divided by
        for i in range(DOUBLINGS + 1):
            length = self._length(power)
            power, scale = power / length, scale * length ** (2 ** (DOUBLINGS - i) / p)
            if i < DOUBLINGS:
                power = f.matmul(power, power)
        ahead = f.matmul(power, w) if wide else f.matmul(w, power)
        dual = ahead * (scale * (self._inner(ahead, w) + _TINY) ** (1 / p - 1))
        if self._waves is None:
            return f.reshape(dual, self._shape)
        groups, _, _, channels, taps = self._taps
        parts = f.reshape(dual, (groups, count // groups, 2, channels, self._waves.shape[-1]))
        back = f.reshape(f.matmul(parts, self._waves, True), (groups, count // groups * 2, channels * taps))
        return f.reshape(f.matmul(self._ones, back), self._shape)

    def _inner(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product, a scalar."""
        f = self._f
        return f.reshape(f.matmul(f.reshape(a, (1, -1)), f.reshape(b, (1, -1)), True), ())

    def _length(self, t: Tensor) -> Tensor:
        """Frobenius norm of all matrices together, and never 0."""
        f = self._f
        return f.reshape(f.norm(f.reshape(t, (1, -1)), 2), (1, 1, 1)) + _TINY


def _stays_flat(f: Trainable, operation: Dense | Convolution) -> bool:
    """Whether training keeps a layer's norm at 1: orthogonal matrices of whole inputs, or of patches side by side."""
    if isinstance(operation, Convolution):
        axes = zip(operation.kernel.shape[2:], operation.dilation, operation.stride, strict=True)
        if operation.groups > 1 or any((k - 1) * d + 1 > s for k, d, s in axes):
            return False
    return operation.live is not None and f.stays_orthogonal(operation.live)


def _waves(c: Convolution) -> np.ndarray:
    """Waves at some frequencies, shape (frequencies, 2, taps, 2·parts), real and imaginary part.

    A stride makes the pixels of one phase a channel of their own, a part.
    """
    dims, taps = c.kernel.ndim - 2, list(itertools.product(*map(range, c.kernel.shape[2:])))
    phases = list(itertools.product(*map(range, c.stride)))
    lengths, counts = [], []
    for size, k, s, d, (before, after) in zip(
        c.shape, c.kernel.shape[2:], c.stride, c.dilation, c.padding, strict=True
    ):
        reach = math.ceil(((k - 1) * d + 1) / s)
        lengths.append(max(math.ceil((size + max(before, after)) / s), reach))
        counts.append(1 if reach == 1 else min(lengths[-1], FREQUENCIES * reach))
    grid = list(itertools.product(*map(range, counts)))
    half = [g for g in grid if g <= tuple(-i % n for i, n in zip(g, counts, strict=True))]  # the others are conjugates
    waves = np.zeros((len(half), 2, len(taps), len(phases), 2))
    for t, tap in enumerate(taps):
        places = [i * d for i, d in zip(tap, c.dilation, strict=True)]
        phase = phases.index(tuple(p % s for p, s in zip(places, c.stride, strict=True)))
        steps = [p // s for p, s in zip(places, c.stride, strict=True)]
        for i, g in enumerate(half):
            angle = 2 * math.pi * sum(steps[a] * g[a] / counts[a] for a in range(dims))
            cosine, sine = math.cos(angle), math.sin(angle)
            waves[i, :, t, phase] = (cosine, sine), (-sine, cosine)
    return waves.reshape(len(half), 2, len(taps), -1)
