"""Operations of Keras that move entries: they are run on the indices of these, so that all their arguments count."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from artclip.frameworks.keras.calls import RULES, Call, Rule, rule
from artclip.frameworks.keras.nodes import Tensor

_SAMPLES = 3  # of the batch of indices
_DISTORT = "interpolation fill_mode fill_value data_format"
_COLOUR = "factor value_range data_format"
# What hands on its input when it predicts, with its arguments.
SAME = {
    **{"layers.Identity": "", "layers.Dropout": "rate noise_shape", "layers.AlphaDropout": "rate noise_shape"},
    **{"layers.GaussianDropout": "rate", "layers.GaussianNoise": "stddev", "layers.ActivityRegularization": "l1 l2"},
    **{"layers.SpatialDropout1D": "rate", "layers.SpatialDropout2D": "rate data_format"},
    **{"layers.SpatialDropout3D": "rate data_format", "ops.StopGradient": "", "ops.Copy": ""},
    **{"layers.RandomFlip": "mode data_format", "layers.RandomRotation": f"factor {_DISTORT}"},
    **{f"layers.Random{kind}": f"height_factor width_factor {_DISTORT}" for kind in ("Translation", "Zoom")},
    **{f"layers.Random{kind}": _COLOUR for kind in ("Contrast", "Brightness", "Hue", "Saturation", "Sharpness")},
    **{f"layers.Random{kind}": _COLOUR for kind in ("Invert", "Posterization", "ColorDegeneration")},
    **{"layers.RandomShear": f"x_factor y_factor {_DISTORT}", "layers.RandomGrayscale": "factor data_format"},
    **{
        "layers.RandomErasing": f"{_COLOUR} scale fill_value",
        "layers.RandomGaussianBlur": f"{_COLOUR} kernel_size sigma",
    },
    "layers.RandomPerspective": "factor scale interpolation fill_value data_format",
    "layers.RandomElasticTransform": f"factor scale value_range {_DISTORT}",
    "layers.RandomColorJitter": (
        "value_range brightness_factor contrast_factor saturation_factor hue_factor data_format"
    ),
    "layers.AugMix": f"{_COLOUR} num_chains chain_depth alpha all_ops interpolation",
    "layers.RandAugment": f"{_COLOUR} num_ops interpolation",
    "layers.Solarization": "addition_factor threshold_factor value_range data_format",
    **{"layers.MixUp": "alpha data_format", "layers.CutMix": "factor data_format"},
    "layers.StochasticDepth": "drop_path_rate",
}
# What moves entries, drops some or repeats some, with its arguments.
MOVES = {
    **{"layers.Flatten": "data_format", "layers.Reshape": "target_shape", "layers.Permute": "dims"},
    **{"layers.RepeatVector": "n", "ops.Reshape": "newshape", "ops.Ravel": "", "ops.Transpose": "axes"},
    **{"ops.Swapaxes": "axis1 axis2", "ops.Moveaxis": "source destination", "ops.Squeeze": "axis"},
    **{"ops.ExpandDims": "axis", "ops.Flip": "axis", "ops.Roll": "shift axis", "ops.Rot90": "k axes"},
    **{"ops.Repeat": "repeats axis", "ops.Tile": "repeats", "ops.BroadcastTo": "shape", "ops.GetItem": "key"},
    **{"ops.Take": "indices axis", "ops.Slice": "start_indices shape", "ops.Split": "indices_or_sections axis"},
    **{"ops.Unstack": "num axis", "ops.Diagonal": "offset axis1 axis2", "ops.Fliplr": ""},
    **{"ops.DepthToSpace": "block_size data_format", "ops.SpaceToDepth": "block_size data_format"},
    **{"ops.Concatenate": "axis", "layers.Concatenate": "axis", "ops.Stack": "axis", "ops.Append": "x2 axis"},
    **{"ops.Hstack": "", "ops.ArraySplit": "indices_or_sections axis", "ops.Hsplit": "indices_or_sections"},
}
_JOIN = ("ops.Concatenate", "layers.Concatenate", "ops.Stack", "ops.Append", "ops.Hstack")
# Arguments that name axes: with that of the samples it depends on the batch what is done.
_AXES = ("axis", "axis1", "axis2", "source", "destination")


@rule("ops.Cast")
def _cast(call: Call) -> Tensor:
    if not keras.backend.is_float_dtype(call["dtype"]):
        raise call.refused(f"it rounds to {call['dtype']}, which is not Lipschitz")
    return call.x


def _move(call: Call) -> Any:
    joins = call.kind in _JOIN
    if len(call.tensors) != 1 and not joins:
        raise call.refused("it moves entries to places that depend on the input")
    if joins and len(call.tensors) != len(call.terms):
        raise call.unknown(f"{type(call.op).__name__!r} with a constant")
    _check_axes(call)
    if call.kind.endswith("Concatenate") and (y := _concatenated(call)) is not None:
        return y
    first = any(x.first for x in call.tensors)
    parents = [call.net.laid(x, first and len(x.shape) > 1) for x in call.tensors]
    whole = call.net.side_by_side(f"{call.name} (inputs)", parents)
    starts = np.cumsum([0, *(x.size for x in parents)])
    total = int(starts[-1])
    if total * _SAMPLES >= 1 << 31:
        raise call.unknown(f"{type(call.op).__name__!r} of {total} entries")
    batches = iter(
        [
            np.stack([x.index + start + i * total for i in range(_SAMPLES)]).astype(np.int32)
            for x, start in zip(parents, starts, strict=False)
        ]
    )
    given = keras.tree.map_structure(
        lambda a: keras.ops.convert_to_tensor(next(batches)) if isinstance(a, Tensor) else a, call.given
    )
    results = call.op.call(**given)
    moved = [_picked(call, whole, keras.ops.convert_to_numpy(r), first) for r in keras.tree.flatten(results)]
    return moved if isinstance(results, (list, tuple)) else moved[0]


def _check_axes(call: Call) -> None:
    rank = len(call.x.shape) + (call.kind in ("ops.ExpandDims", "ops.Stack"))
    for name in _AXES:
        axes = keras.tree.flatten([call[name]]) if name in RULES[call.kind].takes else []
        if any(axis is None or axis % (rank + 1) == 0 for axis in axes):
            raise call.refused("it moves entries between samples")
    if call.kind == "ops.GetItem":
        key = call["key"] if isinstance(call["key"], tuple) else (call["key"],)
        if key[:1] not in ((slice(None),), (Ellipsis,)):
            raise call.refused(f"it takes some samples of a batch, by {key[0]!r}")


def _picked(call: Call, whole: Tensor, moved: np.ndarray, first: bool) -> Tensor:
    samples = np.arange(_SAMPLES).reshape(-1, *[1] * (moved.ndim - 1)) * whole.size
    if moved.shape[:1] != (_SAMPLES,) or not np.array_equal(moved, moved[:1] + samples):
        raise call.refused("it moves entries between samples")
    return call.net.picked(call.name, whole, moved[0], first and moved.ndim > 2)


def _concatenated(call: Call) -> Tensor | None:
    """Tensors side by side, where they are so in the nodes too."""
    tensors, rank = call.tensors, len(call.x.shape)
    axis = call.axis(call["axis"])
    first = axis == rank - 1 and rank > 1
    if (axis and not first) or not all(x.first == first for x in tensors):
        return None
    shape = list(tensors[0].shape)
    shape[axis] = sum(x.shape[axis] for x in tensors)
    whole = call.net.side_by_side(call.name, tensors)
    return Tensor(whole.place, tuple(shape), first)


RULES.update({kind: Rule(lambda call: call.x, frozenset(takes.split()), 1) for kind, takes in SAME.items()})
RULES.update({kind: Rule(_move, frozenset(takes.split()), None) for kind, takes in MOVES.items()})
