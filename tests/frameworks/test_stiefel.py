"""Steps along the Stiefel manifold, on NumPy arrays."""

import numpy as np
import pytest

from artclip.frameworks import stiefel
from artclip.frameworks.stiefel import nearest, roles

MATRICES = stiefel.Matrices(np.transpose, np.linalg.norm, lambda n, like: np.eye(n, dtype=like.dtype))
SHAPES = [(1, 1), (1, 9), (6, 6), (7, 20), (30, 31)]


@pytest.fixture(params=SHAPES, ids=str)
def pair(request):
    """A point of the manifold, and a gradient."""
    rng = np.random.default_rng(0)
    return nearest(rng.standard_normal(request.param)), rng.standard_normal(request.param)


def distance_from_manifold(w):
    return np.abs(w @ w.T - np.eye(len(w))).max()


def test_the_tangent_part_stays_on_the_manifold_to_first_order(pair):
    w, gradient = pair
    tangent = MATRICES.tangent(gradient, w)
    np.testing.assert_allclose(tangent @ w.T + w @ tangent.T, 0, atol=1e-12)
    # What is left out is orthogonal to every tangent, so the tangent part is the nearest one.
    assert np.sum((gradient - tangent) * tangent) == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(MATRICES.tangent(tangent, w), tangent, atol=1e-12)


def test_a_direction_has_singular_values_of_about_one_and_the_same_vectors(pair):
    _, gradient = pair
    left, sizes, right = np.linalg.svd(gradient, full_matrices=False)
    along = np.diag(left.T @ MATRICES.direction(gradient) @ right.T)
    assert (along[sizes > 0.02 * np.linalg.norm(sizes)] > 0.6).all()
    assert (along < 1.25).all()
    rest = MATRICES.direction(gradient) - left @ np.diag(along) @ right
    assert np.abs(rest).max() < 1e-9


@pytest.mark.parametrize("angle", [1e-3, 0.1, stiefel.MOST_ANGLE])
def test_a_hundred_steps_stay_on_the_manifold(pair, angle):
    w, _ = pair
    rng = np.random.default_rng(1)
    for _ in range(100):
        w = MATRICES.stepped(w, rng.standard_normal(w.shape), angle)
        assert distance_from_manifold(w) < (1e-7 if angle <= 0.1 else 0.02)


def test_steps_descend():
    """Down ⟨C, W⟩ over the manifold, whose least value is minus the sum of the singular values of C."""
    rng = np.random.default_rng(2)
    c = rng.standard_normal((8, 12))
    w = nearest(rng.standard_normal(c.shape))
    for step in range(200):
        w = MATRICES.stepped(w, c, 0.1 * (1 - step / 200))
    assert np.sum(c * w) == pytest.approx(-np.linalg.svd(c, compute_uv=False).sum(), rel=1e-3)


def test_a_gradient_of_zero_moves_nothing(pair):
    w, _ = pair
    np.testing.assert_allclose(MATRICES.stepped(w, np.zeros_like(w), 0.1), w, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)])
def test_the_nearest_orthogonal_matrix_is_nearest(shape):
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal(shape)
    found = nearest(matrix)
    assert distance_from_manifold(found if shape[0] <= shape[1] else found.T) < 1e-12
    least = np.linalg.norm(matrix - found)
    others = [nearest(found + 0.3 * rng.standard_normal(shape)) for _ in range(50)]
    assert all(np.linalg.norm(matrix - other) >= least - 1e-12 for other in others)
    with pytest.raises(ValueError, match="NaN"):
        nearest(np.full(shape, np.nan))


def test_roles_leave_the_last_matrix_free_where_it_is_asked_for():
    shapes = [(8, 4, 3, 3), (8,), (), (5, 8), (5,)]
    assert roles(shapes, True) == ["orthogonal", "vector", "vector", "free", "vector"]
    assert roles(shapes, False) == ["orthogonal", "vector", "vector", "orthogonal", "vector"]
    assert roles([(3,)], True) == ["vector"]
