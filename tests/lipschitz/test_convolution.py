"""Norms of convolutions against the operator written out as a matrix."""

import math

import numpy as np
import pytest

from artclip.lipschitz import convolution

torch = pytest.importorskip("torch")


def random_case(seed):
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 3))
    groups = int(rng.choice([1, 1, 2, 3]))
    outputs, inputs = groups * rng.integers(1, 4, 2)
    kernel = rng.standard_normal((outputs, inputs // groups, *rng.integers(1, 5, d)))
    stride, dilation, padding = (tuple(map(int, rng.integers(low, high, d))) for low, high in ((1, 4), (1, 3), (0, 3)))
    shape = tuple(map(int, rng.integers(9, 15, d)))
    return kernel, shape, stride, tuple((p, p) for p in padding), dilation, groups


def materialised(kernel, shape, stride, padding, dilation, groups):
    """By PyTorch, column by column."""
    inputs = kernel.shape[1] * groups
    identity = torch.eye(inputs * math.prod(shape), dtype=torch.float64).reshape(-1, inputs, *shape)
    convolve = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d}[len(shape)]
    options = {"stride": stride, "padding": tuple(p for p, _ in padding), "dilation": dilation, "groups": groups}
    return convolve(identity, torch.from_numpy(kernel), **options).flatten(1).T.numpy()


@pytest.mark.parametrize("seed", range(40))
def test_norms_hold_and_are_close(seed):
    case = random_case(seed)
    kernel, _, stride, _, dilation, groups = case
    dense = materialised(*case)
    np.testing.assert_allclose(convolution.matrix(*case), dense, atol=1e-12)
    true = np.linalg.norm(dense, 2)
    assert true * (1 - 1e-9) <= convolution.spectral_norm(*case) <= 1.35 * true  # small images: the border weighs much
    for p in (1, math.inf):
        bound = convolution.absolute_norm(kernel, stride, dilation, p, groups)
        assert np.linalg.norm(dense, p) * (1 - 1e-9) <= bound <= 2 * np.linalg.norm(dense, p)


@pytest.mark.parametrize("stride", [1, 2])
def test_norms_are_tight_on_larger_images(stride):
    kernel = np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    case = (kernel, (20, 20), (stride, stride), ((1, 1), (1, 1)), (1, 1), 1)
    assert convolution.spectral_norm(*case) <= 1.02 * np.linalg.norm(materialised(*case), 2)


def test_slabs_give_what_one_transform_gives(monkeypatch):
    case = random_case(3)
    expected = convolution.spectral_norm(*case)
    monkeypatch.setattr(convolution, "_ELEMENTS", 1)
    assert convolution.spectral_norm(*case) == pytest.approx(expected, rel=1e-12)
