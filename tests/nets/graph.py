"""What a graph of layers computes, by its matrices and shifts."""

import re

import numpy as np

from artclip.lipschitz import layers as L


def evaluate(nodes, x, activation):
    """Outputs (n, k) for points (n, d); ``activation(name, x)`` is what an activation that is not kinked does."""
    found = {-1: x}
    for i, node in enumerate(nodes):
        parents, operation = [found[p] for p in node.parents], node.operation
        named = re.search(r"\((\w+?)(_\d+)?\)$", node.name)
        if isinstance(operation, L.Add):
            found[i] = sum(w * p for w, p in zip(operation.weights, parents, strict=True))
        elif isinstance(operation, L.Concat):
            found[i] = np.concatenate(parents, 1)
        elif hasattr(operation, "after"):
            found[i] = operation.after(parents[0].T, parents[0].shape[1]).T + operation.shift
        elif getattr(operation, "kinked", False):
            found[i] = np.where(parents[0] > 0, operation.high, operation.low) * parents[0]
        else:
            assert named, f"{node.name} cannot be evaluated"
            found[i] = activation(named[1], parents[0])
        assert found[i].shape == (len(x), node.size), node.name
    return found[len(nodes) - 1]
