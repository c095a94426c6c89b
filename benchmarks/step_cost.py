"""What a CLIP step costs: against a tight plain PyTorch step, ART's own ``fit``, and the published CLIP step.

Run: ``python benchmarks/step_cost.py [NET ...]``, all nets if none is named; fifteen minutes. Rows of nets that are not
named stay as they are; each is a comparison in itself. MNIST comes from the folder that ARTCLIP_DATA names; the images
of the residual net are noise, which costs the same.

``python benchmarks/step_cost.py --gpu [NET ...]`` does it on a CUDA device, and writes ``step_cost_gpu.json``.

``python benchmarks/step_cost.py --check`` measures the first net alone, and fails where its step over the plain one is
more than 15 % above the committed figure.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from clip_step import BATCH_SIZE, SETTINGS, STEPS, clip_step
from common import interleaved, mnist, peak_held, ratio, recorded, save
from torch import nn
from torch.profiler import ProfilerActivity, profile

from artclip import CLIPTrainer
from artclip.frameworks.pytorch.nets import NETS, _Residual

SLOWER = 1.15  # than committed, at which --check fails
Steps = Callable[[], None]


def resnet18() -> list[nn.Module]:
    """The residual net of 18 layers as it is used for images of 32×32×3: 11 million parameters."""
    widths = (64, 64, 128, 256, 512)
    blocks = [
        _Residual(b if i else a, b, 1 if i or a == b == 64 else 2, nn.ReLU)
        for a, b in pairwise(widths)
        for i in range(2)
    ]
    stem = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return [*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]


@dataclass(frozen=True)
class Case:
    """A net, and how often it is measured."""

    layers: Callable[[], list[nn.Module]]
    shape: tuple[int, ...]
    rounds: int
    nb_steps: int = STEPS
    epochs: int = 0
    published: bool = False
    settings: tuple[str, ...] = tuple(SETTINGS)
    device: str = "cpu"
    autocast: bool = False

    def make(self) -> PyTorchClassifier:
        """The net as first made, always the same."""
        torch.manual_seed(0)
        net = nn.Sequential(*self.layers())
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        options = {"optimizer": optimizer, "clip_values": (0.0, 1.0), "device_type": self.device}
        return PyTorchClassifier(net, nn.CrossEntropyLoss(), self.shape, 10, **options)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Images of its shape with labels."""
        if self.shape[-1] == 28:
            (x, y), _ = mnist()
            return x.reshape(-1, *self.shape), y
        rng = np.random.default_rng(0)
        return rng.random((self.nb_steps * BATCH_SIZE, *self.shape), np.float32), rng.integers(
            0, 10, self.nb_steps * BATCH_SIZE
        )


def named(name: str, activation: type[nn.Module] = nn.ReLU) -> Callable[[], list[nn.Module]]:
    return lambda: NETS[name]((1, 28, 28), 10, activation)


CASES = {
    "mlp-200-80, ReLU": Case(named("mlp-200-80"), (1, 28, 28), 41, epochs=7, published=True),
    "mlp-200-80, sigmoid": Case(named("mlp-200-80", nn.Sigmoid), (1, 28, 28), 41, epochs=7, published=True),
    "cnn": Case(named("cnn"), (1, 28, 28), 15, epochs=3),
    "ResNet-18": Case(resnet18, (3, 32, 32), 2, nb_steps=12, settings=("default",)),  # seconds a step
}
ON_GPU = {
    **{name: replace(case, device="gpu", rounds=15) for name, case in CASES.items()},
    "ResNet-18": Case(resnet18, (3, 32, 32), 15, settings=("default", "robust"), device="gpu"),
    "ResNet-18, bfloat16": Case(resnet18, (3, 32, 32), 15, settings=("default",), device="gpu", autocast=True),
}


def plain_step(case: Case, x: np.ndarray, y: np.ndarray) -> Steps:
    """The plain step, as tight as eager PyTorch allows: on a GPU with all the data on it."""
    classifier = case.make()
    model, optimizer, loss = classifier.model.train(), classifier.optimizer, nn.CrossEntropyLoss()
    xt, yt = (torch.from_numpy(a).to(classifier.device) for a in (x, y))
    rng = np.random.default_rng(0)

    def steps() -> None:
        order = torch.from_numpy(rng.permutation(len(x))[: case.nb_steps * BATCH_SIZE]).to(classifier.device)
        for index in order.split(BATCH_SIZE):
            optimizer.zero_grad()
            loss(model(xt.index_select(0, index)), yt.index_select(0, index)).backward()
            optimizer.step()

    return steps


