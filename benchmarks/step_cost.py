"""What a CLIP step costs: against a tight plain PyTorch step, ART's own ``fit``, and the published CLIP step.

Run: ``python benchmarks/step_cost.py``. MNIST comes from the folder that ARTCLIP_DATA names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from clip_step import BATCH_SIZE, SETTINGS, STEPS, clip_step
from common import interleaved, mnist, ratio, save
from torch_mlp import mlp

from artclip import CLIPTrainer

ROUNDS, EPOCH_ROUNDS = 41, 7


def plain_step(activation: str, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """The plain step, as tight as eager PyTorch allows."""
    classifier = mlp(activation, 0)
    model, optimizer, loss = classifier.model, classifier.optimizer, torch.nn.CrossEntropyLoss()
    xt, yt = torch.from_numpy(x), torch.from_numpy(y)
    rng = np.random.default_rng(0)

    def steps() -> None:
        order = torch.from_numpy(rng.permutation(len(x))[: STEPS * BATCH_SIZE])
        for i in range(STEPS):
            index = order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
            optimizer.zero_grad()
            loss(model(xt.index_select(0, index)), yt.index_select(0, index)).backward()
            optimizer.step()

    return steps


def published_step(activation: str, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """The published CLIP step, re-implemented from its description.

    500 persistent pairs. Per step: one ascent of all pairs by backpropagation that also fills the parameter gradients,
    with three forward passes of the 1,000 points (quotient, quotient after the step to adapt the step size, quotient
    to choose the steepest pair); then the penalty of that one pair is added to the loss.
    """
    classifier = mlp(activation, 0)
    model, optimizer, loss = classifier.model, classifier.optimizer, torch.nn.CrossEntropyLoss()
    xt, yt = torch.from_numpy(x), torch.from_numpy(y)
    rng = np.random.default_rng(0)
    u = xt[:500].clone()
    v = u + 0.1 * torch.randn(u.shape, generator=torch.Generator().manual_seed(0))
    rate = torch.ones(500, 1)

    def quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (model(a) - model(b)).norm(dim=1) / (a - b).norm(dim=1)

    def steps() -> None:
        nonlocal u, v, rate
        order = torch.from_numpy(rng.permutation(len(x))[: STEPS * BATCH_SIZE])
        for i in range(STEPS):
            index = order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
            u, v = u.detach().requires_grad_(True), v.detach().requires_grad_(True)
            before = quotient(u, v)
            before.sum().backward()
            with torch.no_grad():
                new_u, new_v = u + rate * u.grad, v + rate * v.grad
                better = (quotient(new_u, new_v) > before)[:, None]
                rate = torch.where(better, rate * 1.2, rate * 0.5)
                u, v = torch.where(better, new_u, u), torch.where(better, new_v, v)
                steepest = quotient(u, v).argmax()
            optimizer.zero_grad()
            penalty = quotient(u[steepest][None], v[steepest][None]).sum() ** 2
            (loss(model(xt.index_select(0, index)), yt.index_select(0, index)) + 1e-3 * penalty).backward()
            optimizer.step()

    return steps


def epochs(activation: str, x: np.ndarray, y: np.ndarray) -> dict[str, Callable[[], None]]:
    art = mlp(activation, 0)
    clip = CLIPTrainer(mlp(activation, 0), seed=0)
    return {
        "ART fit": lambda: art.fit(x, y, batch_size=BATCH_SIZE, nb_epochs=1),
        "CLIP fit": lambda: clip.fit(x, y, batch_size=BATCH_SIZE, nb_epochs=1),
    }


def main() -> None:
    (x, y), _ = mnist()
    results = []
    for threads in (1, torch.get_num_threads()):
        torch.set_num_threads(threads)
        for activation in ("relu", "sigmoid"):
            functions = {
                "plain": plain_step(activation, x, y),
                "artclip λ=0": clip_step(mlp(activation, 0), x, y, lamda=0.0),
                **{name: clip_step(mlp(activation, 0), x, y, **options) for name, options in SETTINGS.items()},
                "published": published_step(activation, x, y),
            }
            seconds = interleaved(functions, ROUNDS)
            row: dict[str, Any] = {"threads": threads, "activation": activation}
            row["step over plain"] = {n: ratio(seconds, n, "plain") for n in functions if n != "plain"}
            row["published over default"] = ratio(seconds, "published", "default")
            row["epoch over ART fit"] = ratio(
                interleaved(epochs(activation, x, y), EPOCH_ROUNDS), "CLIP fit", "ART fit"
            )
            results.append(row)
            shown = {n: round(r["median"], 2) for n, r in row["step over plain"].items()}
            print(threads, activation, shown, "epoch over ART fit", round(row["epoch over ART fit"]["median"], 2))
    settings = {
        "net": "784-200-80-10 on logits",
        "batch_size": BATCH_SIZE,
        "optimizer": "SGD 0.1, momentum 0.9",
        "steps per round": STEPS,
        "CLIP settings": SETTINGS,
    }
    save("step_cost", settings, results, "torch")


if __name__ == "__main__":
    main()
