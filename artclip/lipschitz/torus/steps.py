"""A region as steps of a state of images on a torus: matrices at each frequency.

Each image lies in a corner of a torus that is larger by the zeros that windows take in, so that a filter acts as on
a circle, and is a matrix of the channels at each frequency (as in Sedghi, Gupta, Long 2019, arXiv 1805.10408). Where
images of several spacings are asked for together, pixels of one phase of the finer ones are channels. Real images have
conjugate spectra, so that one of two opposite frequencies stands for both.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from artclip.graph.filters import Filter, pointwise, taps_at_phases
from artclip.graph.matrix_norms import EPS
from artclip.lipschitz.torus.frequencies import Frequencies, Shape, finer, half, unitary
from artclip.lipschitz.torus.regions import Key, Piece, Region

_COPIES = 4  # of the largest matrices


@dataclass(frozen=True)
class Block:
    """Where an image is in the state.

    Attributes:
        at: its entries, in the order (channel, *phases).
        channels: of the image.
        phases: along each axis.
    """

    at: slice
    channels: int
    phases: Shape


@dataclass(frozen=True)
class Mix:
    """Filters: blocks of the state that stay, and behind them what is made of some.

    Attributes:
        kept: the blocks that stay.
        parents: those that the new one is made of.
        matrices: of these, side by side, at each frequency, (frequencies, made, of the parents).
        rounding: what a transform may have lost of them, as a share of the square of a norm.
        size: length of the state behind it.
    """

    kept: list[slice]
    parents: list[slice]
    matrices: np.ndarray
    rounding: float
    size: int


@dataclass(frozen=True)
class Bend:
    """An activation, in place.

    Attributes:
        key: of what it makes.
        block: that it is applied to.
        slopes: least and largest.
    """

    key: Key
    block: Block
    slopes: tuple[float, float]


@dataclass(frozen=True)
class Lift:
    """To a torus of fewer, larger pixels.

    Attributes:
        unitary: (frequencies, phases, as many finer frequencies), from these to phases.
        order: of the entries (phase, entry of the state before) in the state behind it.
    """

    unitary: np.ndarray
    order: np.ndarray


class Steps:
    """A region's steps, and the frequencies behind the last of them.

    Args:
        region: the nodes.

    Attributes:
        steps: in order.
        first, last: frequencies before and behind them.
        block: what the last one leaves, the region's end.
        cost: about how many floating-point operations one iteration takes.
        numbers: complex ones that are held at a time, about.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        self._spacing = _spacings(region)
        self.steps: list[Mix | Bend | Lift] = []
        self._lifts = self._plan()
        self._frequencies = [half(self._coarsest())]
        for lift in reversed([lift for lift in self._lifts if max(lift) > 1]):
            self._frequencies.insert(0, finer(self._frequencies[0], lift))
        self.first, self.last = self._frequencies[0], self._frequencies[-1]
        self._make(False)

    def _plan(self) -> list[Shape]:
        """By how much the torus has to become coarser before each piece, mostly by nothing."""
        at: Shape = (1,) * len(self._region.given.sides)
        found = []
        for piece in self._region.pieces:
            lift = tuple(math.lcm(a, b) // a for a, b in zip(at, self._spacing[piece.key], strict=True))
            found.append(lift)
            at = tuple(a * b for a, b in zip(at, lift, strict=True))
        return found

    def _coarsest(self) -> Shape:
        """Sides of the last torus: each image fits, with the zeros that windows take in."""
        last = tuple(math.prod(lift[axis] for lift in self._lifts) for axis in range(len(self._region.given.sides)))
        needed: dict[Key, Shape] = {self._region.start: self._region.given.sides}
        needed |= {piece.key: piece.images.sides for piece in self._region.pieces}
        for piece in self._region.pieces:
            for parent, f in zip(piece.parents, piece.filters, strict=False):
                room = tuple(n + r for n, r in zip(f.given.sides, f.reach, strict=True))
                needed[parent] = tuple(map(max, needed[parent], room))
        return tuple(
            max(math.ceil(side[axis] * self._spacing[key][axis] / last[axis]) for key, side in needed.items())
            for axis in range(len(last))
        )

    def build(self) -> Steps:
        """The steps themselves, whose matrices may be large."""
        self._make(True)
        return self

    def _make(self, whole: bool) -> None:
        given = self._region.given
        state: dict[Key, Block] = {
            self._region.start: Block(slice(0, given.channels), given.channels, (1,) * len(given.sides))
        }
        last_use = {parent: i for i, piece in enumerate(self._region.pieces) for parent in piece.parents}
        left = list(self._frequencies)
        self.steps, self.cost, self.numbers = [], 0.0, 0.0
        largest = float(len(left[0].at) * given.channels**2)
        for i, (piece, lift) in enumerate(zip(self._region.pieces, self._lifts, strict=True)):
            if max(lift) > 1:
                before = _length(state)
                self.cost += 16.0 * len(left[1].at) * math.prod(lift) ** 3 * before**2
                state, order = _lifted(state, lift)
                if whole:
                    self.steps.append(Lift(unitary(left[0], left[1], lift), order))
                left.pop(0)
            state = self._step(piece, i, state, last_use, left[0], whole)
            largest = max(largest, float(len(left[0].at) * _length(state) ** 2))
        self.numbers += _COPIES * largest
        self.block = state[self._region.pieces[-1].key]

    def _step(
        self,
        piece: Piece,
        i: int,
        state: dict[Key, Block],
        last_use: dict[Key, int],
        frequencies: Frequencies,
        whole: bool,
    ) -> dict[Key, Block]:
        staying = [key for key in state if last_use.get(key, -1) > i]
        nb = len(frequencies.at)
        if not piece.filters and piece.parents[0] not in staying:
            state = {piece.key if key == piece.parents[0] else key: block for key, block in state.items()}
        else:
            before, parents = _length(state), [state[p] for p in piece.parents]
            images, filters = piece.images, piece.filters
            if filters:
                phases = tuple(p // s for p, s in zip(parents[0].phases, filters[0].stride, strict=True))
            else:
                phases, filters = parents[0].phases, (pointwise(np.eye(images.channels), images),)
            kept = [state[key] for key in staying]
            made = images.channels * math.prod(phases)
            state = _moved(state, staying, piece.key, images.channels, phases)
            self.cost += 8.0 * nb * made * sum(p.at.stop - p.at.start for p in parents) * (before + made)
            if whole:
                parts = [
                    _at_frequencies(f, p.phases, phases, frequencies) for f, p in zip(filters, parents, strict=True)
                ]
                rounding = sum(part[1] for part in parts)
                matrices = np.concatenate([part[0] for part in parts], axis=2)
                slices = [p.at for p in parents]
                self.steps.append(Mix([b.at for b in kept], slices, matrices, rounding, _length(state)))
        if not piece.filters:
            units, size = state[piece.key].at.stop - state[piece.key].at.start, _length(state)
            self.cost += 8.0 * nb * units * (units**2 + units * size + size**2)
            self.numbers += float(nb * units * (units + size))  # kept for the way back
            if whole:
                self.steps.append(Bend(piece.key, state[piece.key], piece.slopes))
        return state


def _spacings(region: Region) -> dict[Key, Shape]:
    """Of the pixels of each image, in those of the region's start."""
    found: dict[Key, Shape] = {region.start: (1,) * len(region.given.sides)}
    for piece in region.pieces:
        stride = piece.filters[0].stride if piece.filters else (1,) * len(region.given.sides)
        found[piece.key] = tuple(a * b for a, b in zip(found[piece.parents[0]], stride, strict=True))
    return found


def _lifted(state: dict[Key, Block], lift: Shape) -> tuple[dict[Key, Block], np.ndarray]:
    """The state whose blocks have more phases, and the order of its entries."""
    size, alphas = _length(state), np.array(list(itertools.product(*map(range, lift))))
    found: dict[Key, Block] = {}
    orders: list[np.ndarray] = []
    first = 0
    for key, block in state.items():
        shape = (block.channels, *block.phases)
        phases = tuple(a * b for a, b in zip(block.phases, lift, strict=True))
        order = np.zeros((block.channels, *phases), int)
        entries = np.arange(block.at.start, block.at.stop).reshape(shape)
        for n, alpha in enumerate(alphas):
            # Pixel p of phase φ of f, where p is of phase α, is of phase f·α + φ.
            where = tuple(slice(f * a, f * (a + 1)) for f, a in zip(block.phases, alpha, strict=True))
            at: Any = (slice(None), *where)
            order[at] = n * size + entries
        found[key] = Block(slice(first, first + order.size), block.channels, phases)
        orders.append(order.ravel())
        first += order.size
    return found, np.concatenate(orders)


def _moved(state: dict[Key, Block], staying: list[Key], new: Key, channels: int, phases: Shape) -> dict[Key, Block]:
    """The blocks that stay, close together, and a new one behind them."""
    found: dict[Key, Block] = {}
    first = 0
    for key in staying:
        block = state[key]
        length = block.at.stop - block.at.start
        found[key] = Block(slice(first, first + length), block.channels, block.phases)
        first += length
    found[new] = Block(slice(first, first + channels * math.prod(phases)), channels, phases)
    return found


def _at_frequencies(f: Filter, given: Shape, made: Shape, frequencies: Frequencies) -> tuple[np.ndarray, float]:
    """The matrix of a filter at each frequency, and what rounding may have taken from A·Aᴴ at any."""
    taps = taps_at_phases(f.kernel, f.stride, f.before, given, made)
    rows, columns = f.kernel.shape[0] * math.prod(made), f.kernel.shape[1] * math.prod(given)
    found = np.zeros((len(frequencies.at), rows, columns), complex)
    for ahead, matrix in taps.items():
        turns = (frequencies.at * np.array(ahead) % np.array(frequencies.sides)) / np.array(frequencies.sides)
        found += np.exp(2j * np.pi * turns.sum(1))[:, None, None] * matrix
    sizes = np.sqrt((sum((np.abs(m) for m in taps.values()), np.zeros((rows, columns))) ** 2).sum())
    return found, 16 * (len(taps) + 16) * EPS * float(sizes) ** 2


def _length(state: dict[Key, Block]) -> int:
    return max(block.at.stop for block in state.values())
