"""PyTorch models by name, through the libraries that keep them: torchvision, timm and Hugging Face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from artclip.frameworks.loaded import LoadedModel, library
from artclip.safety import Untrusted


class Logits(nn.Module):
    """A model of transformers that gives its logits alone.

    Args:
        model: an image classifier.
        reverse: whether it wants the channels as blue, green, red.
    """

    def __init__(self, model: nn.Module, reverse: bool = False) -> None:
        super().__init__()
        self.model, self.reverse = model, reverse

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of images (n, channels, height, width)."""
        return self.model(x.flip(1) if self.reverse else x).logits


def _scaling(mean: Any, std: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.array(mean, np.float32), np.array(std, np.float32)


def torchvision(name: str, pretrained: bool, nb_classes: int | None, trust: bool) -> LoadedModel:
    """``torchvision:resnet18``: its default weights, and their crop, mean and std."""
    models = library("torchvision.models", "torchvision")
    if not pretrained:
        return LoadedModel(models.get_model(name, weights=None, **_given("num_classes", nb_classes)))
    weights = models.get_model_weights(name).DEFAULT
    like = weights.transforms()
    size = like.crop_size[0]
    return LoadedModel(models.get_model(name, weights=weights), (3, size, size), _scaling(like.mean, like.std))


def timm(name: str, pretrained: bool, nb_classes: int | None, trust: bool) -> LoadedModel:
    """``timm:NAME``: its pretrained weights, and their input size, mean and std."""
    models = library("timm", "timm")
    if not pretrained:
        return LoadedModel(models.create_model(name, pretrained=False, **_given("num_classes", nb_classes)))
    model = models.create_model(name, pretrained=True)
    config = model.pretrained_cfg
    return LoadedModel(model, tuple(config["input_size"]), _scaling(config["mean"], config["std"]))


def _given(name: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {name: value}


def huggingface(name: str, pretrained: bool, nb_classes: int | None, trust: bool) -> LoadedModel:
    """``hf:ORG/NAME``: an image classifier of transformers, from its cache if it is there, else from the hub."""
    try:
        return _huggingface(library("transformers", "huggingface"), name, pretrained, nb_classes, trust)
    except (OSError, ValueError) as error:
        if not trust and "custom code" in str(error):
            raise Untrusted(f"hf:{name}", "has a model in code of its own") from error
        if not trust and "named model.safetensors" in str(error):
            raise Untrusted(f"hf:{name}", "has no weights as safetensors, and others are pickled") from error
        raise


def _huggingface(hub: Any, name: str, pretrained: bool, nb_classes: int | None, trust: bool) -> LoadedModel:
    classifiers, options = hub.AutoModelForImageClassification, {"trust_remote_code": trust}
    if not pretrained:
        options.update(_given("num_labels", nb_classes))
        config = _cached_first(hub.AutoConfig.from_pretrained, name, **options)
        return LoadedModel(Logits(classifiers.from_config(config, trust_remote_code=trust)))
    if not trust:
        options["use_safetensors"] = True
    model = _cached_first(classifiers.from_pretrained, name, **options)
    try:
        # Only its numbers are wanted: the processor itself may need torchvision.
        processor, _ = _cached_first(hub.ImageProcessingMixin.get_image_processor_dict, name)
    except OSError:
        return LoadedModel(Logits(model))
    reverse = bool(processor.get("do_flip_channel_order"))
    return LoadedModel(Logits(model, reverse), _shape(model, processor), _processing(processor))


def _cached_first(load: Callable[..., Any], name: str, **options: Any) -> Any:
    try:
        return load(name, local_files_only=True, **options)
    except OSError:
        return load(name, **options)


def _shape(model: Any, processor: dict[str, Any]) -> tuple[int, ...] | None:
    """Shape of one image after the processor, if it says so."""
    size = processor.get("crop_size") if processor.get("do_center_crop", True) else None
    size = size or processor.get("size") or {}
    sides = {"height": size, "width": size} if isinstance(size, int) else size
    height, width = (sides.get(side, sides.get("shortest_edge")) for side in ("height", "width"))
    return (getattr(model.config, "num_channels", 3), height, width) if height and width else None


def _processing(processor: dict[str, Any]) -> Any:
    """(mean, std) for inputs in [0, 1], from those of a processor of images in [0, 255]."""
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    scale, shift = 255 * factor, float(bool(processor.get("rescale_offset")))
    mean, std = (processor.get(name) for name in ("image_mean", "image_std"))
    if mean is None or std is None or not processor.get("do_normalize", True):
        mean, std = 0.0, 1.0
    if scale == 1 and shift == 0 and isinstance(mean, float):
        return None
    again = np.array(std) if processor.get("include_top") else 1.0  # EfficientNet divides by std once more
    return _scaling((np.array(mean) + shift) / scale, np.array(std) * again / scale)


HUBS: dict[str, Callable[[str, bool, int | None, bool], LoadedModel]] = {
    "torchvision": torchvision,
    "timm": timm,
    "hf": huggingface,
}
