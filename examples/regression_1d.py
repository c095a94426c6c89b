"""Regression in one variable with CLIP: what λ does to the fit, to its steepness and to the test error.

Above, the fit without a penalty, with the λ of the least test error, and with λ = 1; below, all of them. The Lipschitz
constant is the largest |f'| on a fine grid; crosses are what ``artclip.lipschitz_lower_bound`` finds. The test error is
the root mean square distance to the true function.

The pairs are the paper's: a set that is carried from step to step, of which the steepest is penalised. artclip's
default, pairs that start from the batch, may leave steep what lies between 24 samples on a line.

Run: ``python examples/regression_1d.py``. Three quarters of a minute on a CPU; writes ``regression_1d.png`` to ``out``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.estimators.regression.pytorch import PyTorchRegressor
from drawing import arguments, save

import artclip
from artclip.reporting.figures import BLUE, GREY, VERMILLION, new_figure, styled

LOW, HIGH = -2.0, 2.0
LAMDAS = (0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1)


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
    return f"{lamda:g}" if lamda in (0, 1) else f"$10^{{{round(np.log10(lamda))}}}$"


def draw_fit(axes: Any, x: np.ndarray, y: np.ndarray, lamda: float, fit: dict[str, Any]) -> None:
    axes.plot(fit["x"], truth(fit["x"]), color=GREY, linewidth=1.2, linestyle="--")
    axes.plot(x, y, "o", color=VERMILLION, markersize=3.5)
    axes.plot(fit["x"], fit["f"], color=BLUE, linewidth=2)
    axes.set_title(f"λ = {name(lamda)}\nerror {fit['error']:.2f}, Lip {fit['slope']:.2g}", fontsize=10)
    axes.set_xlim(LOW, HIGH), axes.set_ylim(-1.9, 1.9), axes.set_xticks((-1, 0, 1)), axes.set_yticks((-1, 0, 1))


def draw_over_lamda(axes: Any, fits: dict[float, dict[str, Any]], key: str, title: str) -> None:
    axes.plot([fit[key] for fit in fits.values()], "o-", color=BLUE)
    axes.set_xticks(range(len(fits)), [name(lamda) for lamda in fits], fontsize=9)
    axes.set_title(title, fontsize=10), axes.grid(alpha=0.3), axes.set_xlabel("λ (not to scale)")


@styled
def draw(x: np.ndarray, y: np.ndarray, fits: dict[float, dict[str, Any]]) -> Any:
    best, errors = min(fits, key=lambda lamda: fits[lamda]["error"]), {k: fit["error"] for k, fit in fits.items()}
    message = (
        f"The penalty takes the test error from {errors[0]:.2f} to {errors[best]:.2f};\ntoo large a λ flattens the fit"
    )
    figure = new_figure(6.4, 5.6, message)
    axes = figure.subplot_mosaic([["0"] * 2 + ["best"] * 2 + ["1"] * 2, ["error"] * 3 + ["slope"] * 3])
    for place, lamda in (("0", 0), ("best", best), ("1", 1)):
        draw_fit(axes[place], x, y, lamda, fits[lamda])
    for height, label, colour in ((-1.1, "truth", GREY), (-1.4, "samples", VERMILLION), (-1.7, "fit", BLUE)):
        axes["0"].text(0.5, height, label, color=colour, fontsize=10)
    draw_over_lamda(axes["error"], fits, "error", "test error")
    draw_over_lamda(axes["slope"], fits, "slope", "Lipschitz constant")
    axes["slope"].plot([fit["lower"] for fit in fits.values()], "x", color=VERMILLION, markersize=7)
    axes["slope"].annotate("× found by artclip", (0.1, 0.1), xycoords="axes fraction", color=VERMILLION, fontsize=10)
    axes["slope"].set_yscale("log"), axes["error"].set_ylim(0)
    return figure


def main(argv: list[str] | None = None) -> dict[float, dict[str, Any]]:
    options = arguments(__doc__, argv, seed=1)
    x, y = samples(options.seed)
    fits: dict[float, dict[str, Any]] = {}
    for lamda in (0, 1) if options.quick else LAMDAS:
        regressor = fit(x, y, lamda, 200 if options.quick else 1500, options.seed)
        fits[lamda] = measure(regressor, x, options.seed)
        print(f"λ = {lamda:<8g}", "  ".join(f"{k} {fits[lamda][k]:.4f}" for k in ("slope", "lower", "error")))
    save(draw(x, y, fits), options.out / "regression_1d.png")
    return fits


if __name__ == "__main__":
    main()
