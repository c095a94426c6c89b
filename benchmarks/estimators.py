"""Estimators of the Lipschitz constant side by side: value and seconds, on the same nets in one run.

From below: our search, among valid inputs and beyond; the pair ascent of the published CLIP code, re-implemented from
its description, in a favourable reading (the step sizes that it adapts are kept); deel-torchlip's
``evaluate_lip_const``; the largest Jacobian norm on 10,000 images. Local: ART's CLEVER around one image. From above:
our bounds; eclipse-nn.

Run: ``python benchmarks/estimators.py``, five minutes. MNIST comes from the folder that ARTCLIP_DATA names.
deel-torchlip and eclipse-nn join in where they are installed (``pip install deel-torchlip eclipse-nn``).
"""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from art.metrics import clever_u
from bounds import NETS, RADIUS, by_deel, on_points, timed, trained
from common import clean, mnist, save

import artclip

SEEDS, PAIRS, ASCENTS = (0, 1), 500, 50
NAMES = ("relu 64-64", "relu 64-64, CLIP", "sigmoid 64-64", "small cnn")


def published(classifier: Any, x: np.ndarray) -> float:
    """Pairs of a data point and a point beside it climb their quotient; a step is kept where it rises."""
    net = classifier.model.eval()
    u = torch.from_numpy(x[:PAIRS]).clone()
    v = u + 0.1 * torch.randn(u.shape, generator=torch.Generator().manual_seed(0))
    rate = torch.ones(len(u), 1)

    def quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (net(a) - net(b)).norm(dim=1) / (a - b).norm(dim=1)

    for _ in range(ASCENTS):
        u, v = u.detach().requires_grad_(True), v.detach().requires_grad_(True)
        before = quotient(u, v)
        at_u, at_v = torch.autograd.grad(before.sum(), (u, v))
        with torch.no_grad():
            new_u, new_v = u + rate * at_u, v + rate * at_v
            better = (quotient(new_u, new_v) > before)[:, None]
            rate = torch.where(better, rate * 1.2, rate * 0.5)
            u, v = torch.where(better, new_u, u), torch.where(better, new_v, v)
    with torch.no_grad():
        ends = torch.cat([u, v]).double().numpy()
        a, b = np.split(np.concatenate([classifier.predict(p.astype(np.float32)) for p in np.split(ends, 10)]), 2)
    lengths = np.linalg.norm(np.subtract(*np.split(ends.astype(np.float32).astype(float), 2)), axis=1)
    apart = lengths > 1e-2  # closer ones are rounding
    return float((np.linalg.norm(a.astype(float) - b, axis=1)[apart] / lengths[apart]).max())


def by_eclipse_nn(classifier: Any, method: str) -> float:
    from eclipse_nn.LipConstEstimator import LipConstEstimator

    with contextlib.redirect_stdout(io.StringIO()):
        return float(LipConstEstimator(model=classifier.model).estimate(method))


def clever(classifier: Any, sample: np.ndarray) -> float:
    """The Lipschitz constant that CLEVER's score is the margin over: of the margin, around one image."""
    np.random.seed(0)  # noqa: NPY002
    score = float(clever_u(classifier, sample, 50, 50, RADIUS, norm=2, verbose=False))
    top = np.sort(classifier.predict(sample[None])[0])
    return float(top[-1] - top[-2]) / score


def one(name: str, seed: int, data: Any) -> dict[str, Any]:
    (x, y), test = data
    make, lamda, _ = NETS[name]
    classifier = trained(make, lamda, x, y, seed)
    row: dict[str, Any] = {"net": name, "seed": seed, "clean": clean(classifier, test)}
    row["below"] = {
        "artclip, box": timed(lambda: artclip.lipschitz_lower_bound(classifier, x, seed=seed)),
        "artclip, free": timed(lambda: artclip.lipschitz_lower_bound(classifier, x, domain="free", seed=seed)),
        "published pair ascent": timed(lambda: published(classifier, x)),
        "Jacobian norm on 10,000 points": timed(lambda: on_points(classifier, x[:10_000])),
    }
    if find_spec("deel"):
        row["below"]["deel-torchlip"] = timed(lambda: by_deel(classifier, x[:1000]))
    row["local"] = {"ART CLEVER 50×50, one image": timed(lambda: clever(classifier, test[0][0]))}
    row["above"] = {
        f"artclip, {m}": timed(lambda m=m: artclip.lipschitz_upper_bound(classifier, method=m, max_seconds=20))
        for m in ("product", "eclipse", "lipsdp")
    }
    if find_spec("eclipse_nn"):
        for method in ("ECLipsE_Fast", "ECLipsE"):
            row["above"][f"eclipse-nn, {method}"] = timed(lambda m=method: by_eclipse_nn(classifier, m))
    print(row, flush=True)
    return row


def main() -> None:
    data = mnist()
    results = [one(name, seed, data) for name in NAMES for seed in SEEDS]
    settings = {"norm": "L2 to L2", "pairs": PAIRS, "ascents": ASCENTS, "threads": torch.get_num_threads()}
    save("estimators", settings, results, "torch")


if __name__ == "__main__":
    main()
