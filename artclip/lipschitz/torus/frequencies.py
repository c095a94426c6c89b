"""The frequencies of images on a torus."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Frequencies:
    """Those of a torus that stand for all.

    Attributes:
        sides: of the torus, in pixels.
        at: whole numbers (frequencies, axes).
        weights: how many each stands for, 1 or 2.
    """

    sides: Shape
    at: np.ndarray
    weights: np.ndarray


def half(sides: Shape) -> Frequencies:
    """One of each two opposite frequencies."""
    grid = np.stack(np.meshgrid(*map(np.arange, sides), indexing="ij"), -1).reshape(-1, len(sides))
    number = np.ravel_multi_index(tuple(grid.T), sides)
    opposite = np.ravel_multi_index(tuple((-grid % np.array(sides)).T), sides)
    taken = number <= opposite
    return Frequencies(sides, grid[taken], np.where(number == opposite, 1.0, 2.0)[taken])


def finer(coarse: Frequencies, lift: Shape) -> Frequencies:
    """Those of a torus of more pixels that fall together on each of a coarser one, next to each other."""
    shifts = np.array(list(itertools.product(*map(range, lift)))) * np.array(coarse.sides)
    at = (coarse.at[:, None] + shifts).reshape(-1, len(lift))
    sides = tuple(a * b for a, b in zip(coarse.sides, lift, strict=True))
    return Frequencies(sides, at, np.repeat(coarse.weights, len(shifts)))


def unitary(fine: Frequencies, coarse: Frequencies, lift: Shape) -> np.ndarray:
    """From finer frequencies that fall together to phases, (frequencies, phases, as many finer frequencies)."""
    phases = np.array(list(itertools.product(*map(range, lift))))
    at = fine.at.reshape(len(coarse.at), len(phases), -1) / np.array(fine.sides)
    waves = np.exp(2j * np.pi * np.einsum("fad,pd->fpa", at, phases))
    return np.asarray(waves / math.sqrt(len(phases)))
