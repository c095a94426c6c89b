"""One node on several parts of its input: it computes the same on each, with the same constant."""

import numpy as np
import pytest

from artclip import graph as G
from artclip.graph.copies import repeated

RNG = np.random.default_rng(0)
PADDED = {"stride": (2, 1), "padding": ((1, 0), (0, 2)), "dilation": (1, 2)}
GROUPS = RNG.permutation(12).reshape(4, 3)
# Operation -> sizes of its parents.
OPERATIONS = {
    "dense": (G.Dense(RNG.standard_normal((5, 4)), 3, RNG.standard_normal(15)), [12]),
    "kronecker": (G.Kronecker((3, 4), (None, RNG.standard_normal((2, 4))), RNG.standard_normal(6)), [12]),
    "scale": (G.Scale(RNG.standard_normal(12), 0.5), [12]),
    "gather": (G.Gather(np.array([3, -1, 3, 11]), RNG.standard_normal(4)), [12]),
    "identity": (G.IDENTITY, [12]),
    "add": (G.Add((2.0, -1.0)), [12, 12]),
    "concat": (G.Concat(), [5, 7, 12]),
    "activation": (G.activations.prelu(RNG.standard_normal(12)), [12]),
    "maximum": (G.Maximum(np.array([[0, 1, 2], [2, 5, -1]]), 2), [12]),
    "sort": (G.Sort(GROUPS), [12]),
    "softmax": (G.Softmax(GROUPS), [12]),
    "normalisation": (G.Normalisation(GROUPS, RNG.standard_normal(12), RNG.standard_normal(12), 0.1), [12]),
    "convolution": (
        G.Convolution(RNG.standard_normal((4, 1, 2, 2)), (3, 2), **PADDED, groups=2, shift=RNG.standard_normal(16)),
        [12],
    ),
    "transposed": (
        G.Convolution(
            RNG.standard_normal((3, 2, 2, 2)), (3, 2), **PADDED, transposed=True, shift=RNG.standard_normal(12)
        ),
        [12],
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_part_is_computed_as_alone(name):
    operation, sizes = OPERATIONS[name]
    x = [RNG.standard_normal((2, 3, n)) for n in sizes]
    expected = np.stack([operation.apply(*(t[:, i] for t in x)) for i in range(3)], axis=1)
    node = G.Node(name, operation, tuple(range(len(sizes))), expected.shape[2])
    found = [t.reshape(2, -1) for t in x]
    factors = dict.fromkeys((1, 2, np.inf), 1.0)
    for part, size in repeated(node, sizes, 3):
        found = [part.apply(*found)]
        assert found[0].shape == (2, size)
        factors = {p: f * part.factor(p) for p, f in factors.items()}
    np.testing.assert_allclose(found[0], expected.reshape(2, -1), atol=1e-12)
    for p, factor in factors.items():
        assert operation.factor(p) <= factor * (1 + 1e-6)
        assert factor <= operation.factor(p) * (1.2 if "conv" in name or name == "transposed" else 1 + 1e-6)


def test_an_operation_that_is_not_known_is_refused():
    with pytest.raises(TypeError, match="a str is not known on several parts"):
        repeated(G.Node("it", "operation", (-1,), 3), [3], 2)
