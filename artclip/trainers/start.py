"""Where a fit starts: anew, or at the point that a checkpoint holds, if that is one of this very training."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from artclip.frameworks import Trainable
from artclip.trainers.batches import Batches
from artclip.trainers.epochs import Epochs
from artclip.trainers.point import Arrays, Point


class Start:
    """The start of a fit.

    Args:
        trainer: the trainer; it is left as it is until :meth:`resume`.
        found: arrays and record of a checkpoint, or ``None`` to start anew.

    Attributes:
        seed: of this fit. A second fit continues the training, so it gets an order of its own.
        first: number of epochs in the history before this fit.
        settings: what must be the same for a checkpoint to be taken up again.
        nb_steps: of this fit, as planned when it first started.

    Raises:
        ValueError: the trainer was given another seed.
    """

    def __init__(self, trainer: Any, found: tuple[Arrays, dict[str, Any]] | None) -> None:
        self._trainer, self._found = trainer, found
        seed, self.first = trainer.seed, len(trainer.history)
        if found is not None:
            seed, self.first = found[1]["seed"], found[1]["first"]
            if trainer._own_seed and seed != trainer.seed:
                self._refuse("seed", seed, trainer.seed)
        self.seed = int(np.random.SeedSequence([seed, self.first]).generate_state(1)[0])
        self.nb_steps = 0
        self.settings: dict[str, Any] = {"trainer": type(trainer).__name__, **trainer.settings()}

    def plan(self, nb_steps: int) -> int:
        """The steps planned, by which a training schedules: those of the checkpoint, whatever is asked for now."""
        self.nb_steps = nb_steps if self._found is None else self._found[1].get("nb_steps", nb_steps)
        return self.nb_steps

    def check(self, f: Trainable) -> None:
        """Refuse a checkpoint of another model, other data or other settings.

        Raises:
            ValueError: it is one.
        """
        arrays, _ = f.pack(f.snapshot())
        shapes = {name: f"{a.dtype}{list(a.shape)}" for name, a in arrays.items() if not name.startswith("optimizer.")}
        self.settings |= {"model": shapes, "optimizer": f.optimizer_name}
        self.settings = json.loads(json.dumps(self.settings, default=lambda v: v.item()))  # as it will be read
        theirs = f.agreed(self.settings)
        differing = [name for name in self.settings if theirs.get(name) != self.settings[name]]
        if differing:
            raise ValueError(
                f"this process and the first one were given different {', '.join(differing)}; all processes that train "
                "together need the same"
            )
        if self._found is None:
            return
        then = self._found[1]["settings"]
        for name in {**then, **self.settings}:
            if then.get(name) != self.settings.get(name):
                self._refuse(name, then.get(name), self.settings.get(name))

    @property
    def schedule(self) -> Any:
        """State of the scheduler in the checkpoint, if there is one."""
        return None if self._found is None else self._found[1]["outer"]["scheduler"]

    def point(self, f: Trainable, pairs: Any) -> Point | None:
        """That of the checkpoint; ``None`` where the fit starts anew."""
        return None if self._found is None else Point.unpacked(f, *self._found, pairs)

    def resume(self, epoch: Epochs, point: Point, batches: Batches) -> None:
        """Put everything to the point."""
        assert self._found is not None
        outer = point.outer
        epoch.resume(point, self._trainer._controller)
        batches.order = outer["order"]
        self._trainer.seed, self._trainer.history = self._found[1]["seed"], self._found[1]["history"]

    def about(self, point: Point) -> dict[str, Any]:
        """What a checkpoint at a point says of the training."""
        history = self._trainer.history[: point.outer["nb_history"]]
        fit = {"seed": self._trainer.seed, "first": self.first, "nb_steps": self.nb_steps}
        return {"settings": self.settings, **fit, "history": history}

    def _refuse(self, name: str, then: Any, now: Any) -> None:
        if name in ("model", "data"):
            what = f"of another {name}" if name == "model" else "of other data"
        else:
            what = f"with {name}={then!r}, and now it is {now!r}"
        raise ValueError(
            f"the checkpoint in {self._trainer.checkpoint} was made {what}; give the same as then, or another folder"
        )
