"""Pairs (u, v) on a function of one variable, climbing to its steepest slope: a still picture and an animation.

f is a small net fitted to a wiggly function; the band marks where it is steepest, on a fine grid. The gradient ascent
of the paper's algorithm 1 on Q(u, v) = |f(u) - f(v)| / |u - v| and artclip's ascent start from the same pairs. The
still picture has three moments of artclip's, and Q and the distances of both; the animation has both from start to end.

Run: ``python examples/pairs_1d.py``. A quarter of a minute on a CPU; writes ``pairs_1d.png`` and ``pairs_1d.gif`` to
``out``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from drawing import arguments, few_colours, save
from matplotlib.animation import PillowWriter

import artclip
from artclip.frameworks import function_of
from artclip.reporting.figures import BLUE, GREY, ORANGE, VERMILLION, new_figure, styled

LOW, HIGH, NB_PAIRS, SEPARATION = -2.5, 2.5, 8, 0.1
FRAMES = (0, 3, 10)
LOOKS = {"artclip": BLUE, "algorithm 1": VERMILLION}
Path = list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # u, v and Q of the pairs, by iteration


def fitted_net(seed: int, nb_steps: int) -> torch.nn.Module:
    """A small net fitted to a wiggly function."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Linear(1, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)
    ).double()
    x = torch.linspace(LOW - 1.5, HIGH + 1.5, 320, dtype=torch.float64)[:, None]
    y = torch.sin(3 * x) * torch.exp(-((x - 1) ** 2) / 3) + 0.4 * torch.sin(1.3 * x + 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(nb_steps):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
    return net.requires_grad_(False)


def quotients(net: torch.nn.Module, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return ((net(u) - net(v)).abs() / (u - v).abs())[:, 0]


def gradient_ascent(net: torch.nn.Module, u: torch.Tensor, v: torch.Tensor, nb_steps: int, tau: float) -> Path:
    """The paper's algorithm 1: u and v follow the gradient of Q; a step is kept where Q rises, else τ is halved."""
    path, step = [(u.numpy(), v.numpy(), quotients(net, u, v).numpy())], torch.full_like(u, tau)
    for _ in range(nb_steps):
        u, v = u.clone().requires_grad_(), v.clone().requires_grad_()
        before = quotients(net, u, v)
        towards_u, towards_v = torch.autograd.grad(before.sum(), (u, v))
        u, v = u.detach(), v.detach()
        new_u, new_v = u + step * towards_u, v + step * towards_v
        rises = (quotients(net, new_u, new_v) > before.detach())[:, None]  # False for NaN too, where u and v meet
        u, v, step = torch.where(rises, new_u, u), torch.where(rises, new_v, v), torch.where(rises, step, step / 2)
        path.append((u.numpy(), v.numpy(), quotients(net, u, v).numpy()))
    return path


def power_ascent(pairs: artclip.PairSet, nb_steps: int) -> Path:
    """artclip's: a centre that moves and a distance that halves until it is h; see docs/explanation/method.md."""
    path = [(pairs.u.numpy(), pairs.v.numpy(), pairs.quotients())]
    for _ in range(nb_steps):
        pairs.ascend()
        path.append((pairs.u.numpy(), pairs.v.numpy(), pairs.quotients()))
    return path


def steepest_slope(net: torch.nn.Module, low: float, high: float) -> tuple[float, float]:
    """Where |f'| is largest on a grid of 200,001 points, and how large."""
    x = torch.linspace(low, high, 200_001, dtype=torch.float64)[:, None].requires_grad_()
    (slopes,) = torch.autograd.grad(net(x).sum(), x)
    place = int(slopes.abs().argmax())
    return x[place].item(), slopes[place].abs().item()


def draw_pairs(axes: Any, net: torch.nn.Module, path: Path, i: int, colour: str, steepest: float) -> None:
    """The pairs at iteration i; the one that ends with the largest quotient stands out."""
    grid, best = torch.linspace(LOW - 1.5, HIGH + 1.5, 400, dtype=torch.float64)[:, None], path[-1][2].argmax()
    axes.axvline(steepest, color=ORANGE, linewidth=6, alpha=0.35)
    axes.plot(grid, net(grid), color=GREY, linewidth=1)
    for pair, ends in enumerate(torch.as_tensor(np.stack(path[i][:2], axis=1))):
        strong = {"zorder": 4} if pair == best else {"alpha": 0.35, "markersize": 3.5}
        axes.plot(ends, net(ends), "o-", color=colour, **strong)
    axes.set_title(f"iteration {i}", fontsize=10), axes.set_xticks((-2, 0, 2)), axes.set_yticks((-1, 0, 1))
    axes.set_xlim(LOW - 1.5, HIGH + 1.5), axes.set_ylim(-1.4, 1.6)


def draw_quotients(axes: Any, path: Path, slope: float, upto: int, colour: str) -> None:
    best = path[-1][2].argmax()
    for pair in range(NB_PAIRS):
        strong = {"linewidth": 2.2} if pair == best else {"alpha": 0.35, "linewidth": 1.2}
        axes.plot([q[pair] for _, _, q in path[: upto + 1]], color=colour, **strong)
    axes.axhline(slope, color=GREY, linestyle="--", linewidth=1)
    axes.text(0.3, 1.04 * slope, f"steepest slope {slope:.2f}", color=GREY, fontsize=9)
    axes.set_xlim(0, len(path) - 1), axes.set_ylim(0, 1.25 * slope)
    axes.set_title("Q of each pair", fontsize=10), axes.set_xlabel("iteration")


def draw_distances(axes: Any, path: Path, colour: str) -> None:
    for pair in range(NB_PAIRS):
        axes.plot([abs(u[pair] - v[pair]) for u, v, _ in path], color=colour, linewidth=1.2, alpha=0.5)
    axes.set_yscale("log"), axes.set_ylim(1e-7, 20), axes.set_xlim(0, len(path) - 1)
    axes.set_title("|u - v| of each pair", fontsize=10), axes.set_xlabel("iteration")


@styled
def draw(net: torch.nn.Module, paths: dict[str, Path], where: float, slope: float) -> Any:
    message = (
        "Pairs climb to where the function is steepest (orange):\n"
        f"artclip holds them {SEPARATION} apart, algorithm 1 lets them collide"
    )
    figure = new_figure(6.4, 5.2, message)
    axes = figure.subplot_mosaic([["0"] * 2 + ["1"] * 2 + ["2"] * 2, ["Q"] * 3 + ["distance"] * 3])
    for place, i in enumerate(FRAMES):
        draw_pairs(axes[str(place)], net, paths["artclip"], i, BLUE, where)
        axes[str(place)].set_title(f"artclip, iteration {i}", fontsize=10)
    for name, colour in LOOKS.items():
        draw_quotients(axes["Q"], paths[name], slope, len(paths[name]), colour)
        draw_distances(axes["distance"], paths[name], colour)
    for (name, colour), height in zip(LOOKS.items(), (2e-2, 3e-6), strict=True):
        axes["distance"].text(1, height, name, color=colour, weight="bold", fontsize=10)
    return figure


@styled
def animate(file: Any, net: torch.nn.Module, paths: dict[str, Path], where: float, slope: float) -> None:
    figure = new_figure(6.4, 4.8)
    grid = figure.subplots(2, 2)
    writer = PillowWriter(fps=3)
    with writer.saving(figure, file, dpi=100):
        for i in range(len(paths["artclip"])):
            for row, (name, colour) in zip(grid, LOOKS.items(), strict=True):
                row[0].clear(), row[1].clear()
                draw_pairs(row[0], net, paths[name], i, colour, where)
                draw_quotients(row[1], paths[name], slope, i, colour)
                row[0].set_title(f"{name}, iteration {i}", fontsize=11, color=colour, weight="bold")
            grid[0, 1].set_xlabel("")
            if i == 1:
                figure.set_layout_engine("none")  # it stays where it is, and need not be found again
            writer.grab_frame()
    few_colours(file)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = arguments(__doc__, argv)
    nb_steps = 10 if options.quick else 30
    net = fitted_net(options.seed, 200 if options.quick else 1500)
    data = np.linspace(LOW, HIGH, 60)[:, None]
    pairs = artclip.PairSet(function_of(net), data, NB_PAIRS, init="data", separation=SEPARATION, seed=options.seed)
    paths = {
        "algorithm 1": gradient_ascent(net, pairs.u.clone(), pairs.v.clone(), nb_steps, tau=0.3),
        "artclip": power_ascent(pairs, nb_steps),
    }
    where, slope = steepest_slope(net, LOW - 3, HIGH + 3)
    for name, path in paths.items():
        (u, v, q), best = path[-1], path[-1][2].argmax()
        print(f"{name:12} Q = {q[best]:.5f} at |u - v| = {abs(u - v)[best, 0]:.2g}; steepest slope {slope:.5f}")
    save(draw(net, paths, where, slope), options.out / "pairs_1d.png")
    moving = {name: path[:4] for name, path in paths.items()} if options.quick else paths
    animate(options.out / "pairs_1d.gif", net, moving, where, slope)
    return {"paths": paths, "slope": slope, "separation": SEPARATION}


if __name__ == "__main__":
    main()
