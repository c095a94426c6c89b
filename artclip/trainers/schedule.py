"""The learning rate: a scheduler of the user's, called after each epoch or each step, and undone with the model."""

from __future__ import annotations

import inspect
import math
import numbers
import warnings
from collections.abc import Iterator
from typing import Any

from artclip import checks

INTERVALS = ("epoch", "step")
Record = dict[str, Any]

# What is called after each step by its documentation, by names of classes.
_EACH_STEP = ("OneCycleLR", "CyclicLR")
# Objects of Keras that look like a function of the epoch, or have no effect outside of keras.Model.fit.
_KERAS = {
    "LearningRateSchedule": "belongs into the optimizer: keras.optimizers.Adam(learning_rate=schedule)",
    "Callback": (
        "acts in keras.Model.fit alone; give a function of the epoch that sets classifier.optimizer.learning_rate"
    ),
}


class Schedule:
    """A scheduler, or none, as the training loop calls it.

    Args:
        scheduler: anything with a ``step()``, or a function of one number; ``None`` for a constant rate.
        interval: ``"epoch"`` or ``"step"``: what it is called after. ``None`` for what its kind is made for: each step
            for ``OneCycleLR``, ``CyclicLR`` and the schedules of Hugging Face transformers, each epoch for all others.

    Attributes:
        given: the scheduler.
        interval: what it is called after.

    Raises:
        TypeError: it is not something that can be called so.
        ValueError: the interval is not known, or needs figures that only an epoch has.
    """

    def __init__(self, scheduler: Any, interval: str | None = None) -> None:
        if interval is not None:
            checks.one_of("scheduler_interval", interval, INTERVALS)
        self.given, self._told = scheduler, False
        self._is_function = not hasattr(scheduler, "step")
        if scheduler is not None:
            _refuse_others(scheduler)
        self.interval = interval or ("step" if any(map(_is_each_step, _parts(scheduler))) else "epoch")
        self._wants = None if scheduler is None or self._is_function else _required(scheduler.step)
        if self._wants == "metric" and self.interval == "step":
            raise ValueError(
                f"a {type(scheduler).__name__} asks for a loss or an accuracy, which there is after an epoch: use "
                "scheduler_interval='epoch'"
            )

    @property
    def wants_metric(self) -> bool:
        """Whether it asks for a loss or an accuracy."""
        return self._wants == "metric"

    def check(self, optimizer: Any, nb_epochs: int, nb_steps: int, is_classifier: bool, state: Any = None) -> None:
        """Refuse a scheduler that cannot serve this fit.

        Args:
            optimizer: of the classifier.
            nb_epochs, nb_steps: of the fit.
            is_classifier: whether there is an accuracy.
            state: of a checkpoint that the fit goes on from.

        Raises:
            ValueError: it is one of another optimizer, ends before the fit, or asks for what is not there.
        """
        s = self.given
        theirs, ours = (getattr(o, "param_groups", None) for o in (getattr(s, "optimizer", None), optimizer))
        if theirs is not None and ours is not None and theirs is not ours:
            raise ValueError(
                "the scheduler was made for another optimizer than the classifier's, whose rate it would leave alone; "
                f"give {type(s).__name__}(classifier.optimizer, ...)"
            )
        if self._wants == "metric" and getattr(s, "mode", "min") == "max" and not is_classifier:
            raise ValueError(f"{type(s).__name__}(mode='max') needs an accuracy, which a regressor has not: use 'min'")
        if not any(base.__name__ == "OneCycleLR" for base in type(s).__mro__):
            return
        done = 0 if state is not None else s.last_epoch
        total = s.total_steps if state is None else state["total_steps"]
        nb_calls = nb_steps if self.interval == "step" else nb_epochs
        if done + nb_calls > total:
            raise ValueError(
                f"{type(s).__name__} ends after {total} steps{f', of which {done} are done' if done else ''}, and this "
                f"fit calls it {nb_calls} times, after each {self.interval}: make it with total_steps={done + nb_calls}"
            )
        if done + nb_calls < 0.9 * total:
            warnings.warn(
                f"{type(s).__name__} is made for {total} steps, and after this fit {done + nb_calls} are done: the "
                "learning rate does not come down to its end",
                RuntimeWarning,
                stacklevel=4,
            )

    def after_step(self, index: int) -> None:
        """Call it after a step of the fit, from 0, if it is called after steps."""
        if self.given is not None and self.interval == "step":
            self._call(index, "step_update")

    def after_epoch(self, index: int, record: Record, optimizer: Any) -> None:
        """Call it after an epoch, from 0, if it is called after epochs; one that asks for a metric gets it."""
        if self.given is None or self.interval == "step":
            return
        if self._is_function:
            self._look_at(self._call(index), optimizer)
            return
        metric = self._metric(record)
        if self._wants == "metric":
            if metric is not None:  # else no step of this epoch was left
                self.given.step(metric)
        elif self._wants == "epoch" and "metric" in inspect.signature(self.given.step).parameters:
            self.given.step(index + 1, metric=metric)
        else:
            self._call(index)

    def _call(self, index: int, name: str = "step") -> Any:
        if self._is_function:
            return self.given(index)
        call = getattr(self.given, name, self.given.step)
        # Of timm, which counts those done.
        return call(index + 1) if self._wants == "epoch" or call.__name__ == "step_update" else call()

    def _metric(self, record: Record) -> float | None:
        """Accuracy where it is to be maximised, else loss: on validation data, where there are any."""
        name = "accuracy" if getattr(self.given, "mode", "min") == "max" else "loss"
        of_validation: float | None = record[f"val_{name}"]
        return record[name] if of_validation is None else of_validation

    def _look_at(self, returned: Any, optimizer: Any) -> None:
        """Warn where a function gives a rate back, as for Keras's LearningRateScheduler, instead of setting it."""
        if self._told or isinstance(returned, bool) or not isinstance(returned, numbers.Real):
            return
        groups = getattr(optimizer, "param_groups", None)
        rate = float(groups[0]["lr"] if groups else getattr(optimizer, "learning_rate", math.nan))
        if not math.isclose(rate, returned, rel_tol=1e-5):
            self._told = True
            warnings.warn(
                f"the scheduler's function gave back {returned:g}, and the learning rate is {rate:g}: as in ART's fit, "
                "what it returns is not used. Let it set classifier.optimizer.learning_rate",
                RuntimeWarning,
                stacklevel=7,
            )

    def state(self) -> Any:
        """Its state, as JSON can hold it; ``None`` where it has none."""
        s = self.given
        return _plain(s.state_dict()) if hasattr(s, "state_dict") and hasattr(s, "load_state_dict") else None

    def load(self, state: Any) -> None:
        """Put a state back."""
        if state is not None:
            self.given.load_state_dict(_rebuilt(state, self.given.state_dict()))


