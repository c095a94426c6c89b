"""What is looked at before a training changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from artclip import checks, ranges
from artclip.frameworks import Trainable, output_activation_of
from artclip.frameworks.check import takes_integers


def functions(callbacks: Any) -> tuple[Callable[[Any, Any], Any], ...]:
    """The callbacks, each a function."""
    listed = tuple(callbacks) if isinstance(callbacks, Iterable) and not isinstance(callbacks, (str, bytes)) else None
    if listed is None or not all(map(callable, listed)):
        raise TypeError(
            f"callbacks={callbacks!r} must be a list of functions of (trainer, record), as callbacks=[show]"
        )
    return listed


def validation(trainable: Trainable, given: Any) -> tuple[np.ndarray, np.ndarray]:
    """Validation data, checked, with labels as the loss wants them."""
    is_sequence = isinstance(given, (tuple, list))
    if not is_sequence or len(given) != 2:
        what = f"{checks.kind_of(given)} of {len(given)}" if is_sequence else checks.kind_of(given)
        more = "; weights of samples are not supported" if is_sequence else ""
        raise ValueError(f"validation_data is {what}; give a pair (x, y){more}")
    x, y = given
    x, y = checks.data(x, y, trainable.input_shape, trainable.nb_classes, "validation ", trainable.clip_values)
    return x, trainable.labels(y)


def dry_run(trainable: Trainable, x: np.ndarray, y: np.ndarray) -> None:
    """The loss of two samples, so that a model that does not fit its data fails before it is changed.

    Of the same samples twice, a loss that is a sum is twice as large.
    """
    try:
        once, _ = trainable.evaluate(x[:2], y[:2], 2)
        if trainable.told_reduction is None:
            twice, _ = trainable.evaluate(np.concatenate([x[:2], x[:2]]), np.concatenate([y[:2], y[:2]]), 4)
            trainable.loss_grows = bool(abs(twice - 2 * once) < 0.01 * abs(once))
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith("the loss gives "):
            raise
        raise ValueError(
            f"the classifier's loss fails on inputs of shape {x[:2].shape} with labels or targets of shape "
            f"{y[:2].shape}: {error}{takes_integers(error)}"
        ) from error


def remarks(trainable: Trainable, x: np.ndarray, is_kept: bool) -> list[str]:
    """What in a model will not go as its user may think.

    Args:
        trainable: its adapter; the threshold of its classes is set right.
        x: some training data.
        is_kept: whether checkpoints are written.
    """
    lines = [f"likely mistake: {line}" for line in ranges.narrow(x, trainable.clip_values)]
    if _ends_in_needless_sigmoid(trainable, x):
        trainable.threshold = 0.5
        lines.append(
            "the model ends in a sigmoid, and its loss takes log-odds and applies another one: leave the first out, "
            "or give a loss of probabilities, as BCELoss. Accuracies count outputs above 0.5 as class 1"
        )
    if is_kept and (own := trainable.own_generators()):
        lines.append(
            f"the checkpoint does not hold the state of {', '.join(own)}: a training that is taken up again draws "
            "other numbers there; draw from the global generator of the framework, of NumPy or of Python"
        )
    return lines


def _ends_in_needless_sigmoid(trainable: Trainable, x: np.ndarray) -> bool:
    """Whether classes are told by an output in (0, 1) whose loss takes log-odds."""
    if trainable.told_threshold != 0 or trainable.nb_classes is None:
        return False
    with trainable.seeded(0), trainable.unchanged():
        outputs = trainable.value_alone(trainable.tensor(x[:2]))
        if outputs.shape[1] > 1 and not trainable.multi_label:
            return False
        end = output_activation_of(trainable, x[:2])
    return end is not None and end[0] == "sigmoid"
