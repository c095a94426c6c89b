"""What the benchmarks share: the data, the record of machine and versions, interleaved timing."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import artclip

RESULTS = Path(__file__).parent / "results"


def mnist() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """MNIST as vectors of 784 in [0, 1]."""
    (x_train, y_train), (x_test, y_test) = artclip.load_data("mnist")
    return (x_train.reshape(-1, 784), y_train), (x_test.reshape(-1, 784), y_test)


def with_validation(
    x: np.ndarray, y: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Training data without 5,000 samples, and these for choices; always the same."""
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order[5000:]], y[order[5000:]]), (x[order[:5000]], y[order[:5000]])


@lru_cache(maxsize=1)  # CIFAR-10 takes 16 seconds to decode
def parts(name: str) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Training, validation and test part of a data set, with labels."""
    training, test = artclip.load_data(name)
    return *with_validation(*training), test


def attacked(
    classifier: Any, x: np.ndarray, y: np.ndarray, eps: float, attacks: list[str], seed: int, **more: Any
) -> Any:
    """An :class:`artclip.evaluation.result.Evaluation` in L2, of the attacks alone."""
    quiet = {"lipschitz": False, "verbose": False, "masking": False, "nb_distances": 0}
    return artclip.evaluate(classifier, x, y, eps=eps, attacks=attacks, seed=seed, **{**quiet, **more})


def check_unbroken(found: Any, certified: np.ndarray, what: str) -> None:
    """Raise ``AssertionError`` where an attack breaks a sample that is certified, (n,)."""
    broken = ~found.survivors & certified
    if broken.any():
        raise AssertionError(f"{broken.sum()} certified samples of {what} were broken: a bound is wrong")


def standing(
    classifier: Any, x: np.ndarray, y: np.ndarray, radii: Iterable[float], attacks: list[str], seed: int, **more: Any
) -> dict[float, np.ndarray]:
    """Indices of the samples that stand at each of rising radii: what falls at one falls at the next."""
    found, remaining = {}, np.arange(len(x))
    for eps in radii:
        if len(remaining):
            result = attacked(classifier, x[remaining], y[remaining], eps, attacks, seed, **more)
            remaining = remaining[result.survivors]
        found[eps] = remaining
    return found


def peak_held(profiled: Any) -> float:
    """MiB that PyTorch held at most under a profiler with ``profile_memory``, above what it held before."""
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    return float(np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]).max()) / 2**20


def jacobian_norms(net: Any, x: np.ndarray) -> np.ndarray:
    """Spectral norm of the Jacobian of a PyTorch net at points (n, *input_shape)."""
    import torch

    points = torch.from_numpy(x).requires_grad_(True)
    rows = [torch.autograd.grad(o.sum(), points, retain_graph=True)[0].flatten(1) for o in net(points).unbind(1)]
    return np.asarray(torch.linalg.matrix_norm(torch.stack(rows, 1), 2).detach())


def clean(classifier: Any, data: tuple[np.ndarray, np.ndarray]) -> float:
    """Accuracy in %."""
    return 100 * float(np.mean(classifier.predict(data[0]).argmax(1) == data[1]))


def interleaved(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each function in each round. Rounds alternate, so a slow spell of the machine hits all alike."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, base: str) -> dict[str, float]:
    """Median over rounds of the ratio within a round, and its quartiles."""
    values = np.array(seconds[name]) / np.array(seconds[base])
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "quartiles": [float(low), float(high)], "rounds": len(values)}


def recorded(name: str, otherwise: Any) -> Any:
    """The results in ``results/NAME.json``, or something else where there is no such file yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["results"] if path.exists() else otherwise


def save(name: str, settings: dict[str, Any], results: Any, *frameworks: str) -> None:
    """Write ``results/NAME.json`` with machine and versions; ``frameworks`` are the packages that were at work."""
    packages = ("artclip", "adversarial-robustness-toolbox", "numpy", *frameworks)
    record = {
        "settings": settings,
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "versions": {n: version(n) for n in packages},
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"written: {path}")
