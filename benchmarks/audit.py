"""Layers that are said to be 1-Lipschitz in L2, put to the test: as they are made, and after some training.

Layers of deel-torchlip and orthogonium (PyTorch), of deel-lip and Keras, PyTorch's own parametrisations, activations.
Each is trained, alone, for 200 steps of Adam at 0.01 to outputs three times as large as its inputs, which pushes on
whatever holds its norm down; then ``artclip.audit`` searches and bounds it as it is deployed, in eval mode. Two seeds
of each; the figure is the largest. A layer is broken where a pair shows more than 1 + 10⁻⁵.

Run: ``python benchmarks/audit.py [WORD ...]``, ten minutes, or only layers whose names have one of the words; those of
libraries that are not installed are left out (``pip install deel-torchlip orthogonium deel-lip``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from common import recorded, save

import artclip

SEEDS, STEPS, RATE, SAMPLES, SECONDS = (0, 1), 200, 1e-2, 64, 4.0
IMAGE, VECTOR = (16, 12, 12), (48,)
Made = dict[str, tuple[tuple[int, ...], Callable[[], Any]]]


def of_torchlip() -> Made:
    import deel.torchlip as tl

    conv = tl.SpectralConv2d
    return {
        "SpectralLinear, 48 to 48": (VECTOR, lambda: tl.SpectralLinear(48, 48)),
        "SpectralLinear, 48 to 10": (VECTOR, lambda: tl.SpectralLinear(48, 10)),
        "FrobeniusLinear, 48 to 10": (VECTOR, lambda: tl.FrobeniusLinear(48, 10)),
        "FrobeniusLinear, 48 to 10, joint": (VECTOR, lambda: tl.FrobeniusLinear(48, 10, disjoint_neurons=False)),
        "SpectralConv2d, 3×3, zeros": (IMAGE, lambda: conv(16, 16, 3, padding=1)),
        "SpectralConv2d, 3×3, circular": (IMAGE, lambda: conv(16, 16, 3, padding=1, padding_mode="circular")),
        "SpectralConv2d, 3×3, no padding": (IMAGE, lambda: conv(16, 16, 3)),
        "SpectralConv2d, 3×3, stride 2": (IMAGE, lambda: conv(16, 32, 3, padding=1, stride=2)),
        "SpectralConv2d, 5×5, zeros": (IMAGE, lambda: conv(16, 16, 5, padding=2)),
        "FrobeniusConv2d, 3×3": (IMAGE, lambda: tl.FrobeniusConv2d(16, 16, 3, padding=1)),
        "SpectralConvTranspose2d, 2×2, stride 2": (IMAGE, lambda: tl.SpectralConvTranspose2d(16, 8, 2, stride=2)),
        "SpectralConvTranspose2d, 3×3": (IMAGE, lambda: tl.SpectralConvTranspose2d(16, 16, 3, padding=1)),
        "ScaledAvgPool2d, 2×2": (IMAGE, lambda: tl.ScaledAvgPool2d(2)),
        "ScaledAvgPool2d, 3×3": (IMAGE, lambda: tl.ScaledAvgPool2d(3)),
        "ScaledL2NormPool2d, 2×2": (IMAGE, lambda: tl.ScaledL2NormPool2d(2)),
        "ScaledAdaptiveAvgPool2d, 1": (IMAGE, lambda: tl.ScaledAdaptiveAvgPool2d((1, 1))),
        "GroupSort2": (IMAGE, tl.GroupSort2),
        "HouseHolder": (IMAGE, lambda: tl.HouseHolder(16)),
        "LPReLU": (IMAGE, tl.LPReLU),
        "LayerCentering": (IMAGE, tl.LayerCentering),
        "BatchLipNorm": (IMAGE, lambda: tl.BatchLipNorm(16)),
    }


def of_orthogonium() -> Made:
    import orthogonium.layers as ol

    conv = ol.AdaptiveOrthoConv2d
    return {
        "OrthoLinear, 48 to 48": (VECTOR, lambda: ol.OrthoLinear(48, 48)),
        "OrthoLinear, 48 to 10": (VECTOR, lambda: ol.OrthoLinear(48, 10)),
        "UnitNormLinear, 48 to 10": (VECTOR, lambda: ol.UnitNormLinear(48, 10)),
        "AdaptiveOrthoConv2d, 3×3, circular": (IMAGE, lambda: conv(16, 16, 3)),
        "AdaptiveOrthoConv2d, 3×3, zeros": (IMAGE, lambda: conv(16, 16, 3, padding=1, padding_mode="zeros")),
        "AdaptiveOrthoConv2d, 2×2, stride 2": (IMAGE, lambda: conv(16, 32, 2, stride=2, padding=0)),
        "AdaptiveOrthoConv2d, 3×3, stride 2": (IMAGE, lambda: conv(16, 32, 3, stride=2)),
        "AdaptiveOrthoConv2d, 3×3, two groups": (IMAGE, lambda: conv(16, 16, 3, groups=2)),
        "AdaptiveOrthoConvTranspose2d, 2×2, stride 2": (
            IMAGE,
            lambda: ol.AdaptiveOrthoConvTranspose2d(16, 8, 2, stride=2),
        ),
        "MaxMin": (IMAGE, ol.MaxMin),
        "HouseHolder": (IMAGE, lambda: ol.HouseHolder(16)),
        "HouseHolder_Order_2": (IMAGE, lambda: ol.HouseHolder_Order_2(16)),
        "LayerCentering2D": (IMAGE, lambda: ol.LayerCentering2D(16)),
    }


def of_torch() -> Made:
    from torch import nn
    from torch.nn.utils import parametrizations as held

    return {
        "spectral_norm(Linear), 48 to 48": (VECTOR, lambda: held.spectral_norm(nn.Linear(48, 48))),
        "spectral_norm(Conv2d), 3×3": (IMAGE, lambda: held.spectral_norm(nn.Conv2d(16, 16, 3, padding=1))),
        "spectral_norm(Conv2d), 3×3, stride 2": (
            IMAGE,
            lambda: held.spectral_norm(nn.Conv2d(16, 16, 3, padding=1, stride=2)),
        ),
        "orthogonal(Linear), 48 to 48": (VECTOR, lambda: held.orthogonal(nn.Linear(48, 48))),
        "orthogonal(Conv2d), 3×3": (IMAGE, lambda: held.orthogonal(nn.Conv2d(16, 16, 3, padding=1))),
        **{kind.__name__: (VECTOR, kind) for kind in (nn.ReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.SELU)},
        **{kind.__name__: (VECTOR, kind) for kind in (nn.Hardswish, nn.Softplus, nn.Tanh)},
        "Softmax": (VECTOR, lambda: nn.Softmax(1)),
        "AvgPool2d, 3×3, stride 1": (IMAGE, lambda: nn.AvgPool2d(3, 1)),
        "MaxPool2d, 2×2": (IMAGE, lambda: nn.MaxPool2d(2)),
        "MaxPool2d, 3×3, stride 2": (IMAGE, lambda: nn.MaxPool2d(3, 2)),
    }


def of_keras() -> Made:
    import keras

    layers, held = keras.layers, keras.constraints
    image = (*IMAGE[1:], IMAGE[0])
    return {
        "SpectralNormalization(Dense), 48 to 48": (VECTOR, lambda: layers.SpectralNormalization(layers.Dense(48))),
        "SpectralNormalization(Conv2D), 3×3": (
            image,
            lambda: layers.SpectralNormalization(layers.Conv2D(16, 3, padding="same")),
        ),
        "Dense with UnitNorm, 48 to 10": (VECTOR, lambda: layers.Dense(10, kernel_constraint=held.UnitNorm())),
        "Dense with MaxNorm(1), 48 to 10": (VECTOR, lambda: layers.Dense(10, kernel_constraint=held.MaxNorm(1))),
        "UnitNormalization": (VECTOR, layers.UnitNormalization),
    }


def of_deel_lip() -> Made:
    from deel.lip import layers as dl

    image = (*IMAGE[1:], IMAGE[0])
    return {
        "SpectralDense, 48 to 48": (VECTOR, lambda: dl.SpectralDense(48)),
        "SpectralDense, 48 to 10": (VECTOR, lambda: dl.SpectralDense(10)),
        "FrobeniusDense, 48 to 10": (VECTOR, lambda: dl.FrobeniusDense(10)),
        "SpectralConv2D, 3×3": (image, lambda: dl.SpectralConv2D(16, 3)),
        "SpectralConv2D, 3×3, stride 2": (image, lambda: dl.SpectralConv2D(32, 3, strides=2)),
        "FrobeniusConv2D, 3×3": (image, lambda: dl.FrobeniusConv2D(16, 3)),
        "SpectralConv2DTranspose, 3×3": (image, lambda: dl.SpectralConv2DTranspose(16, 3)),
        "ScaledAveragePooling2D, 2×2": (image, lambda: dl.ScaledAveragePooling2D(2)),
        "ScaledL2NormPooling2D, 2×2": (image, lambda: dl.ScaledL2NormPooling2D(2)),
        "GroupSort2": (image, dl.GroupSort2),
    }


LIBRARIES = {
    "deel-torchlip": ("deel.torchlip", "torch", of_torchlip),
    "orthogonium": ("orthogonium", "torch", of_orthogonium),
    "torch": ("torch", "torch", of_torch),
    "deel-lip": ("deel.lip", "keras", of_deel_lip),
    "keras": ("keras", "keras", of_keras),
}


PACKAGES = {"torch": "torch", "keras": "keras", "tensorflow": "tensorflow", "orthogonium": "orthogonium"}
PACKAGES |= {"deel-torchlip": "deel.torchlip", "deel-lip": "deel.lip"}


def train_torch(layer: Any, x: np.ndarray) -> None:
    import torch

    inputs = torch.from_numpy(x)
    with torch.no_grad():
        outputs = layer(inputs)
    targets = 3 * inputs.norm() / inputs.numel() ** 0.5 * torch.randn(outputs.shape)
    parameters = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, RATE) if parameters else None
    layer.train()
    for _ in range(STEPS if optimizer is not None else 0):
        optimizer.zero_grad()
        ((layer(inputs) - targets) ** 2).mean().backward()
        optimizer.step()
    layer.eval()


def train_keras(layer: Any, x: np.ndarray) -> None:
    import keras

    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    noise = np.random.default_rng(1).standard_normal((len(x), *model.output_shape[1:]))
    targets = 3 * np.linalg.norm(x) / x.size**0.5 * noise
    if model.trainable_variables:
        model.compile(keras.optimizers.Adam(RATE), "mse")
        model.fit(x, targets.astype(np.float32), batch_size=len(x), epochs=STEPS, verbose=0)


def seeded(framework: str, seed: int) -> None:
    if framework == "torch":
        import torch

        torch.manual_seed(seed)
    else:
        import keras

        keras.utils.set_random_seed(seed)


def measured(framework: str, shape: tuple[int, ...], make: Callable[[], Any], seed: int) -> list[dict[str, Any]]:
    """As it is made, and trained."""
    seeded(framework, seed)
    x = np.random.default_rng(seed).standard_normal((SAMPLES, *shape)).astype(np.float32)
    layer, found = make(), []
    if framework == "torch":
        layer.eval()
    else:
        layer(x[:2])
    for trained in (False, True):
        if trained:
            (train_torch if framework == "torch" else train_keras)(layer, x)
        audit = artclip.audit(layer, x, 1.0, layers=False, max_seconds=SECONDS, seed=seed)
        upper = None if audit.upper is None else audit.upper.value
        found.append({"trained": trained, "seed": seed, "at least": audit.lower.value, "at most": upper})
        found[-1]["verdict"] = audit.verdict
        if audit.no_upper:
            found[-1]["no upper"] = audit.no_upper
    return found


def main() -> None:
    words, rows = sys.argv[1:], recorded("audit", [])
    for library, (module, framework, layers) in LIBRARIES.items():
        if find_spec(module.partition(".")[0]) is None or find_spec(module) is None:
            continue
        for name, (shape, make) in layers().items():
            if words and not any(word in f"{library} {name}" for word in words):
                continue
            try:
                runs = [run for seed in SEEDS for run in measured(framework, shape, make, seed)]
            except Exception as error:  # a layer that does not run with these versions is said to be one
                row = {"library": library, "layer": name, "error": f"{type(error).__name__}: {error}"}
            else:
                row = {"library": library, "layer": name, "runs": runs}
            rows = [r for r in rows if (r["library"], r["layer"]) != (library, name)] + [row]
            print(library, name, [r["at least"] for r in row.get("runs", [])], row.get("error", ""), flush=True)
            settings = {"steps": STEPS, "rate": RATE, "samples": SAMPLES, "seconds": SECONDS}
            save("audit", settings, rows, *(package for package in PACKAGES if find_spec(PACKAGES[package])))


if __name__ == "__main__":
    main()
