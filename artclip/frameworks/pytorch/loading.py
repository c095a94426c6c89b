"""PyTorch models made by others: read without running what is pickled in them, and wrapped as ART classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from artclip import safety
from artclip.frameworks.loaded import LoadedModel, said
from artclip.frameworks.preprocessing import fitted_box, fitted_scaling
from artclip.frameworks.pytorch import settings

KIND = nn.Module
FILE = "model.pt2"  # that `save` writes
_STATES = ("state_dict", "model_state_dict", "model", "net")  # names that training scripts save a state dict under


def load_weights(model: nn.Module, path: str) -> None:
    """Read a state dict from a ``.safetensors`` file or one that ``torch.save`` wrote; pickled objects are refused.

    A state dict inside a dict of a training script is found, and so is one of ``DataParallel``, with ``module.``
    before its names.
    """
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        state: Any = load_file(path)
    else:
        if _program(path):
            raise safety.ModelFileError(f"{path} is a TorchScript program, not weights; give it as the model")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            raise safety.ModelFileError(
                f"{path} holds pickled objects, which may run code; write torch.save(model.state_dict(), FILE) instead"
            ) from error
    for name in _STATES:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}, not a state dict")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    wrapped = getattr(model, "model", model)  # as of transformers, in what gives its logits
    (model if model.state_dict().keys() & state.keys() else wrapped).load_state_dict(state)


def _program(path: str) -> bool:
    """Whether a file is a TorchScript program; others are pickles. Bombs, and files of another kind, are refused."""
    with open(path, "rb") as opened:
        head = opened.read(4)
    if head[:1] == b"\x80":  # a bare pickle, as PyTorch wrote before 1.6
        return False
    if head != b"PK\x03\x04":  # a tar archive, of PyTorch before 0.2, may run code where it was told not to
        raise safety.ModelFileError(
            f"{path} is no file of torch.save; it may be cut off or of another kind: write or fetch it again"
        )
    with safety.archive(Path(path)) as file:
        names = [name.split("/", 1)[-1] for name in file.namelist()]
    return "constants.pkl" in names or any(name.startswith("code/") for name in names)


def load_script(path: str, trust: bool) -> LoadedModel:
    """A TorchScript program, or a whole pickled module: both are code."""
    if _program(path):
        if not trust:
            raise safety.Untrusted(path, "is a TorchScript program, which may read and write files")
        return LoadedModel(torch.jit.load(path, map_location="cpu").eval())
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if not trust:
            what = "holds a pickled model (a state dict, with package.module:factory as the model, would be data alone)"
            raise safety.Untrusted(path, what) from error
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=False)
        except (AttributeError, ImportError) as missing:
            raise safety.ModelFileError(
                f"{path} holds a pickled module whose class cannot be imported here ({said(missing)}); write its state "
                "dict, and give its class as the model: yourfile:Net --weights FILE"
            ) from missing
    if not isinstance(loaded, nn.Module):
        what = "weights without a model" if isinstance(loaded, dict) else f"a {type(loaded).__name__}, not a model"
        raise safety.ModelFileError(
            f"{path} holds {what}; give package.module:factory as the model, and the file of its state dict as weights"
        )
    return LoadedModel(loaded)


def save(model: nn.Module, path: str, input_shape: tuple[int, ...]) -> None:
    """Write the model in eval mode as a program of ``torch.export``, for batches of any size."""
    modes = [(m, m.training) for m in model.modules()]
    like = next(model.parameters(), torch.zeros(()))
    x = torch.zeros((2, *input_shape), dtype=like.dtype, device=like.device)
    try:
        with torch.no_grad():
            program = torch.export.export(model.eval(), (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(program, path)
    except Exception as error:  # torch.export raises whatever it likes
        raise ValueError(
            f"torch.export cannot write this net: {said(error)}; give architecture='package.module:factory', so that "
            "only its weights are written"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode


def wrap(
    model: nn.Module,
    input_shape: tuple[int, ...] | None,
    nb_classes: int | None,
    clip_values: Any,
    preprocessing: Any,
    kept: Mapping[str, Any],
) -> PyTorchClassifier:
    """The model in eval mode as an ART classifier; the number of classes is that of its outputs, two for one output.

    Args:
        kept: ``loss``, a record of :func:`.settings.kept_loss`, where one was saved; else it is cross-entropy.
    """
    if not input_shape:
        raise ValueError("a PyTorch model does not tell the shape of one input; give input_shape, as (1, 28, 28)")
    like = next(model.eval().parameters(), torch.zeros(()))
    nb_outputs = _nb_outputs(model, torch.zeros((2, *input_shape), dtype=like.dtype, device=like.device))
    classes = max(2, nb_outputs)  # one is the log-odds of the second of two classes
    if nb_classes not in (None, classes, nb_outputs):
        raise ValueError(f"nb_classes is {nb_classes}, but the model gives {nb_outputs} outputs")
    usual = nn.BCEWithLogitsLoss() if nb_outputs == 1 else nn.CrossEntropyLoss()
    return PyTorchClassifier(
        model,
        settings.loss_of(kept["loss"]).to(like.device) if kept.get("loss") else usual,
        tuple(input_shape),
        classes,
        clip_values=fitted_box(clip_values, tuple(input_shape), True),
        preprocessing=fitted_scaling(preprocessing, tuple(input_shape), True),
        device_type="gpu" if like.is_cuda else "cpu",
    )


def _nb_outputs(model: nn.Module, x: torch.Tensor) -> int:
    try:
        with torch.no_grad():
            outputs = model(x)
    except Exception as error:  # layers raise whatever they like
        raise ValueError(
            f"the model does not take inputs of shape {tuple(x.shape[1:])}: {said(error)}; give its input_shape"
        ) from error
    if isinstance(outputs, torch.Tensor) and outputs.shape == (2,):
        return 1
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(outputs) != 2:
        what = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else f"a {type(outputs).__name__}"
        raise ValueError(f"the model gives {what} for 2 inputs; expected one tensor of logits, of shape (2, classes)")
    return outputs.shape[1]
