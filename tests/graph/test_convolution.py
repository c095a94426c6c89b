"""Norms of convolutions against the operator written out as a matrix."""

import math
from itertools import pairwise

import numpy as np
import pytest

from artclip.graph import Convolution, convolution, convolution_norm
from artclip.graph.matrix_norms import last

torch = pytest.importorskip("torch")


def random_case(seed):
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 3))
    groups = int(rng.choice([1, 1, 2, 3]))
    outputs, inputs = groups * rng.integers(1, 4, 2)
    kernel = rng.standard_normal((outputs, inputs // groups, *rng.integers(1, 5, d)))
    stride, dilation, padding = (tuple(map(int, rng.integers(low, high, d))) for low, high in ((1, 4), (1, 3), (0, 3)))
    shape = tuple(map(int, rng.integers(7, 15, d)))
    return kernel, shape, stride, tuple((p, p) for p in padding), dilation, groups


def materialised(kernel, shape, stride, padding, dilation, groups):
    """By PyTorch, column by column."""
    inputs = kernel.shape[1] * groups
    identity = torch.eye(inputs * math.prod(shape), dtype=torch.float64).reshape(-1, inputs, *shape)
    convolve = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d}[len(shape)]
    options = {"stride": stride, "padding": tuple(p for p, _ in padding), "dilation": dilation, "groups": groups}
    return convolve(identity, torch.from_numpy(kernel), **options).flatten(1).T.numpy()


@pytest.mark.parametrize("seed", range(60))
def test_norms_hold_and_are_close(seed):
    case = random_case(seed)
    kernel, _, stride, _, dilation, groups = case
    dense = materialised(*case)
    np.testing.assert_allclose(convolution.matrix(*case), dense, atol=1e-12)
    true = np.linalg.norm(dense, 2)
    # On images hardly above the kernel's size the border weighs much; there the layer takes the matrix.
    assert true * (1 - 1e-9) <= convolution.spectral_norm(*case) <= 1.6 * true
    assert true * (1 - 1e-9) <= Convolution(*case).factor(2) <= 1.1 * true
    transposed = Convolution(*case, transposed=True)
    assert transposed.factor(2) == pytest.approx(Convolution(*case).factor(2))
    for p in (1, math.inf):
        bound = convolution.absolute_norm(kernel, stride, dilation, p, groups)
        assert np.linalg.norm(dense, p) * (1 - 1e-9) <= bound <= 2 * np.linalg.norm(dense, p)


@pytest.mark.parametrize("seed", range(10))
def test_norms_are_tight_without_the_matrix(seed):
    kernel, _, stride, _, dilation, groups = random_case(seed)
    stride, dilation = (min(s, 2) for s in stride), (1,) * len(stride)
    d = len(kernel.shape) - 2
    case = (kernel, (20,) * d, tuple(stride), ((1, 1),) * d, dilation, groups)
    true = np.linalg.norm(materialised(*case), 2)
    assert true * (1 - 1e-9) <= convolution.spectral_norm(*case) <= 1.1 * true


@pytest.mark.parametrize("multiplier", [1, 2])
def test_every_step_holds_for_many_groups(multiplier):
    """Depthwise convolutions: the norm is the largest of the groups', each of which is a convolution of its own."""
    rng, groups = np.random.default_rng(multiplier), 2 * convolution_norm._FEW
    kernel = rng.standard_normal((multiplier * groups, 1, 3, 3))
    rest = ((9, 9), (1, 1), ((1, 1), (1, 1)), (1, 1))
    true = max(np.linalg.norm(convolution.matrix(k, *rest, 1), 2) for k in np.split(kernel, groups))
    circular = convolution_norm.spectral_norm_bounds(kernel, *rest, groups)
    for steps in (Convolution(kernel, *rest, groups).bounds(2), circular):
        bounds = [bound for bound, _ in steps]
        assert len(bounds) > 1
        assert all(b <= a * (1 + 1e-12) for a, b in pairwise(bounds))
        assert true * (1 - 1e-9) <= bounds[-1] <= 1.1 * true


def test_a_torus_that_is_too_small_would_be_too_low():
    """Why all outputs need places of their own: a kernel of one tap, on an image of one pixel, in wide padding."""
    kernel = np.ones((1, 1, 5))
    for padding in ((2, 2), (4, 4), (4, 0), (0, 4)):
        case = (kernel, (1,), (1,), (padding,), (1,), 1)
        dense = np.linalg.norm(convolution.matrix(*case), 2)
        assert dense * (1 - 1e-9) <= convolution.spectral_norm(*case)


@pytest.mark.parametrize("seed", range(4))
def test_few_frequencies_at_a_time_and_proofs_give_what_singular_values_give(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((34, 20, 3, 2))
    case = (kernel, (9, 6), (1, 2), ((1, 1), (0, 1)), (1, 1), 2)
    expected = convolution.spectral_norm(*case)  # by proofs: 17 rows
    monkeypatch.setattr(convolution_norm, "_SMALL", 64)
    assert convolution.spectral_norm(*case) == pytest.approx(expected, rel=1e-8)
    monkeypatch.setattr(convolution_norm, "_ELEMENTS", 2000)
    assert convolution.spectral_norm(*case) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_coarser_tori_bound_finer_ones(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((3, 2, 3, 3))
    case = (kernel, (90, 40), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    found = [bound for bound, _ in convolution_norm.spectral_norm_bounds(*case) if bound < math.inf]
    monkeypatch.setattr(convolution_norm, "_ALL", 0)
    coarse = convolution.spectral_norm(*case)
    assert all(a >= b for a, b in pairwise(found))
    by_taps, coarsest, *_, best = dict.fromkeys(found)
    assert best * (1 - 1e-9) <= coarse <= coarsest <= by_taps <= 3 * best
    assert coarse <= 1.006 * best
    assert coarsest <= 1.1 * best


def test_images_that_go_on_where_they_begin():
    kernel = np.random.default_rng(0).standard_normal((3, 2, 3, 4))
    wrapped = np.pad(np.arange(48).reshape(6, 8), ((1, 1), (2, 1)), mode="wrap").ravel()
    pad = np.eye(48)[wrapped]
    dense = convolution.matrix(kernel, (8, 11), (2, 1), ((0, 0), (0, 0)), (1, 1)) @ np.kron(np.eye(2), pad)
    bounds = convolution_norm.circular_norm_bounds(kernel, (6, 8), (2, 1), (1, 1))
    assert last(bounds) == pytest.approx(np.linalg.norm(dense, 2), rel=1e-8)


@pytest.mark.parametrize("scale", [1e-250, 1e-150, 1e150])
@pytest.mark.parametrize("transposed", [False, True])
def test_sizes_of_weights_do_not_matter(scale, transposed):
    kernel = np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    for shape in ((5, 5), (70, 70)):  # from the matrix, and by frequencies
        norms = [
            Convolution(k, shape, (1, 1), ((1, 1), (1, 1)), (1, 1), transposed=transposed).factor(2)
            for k in (kernel, kernel * scale)
        ]
        assert norms[1] == pytest.approx(norms[0] * scale, rel=1e-8, abs=0)
    assert Convolution(0 * kernel, (70, 70), (1, 1), ((1, 1), (1, 1)), (1, 1)).factor(2) == 0
