"""Regression in one variable with CLIP: what λ does to the fit, to its steepness and to the test error.

Above, the values λ = 10, 1, 1e-10 and 0; below, λ = 0.1 to 1e-4, between which the fit changes from too flat to too
steep. The Lipschitz constant is the largest |f'| on a fine grid; behind ≥ stands what
``artclip.lipschitz_lower_bound`` finds. The test error is the root mean square distance to the true function.

The pairs are the paper's: a set that is carried from step to step, of which the steepest is penalised. artclip's
default, pairs that start from the batch, may leave steep what lies between 24 samples on a line.

Run: ``python examples/regression_1d.py``. Three quarters of a minute on a CPU; writes ``regression_1d.png`` to ``out``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.estimators.regression.pytorch import PyTorchRegressor
from drawing import GREY, LOWER, UPPER, arguments, new_figure, save

import artclip

LOW, HIGH = -2.0, 2.0
ROWS = ((10, 1, 1e-10, 0), (1e-1, 1e-2, 1e-3, 1e-4))


def truth(x: np.ndarray) -> np.ndarray:
    return np.sin(4 * x) * np.exp(-(x**2) / 4) + 0.3 * x


def samples(seed: int, nb: int = 24, noise: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(LOW, HIGH, (nb, 1)), axis=0)
    return x.astype(np.float32), (truth(x) + rng.normal(0, noise, x.shape)).astype(np.float32)


def fit(x: np.ndarray, y: np.ndarray, lamda: float, nb_epochs: int, seed: int) -> PyTorchRegressor:
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Linear(1, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    regressor = PyTorchRegressor(net, torch.nn.MSELoss(), (1,), optimizer=optimizer, clip_values=(LOW, HIGH))
    trainer = artclip.CLIPTrainer(
        regressor, lamda=lamda, pair_init="noise", reduction="max", nb_pairs=len(x), pair_interval=1, seed=seed
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, nb_epochs)
    trainer.fit(x, y, batch_size=len(x), nb_epochs=nb_epochs, scheduler=scheduler)
    return regressor


def measure(regressor: PyTorchRegressor, x: np.ndarray, seed: int) -> dict[str, Any]:
    grid = torch.linspace(LOW, HIGH, 40_001)[:, None].requires_grad_()
    outputs = regressor.model(grid)
    (slopes,) = torch.autograd.grad(outputs.sum(), grid)
    at, fitted = grid.detach().numpy(), outputs.detach().numpy()
    return {
        "x": at[:, 0],
        "f": fitted[:, 0],
        "slope": slopes.abs().max().item(),
        "lower": artclip.lipschitz_lower_bound(regressor, x, seed=seed).value,
        "error": float(np.sqrt(np.mean((fitted - truth(at)) ** 2))),
    }


def name(lamda: float) -> str:
    return f"{lamda:g}" if lamda in (0, 1, 10) else f"$10^{{{round(np.log10(lamda))}}}$"


def draw_fit(axes: Any, x: np.ndarray, y: np.ndarray, lamda: float, fit: dict[str, Any]) -> None:
    axes.plot(fit["x"], truth(fit["x"]), color=GREY, linewidth=1, linestyle="--", label="true function")
    axes.plot(x, y, "o", color=UPPER, markersize=3, label="samples")
    axes.plot(fit["x"], fit["f"], color=LOWER, linewidth=1.5, label="fit")
    axes.set_title(
        f"λ = {name(lamda)}\nLip {fit['slope']:.3g} (≥ {fit['lower']:.3g}), error {fit['error']:.2f}", fontsize=9
    )
    axes.set_ylim(-1.9, 1.9)


def draw_over_lamda(axes: Any, fits: dict[float, dict[str, Any]]) -> None:
    lamdas = sorted(fits)
    for ax, key, title in ((axes[0], "slope", "Lipschitz constant"), (axes[1], "error", "test error")):
        ax.plot(range(len(lamdas)), [fits[lamda][key] for lamda in lamdas], "o-", color=LOWER, label="by a fine grid")
        ax.set_xticks(range(len(lamdas)), [name(lamda) for lamda in lamdas], fontsize=8)
        ax.set_title(title, fontsize=9), ax.grid(alpha=0.3), ax.set_xlabel("λ, not to scale", fontsize=9)
    axes[0].plot([fits[lamda]["lower"] for lamda in lamdas], "x", color=UPPER, label="artclip's lower bound")
    axes[0].set_yscale("log"), axes[0].legend(frameon=False, fontsize=8), axes[1].set_ylim(0)


def main(argv: list[str] | None = None) -> dict[float, dict[str, Any]]:
    options = arguments(__doc__, argv, seed=1)
    x, y = samples(options.seed)
    rows = ((1, 0),) if options.quick else ROWS
    fits: dict[float, dict[str, Any]] = {}
    figure = new_figure(15, 5.6)
    left, right = figure.subfigures(1, 2, width_ratios=[3, 1])
    for axes, lamdas in zip(left.subplots(len(rows), len(rows[0]), squeeze=False, sharey=True), rows, strict=True):
        for ax, lamda in zip(axes, lamdas, strict=True):
            regressor = fit(x, y, lamda, 200 if options.quick else 1500, options.seed)
            fits[lamda] = measure(regressor, x, options.seed)
            draw_fit(ax, x, y, lamda, fits[lamda])
            print(f"λ = {lamda:<8g}", "  ".join(f"{k} {fits[lamda][k]:.4f}" for k in ("slope", "lower", "error")))
    handles, labels = left.axes[0].get_legend_handles_labels()
    left.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    draw_over_lamda(right.subplots(2, 1), fits)
    save(figure, options.out / "regression_1d.png", dpi=95)
    return fits


if __name__ == "__main__":
    main()
