"""Spectral norms of convolutions, as upper bounds that hold whatever an iteration finds.

A zero-padded convolution is a part of a circulant one on a torus, whose norm is the largest over all frequencies
(Sedghi, Gupta, Long 2019, arXiv 1805.10408). The torus need hold no more than the image and the wider padding: zeros
before the image serve as zeros after it. What crosses the seam may be multiplied by a phase, which shifts the
frequencies; the least of the bounds so had is taken. A stride becomes channels: pixels of one phase of the stride are
one channel of a smaller image.

Few of the frequencies matter. The power method finds one that is about the steepest; its norm is computed; of all
others a Cholesky factorisation proves that they lie below, or shows that one does not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from artclip.graph.matrix_norms import (
    EPS,
    Bounds,
    cheap_norm,
    exponent_of,
    gram_of,
    is_below,
    largest_eigenvalue,
    last,
    spectral_bounds,
)

_ELEMENTS = 1 << 21  # complex numbers of the matrices that are looked at together
_SMALL = 16  # rows of a Gram matrix up to which all eigenvalues are as quick as a proof
_POWERS = 6  # steps of the power method
_SLACK = 1e-9  # of an eigenvalue, by which others may lie above it and count as equal
_PER_TAP = (8, 32)  # frequencies for each tap of the kernel and axis of a coarser torus, at first and in the end
_FEW = 64  # groups of which each has a spectral norm of its own at first
_ALL = 1e11  # floating-point operations that a torus as it is may take

Shape = tuple[int, ...]
Padding = tuple[Shape, ...]
"""(before, after) for each spatial axis."""


def spectral_norm(
    kernel: np.ndarray, shape: Shape, stride: Shape, padding: Padding, dilation: Shape, groups: int = 1
) -> float:
    """An upper bound of the L2 norm of a zero-padded convolution, within a few per cent of it for images well above the
    kernel's size.

    Args:
        kernel: shape (outputs, inputs / groups, *sizes).
        shape: spatial shape of the input.
        stride, padding, dilation: per spatial axis; padding as (before, after), >= 0.
        groups: channels are split into so many independent convolutions, whose norms have a maximum.
    """
    return last(spectral_norm_bounds(kernel, shape, stride, padding, dilation, groups))


def spectral_norm_bounds(
    kernel: np.ndarray, shape: Shape, stride: Shape, padding: Padding, dilation: Shape, groups: int = 1
) -> Bounds:
    """As :func:`spectral_norm`, step by step; infinite at first."""
    kernel = dilated(np.asarray(kernel, dtype=np.float64), dilation)
    torus = []
    for size, k, s, (before, after) in zip(shape, kernel.shape[2:], stride, padding, strict=True):
        places = (size + before + after - k) // s + 1  # of outputs
        torus.append(1 if k <= s else max(math.ceil((size + max(before, after)) / s), math.ceil(k / s), places))
    parts = _of_stride_one(kernel, stride, groups)
    if math.prod(torus) == 1:  # windows that do not overlap: one matrix for each group
        yield from _of_groups(parts.reshape(*parts.shape[:3], -1).sum(-1))
        return
    search = _Frequencies(parts)
    coarse, fine = (
        tuple(min(n, max(1, c * (k - 1))) for n, k in zip(torus, search.sizes, strict=True)) for c in _PER_TAP
    )
    # Where that is cheap enough, all frequencies, and shifted ones.
    shifts = list(itertools.product(*((0.0, 0.5) if n > 1 else (0.0,) for n in torus)))
    if len(shifts) * math.prod(torus) * search.cost <= 2 * _ALL:  # half of them are conjugates
        fine = tuple(torus)
    else:
        shifts = shifts[:1]
    grids = [(coarse, shifts[:1])] if math.prod(fine) > 2 * math.prod(coarse) else []
    yield math.inf, search.cost_by_taps
    best = search.by_taps()
    yield float(best.max()), search.cost
    for sides, phases in (*grids, (fine, shifts)):
        up = search.between(sides, tuple(torus))
        for shift in phases:
            values = np.zeros(groups)
            for values, cost in search.largest(sides, shift, best / up):  # noqa: B007
                yield float(best.max()), cost
            best = np.minimum(best, values * up)
    yield float(best.max()), 0.0


def circular_norm_bounds(kernel: np.ndarray, shape: Shape, stride: Shape, dilation: Shape, groups: int = 1) -> Bounds:
    """Of a convolution of images that go on where they begin: infinite at first, then the norm rounded up.

    Each side of the image is a multiple of the stride.
    """
    search = _Frequencies(_of_stride_one(dilated(np.asarray(kernel, dtype=np.float64), dilation), stride, groups))
    torus = tuple(n // s for n, s in zip(shape, stride, strict=True))
    values = np.zeros(groups)
    for values, cost in search.largest(torus, (0.0,) * len(torus), np.full(groups, math.inf)):  # noqa: B007
        yield math.inf, cost
    yield float(values.max()), 0.0


def _of_groups(matrices: np.ndarray) -> Bounds:
    """The largest norm of matrices (groups, m, n)."""
    done, rest = 0.0, [cheap_norm(m) for m in matrices]
    yield max(rest), 1.0
    for i in np.argsort(rest)[::-1]:
        if rest[i] > done:
            for bound, cost in spectral_bounds(matrices[i]):
                rest[i] = bound
                yield max(done, *rest), cost + 1.0
            done = max(done, rest[i])
    yield max(done, *rest), 0.0


class _Frequencies:
    """The matrices that a convolution has at each frequency.

    Args:
        kernels: shape (groups, outputs, inputs, *sizes), of stride 1.

    Attributes:
        sizes: of the kernels.
        cost, cost_by_taps: about how many floating-point operations a frequency takes, and a bound of all at once.
    """

    def __init__(self, kernels: np.ndarray) -> None:
        self._exponent = exponent_of(kernels)
        if self._exponent:
            kernels = np.ldexp(kernels, -self._exponent)
        groups, self._m, self._n, *sizes = kernels.shape
        self._groups = groups
        self.sizes = tuple(sizes)
        taps = kernels.reshape(-1, math.prod(sizes)).T
        places = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, len(sizes))
        used = taps.any(axis=1)
        self._taps, self._places = taps[used], places[used]
        self._step = max(1, _ELEMENTS // max(taps.shape[1], len(self._places)))
        small, large, nb = *sorted((self._m, self._n)), len(self._places)
        self.cost = 8.0 * taps.shape[1] * nb + 4.0 * groups * small * small * (large + small + 64)
        self.cost_by_taps = 4.0 * taps.size * (small if groups <= _FEW else 1) + 1.0
        # Units of rounding: of the Gram matrix and of the proof, whose traces are at most the rows times the largest
        # eigenvalue; and of the transform, whose terms have a length of √(taps·rows) times the norm.
        self._up = 1 + _SLACK + 8 * small * (large + small + 8) * EPS
        self._up += 16 * (nb + 8 * max(sizes)) * math.sqrt(nb * small) * EPS

    def by_taps(self) -> np.ndarray:
        """A bound of each group at all frequencies.

        A(ω) = Σ K_t·wave_t is the K_t side by side, times the waves, whose norm is √taps; or one above the other.
        """
        kernels = self._taps.reshape(len(self._taps), self._groups, self._m, self._n)
        if kernels.shape[1] > _FEW:
            norms = np.sqrt((kernels**2).sum(axis=(0, 2, 3))) * (1 + 2 * kernels[:, 0].size * EPS)
        else:
            both = (
                (k.reshape(-1, self._n), np.moveaxis(k, 0, 1).reshape(self._m, -1)) for k in np.swapaxes(kernels, 0, 1)
            )
            norms = np.array([min(last(spectral_bounds(tall)), last(spectral_bounds(wide))) for tall, wide in both])
        return self._rounded(math.sqrt(len(kernels)) * norms)

    def between(self, sides: Shape, torus: Shape) -> float:
        """How much larger the norm on a torus may be than on a coarser one.

        The square of the length of A(ω)·v is a trigonometric polynomial of degree n = k - 1 in each frequency, and at a
        distance d from its largest value M it is at least M·cos(n·d) (M. Riesz 1914).
        """
        pairs = zip(self.sizes, sides, torus, strict=True)
        return math.prod(math.cos(math.pi * (k - 1) / n) ** -0.5 for k, n, full in pairs if n < full) * (1 + 64 * EPS)

    def largest(self, sides: Shape, shift: tuple[float, ...], enough: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
        """The largest singular value of each group over the frequencies of a torus, rounded up, and what the next ones
        cost.

        A value >= ``enough`` of its group may be any such value, if the largest is one.
        """
        axes = [np.arange(n) + t for n, t in zip(sides, shift, strict=True)]
        axes[-1] = axes[-1][: (sides[-1] - int(2 * shift[-1])) // 2 + 1]  # real kernels: the others are conjugates
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes)) / np.array(sides)
        enough, best = np.ldexp(enough / self._up, -self._exponent), np.zeros(len(enough))
        for first in range(0, len(grid), self._step):
            part = grid[first : first + self._step]
            yield self._rounded(best), self.cost * len(part)
            if self._taps.size:
                waves = np.exp(-2j * np.pi * (part @ self._places.T))
                best = _largest((waves @ self._taps).reshape(len(part), -1, self._m, self._n), best, enough)
            if (best >= enough).all():
                break
        yield self._rounded(best), 1.0

    def _rounded(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(np.ldexp(values * self._up, self._exponent))


def _largest(matrices: np.ndarray, least: np.ndarray, enough: np.ndarray) -> np.ndarray:
    """The largest singular value over the first axis of matrices (k, groups, m, n), and ``least``; ``enough`` as above.

    Values up to 1 + _SLACK times as large count as equal.
    """
    rows, columns = matrices.shape[2:]
    if min(rows, columns) == 1:
        return np.maximum(least, np.linalg.norm(matrices, axis=(2, 3)).max(0))
    if min(rows, columns) <= _SMALL:
        adjoints = np.conj(np.swapaxes(matrices, 2, 3))
        grams = matrices @ adjoints if rows <= columns else adjoints @ matrices
        return np.maximum(least, np.sqrt(np.linalg.eigvalsh(grams)[..., -1].max(0).clip(0)))
    each = zip(np.swapaxes(matrices, 0, 1), least, enough, strict=True)
    return np.array([_largest_of_all(of_group, float(a), float(b)) for of_group, a, b in each])


def _largest_of_all(matrices: np.ndarray, least: float, enough: float) -> float:
    estimates = _by_powers(matrices)
    if estimates.max() >= enough:
        return float(estimates.max())
    for matrix in matrices[np.argsort(estimates)[::-1]]:  # the steepest first: the others then need a proof alone
        gram = gram_of(matrix)
        if least == 0 or not is_below(gram, least**2 * (1 + _SLACK)):
            least = max(least, math.sqrt(largest_eigenvalue(gram)))
            if least >= enough:
                return least
    return least


def _by_powers(matrices: np.ndarray) -> np.ndarray:
    """Singular values, at most the largest, of matrices (k, m, n), from a few steps of the power method."""
    adjoints = np.conj(np.swapaxes(matrices, 1, 2))
    rng = np.random.default_rng(0)
    v = rng.standard_normal((1, matrices.shape[2], 1)) + 0j
    values = np.zeros(len(matrices))
    for _ in range(_POWERS):
        u = matrices @ (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), np.finfo(float).tiny))
        values = np.linalg.norm(u, axis=(1, 2))
        v = adjoints @ u
    return values


def dilated(kernel: np.ndarray, dilation: Shape) -> np.ndarray:
    """The kernel with its zeros written out."""
    sizes = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilation, strict=True)]
    spread = np.zeros((*kernel.shape[:2], *sizes))
    spread[spaced((slice(None), slice(None)), (0,) * len(dilation), dilation)] = kernel
    return spread


def spaced(before: tuple[Any, ...], first: Shape, steps: Shape) -> tuple[Any, ...]:
    """An index that takes every n-th entry of the last axes."""
    return before + tuple(slice(a, None, s) for a, s in zip(first, steps, strict=True))


def _of_stride_one(kernel: np.ndarray, stride: Shape, groups: int) -> np.ndarray:
    """Kernels (groups, outputs, inputs, *sizes) on images whose channels are the phases of the stride."""
    parts = []
    sizes = [math.ceil(k / s) for k, s in zip(kernel.shape[2:], stride, strict=True)]
    for phase in itertools.product(*(range(min(s, k)) for s, k in zip(stride, kernel.shape[2:], strict=True))):
        taken = kernel[spaced((slice(None), slice(None)), phase, stride)]
        part = np.zeros((*kernel.shape[:2], *sizes))
        part[tuple(slice(0, n) for n in taken.shape)] = taken
        parts.append(part)
    whole = np.concatenate(parts, axis=1)
    return whole.reshape(groups, len(kernel) // groups, *whole.shape[1:])
