"""Operations that are filters say so, and the filter does what they do."""

import math

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph.filters import Filter, Images, filter_of, pointwise, taps_at_phases

RNG = np.random.default_rng(0)


def filtered(f: Filter, x):
    """The filter as it is written down, one pixel after the other."""
    x = x.reshape(len(x), f.given.channels, *f.given.sides)
    found = np.zeros((len(x), f.made.channels, *f.made.sides))
    for place in np.ndindex(*f.made.sides):
        for tap in np.ndindex(*f.kernel.shape[2:]):
            at = tuple(s * o + t - b for s, o, t, b in zip(f.stride, place, tap, f.before, strict=True))
            if all(0 <= a < n for a, n in zip(at, f.given.sides, strict=True)):
                found[(..., *place)] += x[(..., *at)] @ f.kernel[(..., *tap)].T
    return found.reshape(len(x), -1)


def kronecker(sides, channels, size, stride):
    matrices = []
    for n in sides:
        places = (n - size) // stride + 1
        matrix = np.zeros((places, n))
        for i in range(places):
            matrix[i, i * stride : i * stride + size] = 1 / size
        matrices.append(matrix)
    return G.Kronecker((channels, *sides), (None, *matrices))


def pixels(sides, first, stride):
    """Every n-th pixel of an image, as an index."""
    axes = [np.arange(a, n, s) for a, n, s in zip(first, sides, stride, strict=True)]
    return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), sides).ravel()


def channels_of(index, sides, channels):
    return (np.array(channels)[:, None] * math.prod(sides) + index).ravel()


SIDES = (7, 6)
KERNEL = RNG.standard_normal((4, 2, 3, 2))
OPERATIONS = {
    "convolution": G.Convolution(KERNEL, SIDES, (2, 1), ((1, 0), (0, 1)), (1, 1)),
    "dilated, in groups": G.Convolution(KERNEL[:, :1], SIDES, (1, 2), ((2, 2), (1, 1)), (2, 1), groups=2),
    "scale": G.Scale(np.repeat([2.0, -1.0], 42)),
    "nothing": G.Gather(),
    "means": kronecker(SIDES, 2, 2, 2),
    "overlapping means": kronecker(SIDES, 2, 3, 1),
    "channels": G.Gather(channels_of(np.arange(42), SIDES, [1, 0, 1])),
    "pixels": G.Gather(channels_of(pixels(SIDES, (1, 0), (2, 2)), SIDES, [0, 1])),
    "one row": G.Gather(channels_of(pixels(SIDES, (0, 1), (3, 2)), SIDES, [1])),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_filters_do_what_the_operation_does(name):
    operation, x = OPERATIONS[name], RNG.standard_normal((3, 84))
    f = filter_of(operation, Images(2, SIDES))
    expected = operation.apply(x)
    assert f is not None
    assert f.made.size == expected.shape[1]
    np.testing.assert_allclose(filtered(f, x), expected, atol=1e-12)
    if f.is_inside:
        assert f.reach == (0, 0)


@pytest.mark.parametrize(
    "operation",
    [
        G.Dense(np.ones((3, 84))),
        G.Scale(RNG.standard_normal(84)),
        G.Gather(RNG.permutation(84)),
        G.Gather(np.arange(84)[::-1].copy()),
        G.Gather(np.where(np.arange(84) < 80, np.arange(84), -1)),
        G.Gather(np.arange(83)),
        G.Kronecker((2, *SIDES), (np.ones((1, 2)), None, None)),
        G.Kronecker((2, *SIDES), (None, RNG.standard_normal((4, 7)), None)),
        G.Kronecker((6, 7, 2), (None, None, None)),
        G.Convolution(KERNEL, (6, 7), (1, 1), ((0, 0), (0, 0)), (1, 1)),
        G.Convolution(KERNEL, SIDES, (1, 1), ((0, 0), (0, 0)), (1, 1), transposed=True),
    ],
)
def test_what_differs_from_place_to_place_is_none(operation):
    assert filter_of(operation, Images(2, SIDES)) is None


def test_a_convolution_alone_says_what_its_images_are():
    assert filter_of(OPERATIONS["scale"], None) is None
    found = filter_of(OPERATIONS["convolution"], None)
    assert (found.given, found.made, found.reach) == (Images(2, SIDES), Images(4, (3, 6)), (1, 1))


@pytest.mark.parametrize("name", ["convolution", "dilated, in groups", "pixels"])
def test_at_phases_it_is_the_same_on_a_torus(name):
    """On a torus of 12 pixels a side, of which the image is a corner; four, six or twelve of each phase."""
    f = filter_of(OPERATIONS[name], Images(2, SIDES))
    made, side = (2, 1), 12
    given = tuple(s * n for s, n in zip(f.stride, made, strict=True))
    x = np.zeros((2, side, side))
    x[:, : SIDES[0], : SIDES[1]] = RNG.standard_normal((2, *SIDES))
    y = filtered(f, x[:, : SIDES[0], : SIDES[1]].reshape(1, -1)).reshape(f.made.channels, *f.made.sides)
    coarse = tuple(side // n for n in given)
    cells = x.reshape(2, coarse[0], given[0], coarse[1], given[1]).transpose(0, 2, 4, 1, 3).reshape(-1, *coarse)
    found = np.zeros((f.made.channels * math.prod(made), *coarse))
    for ahead, matrix in taps_at_phases(f.kernel, f.stride, f.before, given, made).items():
        found += np.tensordot(matrix, np.roll(cells, [-a for a in ahead], axis=(1, 2)), 1)
    whole = (
        found.reshape(-1, *made, *coarse)
        .transpose(0, 3, 1, 4, 2)
        .reshape(f.made.channels, *(c * m for c, m in zip(coarse, made, strict=True)))
    )
    np.testing.assert_allclose(whole[:, : y.shape[1], : y.shape[2]], y, atol=1e-12)


def test_a_matrix_for_each_pixel():
    f = pointwise(RNG.standard_normal((3, 2)), Images(2, (4,)))
    assert f.is_pointwise
    x = RNG.standard_normal((1, 8))
    np.testing.assert_allclose(filtered(f, x).reshape(3, 4), f.kernel[:, :, 0] @ x.reshape(2, 4))