def published_step(case: Case, x: np.ndarray, y: np.ndarray) -> Steps:
    """The published CLIP step, re-implemented from its description.

    500 persistent pairs. Per step: one ascent of all pairs by backpropagation that also fills the parameter gradients,
    with three forward passes of the 1,000 points (quotient, quotient after the step to adapt the step size, quotient
    to choose the steepest pair); then the penalty of that one pair is added to the loss.
    """
    classifier = case.make()
    model, optimizer, loss = classifier.model, classifier.optimizer, nn.CrossEntropyLoss()
    xt, yt = (torch.from_numpy(a).to(classifier.device) for a in (x, y))
    rng = np.random.default_rng(0)
    u = xt[:500].clone()
    v = u + 0.1 * torch.randn(u.shape, generator=torch.Generator().manual_seed(0)).to(u.device)
    rate = torch.ones(500, 1, 1, 1, device=u.device)

    def quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (model(a) - model(b)).norm(dim=1) / (a - b).flatten(1).norm(dim=1)

    def steps() -> None:
        nonlocal u, v, rate
        order = torch.from_numpy(rng.permutation(len(x))[: case.nb_steps * BATCH_SIZE]).to(classifier.device)
        for index in order.split(BATCH_SIZE):
            u, v = u.detach().requires_grad_(True), v.detach().requires_grad_(True)
            before = quotient(u, v)
            before.sum().backward()
            with torch.no_grad():
                new_u, new_v = u + rate * u.grad, v + rate * v.grad
                better = (quotient(new_u, new_v) > before)[:, None, None, None]
                rate = torch.where(better, rate * 1.2, rate * 0.5)
                u, v = torch.where(better, new_u, u), torch.where(better, new_v, v)
                steepest = quotient(u, v).argmax()
            optimizer.zero_grad()
            penalty = quotient(u[steepest][None], v[steepest][None]).sum() ** 2
            (loss(model(xt.index_select(0, index)), yt.index_select(0, index)) + 1e-3 * penalty).backward()
            optimizer.step()

    return steps


def as_timed(steps: Steps, case: Case) -> Steps:
    """The steps, in the precision of the case, and the wait for the GPU."""
    if case.device == "cpu":
        return steps

    def run() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=case.autocast):
            steps()
        torch.cuda.synchronize()

    return run


def peak_memory(steps: Steps, device: str) -> float:
    """MiB that PyTorch holds at most during steps, above what it held before them."""
    steps()
    if device == "gpu":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        steps()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        steps()
    return peak_held(profiled)


def over_art(case: Case, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """An epoch of ours, with the defaults of a long training, over one of ART's ``fit``."""
    art, clip = case.make(), CLIPTrainer(case.make(), seed=0, pair_interval=12)
    functions = {
        "ART fit": lambda: art.fit(x, y, batch_size=BATCH_SIZE, nb_epochs=1),
        "CLIP fit": lambda: clip.fit(x, y, batch_size=BATCH_SIZE, nb_epochs=1),
    }
    return ratio(interleaved(functions, case.epochs), "CLIP fit", "ART fit")


def measured(name: str, case: Case, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    x, y = case.data()
    ours = {n: SETTINGS[n] for n in case.settings} | ({"artclip λ=0": {"lamda": 0.0}} if case.epochs else {})
    functions = {
        "plain": plain_step(case, x, y),
        **{n: clip_step(case.make(), x, y, case.nb_steps, **options) for n, options in ours.items()},
    }
    if case.published:
        functions["published"] = published_step(case, x, y)
    functions = {n: as_timed(steps, case) for n, steps in functions.items()}
    seconds = interleaved(functions, case.rounds)
    row: dict[str, Any] = {"net": name, "threads": threads if case.device == "cpu" else "GPU"}
    row["parameters"] = sum(p.numel() for p in case.make().model.parameters())
    row["plain step, ms"] = 1e3 * float(np.median(seconds["plain"])) / case.nb_steps
    row["step over plain"] = {n: ratio(seconds, n, "plain") for n in functions if n != "plain"}
    if case.published:
        row["published over default"] = ratio(seconds, "published", "default")
    peaks = {n: peak_memory(functions[n], case.device) for n in ("plain", *case.settings)}
    row["peak memory over plain"] = {n: peaks[n] / peaks["plain"] for n in case.settings}
    if case.epochs:
        row["epoch over ART fit"] = over_art(case, x, y)
    shown = {n: round(r["median"], 2) for n, r in row["step over plain"].items()}
    print(name, row["threads"], shown, row["peak memory over plain"], row.get("epoch over ART fit"), flush=True)
    return row


def check() -> int:
    """Whether the step of the first net has become slower than committed."""
    name, case = next(iter(CASES.items()))
    torch.set_num_threads(1)
    x, y = case.data()
    functions = {"plain": plain_step(case, x, y), "default": clip_step(case.make(), x, y)}
    now = ratio(interleaved(functions, case.rounds), "default", "plain")["median"]
    rows = recorded("step_cost", [])
    then = next(r for r in rows if r["net"] == name and r["threads"] == 1)["step over plain"]["default"]["median"]
    slower = now > SLOWER * then
    print(f"{name}: step over plain {now:.3f}, committed {then:.3f}: {'SLOWER' if slower else 'fine'}")
    return int(slower)


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        return check()
    on_gpu = "--gpu" in sys.argv
    cases, name_of_results = (ON_GPU, "step_cost_gpu") if on_gpu else (CASES, "step_cost")
    names = [n for n in sys.argv[1:] if n != "--gpu"] or list(cases)
    most = torch.get_num_threads()
    runs = [(n, t) for t in ((most,) if on_gpu else (1, most)) for n in names]
    results = [measured(n, cases[n], t) for n, t in runs if t == most or cases[n].nb_steps == STEPS]
    kept = [r for r in recorded(name_of_results, []) if r["net"] not in names]
    results = sorted(kept + results, key=lambda r: (r["threads"], list(cases).index(r["net"])))
    settings: dict[str, Any] = {"batch_size": BATCH_SIZE, "optimizer": "SGD 0.1, momentum 0.9"}
    settings |= {"CLIP settings": SETTINGS, **({"GPU": torch.cuda.get_device_name()} if on_gpu else {})}
    save(name_of_results, settings, results, "torch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
