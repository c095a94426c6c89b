"""PyTorch models made by others: read without running what is pickled in them, and wrapped as ART classifiers."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip import safety

KIND = nn.Module


def load_weights(model: nn.Module, path: str) -> None:
    """Read a state dict from a ``.safetensors`` file or one that ``torch.save`` wrote; pickled objects are refused."""
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        model.load_state_dict(load_file(path))
        return
    if zipfile.is_zipfile(path):
        safety.archive(Path(path)).close()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError("it holds pickled objects; write torch.save(model.state_dict(), FILE) instead") from error
    model.load_state_dict(state)


class Exported(nn.Module):
    """A program of ``torch.export``, which has no train mode, and may take batches of one size only.

    Args:
        program: the module that ``torch.export.load(...).module()`` gives.
        batch: the size that it was exported for; ``None`` for any.
    """

    def __init__(self, program: nn.Module, batch: int | None) -> None:
        super().__init__()
        self.program, self.batch = program, batch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of the program, for as many samples as x has."""
        if self.batch is None:
            return self.program(x)
        missing = -len(x) % self.batch
        whole = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x
        return torch.cat([self.program(part) for part in whole.split(self.batch)])[: len(x)]

    def train(self, mode: bool = True) -> Exported:
        """Nothing: a program stays in the mode that it was exported in."""
        return self


def load_exported(path: str, trust: bool) -> tuple[nn.Module, tuple[int, ...]]:
    """A program of ``torch.export.save``, and the shape of one of its inputs."""
    if not trust:
        safety.check_exported(Path(path), lambda data: torch.load(io.BytesIO(data), weights_only=True))
    program = torch.export.load(path)
    (name,) = program.graph_signature.user_inputs
    shape = next(n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder" and n.name == name)
    batch = shape[0] if isinstance(shape[0], int) else None
    return Exported(program.module(), batch), tuple(int(n) for n in shape[1:])


def load_script(path: str, trust: bool) -> nn.Module:
    """A TorchScript program, or a whole pickled module: both are code."""
    if not zipfile.is_zipfile(path):
        what = "is no zip archive, so it is a pickle of old, or no PyTorch file"
    else:
        with safety.archive(Path(path)) as file:
            names = [name.split("/", 1)[-1] for name in file.namelist()]
        if any(name.startswith("code/") for name in names):
            if not trust:
                raise safety.Untrusted(path, "is a TorchScript program, which may read and write files")
            return torch.jit.load(path, map_location="cpu").eval()
        what = "holds a pickled model"
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if not trust:
            raise safety.Untrusted(path, what) from error
        found = torch.load(path, map_location="cpu", weights_only=False)
        if not isinstance(found, nn.Module):
            raise ValueError(f"{path} holds a {type(found).__name__}, not a module") from error
        return found
    raise ValueError(f"{path} holds weights without a model; give package.module:factory, and this file as weights")


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
