"""Whether a training is the one that a checkpoint holds: its settings by name, and what model and loss compute."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np

from artclip.frameworks import Trainable
from artclip.frameworks.preprocessing import taken_apart
from artclip.hashing.digests import plain

_SAMPLES = 4  # of the probe
_CLOSE = 1e-2  # of the largest, by which figures of two machines may differ: those of bfloat16 have two digits
# What moves in the state of PyTorch's schedulers.
_MOVING = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i")


def classifier(f: Trainable) -> dict[str, Any]:
    """Settings of a classifier that decide how it trains."""
    defences, scaling = taken_apart(f.estimator)
    return {
        **f.described(),
        "clip_values": plain(f.clip_values),
        "preprocessing": scaling and dict(zip(("mean", "std"), map(plain, scaling), strict=True)),
        "preprocessing_defences": [_defence(d) for d in defences],
    }


def _defence(defence: Any) -> dict[str, Any]:
    return {"class": type(defence).__name__, **{k: plain(getattr(defence, k, None)) for k in defence.params}}


def scheduler(given: Any) -> Any:
    """A scheduler's class and settings; those of classes that are not PyTorch's own cannot be seen."""
    if given is None or not hasattr(given, "step"):
        return plain(given)
    if not type(given).__module__.startswith("torch."):
        return "an object"
    return {"class": type(given).__name__, **_still(given.state_dict())}


def _still(state: Any) -> Any:
    """What stays in the state of a scheduler of PyTorch's."""
    if isinstance(state, dict):
        return {str(k): _still(v) for k, v in state.items() if _stays(str(k))}
    return [_still(v) for v in state] if isinstance(state, list) else plain(state)


def _stays(name: str) -> bool:
    return name not in _MOVING and (not name.startswith("_") or name in ("_schedulers", "_milestones"))


def difference(name: str, then: Any, now: Any) -> tuple[str, Any, Any] | None:
    """The first setting that differs: its name, and what it was and is; ``None`` where all are the same."""
    if then == now:
        return None
    if type(then) is type(now) is dict:
        parts = [(f"{name}.{k}", then.get(k), now.get(k)) for k in {**then, **now}]
    elif type(then) is type(now) is list:
        parts = [(f"{name}[{i}]", a, b) for i, (a, b) in enumerate(zip_longest(then, now))]
    else:
        return name, then, now
    return next((found for part in parts if (found := difference(*part)) is not None), None)


def probe(f: Trainable, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """What a model and its loss say of a few samples, in eval mode, and these; nothing is left changed.

    Nothing at all where several processes train together: one of them alone cannot ask.
    """
    if not f.is_single_process:
        return {}
    x, y = np.asarray(x[:_SAMPLES]), np.asarray(y[:_SAMPLES])
    with f.seeded(0), f.unchanged():
        outputs = f.to_numpy([f.value(f.tensor(x))])
        loss, _ = f.evaluate(x, y, len(x))
    return {"probe.x": x, "probe.y": y, "probe.outputs": outputs, "probe.loss": np.array([loss])}


def told_apart(f: Trainable, then: dict[str, np.ndarray]) -> str:
    """``"outputs"`` or ``"loss"``, the first that a model has not as it had at an earlier probe; or ""."""
    if "probe.x" not in then:
        return ""
    now = probe(f, then["probe.x"], then["probe.y"])
    for name in ("outputs", "loss"):
        before, after = (of.get(f"probe.{name}") for of in (then, now))
        if before is None or after is None:
            return ""
        room = (_CLOSE + 16 * f.precision) * float(np.abs(before[np.isfinite(before)]).max(initial=1e-6))
        if before.shape != after.shape or not np.allclose(before, after, rtol=0, atol=room, equal_nan=True):
            return name
    return ""
