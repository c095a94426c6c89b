"""From a region on a torus to the dense layers behind it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from artclip.graph.filters import Images
from artclip.graph.matrix_norms import EPS
from artclip.lipschitz.descent import Parameters
from artclip.lipschitz.torus.bounds import TorusBent, TorusBounds
from artclip.lipschitz.torus.frequencies import Frequencies
from artclip.lipschitz.torus.steps import Block


class Head:
    """Bounds of J·Jᵀ of linear functions of what a region makes.

    Args:
        bounds: of the region.
        images: that it makes.
        matrix: of the functions, (k, size of the images).
    """

    def __init__(self, bounds: TorusBounds, images: Images, matrix: np.ndarray) -> None:
        self._bounds = bounds
        self._rows = _at_frequencies(matrix, images, bounds.block, bounds.last)
        self._lost = 64 * (64 + math.log2(self._rows.size + 1)) * EPS * float((matrix**2).sum())

    def forward(self, parameters: Parameters) -> tuple[np.ndarray, list[TorusBent]] | None:
        """M of the functions, (k, k), and what its activations were, or ``None``."""
        found = self._bounds.forward(parameters)
        if found is None:
            return None
        middle, bent = found
        taken = middle[:, self._bounds.block.at, self._bounds.block.at]
        weighted = self._rows * self._bounds.last.weights[:, None, None]
        gram = np.einsum("fkn,fln->kl", weighted @ taken, np.conj(self._rows), optimize=True).real
        gram = (gram + gram.T) / 2
        largest = float(np.einsum("fnn->f", taken).real.max())
        gram[np.diag_indices(len(gram))] += self._lost * largest
        return gram, bent

    def derivatives(self, bent: list[TorusBent], z: np.ndarray, weights: np.ndarray) -> Parameters:
        """As :meth:`TorusBounds.derivatives`, for rows z (q, k) of the functions, and weights (q,)."""
        return self._bounds.derivatives(bent, z @ self._rows, np.broadcast_to(weights, (len(self._rows), len(weights))))


def _at_frequencies(matrix: np.ndarray, images: Images, block: Block, frequencies: Frequencies) -> np.ndarray:
    """Functions (k, size) of images as functions (frequencies, k, entries) of their transforms."""
    k, axes = len(matrix), len(images.sides)
    sides = [n * f for n, f in zip(frequencies.sides, block.phases, strict=True)]
    whole = np.zeros((k, images.channels, *sides))
    corner: Any = (slice(None), slice(None), *(slice(0, n) for n in images.sides))
    whole[corner] = matrix.reshape(k, images.channels, *images.sides)
    split = [n for pair in zip(frequencies.sides, block.phases, strict=True) for n in pair]
    whole = whole.reshape(k, images.channels, *split)
    order = [0, 1, *(3 + 2 * i for i in range(axes)), *(2 + 2 * i for i in range(axes))]
    waves = np.conj(np.fft.fftn(whole.transpose(order), axes=tuple(range(-axes, 0))))
    waves = waves.reshape(k, block.at.stop - block.at.start, -1)
    at = np.ravel_multi_index(tuple(frequencies.at.T), frequencies.sides)
    return np.asarray(np.moveaxis(waves[:, :, at], -1, 0) / math.sqrt(math.prod(frequencies.sides)))
