"""Balls around samples in L1, L2 and L∞: steepest directions, and the nearest points within a ball and a range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from artclip.norms import column, lengths

_HALVINGS = 12  # of the threshold in L1


def steepest(gradients: np.ndarray, norm: float, share: float | np.ndarray = 0.0) -> np.ndarray:
    """Directions of length 1 along which a linear function rises most; of length 0 where the gradient is 0.

    Args:
        gradients: shape (n, *shape).
        norm: that lengths are in: 1, 2 or inf.
        share: of the coordinates that are moved alike in L1, in [0, 1], one for all or shape (n,); at least one is.
    """
    if norm == math.inf:
        return np.sign(gradients)
    if norm == 1:
        flat = np.abs(gradients).reshape(len(gradients), -1)
        counts = np.clip(np.round(np.multiply(share, flat.shape[1])), 1, flat.shape[1]).astype(int)
        counts = np.broadcast_to(counts, len(flat))
        if len(set(counts.tolist())) <= 1:
            place = flat.shape[1] - int(counts[0]) if len(counts) else 0
            least = np.partition(flat, place, axis=1)[:, [place]] if len(flat) else flat[:, :1]
        else:
            least = np.take_along_axis(np.sort(flat, axis=1), flat.shape[1] - counts[:, None], axis=1)
        chosen = flat >= np.maximum(least, np.finfo(flat.dtype).tiny)
        gradients = np.sign(gradients) * chosen.reshape(gradients.shape)
    return gradients / column(np.maximum(lengths(gradients, norm), np.finfo(gradients.dtype).tiny), gradients)


def still_free(gradients: np.ndarray, at: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """The gradients, 0 in coordinates that are at an end of the range and would leave it."""
    return np.where(((at >= high) & (gradients > 0)) | ((at <= low) & (gradients < 0)), 0, gradients)


def into_ball(moved: np.ndarray, radius: Any, norm: float, down: Any = math.inf, up: Any = math.inf) -> np.ndarray:
    """What moves samples, made to lie within the ball and the range: in L1 and Linf the nearest such.

    In L2 it is scaled into the ball, then cut at the range, which shortens it further.

    Args:
        moved: shape (n, *shape).
        radius: of the ball, >= 0; one for all, or shape (n,).
        norm: that lengths are in: 1, 2 or inf.
        down: how far each coordinate may fall, >= 0, shape (n, *shape) or one for all.
        up: how far it may rise.
    """
    radius = column(np.broadcast_to(np.asarray(radius, moved.dtype), len(moved)), moved)
    if norm == 1:
        return _soft(moved, radius, np.where(moved > 0, up, down).astype(moved.dtype))
    if norm == math.inf:
        moved = np.clip(moved, -radius, radius)
    else:
        moved = moved * _shrunk(column(lengths(moved, 2), moved), radius)
    return np.clip(moved, np.negative(down), up).astype(moved.dtype, copy=False)


def _soft(moved: np.ndarray, radius: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The nearest of L1 length <= radius, each coordinate of size <= room: all are shortened by one threshold.

    So say the conditions of Karush, Kuhn and Tucker; the threshold is halved for, then set on the line between the last
    two.
    """
    axes, size = tuple(range(1, moved.ndim)), np.abs(moved)

    def left(threshold: np.ndarray) -> np.ndarray:
        return np.asarray(np.minimum(np.maximum(size - threshold, 0), room))

    def length(threshold: np.ndarray) -> np.ndarray:
        return np.asarray(left(threshold).sum(axes, keepdims=True))

    low, high = np.zeros_like(radius), size.max(axes, keepdims=True)
    more = length(low)
    outside = more > radius
    if not outside.any():
        return np.sign(moved) * left(low)
    less = np.zeros_like(radius)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        there = length(middle)
        too_long = there > radius
        low, more = np.where(too_long, middle, low), np.where(too_long, there, more)
        high, less = np.where(too_long, high, middle), np.where(too_long, less, there)
    share = (more - radius) / np.where(more > less, more - less, 1)
    threshold = np.where(outside, low + np.clip(share, 0, 1) * (high - low), 0)
    found = left(threshold)
    return np.asarray(np.sign(moved) * found * _shrunk(found.sum(axes, keepdims=True), radius))


def _shrunk(length: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The share, 0 to 1, that takes something of a length, >= 0, into a ball of that radius; never overflows."""
    return np.asarray(radius / np.maximum(np.maximum(length, radius), np.finfo(length.dtype).tiny))
