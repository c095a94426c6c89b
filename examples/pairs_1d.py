"""Pairs (u, v) on a function of one variable, climbing to its steepest slope: a still picture and an animation.

f is a small net fitted to a wiggly function; the band marks where it is steepest, on a fine grid. Above, the gradient
ascent of the paper's algorithm 1 on Q(u, v) = |f(u) - f(v)| / |u - v|; below, artclip's ascent, from the same pairs.
Beside them Q and the distance of each pair over the iterations.

Run: ``python examples/pairs_1d.py``. A quarter of a minute on a CPU; writes ``pairs_1d.png`` and ``pairs_1d.gif`` to
``out``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from drawing import GREY, UPPER, WARM, arguments, few_colours, new_figure, save
from matplotlib import colormaps
from matplotlib.animation import PillowWriter

import artclip
from artclip.frameworks import function_of

LOW, HIGH, NB_PAIRS, SEPARATION = -2.5, 2.5, 8, 0.1
FRAMES = (0, 1, 3, 10)
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


def draw_pairs(axes: Any, net: torch.nn.Module, at: tuple[np.ndarray, ...], title: str, steepest: float) -> None:
    grid = torch.linspace(LOW - 1.5, HIGH + 1.5, 400, dtype=torch.float64)[:, None]
    axes.axvline(steepest, color=WARM, linewidth=5, alpha=0.35)
    axes.plot(grid, net(grid), color=GREY, linewidth=1)
    for i, ends in enumerate(torch.as_tensor(np.stack(at[:2], axis=1))):
        axes.plot(ends, net(ends), "o-", color=colour(i), markersize=3.5, linewidth=1.6)
    axes.set_title(title, fontsize=9), axes.set_xticks((-2, 0, 2))
    axes.set_xlim(LOW - 1.5, HIGH + 1.5), axes.set_ylim(-1.4, 1.6)


def draw_quotients(axes: Any, path: Path, slope: float, upto: int) -> None:
    for i in range(NB_PAIRS):
        axes.plot([q[i] for _, _, q in path[: upto + 1]], color=colour(i), linewidth=1.2)
    axes.axhline(slope, color=UPPER, linestyle="--", linewidth=1)
    axes.text(len(path) - 1.3, 1.035 * slope, f"steepest slope {slope:.3f}", ha="right", color=UPPER, fontsize=8)
    axes.set_xlim(0, len(path) - 1), axes.set_ylim(0, 1.2 * slope)
    axes.set_title("Q(u, v) of each pair", fontsize=9), axes.set_xlabel("iteration", fontsize=9)


def draw_distances(axes: Any, path: Path) -> None:
    for i in range(NB_PAIRS):
        axes.plot([abs(u[i] - v[i]) for u, v, _ in path], color=colour(i), linewidth=1.2)
    axes.set_yscale("log"), axes.set_ylim(1e-9, 10), axes.set_xlim(0, len(path) - 1)
    axes.set_title("|u - v| of each pair", fontsize=9), axes.set_xlabel("iteration", fontsize=9)


def colour(i: int) -> Any:
    return colormaps["viridis"](i / (NB_PAIRS - 1) * 0.95)


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

    still = new_figure(14, 5)
    still.suptitle("Pairs on a function of one variable; the band marks where it is steepest", fontsize=11)
    grid = still.subplots(2, len(FRAMES) + 2, width_ratios=[1] * len(FRAMES) + [1.3, 1.3])
    for row, (name, path) in zip(grid, paths.items(), strict=True):
        for axes, i in zip(row, FRAMES, strict=False):
            draw_pairs(axes, net, path[i], f"iteration {i}", where)
        draw_quotients(row[-2], path, slope, nb_steps)
        draw_distances(row[-1], path)
        row[0].set_ylabel(name, fontsize=11)
    save(still, options.out / "pairs_1d.png")
    moving = {name: path[:4] for name, path in paths.items()} if options.quick else paths
    animate(options.out / "pairs_1d.gif", net, moving, where, slope)
    return {"paths": paths, "slope": slope, "separation": SEPARATION}


def animate(file: Any, net: torch.nn.Module, paths: dict[str, Path], where: float, slope: float) -> None:
    figure = new_figure(7.6, 4.4)
    grid = figure.subplots(2, 2)
    writer = PillowWriter(fps=3)
    with writer.saving(figure, file, dpi=80):
        for i in range(len(paths["artclip"])):
            for row, (name, path) in zip(grid, paths.items(), strict=True):
                row[0].clear(), row[1].clear()
                draw_pairs(row[0], net, path[i], f"{name}, iteration {i}", where)
                draw_quotients(row[1], path, slope, i)
            if i == 1:
                figure.set_layout_engine("none")  # it stays where it is, and need not be found again
            writer.grab_frame()
    few_colours(file)


if __name__ == "__main__":
    main()
