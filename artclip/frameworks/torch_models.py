"""PyTorch models made by others, wrapped as ART classifiers."""

from __future__ import annotations

from pickle import UnpicklingError
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

KIND = nn.Module


def load_weights(model: nn.Module, path: str) -> None:
    """Read a state dict that ``torch.save`` wrote; pickled objects are refused."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError("it holds pickled objects; write torch.save(model.state_dict(), FILE) instead") from error
    model.load_state_dict(state)


def wrap(
    model: nn.Module, input_shape: tuple[int, ...] | None, nb_classes: int | None, clip_values: Any, preprocessing: Any
) -> PyTorchClassifier:
    """The model in eval mode as an ART classifier with cross-entropy; the number of classes is that of its outputs."""
    if input_shape is None:
        raise ValueError("a PyTorch model does not tell the shape of one input; give input_shape, as (1, 28, 28)")
    like = next(model.eval().parameters(), torch.zeros(()))
    if nb_classes is None:
        with torch.no_grad():
            nb_classes = model(torch.zeros((2, *input_shape), dtype=like.dtype, device=like.device))[0].numel()
    return PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        input_shape,
        nb_classes,
        clip_values=clip_values,
        preprocessing=preprocessing,
        device_type="gpu" if like.is_cuda else "cpu",
    )
