"""Whether a model says one thing: by ``predict`` as where gradients come from, and of a sample alone as in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from artclip.evaluation.random_outputs import apart
from artclip.frameworks.base import Function

_HALVES = 2.0**-8  # rounding of bfloat16, which layers may compute in
_ROOM = 2.0  # times what that does to the inputs' outputs
_OTHERS = 3  # samples that are predicted in a batch of their own


def refuse_other_function(f: Function, x: np.ndarray) -> None:
    """Raise ``ValueError`` where ``predict`` gives something else than the model that gradients are of.

    Args:
        f: adapter of a model that does not answer at random.
        x: a few samples, shape (n, *input_shape).
    """
    if type(f).predict is Function.predict or f.access != "backpropagation":
        return  # both are one pass
    own = f.to_numpy([f.value(f.tensor(x))]).reshape(len(x), -1)
    share = _clear(f, x, f.predict(x), own)
    if not share:
        return
    kind = type(getattr(f, "estimator", f)).__name__
    raise ValueError(
        f"predict of this {kind} and its model give outputs that differ by {share:.1%} of the largest: predict "
        "compiled the model when it was first called, and knows nothing of what was changed in Python since, as an "
        "attribute or a function. Labels would be of the old function, attacks of the new one; wrap the model in a "
        f"new {kind}, and call model.compile(...) again where it is a compiled Keras model"
    )


def by_batch(f: Function, x: np.ndarray, outputs: np.ndarray, alone: np.ndarray) -> float:
    """How far outputs depend on what else is in the batch, as a share of the largest; 0 for rounding.

    Args:
        f: adapter of a model that does not answer at random.
        x: samples, shape (n, *input_shape).
        outputs: of these, a batch at a time, shape (n, k).
        alone: of the first sample, in a batch of one.
    """
    share = _clear(f, x[:1], alone, outputs[:1])
    some = x[-_OTHERS:]
    if share or len(some) < 2:
        return share
    try:
        together = f.predict(some)
    except Exception:  # of a file whose batches are of one size
        return 0.0
    return _clear(f, some, together, outputs[-len(some) :])


def _clear(f: Function, x: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """How far two answers (n, k) to x differ, as a share of the largest output; 0 for rounding, of halves too."""
    share = apart(first, second)
    if not share:
        return 0.0
    rng, n = np.random.default_rng(0), len(x)
    nearby = (x * (1 + _HALVES * rng.uniform(-1, 1, x.shape))).astype(np.float32)
    both = f.predict(np.concatenate([x.astype(np.float32), nearby]))
    with np.errstate(invalid="ignore"):
        room = _ROOM * float(np.nan_to_num(np.abs(both[n:] - both[:n]), posinf=0).max())
    size: Any = np.abs(first[np.isfinite(first)]).max(initial=1e-12)
    return share if share * size > room else 0.0
