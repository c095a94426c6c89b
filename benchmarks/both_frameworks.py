"""The same comparison of defences on PyTorch and on TensorFlow: nets of the same shapes, from weights of their own.

Run: ``python benchmarks/both_frameworks.py``. MNIST comes from the folder that ARTCLIP_DATA names. That both follow the
same trajectory from the same weights is tested in ``tests/contract/test_parity.py``; this shows what a user sees.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from typing import Any

from common import save

import artclip

DEFENCES = ["standard", "weight@0.98", "clip@0.98", "clip"]
RUNS: dict[str, dict[str, Any]] = {
    "digits": {"model": "mlp", "nb_epochs": 40, "eps": 0.5, "noise": 0.3},
    "mnist": {"model": "mlp-200-80", "nb_epochs": 6, "eps": 1.5, "noise": 0.5},
}
NB_SEEDS = 3


def main() -> None:
    results: dict[str, Any] = {}
    for data, options in RUNS.items():
        results[data] = {}
        for framework in ("torch", "tensorflow"):
            table = artclip.compare(
                data, defences=DEFENCES, nb_seeds=NB_SEEDS, framework=framework, verbose=False, **options
            )
            results[data][framework] = table.rows
            print(f"\n{data}, {framework}\n{table.to_markdown()}")
    settings = {"defences": DEFENCES, "seeds": list(range(NB_SEEDS)), "runs": RUNS}
    save("both_frameworks", settings, results, "torch", "tensorflow")


if __name__ == "__main__":
    main()
