"""The layers of a PyTorch model, each as a function of its own."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from artclip.frameworks.pytorch.function import TorchFunction
from artclip.frameworks.single_layer import SingleLayer, samples_to_run, scaling


class _Alone(TorchFunction):
    """A module inside a model: on the device and in the dtype of the model, also where it has no weights."""

    def __init__(self, module: nn.Module, like: TorchFunction, input_shape: tuple[int, ...]) -> None:
        self._like = like
        super().__init__(module)
        self.input_shape = input_shape

    def _look(self) -> None:
        super()._look()
        if next(self.module.parameters(), None) is None:
            self.device, self.dtype = self._like.device, self._like.dtype


@dataclass
class _Calls:
    """What a module was called with, and what it gave at last.

    Attributes:
        inputs: copies, as it may change what it is given.
        ends: input and output themselves.
        why: it is no function of one tensor; "" where it is.
    """

    inputs: list[torch.Tensor] = field(default_factory=list)
    ends: tuple[Any, Any] = (None, None)
    why: str = ""


def single_layers(f: TorchFunction, x: np.ndarray) -> list[SingleLayer]:
    """The modules that are called for the data x, shape (n, *input_shape), in their order, blocks before their parts.

    A module that is called several times is one function, of all that goes into it where shapes agree. A block that is
    the whole model is left out.
    """
    x = samples_to_run(x)
    names, calls = _names(f), dict[nn.Module, _Calls]()
    with ExitStack() as stack:
        for module in names:
            before, after = _hooks(calls, len(x))
            stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(after, with_kwargs=True).remove)
        stack.enter_context(f.seeded(0))
        stack.enter_context(f.unchanged())
        f.value(f.tensor(x))
    found = scaling(f)
    if not calls:  # a program, whose modules are not called
        return found
    first, *_, last = *calls.values(), *calls.values()
    whole = first.ends[0], last.ends[1]
    for module, of in calls.items():
        if names[module] and not (of.ends[0] is whole[0] and of.ends[1] is whole[1]):
            found.append(_single(f, names[module], module, of))
    return found


def _single(f: TorchFunction, name: str, module: nn.Module, calls: _Calls) -> SingleLayer:
    kind = type(module).__name__.removeprefix("Parametrized")
    if calls.why:
        return SingleLayer(name, kind, why=calls.why)
    inputs = torch.cat([t for t in calls.inputs if t.shape[1:] == calls.inputs[0].shape[1:]]).cpu()
    array = (inputs.float() if inputs.dtype in (torch.bfloat16, torch.float16) else inputs).numpy()
    return SingleLayer(name, kind, _Alone(module, f, tuple(array.shape[1:])), array)


def _names(f: TorchFunction) -> dict[nn.Module, str]:
    """The modules of the user's model with their names; "" for the model itself, nothing inside of parametrisations."""
    model = getattr(getattr(f, "estimator", None), "model", f.module)
    if not isinstance(model, nn.Module):
        model = f.module
    names = {module: name for name, module in model.named_modules() if "parametrizations" not in name.split(".")}
    return {m: name for m, name in names.items() if not isinstance(m, torch.jit.ScriptModule)}


def _hooks(calls: dict[nn.Module, _Calls], nb: int) -> tuple[Any, Any]:
    """What a module does before and after it is called with so many samples."""

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        of = calls.setdefault(module, _Calls())
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)]
        if len(tensors) != 1 or not args or tensors[0] is not args[0] or len(args) + len(kwargs) > 1:
            of.why = of.why or f"it is called with {len(args) + len(kwargs)} arguments, {len(tensors)} of them tensors"
        elif not args[0].is_floating_point() or args[0].shape[:1] != (nb,):
            of.why = of.why or f"it is called with a tensor of {args[0].dtype} and shape {tuple(args[0].shape)}"
        else:
            of.inputs.append(args[0].detach().clone())
            of.ends = args[0], None

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        of = calls[module]
        of.ends = of.ends[0], output
        if not isinstance(output, torch.Tensor) or output.shape[:1] != (nb,):
            of.why = of.why or "it does not give one tensor with a row for each sample"

    return before, after
