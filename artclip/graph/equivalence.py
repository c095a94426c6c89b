"""Evidence that a graph of layers computes what ``predict`` computes.

The graph is evaluated in float64, ``predict`` runs in the model's own precision. How far the two may be apart follows
from the graph: it is evaluated again with each layer's outputs changed at random by the rounding of that precision
(stochastic arithmetic), and what that does to the outputs is the scale. Inputs are data, where there are some, valid
inputs, and random ones of several sizes, since a layer may act differently where it is saturated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from artclip.graph.activations import Activation
from artclip.graph.layer_graph import LayerGraph
from artclip.graph.nodes import Node
from artclip.graph.nonlinear import Normalisation

SCALES = (1.0, 100.0, 0.01)  # of random inputs, in units of the inputs' range
_SAMPLES = 4  # of each kind
_DRAWS = 3  # evaluations with rounding
_SLOW = 0.1  # seconds an evaluation of one sample, above which one sample and one draw of each kind have to do
_VALID = ("data", "valid inputs")
_ROOM = 64.0  # times the scale of the rounding that outputs may differ


class Disagreement(ValueError):
    """The graph of layers is not what ``predict`` computes."""


def inputs_to_try(
    shape: tuple[int, ...], box: tuple[np.ndarray, np.ndarray] | None, data: np.ndarray | None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Inputs by what they are, each of shape (n, *shape), in float64.

    Args:
        shape: of one input.
        box: least and largest valid inputs, broadcastable to one input, or ``None``.
        data: shape (n, *shape), or ``None``.
        seed: of the random inputs.
    """
    rng = np.random.default_rng(seed)
    low, high = (np.broadcast_to(b, shape) for b in (box if box is not None else (0.0, 1.0)))
    width = float(np.max(high - low)) or 1.0
    inputs = {} if data is None else {"data": np.asarray(data[:_SAMPLES], dtype=np.float64)}
    inputs["valid inputs"] = rng.uniform(low, high, (_SAMPLES, *shape))
    for scale in SCALES:
        inputs[f"random inputs of size {scale * width:g}"] = rng.standard_normal((_SAMPLES, *shape)) * (scale * width)
    return inputs


def check(
    graph: LayerGraph,
    predict: Callable[[np.ndarray], np.ndarray],
    inputs: dict[str, np.ndarray],
    precision: float,
    max_seconds: float = math.inf,
) -> tuple[list[str], float]:
    """Compare the graph with ``predict``.

    Args:
        graph: of the model.
        predict: gives outputs (n, k) for inputs (n, *input_shape).
        inputs: from :func:`inputs_to_try`.
        precision: machine epsilon of the model's dtype.
        max_seconds: when it is over, kinds of inputs that are left are left out, but for the first.

    Returns:
        The kinds of inputs that were looked at; and how far outputs move where those of each layer are rounded, at the
        worst of the valid inputs.

    Raises:
        Disagreement: outputs differ by more than rounding explains.
        ValueError: outputs of valid inputs are not finite.
    """
    began, rng, looked_at, moved = time.perf_counter(), np.random.default_rng(0), list[str](), 0.0
    precision = max(precision, graph.precision)
    inputs = {kind: x.astype(np.float32).astype(np.float64) for kind, x in inputs.items()}  # all that predict may take
    first, slow = _timed(graph, next(iter(inputs.values()))[:1])
    samples, draws = (1, 1) if slow else (_SAMPLES, _DRAWS)
    for kind, whole in inputs.items():
        if looked_at and time.perf_counter() - began > max_seconds:
            break
        x = whole[:samples]
        with np.errstate(over="ignore", invalid="ignore"):
            expected = first if slow and not looked_at else graph.evaluate(x)
            predicted = predict(x)
            if predicted.shape != expected.shape:
                raise Disagreement(f"predict gives outputs of shape {predicted.shape}, the layers {expected.shape}")
            spread = _spread(graph, x, expected, precision, draws, rng)
            allowed = _ROOM * (spread.max(1) + precision * np.abs(expected).max(1))
            off = np.abs(predicted - expected).max(1)
        if not (np.isfinite(predicted).all() and np.isfinite(expected).all()):
            if kind in _VALID:
                raise ValueError(
                    f"outputs are not finite for {kind}: the model overflows, has infinite weights, or takes the "
                    "largest of a window of padding alone"
                )
            continue  # an overflow far outside
        looked_at.append(kind)
        if kind in _VALID:
            moved = max(moved, float(spread.max()))
        if np.any(off > allowed):
            worst = int(np.argmax(off - allowed))
            raise Disagreement(
                f"the layers as they were read do not compute what predict computes: for {kind} outputs differ by "
                f"{off[worst]:.3g}, of {np.abs(expected[worst]).max():.3g}, where rounding explains "
                f"{allowed[worst]:.2g}. This happens where forward draws random numbers, keeps a "
                "state, computes outside the framework, or changes in place a tensor that has a second name"
            )
    return looked_at, moved


def moved_by_rounding(graph: LayerGraph, x: np.ndarray, outputs: np.ndarray, precision: float) -> np.ndarray:
    """How far outputs (n, k) at inputs (n, inputs) move at most where those of each layer are rounded, (n, 1)."""
    rng, precision = np.random.default_rng(0), max(precision, graph.precision)
    return _spread(graph, x, outputs, precision, _DRAWS, rng).max(1, keepdims=True)


def _spread(
    graph: LayerGraph, x: np.ndarray, expected: np.ndarray, precision: float, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """How far outputs are from the expected ones, (n, k), where those of each layer are changed as rounding may."""

    def rounded(t: np.ndarray, node: Node | None = None, before: list[np.ndarray] | None = None) -> np.ndarray:
        size = np.abs(t)
        if node is not None and before and isinstance(node.operation, Activation):
            size = size + node.operation.factor(2) * np.abs(before[0])  # it may compute x - tanh(x) by what it says
        if node is not None and isinstance(node.operation, Normalisation):  # sums lose up to a unit for each entry
            size = size + node.operation.terms(before[0]) if before else size
            lost = precision * node.operation.index.shape[1] / _ROOM
            t = t * (1 + lost * rng.choice([-1, 1], (len(t), 1)))
        return t + precision * size * rng.uniform(-1, 1, t.shape)

    return np.asarray(np.max([np.abs(graph.evaluate(x, rounded) - expected) for _ in range(draws)], axis=0))


def _timed(graph: LayerGraph, x: np.ndarray) -> tuple[np.ndarray, bool]:
    """Outputs, and whether they took long."""
    began = time.perf_counter()
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = graph.evaluate(x)
    return outputs, time.perf_counter() - began > _SLOW
