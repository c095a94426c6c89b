"""What a defence is told of the training and of the attack to come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingConfig:
    """The training that a defence is made for.

    Attributes:
        framework: ``"torch"`` or ``"tensorflow"``.
        norm, eps: the budget that the model will be attacked in; eps > 0 in units of the inputs.
        noise: standard deviation of the Gaussian noise that it will meet, >= 0.
        nb_epochs: passes over the data, >= 1.
        batch_size: samples a step, >= 1.
        seed: of all randomness, >= 0.
        verbose: whether to show progress.
        ema_decay: decay in [0, 1) of averages of the weights, with which the training ends; 0 for none.
    """

    framework: str
    norm: float
    eps: float
    noise: float
    nb_epochs: int
    batch_size: int
    seed: int
    verbose: bool = False
    ema_decay: float = 0.0
