"""Keras's layers around another layer."""

from __future__ import annotations

import math
from typing import Any

from artclip.frameworks.keras.calls import Call, rule
from artclip.frameworks.keras.nodes import Tensor
from artclip.graph import copies


@rule("layers.SpectralNormalization", "layer power_iterations")
def _spectral_normalization(call: Call) -> Any:
    return call.net.apply(call["layer"], (call.x,), {})  # only in train mode does it change the kernel


@rule("layers.TimeDistributed", "layer")
def _time_distributed(call: Call) -> Tensor:
    """The network of one step, each node of it for all steps at once."""
    steps, *shape = call.x.shape
    inner = call.net.apart()
    y = inner.laid(inner.apply(call["layer"], (Tensor(-1, tuple(shape)),), {}), False)
    places, sizes = {-1: call.net.laid(call.x, False).place}, {-1: math.prod(shape)}
    for i, node in enumerate(inner.nodes):
        sizes[i], before = node.size, [sizes[p] for p in node.parents]
        parents = [Tensor(places[p], (steps * n,)) for p, n in zip(node.parents, before, strict=True)]
        for operation, size in copies.repeated(node, before, steps):
            parents = [call.net.put(node.name, operation, parents, (size,))]
        places[i] = parents[0].place
    return Tensor(places[y.place], (steps, *y.shape))
