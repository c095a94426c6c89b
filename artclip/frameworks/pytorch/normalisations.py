"""What PyTorch's normalisation is as nodes of the graph of layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from artclip import graph as G
from artclip.frameworks.pytorch.calls import Call, Held, Refused, rule


@rule("batch_norm.default", "_native_batch_norm_legit_no_training.default")
def _batch_norm(
    call: Call,
    /,
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    momentum: Any,
    eps: float,
    training: bool = False,
    cudnn_enabled: bool = False,
) -> Any:
    if training or running_var is None:
        raise call.refused("BatchNorm without running statistics normalises by the batch, so it mixes samples")
    variance, mean = call.array(running_var, "its running variance"), call.array(running_mean, "its running mean")
    if np.any(variance + eps <= 0):
        raise call.refused(f"its running variance plus eps is {float(variance.min() + eps):g}; expected > 0")
    factors = (1.0 if weight is None else call.array(weight)) / np.sqrt(variance + float(eps))
    shift = (0.0 if bias is None else call.array(bias, "its bias")) - factors * mean
    repeats = math.prod(input.shape[1:])
    y = call.put(G.Scale(np.repeat(factors, repeats), np.repeat(shift, repeats)), input)
    return y if len(call.results) == 1 else (y, Refused("-"), Refused("-"))


def _normalised(call: Call, x: Held, groups: int, scale: Any, shift: Any, eps: Any, centred: bool = True) -> Held:
    if eps is None or float(eps) <= 0:
        raise call.refused(f"its eps is {eps}; without one it is steep where the variance is small, with no bound")
    index = np.arange(x.size).reshape(groups, -1)
    return call.put(G.Normalisation(index, np.asarray(scale), np.asarray(shift), float(eps), centred), x)


def _weights(call: Call, weight: Any, bias: Any, spread: Callable[[np.ndarray], np.ndarray]) -> tuple[Any, Any]:
    scale = 1.0 if weight is None else spread(call.array(weight))
    return scale, 0.0 if bias is None else spread(call.array(bias, "its bias"))


def _over_last(call: Call, x: Held, normalized_shape: Any, weight: Any, bias: Any, eps: Any, centred: bool) -> Held:
    size = math.prod(normalized_shape)
    if len(normalized_shape) > len(x.shape):
        raise call.refused(f"it normalises over the axis of the batch: shape {tuple(normalized_shape)} of {x.shape}")
    scale, shift = _weights(call, weight, bias, lambda t: np.tile(t.ravel(), x.size // size))
    return _normalised(call, x, x.size // size, scale, shift, eps, centred)


@rule("layer_norm.default")
def _layer_norm(
    call: Call, /, input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float, cudnn_enable: bool
) -> Held:
    return _over_last(call, input, normalized_shape, weight, bias, eps, True)


@rule("rms_norm.default")
def _rms_norm(call: Call, /, input: Any, normalized_shape: Any, weight: Any, eps: Any) -> Held:
    # Without an eps PyTorch takes the machine epsilon of the dtype.
    eps = torch.finfo(call.results[0].dtype).eps if eps is None else eps
    return _over_last(call, input, normalized_shape, weight, None, eps, False)


@rule("group_norm.default")
def _group_norm(
    call: Call, /, input: Any, num_groups: int, weight: Any, bias: Any, eps: float, cudnn_enabled: bool
) -> Held:
    scale, shift = _weights(call, weight, bias, lambda t: np.repeat(t, math.prod(input.shape[1:])))
    return _normalised(call, input, int(num_groups), scale, shift, eps)


@rule("instance_norm.default")
def _instance_norm(
    call: Call,
    /,
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Held:
    if not use_input_stats:
        raise call.unknown("an instance_norm by running statistics")
    scale, shift = _weights(call, weight, bias, lambda t: np.repeat(t, math.prod(input.shape[1:])))
    return _normalised(call, input, input.shape[0], scale, shift, eps)
