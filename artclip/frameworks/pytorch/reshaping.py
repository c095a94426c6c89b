"""What PyTorch's operations that move, join, pool, pad and resize are as nodes of the graph of layers.

Operations that only move entries are run on the indices of these, so that whatever their arguments say is done.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from artclip import graph as G
from artclip.frameworks.pytorch.calls import BATCH, PLACES, RULES, Call, Held, rule

MOVES = (
    *("view.default", "reshape.default", "_unsafe_view.default", "flatten.using_ints", "unflatten.int"),
    *("squeeze.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default", "permute.default", "transpose.int"),
    *("t.default", "movedim.int", "movedim.intlist", "swapaxes.default", "slice.Tensor", "select.int"),
    *("narrow.default", "split.Tensor", "split_with_sizes.default", "chunk.default", "unbind.int", "flip.default"),
    *("roll.default", "expand.default", "repeat.default", "tile.default", "repeat_interleave.self_int"),
    *("gather.default", "take_along_dim.default", "diagonal.default"),
    *("index_select.default", "index.Tensor", "pixel_shuffle.default", "pixel_unshuffle.default", "rot90.default"),
    *("channel_shuffle.default", "unfold.default", "view_as.default", "reshape_as.default", "expand_as.default"),
    *("alias.default", "clone.default", "contiguous.default", "detach.default", "lift_fresh_copy.default"),
    *("upsample_nearest1d.default", "upsample_nearest2d.default", "upsample_nearest3d.default"),
    *("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec"),
    *("_upsample_nearest_exact1d.default", "_upsample_nearest_exact2d.default", "_upsample_nearest_exact3d.default"),
    *("_upsample_nearest_exact1d.vec", "_upsample_nearest_exact2d.vec", "_upsample_nearest_exact3d.vec"),
)


def _indices(call: Call, x: Held, first: int = 0) -> torch.Tensor:
    """Of the entries of a batch, each with its own."""
    samples = torch.arange(BATCH, dtype=torch.float64).reshape(-1, *[1] * len(x.shape))
    return samples * float(1 << 40) + torch.from_numpy(np.asarray(x.index + first)).to(torch.float64)


def _moved(call: Call, results: Any, x: Held) -> Any:
    """Entries of x at the indices that an operation gave, or several of them."""
    if isinstance(results, (list, tuple)):
        return [_moved(call, r, x) for r in results]
    if results.shape[:1] != (BATCH,) or not torch.equal(results - results[:1], _samples(results)):
        raise call.refused(f"{call.operation} moves entries between samples of the batch, so it mixes samples")
    return call.gathered(x, results[0].numpy().astype(np.int64))


def _samples(like: torch.Tensor) -> torch.Tensor:
    starts = torch.arange(BATCH, dtype=torch.float64).reshape(-1, *[1] * (like.ndim - 1)) * float(1 << 40)
    return starts.expand(like.shape)


def _move(call: Call, /, **arguments: Any) -> Any:
    held = [a for a in arguments.values() if isinstance(a, Held)]
    first = next(iter(arguments.values()))
    if len({id(h) for h in held}) != 1 and call.operation not in ("view_as", "reshape_as", "expand_as"):
        raise call.refused("it moves entries to places that depend on the input")
    if not isinstance(first, Held):
        raise call.refused("it moves entries of a constant to places that depend on the input")

    def given(value: Any) -> Any:
        if isinstance(value, Held):
            return _indices(call, value)
        return type(value)(map(given, value)) if isinstance(value, (list, tuple)) else value

    results = call.node.target(**{name: given(value) for name, value in arguments.items()})
    return _moved(call, results, first)


for _overload in MOVES:
    RULES[_overload] = _move


@rule("pad.default")
def _pad(call: Call, /, self: Any, pad: Any, mode: str, value: Any) -> Held:
    if mode == "constant":
        return _constant_pad(call, self, pad, 0.0 if value is None else value)
    padded = call.node.target(_indices(call, self), pad, mode, value)
    return _moved(call, padded, self)


@rule("constant_pad_nd.default")
def _constant_pad(call: Call, /, self: Any, pad: Any, value: Any) -> Held:
    if len(pad) // 2 > len(self.shape):
        raise call.refused("it pads the axis of the batch, so it mixes samples")
    index = F.pad(torch.from_numpy(np.asarray(self.index)), list(pad), value=-1).numpy()
    shift = np.where(index.ravel() < 0, float(value), 0.0) if value else 0.0
    return call.put(G.Gather(index.ravel(), shift), self, shape=index.shape)


@rule(*(f"{kind}_pad{d}d.default" for kind in ("reflection", "replication") for d in (1, 2, 3)))
def _pad_by_entries(call: Call, /, self: Any, padding: Any) -> Held:
    return _moved(call, call.node.target(_indices(call, self), padding), self)


@rule("im2col.default")
def _windows(call: Call, /, self: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Held:
    if len(self.shape) != 3:
        raise call.refused("it takes the axis of the batch for channels, so it mixes samples")
    places = torch.from_numpy(np.asarray(self.index) + 1.0)[None]  # so that 0 is the padding
    index = call.node.target(places, kernel_size, dilation, padding, stride)[0].numpy().astype(np.int64) - 1
    return call.put(G.Gather(index.ravel()), self, shape=index.shape)


# --- several tensors


def _together(call: Call, tensors: Sequence[Any], run: Any) -> Held:
    """Tensors joined by an operation on their indices; constants among them are shifts."""
    held = [t for t in tensors if isinstance(t, Held)]
    starts = np.cumsum([0, *(t.size for t in held)])
    both = call.joined(held, "inputs")
    marked, constants, place = [], [], iter(starts)
    for t in tensors:
        if isinstance(t, Held):
            marked.append(_indices(call, t, int(next(place))))
            constants.append(torch.zeros(BATCH, *t.shape, dtype=torch.float64))
        else:
            array = call.array(t, "a constant")
            marked.append(torch.full(array.shape, -1.0, dtype=torch.float64))
            constants.append(torch.from_numpy(array))
    indices, values = run(marked), run(constants)
    shape = call.shape()
    first, samples = indices[0].numpy(), _samples(indices)
    free = first < 0
    if tuple(indices.shape) != (BATCH, *shape) or not torch.equal(
        torch.where(indices < 0, samples, indices - indices[:1]), samples
    ):
        raise call.refused(f"{call.operation} joins tensors along the batch, so it mixes samples")
    if not free.any():
        return call.gathered(both, first.astype(np.int64), "order")
    shift = call.entries(values.numpy() * free, shape)
    return call.put(G.Gather(first.astype(np.int64).ravel(), shift), both, shape=shape, what="order")


@rule("cat.default", "stack.default")
def _cat(call: Call, /, tensors: Any, dim: int) -> Held:
    return _together(call, tensors, lambda parts: call.node.target(parts, dim))


@rule("slice_scatter.default", "select_scatter.default")
def _scatter(call: Call, /, self: Any, src: Any, **where: Any) -> Held:
    return _together(call, [self, src], lambda parts: call.node.target(**where, self=parts[0], src=parts[1]))


@rule("where.self")
def _where(call: Call, /, condition: Any, self: Any, other: Any) -> Held:
    if isinstance(condition, Held):
        raise call.refused(_JUMPS)
    return _together(call, [self, other], lambda parts: torch.where(condition, *parts))


@rule("masked_fill.Scalar", "masked_fill.Tensor")
def _masked_fill(call: Call, /, self: Any, mask: Any, value: Any) -> Held:
    if isinstance(mask, Held) or isinstance(value, Held):
        raise call.refused(_JUMPS)
    filled = torch.as_tensor(value, dtype=torch.float64)
    return _together(call, [self, filled], lambda parts: torch.where(mask, parts[1], parts[0]))


_JUMPS = "it chooses by a comparison and may jump there, so it is not known to be Lipschitz"


@rule("copy.default")
def _copy(call: Call, /, self: Any, src: Any, non_blocking: bool) -> Any:
    return call.broadcast(src, call.shape()) if isinstance(src, Held) else src.expand(BATCH, *call.shape())


_LIKE = (
    *("zeros_like.default", "ones_like.default", "full_like.default", "new_zeros.default", "new_ones.default"),
    *("new_full.default", "fill.Scalar", "fill.Tensor"),
)


def _like(call: Call, /, **arguments: Any) -> torch.Tensor:
    """A constant in the shape of a tensor, whose values do not count."""
    name = next(iter(arguments))
    like = torch.zeros(BATCH, *arguments[name].shape, dtype=call.results[0].dtype)
    return torch.as_tensor(call.node.target(**{**arguments, name: like}))


for _overload in _LIKE:
    RULES[_overload] = _like


def _sign(call: Call) -> int:
    """1 for maxima, -1 for minima."""
    return -1 if "min" in call.operation else 1


@rule("maximum.default", "max.other", "minimum.default", "min.other")
def _extreme(call: Call, /, self: Any, other: Any) -> Held:
    shape, sign = call.shape(), _sign(call)
    if not (isinstance(self, Held) and isinstance(other, Held)):
        x, limit = (self, other) if isinstance(self, Held) else (other, self)
        entries = call.entries(limit, shape, "a limit")
        free = np.asarray(math.inf * sign)
        limits = (entries, free) if sign > 0 else (free, entries)
        return call.put(G.activations.limits(*limits), call.broadcast(x, shape))
    both = call.joined([call.broadcast(t, shape) for t in (self, other)], "inputs")
    size = math.prod(shape)
    return call.put(G.Maximum(np.arange(2 * size).reshape(2, size).T, sign=sign), both, shape=shape)


# --- over axes


@rule("mean.dim", "sum.dim_IntList")
def _along(call: Call, /, self: Any, dim: Any, keepdim: bool, dtype: Any) -> Held:
    axes, is_mean = call.axes(dim, len(self.shape)), call.operation == "mean"
    rows = (np.full((1, n), 1 / n if is_mean else 1.0) if i in axes else None for i, n in enumerate(self.shape))
    return call.put(G.Kronecker(self.shape, tuple(rows)), self)


@rule("mean.default", "sum.default")
def _over_all(call: Call, /, self: Any, dtype: Any) -> Held:
    raise call.refused(f"{call.operation} goes over all axes, the batch among them, so it mixes samples")


def _rows(x: Held, axes: Sequence[int]) -> np.ndarray:
    """Indices of the entries that lie along axes, a row for each place on the others."""
    others = [i for i in range(len(x.shape)) if i not in axes]
    return x.index.transpose(*others, *axes).reshape(-1, math.prod(x.shape[i] for i in axes))


@rule("amax.default", "amin.default", "max.dim", "min.dim")
def _extreme_along(call: Call, /, self: Any, dim: Any, keepdim: bool) -> Any:
    y = call.put(G.Maximum(_rows(self, call.axes(dim, len(self.shape))), sign=_sign(call)), self)
    return y if len(call.results) == 1 else (y, PLACES)


@rule("sort.default", "sort.stable")
def _sort(call: Call, /, self: Any, dim: int, descending: bool, stable: Any = None) -> Any:
    return call.put(G.Sort(_rows(self, call.axes(dim, len(self.shape))), descending), self), PLACES


@rule("softmax.int", "_softmax.default", "log_softmax.int", "_log_softmax.default")
def _softmax(call: Call, /, self: Any, dim: int, dtype: Any = None, half_to_float: bool = False) -> Held:
    return call.put(G.Softmax(_rows(self, call.axes(dim, len(self.shape))), "log" in call.operation), self)
