"""Exponential moving averages of weights for PyTorch, behind each step of the optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from artclip.frameworks.averaging import decay_at
from artclip.frameworks.replaced import followed


class WeightAverages:
    """Averages of the parameters and buffers of a module that are floating point; they start where these are.

    Args:
        module: whose.
        optimizer: after whose steps they move; ``None`` where :meth:`move` is called.
        decay: in (0, 1), at most; see :func:`artclip.frameworks.averaging.decay_at`.
    """

    def __init__(self, module: nn.Module, optimizer: Any, decay: float) -> None:
        self._module, self._decay = module, decay
        self._step = 0
        self._averages = {name: t.clone() for name, t in self._now().items()}
        self._hook = None if optimizer is None else optimizer.register_step_post_hook(lambda *_: self.move())

    def _now(self) -> dict[str, torch.Tensor]:
        state = self._module.state_dict()
        return {k: t.detach() for k, t in state.items() if isinstance(t, torch.Tensor) and t.is_floating_point()}

    @torch.no_grad()
    def move(self) -> None:
        """After a step of the optimizer."""
        now = self._now()
        share = 1 - decay_at(self._step, self._decay)
        averages = [self._averages[name] for name in now]
        torch._foreach_lerp_(averages, list(now.values()), share)
        self._step += 1

    def put(self) -> None:
        """Put the averages in the place of the weights."""
        self._module.load_state_dict(self._averages, strict=False)

    def end(self) -> None:
        """Follow the optimizer no longer."""
        if self._hook is not None:
            self._hook.remove()

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the averages by name, and of the number of steps; it may be set."""
        step = torch.tensor(self._step, dtype=torch.int64)
        return {"step": step, **{f"of.{name}": t.clone() for name, t in self._averages.items()}}

    @state.setter
    def state(self, state: dict[str, torch.Tensor]) -> None:
        self._step = int(state["step"])
        for name, t in self._averages.items():
            t.copy_(state[f"of.{name}"])


@contextmanager
def averaged(classifier: Any, decay: float, after: tuple[Any, str] | None = None) -> Iterator[None]:
    """Around a whole training of an ART classifier by its own optimizer, whose model ends with the averages.

    Args:
        classifier: it.
        decay: in (0, 1).
        after: an object and the name of its method, called once a step, after which the weights are those of the step;
            ``None`` for the optimizer and its ``step``.
    """
    averages = WeightAverages(classifier.model, None if after else classifier.optimizer, decay)
    try:
        with followed(*after, averages.move) if after else nullcontext():
            yield
        averages.put()
    finally:
        averages.end()