def _refuse_others(scheduler: Any) -> None:
    kind = type(scheduler)
    if isinstance(scheduler, type):
        raise TypeError(f"scheduler is the class {scheduler.__name__}; give an object of it")
    for base in kind.__mro__:
        if base.__name__ in _KERAS and base.__module__.startswith(("keras", "tf_keras", "tensorflow")):
            raise TypeError(f"scheduler is a {kind.__name__} of Keras, which {_KERAS[base.__name__]}")
    if not callable(getattr(scheduler, "step", scheduler)):
        raise TypeError(
            f"scheduler is {checks.kind_of(scheduler)}, without a step() and not a function of the epoch; give one of "
            "them, or None"
        )
    if hasattr(scheduler, "step"):
        return
    try:
        inspect.signature(scheduler).bind(0)
    except ValueError:  # builtins do not tell
        return
    except TypeError:
        raise TypeError(
            f"scheduler is a function of {inspect.signature(scheduler)}; expected one of the epoch alone"
        ) from None


def _parts(scheduler: Any) -> Iterator[Any]:
    """The scheduler and those that it is made of."""
    yield scheduler
    for part in getattr(scheduler, "_schedulers", ()):
        yield from _parts(part)


def _is_each_step(scheduler: Any) -> bool:
    if any(base.__name__ in _EACH_STEP for base in type(scheduler).__mro__):
        return True
    lambdas = getattr(scheduler, "lr_lambdas", ())
    modules = (getattr(getattr(f, "func", f), "__module__", None) or "" for f in lambdas)
    return any(module.startswith("transformers.") for module in modules)


def _required(step: Any) -> str | None:
    """What ``step`` has to be given: ``"epoch"`` (as of timm), ``"metric"``, or nothing."""
    parameters = inspect.signature(step).parameters.values()
    names = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return None if not names else "epoch" if names[0] == "epoch" else "metric"


def _plain(value: Any) -> Any:
    """A copy of a state in which arrays of one number are numbers."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def _rebuilt(value: Any, like: Any) -> Any:
    """A copy of a state with the types of keys and sequences of another one, which JSON has no words for."""
    if isinstance(value, dict):
        names = {str(key): key for key in like} if isinstance(like, dict) else {}
        keys = {key: names.get(str(key), key) for key in value}
        made = {
            keys[key]: _rebuilt(part, like[keys[key]] if str(key) in names else None) for key, part in value.items()
        }
        return type(like)(made) if isinstance(like, dict) else made
    if isinstance(value, list):
        likes = like if isinstance(like, (tuple, list)) and len(like) == len(value) else [None] * len(value)
        parts = [_rebuilt(part, old) for part, old in zip(value, likes, strict=True)]
        return tuple(parts) if isinstance(like, tuple) else parts
    return value
