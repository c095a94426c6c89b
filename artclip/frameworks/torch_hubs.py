"""PyTorch models by name, through the libraries that keep them: torchvision, timm, Hugging Face, and ONNX files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Found:
    """A model with what its library knows of it.

    Attributes:
        model: on raw inputs of the given scaling, with logits as outputs.
        input_shape: of one input, or ``None``.
        preprocessing: (mean, std), each a number or of shape (channels,), or ``None``.
    """

    model: Any
    input_shape: tuple[int, ...] | None = None
    preprocessing: Any = None


class Logits(nn.Module):
    """A model of transformers that gives its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of images (n, channels, height, width)."""
        return self.model(x).logits


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except Exception as error:  # torchvision, beside a torch it was not made for, raises RuntimeError
        raise ImportError(f"{name} cannot be imported ({error}); pip install 'artclip[{extra}]'") from error


def _scaling(mean: Any, std: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.array(mean, np.float32), np.array(std, np.float32)


def torchvision(name: str, pretrained: bool, trust: bool) -> Found:
    """``torchvision:resnet18``: its default weights, and their crop, mean and std."""
    models = _library("torchvision.models", "torchvision")
    if not pretrained:
        return Found(models.get_model(name))
    weights = models.get_model_weights(name).DEFAULT
    like = weights.transforms()
    size = like.crop_size[0]
    return Found(models.get_model(name, weights=weights), (3, size, size), _scaling(like.mean, like.std))


def timm(name: str, pretrained: bool, trust: bool) -> Found:
    """``timm:NAME``: its pretrained weights, and their input size, mean and std."""
    model = _library("timm", "timm").create_model(name, pretrained=pretrained)
    config = model.pretrained_cfg
    scaling = _scaling(config["mean"], config["std"]) if pretrained else None
    return Found(model, tuple(config["input_size"]) if pretrained else None, scaling)


def huggingface(name: str, pretrained: bool, trust: bool) -> Found:
    """``hf:ORG/NAME``: an image classifier of transformers, from its cache if it is there, else from the hub."""
    library = _library("transformers", "huggingface")
    options: dict[str, Any] = {"trust_remote_code": trust}
    if not pretrained:
        config = _cached_first(library.AutoConfig.from_pretrained, name, **options)
        return Found(Logits(library.AutoModelForImageClassification.from_config(config)))
    safe = {**options, **({} if trust else {"use_safetensors": True})}
    model = _cached_first(library.AutoModelForImageClassification.from_pretrained, name, **safe)
    try:
        # Only its numbers are wanted: the processor itself may need torchvision.
        processor, _ = _cached_first(library.ImageProcessingMixin.get_image_processor_dict, name)
    except OSError:
        return Found(Logits(model))
    size = processor.get("crop_size") or processor.get("size") or {}
    side = size if isinstance(size, int) else size.get("height") or size.get("shortest_edge")
    scaling = _scaling(processor["image_mean"], processor["image_std"]) if "image_mean" in processor else None
    return Found(Logits(model), (3, side, side) if side else None, scaling)


def _cached_first(load: Callable[..., Any], name: str, **options: Any) -> Any:
    try:
        return load(name, local_files_only=True, **options)
    except OSError:
        return load(name, **options)


HUBS: dict[str, Callable[[str, bool, bool], Found]] = {"torchvision": torchvision, "timm": timm, "hf": huggingface}


def onnx(path: str) -> Found:
    """An ONNX file as a module by onnx2torch; by onnxruntime, as outputs without gradients, where that is missing."""
    library = _library("onnx", "onnx")
    graph = library.load(path)
    library.checker.check_model(graph)
    dimensions = graph.graph.input[0].type.tensor_type.shape.dim
    shape = tuple(d.dim_value for d in dimensions[1:])
    batch = dimensions[0].dim_value or None
    try:
        convert = import_module("onnx2torch").convert
    except Exception as error:  # it needs torchvision, which may not fit the torch that is there
        warnings.warn(
            f"onnx2torch cannot be imported ({error}): {path} runs in onnxruntime, without gradients, so only "
            "closed-box attacks apply",
            stacklevel=2,
        )
        return Found(_runtime(path, batch), shape)
    from artclip.frameworks.torch_models import Exported

    return Found(Exported(convert(graph).eval(), batch), shape)


def _runtime(path: str, batch: int | None) -> Callable[[np.ndarray], np.ndarray]:
    session = _library("onnxruntime", "onnx").InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def outputs(x: np.ndarray) -> np.ndarray:
        size = batch or len(x)
        whole = np.concatenate([x, np.repeat(x[-1:], -len(x) % size, axis=0)]).astype(np.float32)
        parts = [session.run(None, {name: whole[i : i + size]})[0] for i in range(0, len(whole), size)]
        return np.concatenate(parts)[: len(x)]

    return outputs
