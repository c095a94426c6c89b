"""The labels that an estimator was fitted on, where they are not 0 to n − 1: ``classes_`` of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

_SHOWN = 12  # labels that a line names


def labels_of_columns(estimator: Any) -> np.ndarray | None:
    """The label (k,) that each column of ``predict`` stands for; ``None`` where these are 0 to k − 1, or not told.

    Args:
        estimator: of ART, around a model that may have ``classes_``.

    Raises:
        ValueError: ART takes labels of this model for places of columns.
    """
    model = getattr(estimator, "model", None)
    try:
        labels = np.asarray(getattr(model, "classes_", None))
    except Exception:  # of a model that was not fitted, or of labels of its own kind
        return None
    if labels.ndim != 1 or labels.dtype.kind not in "biufUSO" or len(set(labels.tolist())) < len(labels):
        return None  # of several outputs, say
    if labels.dtype.kind in "biuf" and np.array_equal(labels, np.arange(len(labels))):
        return None
    if not callable(getattr(model, "predict_proba", None)):
        raise ValueError(
            f"the classes_ of this {type(model).__name__} are {_said(labels)}, and it has no predict_proba: ART then "
            f"takes its labels for places of columns, which they are not. Fit it on class indices 0 to "
            f"{len(labels) - 1}, as y = np.unique(y, return_inverse=True)[1]"
        )
    return labels


def as_columns(y: Any, labels: np.ndarray | None) -> tuple[Any, list[str]]:
    """Class indices (n,) of y (n,), whose entries are such labels, and a line that says so; else y as it is.

    One-hot rows are of columns already. So are numbers, where the labels are words, which a line says.

    Raises:
        ValueError: an entry is none of the labels.
    """
    if labels is None:
        return y, []
    try:
        array = np.asarray(y)
    except Exception:  # what is no array is refused elsewhere
        return y, []
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    words = any(isinstance(label, (str, bytes)) for label in labels.tolist())
    if array.ndim != 1:
        return y, []
    if words and array.dtype.kind in "biuf":
        line = f"Labels are numbers, and the model's classes_ words: they were taken for places in {_said(labels)}"
        return y, [line]
    places = {label: place for place, label in enumerate(labels.tolist())}
    given = array.tolist()
    strange = [label for label in given if label not in places]
    if strange:
        raise ValueError(
            f"y has the label {strange[0]!r}, and the classes_ that the model was fitted on are {_said(labels)}; give "
            "labels among these, or one-hot rows in their order"
        )
    line = f"Labels were taken for the classes_ that the model was fitted on, {_said(labels)}, not for columns"
    return np.array([places[label] for label in given], np.int64), [line]


def _said(labels: np.ndarray) -> str:
    shown = ", ".join(map(repr, labels[:_SHOWN].tolist()))
    return shown if len(labels) <= _SHOWN else f"{shown}, … ({len(labels)})"
