"""A model as training loops of users' own have it: in a wrapper, and with several outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Wrappers that train the model in one of their attributes: the name of the class, where it is from, the attribute.
_WRAPPERS = (
    ("DistributedDataParallel", "torch.", "module"),
    ("DataParallel", "torch.", "module"),
    ("OptimizedModule", "torch.", "_orig_mod"),  # of torch.compile
)


def unwrapped(model: Any) -> Any:
    """The model inside wrappers for several devices and of compilers, whose parameters it shares.

    Their own forward is for the one pass of a training step: it prepares the exchange of gradients, or is compiled for
    one mode and one shape.
    """
    for base in type(model).__mro__:
        for name, package, attribute in _WRAPPERS:
            if base.__name__ == name and base.__module__.startswith(package):
                return unwrapped(getattr(model, attribute))
    return model


def logits_of(outputs: Any, is_tensor: Callable[[Any], bool]) -> Any:
    """The one output that the loss of a classifier takes: ``.logits`` or ``["logits"]``, else the first tensor.

    What holds no tensor is given back as it is.
    """
    if is_tensor(outputs):
        return outputs
    named = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if is_tensor(named):
        return named
    parts = list(outputs.values()) if isinstance(outputs, Mapping) else outputs
    return next(filter(is_tensor, parts), outputs) if isinstance(parts, (tuple, list)) else outputs
