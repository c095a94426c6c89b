"""Random graphs of convolutions, activations, sums, pools and sorted channels, for images of one or two axes."""

import itertools
import math

import numpy as np

from artclip import graph as G
from artclip.graph.filters import Images

ACTIVATIONS = ("relu", "gelu", "sigmoid", "tanh", "elu", "abs", "silu", "selu", "cos", "hardswish")


class Made:
    """A graph that grows layer by layer."""

    def __init__(self, seed, axes=2, side=(5, 9)):
        self.rng = np.random.default_rng(seed)
        sides = tuple(int(n) for n in self.rng.integers(*side, axes))
        self.images = Images(int(self.rng.integers(1, 4)), sides)
        self.inputs, self.nodes = self.images.size, []

    @property
    def last(self):
        return len(self.nodes) - 1

    def add(self, operation, parents, images):
        self.nodes.append(G.Node(f"{len(self.nodes)}", operation, parents, images.size))
        self.images = images
        return self.last

    def convolution(self, parent, images, outputs, same=False, inside=False, groups=1):
        rng, axes = self.rng, len(images.sides)
        sizes = [int(rng.integers(1, min(4, n) + 1)) for n in images.sides]
        stride, dilation = [int(n) for n in rng.integers(1, 3, axes)], [1] * axes
        if same:
            sizes, stride = [2 * int(rng.integers(0, 2)) + 1 for _ in sizes], [1] * axes
        padding = tuple(tuple(int(n) for n in rng.integers(0, k, 2)) for k in sizes)
        padding = tuple((k // 2, k // 2) for k in sizes) if same else padding
        padding = ((0, 0),) * axes if inside else padding
        if not same and min(images.sides) > 2 * max(sizes) and rng.random() < 0.3:
            dilation = [2] * axes
        kernel = rng.standard_normal((outputs, images.channels // groups, *sizes)) / math.sqrt(math.prod(sizes))
        shift = rng.standard_normal(1)[0]
        operation = G.Convolution(kernel, images.sides, tuple(stride), padding, tuple(dilation), groups, shift=shift)
        return self.add(operation, (parent,), Images(outputs, operation.windows))

    def activation(self, parent):
        operation = G.ACTIVATIONS[str(self.rng.choice(ACTIVATIONS))]
        return self.add(operation, (parent,), self.images)

    def block(self):
        """x + B·σ(A·x)."""
        start, images = self.last, self.images
        hidden = self.convolution(start, images, int(self.rng.integers(1, 4)), same=True)
        hidden = self.activation(hidden)
        branch = self.convolution(hidden, self.images, images.channels, same=True)
        self.add(G.Add((1.0, float(self.rng.choice([1.0, -0.5])))), (start, branch), images)
        return self.activation(self.last)

    def down(self):
        """S·x + B·σ(A·x), with strides."""
        start, images = self.last, self.images
        kernel = self.rng.standard_normal((3, images.channels, *(1 for _ in images.sides)))
        stride, zeros = (2,) * len(images.sides), ((0, 0),) * len(images.sides)
        ones = (1,) * len(images.sides)
        short = self.add(
            made := G.Convolution(kernel, images.sides, stride, zeros, ones), (start,), Images(3, made.windows)
        )
        kernel = self.rng.standard_normal((2, images.channels, *(3 for _ in images.sides))) / 3
        pads = ((1, 1),) * len(images.sides)
        self.add(made := G.Convolution(kernel, images.sides, stride, pads, ones), (start,), Images(2, made.windows))
        self.activation(self.last)
        branch = self.convolution(self.last, self.images, 3, same=True)
        self.add(G.Add(), (short, branch), self.images)
        return self.activation(self.last)

    def scale(self):
        factors = np.repeat(self.rng.standard_normal(self.images.channels), math.prod(self.images.sides))
        return self.add(G.Scale(factors), (self.last,), self.images)

    def mean_pool(self):
        matrices, sides = [], []
        for n in self.images.sides:
            matrix = np.zeros((n // 2, n))
            for i in range(n // 2):
                matrix[i, 2 * i : 2 * i + 2] = 0.5
            matrices.append(matrix)
            sides.append(n // 2)
        shape = (self.images.channels, *self.images.sides)
        return self.add(G.Kronecker(shape, (None, *matrices)), (self.last,), Images(self.images.channels, tuple(sides)))

    def max_pool(self):
        sides = tuple(n // 2 for n in self.images.sides)
        rows = []
        for place in itertools.product(*map(range, sides)):
            cells = itertools.product(*((2 * p, 2 * p + 1) for p in place))
            rows.append([np.ravel_multi_index(cell, self.images.sides) for cell in cells])
        operation = G.Maximum(np.array(rows), self.images.channels)
        return self.add(operation, (self.last,), Images(self.images.channels, sides))

    def maxmin(self):
        half, pixels = self.images.channels // 2, math.prod(self.images.sides)
        first = np.arange(half)[:, None] * 2 * pixels + np.arange(pixels)
        return self.add(G.Sort(np.stack([first.ravel(), first.ravel() + pixels], 1)), (self.last,), self.images)

    def dense(self, outputs):
        weight = self.rng.standard_normal((outputs, self.images.size)) / math.sqrt(self.images.size)
        return self.add(G.Dense(weight), (self.last,), Images(outputs, (1,) * len(self.images.sides)))

    def graph(self):
        return G.LayerGraph(self.nodes, self.inputs)


def random_graph(seed, axes=2, side=(5, 9)):
    """Some layers, mostly with dense ones in the end."""
    made = Made(seed, axes, side)
    made.convolution(-1, made.images, int(made.rng.integers(1, 4)))
    made.activation(made.last)
    for _ in range(int(made.rng.integers(1, 4))):
        kind = made.rng.choice(["row", "block", "down", "scale", "mean", "max", "maxmin", "groups"])
        room = min(made.images.sides) >= 3
        if kind == "block":
            made.block()
        elif kind == "down" and room:
            made.down()
        elif kind == "scale":
            made.scale()
            made.activation(made.last)
        elif kind == "mean" and room:
            made.mean_pool()
        elif kind == "max" and room:
            made.max_pool()
        elif kind == "maxmin" and made.images.channels % 2 == 0:
            made.convolution(made.last, made.images, made.images.channels)
            made.maxmin()
        elif kind == "groups":
            made.convolution(made.last, made.images, 2 * made.images.channels, groups=made.images.channels)
            made.activation(made.last)
        else:
            made.convolution(made.last, made.images, int(made.rng.integers(1, 4)))
            made.activation(made.last)
    if made.rng.random() < 0.8:
        made.dense(int(made.rng.integers(1, 5)))
        if made.rng.random() < 0.5:
            made.activation(made.last)
            made.dense(2)
    return made.graph()
