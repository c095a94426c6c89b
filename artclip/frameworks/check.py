"""Whether a model is a function of its input: what has to hold before any figure is said of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from artclip import checks
from artclip.frameworks import global_random
from artclip.frameworks.base import Function
from artclip.frameworks.trainable import Trainable

_SAMPLES = 4  # but half of them where an input is large
_ROOM = 64.0  # times what rounding of the inputs changes, that outputs may differ from call to call
_NUMBERS = 1 << 18  # of inputs in a large batch
_LARGE = 1 << 16
_CALLS = 10  # of which each draws, where it is the model that draws
_UNITS = 1000.0  # units of rounding that they may differ besides


def not_a_tensor(outputs: Any) -> ValueError:
    """What to raise where a model gives something else than one tensor."""
    kind = type(outputs).__name__
    if isinstance(outputs, dict):
        first = "logits" if "logits" in outputs else next(iter(outputs), "logits")
        part, what = f"[{first!r}]", f"a dict of {', '.join(map(repr, outputs)) or 'nothing'}"
    elif isinstance(outputs, (tuple, list)) and not hasattr(outputs, "logits"):
        part, what = "[0]", f"a {kind} of {len(outputs)}"
    else:
        part, what = ".logits", f"a {kind}"
    return ValueError(
        f"the model gives {what}; expected one tensor of shape (n, outputs). Wrap it in a model whose forward (call) "
        f"returns model(x){part}"
    )


def shape_of_outputs(shape: tuple[int, ...], nb: int | None, nb_classes: int | None) -> None:
    """Raise ``ValueError`` unless outputs have the shape that their number of samples and classes asks for.

    Args:
        shape: of the outputs.
        nb: samples that went in; ``None`` where that is not known yet.
        nb_classes: of a classifier; ``None`` for any other function.
    """
    if not shape or (nb is not None and shape[0] != nb):
        raise ValueError(f"the model gives outputs of shape {shape} for {nb} inputs; expected ({nb}, outputs)")
    if nb_classes is None or shape[1:] == (nb_classes,):
        return
    if nb_classes <= 2 and shape[1:] in ((), (1,)):  # log-odds, or a probability
        return
    expected = f"({nb or 'n'}, {nb_classes})"
    if len(shape) == 2:
        raise ValueError(f"the model gives {shape[1]} outputs a sample and its estimator says nb_classes={nb_classes}")
    raise ValueError(
        f"the model gives outputs of shape {shape}; a classifier gives one row of numbers a sample, {expected}. Maps, "
        "as of segmentation, and boxes, as of detectors, are not supported: reduce them to one row"
    )


def give_range(f: Function, clip_values: Any) -> None:
    """Give the adapter of a bare model a range of valid inputs; nothing where ``clip_values`` is ``None``.

    Raises:
        ValueError: it is no range of such inputs, or f is that of an estimator, which has its own.
    """
    if clip_values is None:
        return
    if hasattr(f, "estimator"):
        raise ValueError(
            f"clip_values={clip_values!r} are for a bare model; an ART estimator has its own: give them to it, as "
            f"{type(f.estimator).__name__}(..., clip_values={clip_values!r})"
        )
    box = checks.clip_values(clip_values)
    for end in box:
        try:
            fits = not f.input_shape or np.broadcast_shapes(end.shape, f.input_shape) == f.input_shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"clip_values of shape {end.shape} do not fit inputs of shape {f.input_shape}")
    f.clip_values = box


def is_regressor(f: Function) -> bool:
    """Whether f is known to be no classifier."""
    kinds = {base.__name__ for base in type(getattr(f, "estimator", None)).__mro__}
    return "RegressorMixin" in kinds or (isinstance(f, Trainable) and f.nb_classes is None)


def refuse_approximated(f: Function) -> None:
    """Raise ``ValueError`` where a defence in front of the model has no gradient but an estimate."""
    if f.approximated and f.access == "backpropagation":
        raise ValueError(works_in_numpy(f.approximated[0]))


def refuse_own_predict(f: Function) -> None:
    """Raise ``ValueError`` where the estimator's ``predict`` is not ART's, while f is of the model below it."""
    estimator = getattr(f, "estimator", None)
    if estimator is None or f.access != "backpropagation":
        return
    maker = next((c for c in type(estimator).__mro__ if "predict" in vars(c)), type(estimator))
    if "predict" in vars(estimator) or not maker.__module__.startswith("art."):
        raise ValueError(
            f"the predict of this {type(estimator).__name__} is not ART's, and figures would be of the model below it; "
            "put what it does into the model, as a module (layer) around it"
        )


def refuse_defences(f: Function) -> None:
    """Raise ``ValueError`` where f is without a defence that has no gradient, or another change of predictions."""
    refuse_own_predict(f)
    refuse_approximated(f)
    defences = getattr(getattr(f, "estimator", None), "postprocessing_defences", None) or []
    active = [type(d).__name__ for d in defences if d.apply_predict]
    if active and f.access == "backpropagation":
        raise ValueError(
            f"the postprocessing defence {active[0]} changes what predict gives in ways that have no bound: give an "
            "estimator without it, or set its apply_predict to False"
        )


def refuse_unconnected(f: Function, x: Any) -> None:
    """Raise ``ValueError`` where outputs have no gradient in the inputs x, shape (n, *input_shape)."""
    f.check_gradients()
    with f.seeded(0), f.unchanged(), _said_by_the_model(x[:2].shape):
        if f.connected(f.tensor(x[:2])):
            return
    raise ValueError(
        "the model's outputs have no gradient in its inputs: it takes integers (token ids of an Embedding, say), "
        "rounds or detaches them. So no pair of inputs can climb, and a penalty on pairs means nothing; penalise the "
        "part of the model behind that place in a loop of your own (LipschitzPenalty), or use "
        "WeightRegularizationTrainer"
    )


def predicted(f: Function, x: np.ndarray) -> np.ndarray:
    """``f.predict(x)``; where the model fails, ``ValueError`` with what it says."""
    with _said_by_the_model(x.shape):
        return f.predict(x)


@contextmanager
def _said_by_the_model(shape: tuple[int, ...]) -> Iterator[None]:
    """Inside, whatever the model raises for inputs of this shape becomes a ``ValueError`` that says so."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # of whatever kind a model raises
        if isinstance(error, ValueError) and str(error).startswith("the model "):
            raise
        line = next(iter(str(error).strip().splitlines()), "")
        raise ValueError(
            f"the model cannot predict inputs of shape {shape}: {type(error).__name__}: {line}{takes_integers(error)}"
        ) from error


