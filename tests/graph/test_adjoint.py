"""Linear operations backwards are their transposed matrices."""

import numpy as np
import pytest

from artclip.graph import ACTIVATIONS, Convolution, Dense, Gather, Kronecker, Scale
from artclip.graph.adjoint import adjoint
from artclip.graph.composition import Composition

RNG = np.random.default_rng(0)
WEIGHT, SHORT = RNG.standard_normal((3, 4)), RNG.standard_normal((5, 2))
KERNEL, GROUPED = RNG.standard_normal((6, 2, 3, 2)), RNG.standard_normal((6, 1, 2, 2))
PADDING = ((1, 0), (2, 1))
SCALE = Scale(RNG.standard_normal(8), 1.0)
LINEAR = {  # and the number of inputs
    "dense": (Dense(WEIGHT, shift=1.0), 4),
    "dense, copies": (Dense(WEIGHT, copies=2), 8),
    "along axes": (Kronecker((4, 3, 2), (WEIGHT, None, SHORT), shift=2.0), 24),
    "convolution": (Convolution(KERNEL, (5, 6), (2, 1), PADDING, (1, 2)), 60),
    "convolution, groups": (Convolution(GROUPED, (4, 4), (1, 1), PADDING, (1, 1), groups=2), 32),
    "transposed convolution": (Convolution(KERNEL, (5, 6), (2, 1), PADDING, (1, 2), transposed=True), 84),
    "scale": (SCALE, 8),
    "one factor": (Scale(np.array([2.0])), 8),
    "gather": (Gather(np.array([0, 0, -1, 3, 2, 3, 3])), 4),
    "identity": (Gather(), 4),
    "one after the other": (
        Composition((SCALE, Dense(WEIGHT, copies=2), Gather(np.array([5, -1, 0]))), (8, 8, 6, 3)),
        8,
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_it_is_the_transposed_matrix(name):
    operation, size = LINEAR[name]
    matrix = operation.apply(np.eye(size)) - operation.apply(np.zeros((1, size)))  # inputs by outputs
    a = RNG.standard_normal((7, matrix.shape[1]))
    found = adjoint(operation, a, size)
    assert found.shape == (7, size)
    np.testing.assert_allclose(found, a @ matrix.T, rtol=1e-12, atol=1e-12)


def test_what_is_not_linear_is_refused():
    with pytest.raises(TypeError, match="Activation is not known to be linear"):
        adjoint(ACTIVATIONS["relu"], np.ones((1, 1)), 1)