def _many(x: np.ndarray) -> int:
    """Samples of a large batch, as ART's predict takes them, where they are not too large."""
    return int(np.clip(_NUMBERS // x[0].size, 2 * len(x), 128))


def _draws_each_time(f: Function, x: np.ndarray, outputs: np.ndarray, rounding: float) -> bool:
    """Whether each of some calls moves Python's or NumPy's generator, and no other thread does in between.

    Args:
        f: adapter of the model.
        x: inputs, shape (n, *input_shape).
        outputs: of them, shape (n, k); a call that gives others draws, whatever it moves.
        rounding: how far outputs may differ from call to call.
    """
    rng = np.random.default_rng(0)
    for batch in (x, x[:1], np.resize(x, (_many(x), *x.shape[1:]))):
        for _ in range(_CALLS):
            started, before = time.perf_counter(), global_random.states()
            answers = f.predict(batch)[: len(x)]
            after = global_random.states()
            if len(answers) == len(outputs) == len(batch) and np.abs(answers - outputs).max() > rounding:
                return True
            if global_random.same(before, after):
                break
            # Longer than the call took, and never as long twice, so that nothing that draws in turns meets calls alone.
            time.sleep(rng.uniform(1, 5) * (time.perf_counter() - started))
            if not global_random.same(after, global_random.states()):
                break
        else:
            return True
    return False


def check(f: Function, x: np.ndarray | None = None) -> None:
    """Raise ``ValueError`` unless f gives the same outputs, all finite, at each call and whatever else is in the batch.

    Args:
        f: adapter of a model with a known input shape, from :func:`artclip.frameworks.function_of`.
        x: data, shape (n, *input_shape); ``None`` for random valid inputs.
    """
    rng = np.random.default_rng(0)
    nb = _SAMPLES if math.prod(f.input_shape) < _LARGE else _SAMPLES // 2
    if x is None:
        low, high = f.clip_values if f.clip_values is not None else (np.float64(0.0), np.float64(1.0))
        x = rng.uniform(np.broadcast_to(low, f.input_shape), np.broadcast_to(high, f.input_shape), (nb, *f.input_shape))
    x = np.asarray(x[:nb], dtype=np.float32)
    # A model that draws leaves the generators as found, and one that counts its calls leaves its count.
    still = np.errstate(invalid="ignore", over="ignore")
    with still, f.seeded(0), f.unchanged(), global_random.kept() as before:
        first, again, alone = predicted(f, x), f.predict(x), predicted(f, x[:1])
        many = f.predict(np.resize(x, (_many(x), *x.shape[1:])))[: len(x)]
        rounding = allowed = _UNITS * f.precision * np.abs(first).max()
        mixed, apart = np.abs(alone - first[:1]).max(), np.abs(many - first).max()
        if max(mixed, apart) > rounding:
            nearby = f.predict((x * (1 + 8 * f.precision * rng.uniform(-1, 1, x.shape))).astype(np.float32))
            allowed = rounding + _ROOM * np.abs(nearby - first).max()
        draws = not global_random.same(before, global_random.states()) and _draws_each_time(f, x, first, rounding)
    if np.isnan(first).any():
        bad = int(np.isnan(first).any(1).sum())
        raise ValueError(
            f"the model's outputs are NaN for {bad} of {len(first)} inputs: its weights or what it computes are not "
            "finite, so nothing can be said of it"
        )
    if not np.isfinite(first).all():
        return  # differences of infinite outputs say nothing
    if np.abs(again - first).max() > rounding:
        raise ValueError(
            f"two calls of predict on the same inputs differ by {np.abs(again - first).max():.3g}: the model draws "
            "random numbers or keeps a state, so it has no Lipschitz constant. Is dropout on in eval mode?"
        )
    if draws:
        raise ValueError(
            "the model draws numbers from Python's or NumPy's generator at predict, so its outputs may be random and "
            "it has no Lipschitz constant; draw in train mode alone"
        )
    if mixed > allowed:
        raise ValueError(
            f"outputs of a sample alone and in a batch differ by {mixed:.3g}: the model "
            "normalises or mixes over the batch, as BatchNorm without running statistics, so it is no function of one "
            "input"
        )
    if apart > allowed:
        raise ValueError(
            f"outputs of samples in a batch of {len(x)} and of {_many(x)} differ by {apart:.3g}: the model depends on "
            "the size of the batch, so it is no function of one input"
        )


def takes_integers(error: Exception) -> str:
    """What to say besides an error of PyTorch's that says that a model wants integers; "" for any other."""
    if "indices" not in str(error) or "Long" not in str(error):
        return ""
    return "; artclip gives floating-point inputs: let the model's forward make integers of them, as x.long()"


def works_in_numpy(defence: str) -> str:
    """What to say where a defence by name is refused because it works in numpy."""
    return (
        f"preprocessing defence {defence} works in numpy, so no gradient flows through it; use its variant for the "
        "framework (as SpatialSmoothingPyTorch or SpatialSmoothingTensorFlowV2), or set apply_predict=False. evaluate "
        "attacks such models, with an estimate of the gradient"
    )


def out_of_memory(error: Exception) -> bool:
    """Whether an error of a framework says that memory has ended."""
    signs = ("out of memory", "ResourceExhausted", "OOM", "can't allocate memory")
    return any(sign in f"{type(error).__name__} {error}" for sign in signs)
