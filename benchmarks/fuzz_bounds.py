"""Upper bounds of random PyTorch and Keras nets against the steepest pairs that are found: none may be broken.

Run: ``python benchmarks/fuzz_bounds.py [--torch 7000] [--keras 3000] [--seed 100000] [--jobs 2]``. Nets come from the
vocabularies in ``tests/fuzz``; every net follows from its seed. An hour or two on two cores.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from common import save
from joblib import Parallel, delayed

from tests.fuzz import fuzz

SIZE = 50  # nets that one job looks at
POINTS, ROUNDS = 12, 4  # more than in the tests


def looked_at(framework: str, first: int, last: int) -> list[fuzz.Outcome]:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    case = getattr(fuzz, f"{framework}_case")
    return [fuzz.run(case, seed, POINTS, ROUNDS) for seed in range(first, last)]


def reason(said: str) -> str:
    """What a refusal says, without names of layers and numbers."""
    return re.sub(r"-?\d[\d.e+-]*", "#", said.partition(": ")[2] or said)[:90]


def summary(outcomes: list[fuzz.Outcome]) -> dict[str, Any]:
    kinds = Counter(o.kind for o in outcomes)
    ratios = [o.ratio for o in outcomes if o.kind == "bounded"]
    return {
        "nets": len(outcomes),
        **{kind: kinds[kind] for kind in ("bounded", "refused", "unsound", "crashed")},
        "steepest pair over bound": dict(
            zip(("median", "90 %", "99 %"), np.percentile(ratios, (50, 90, 99)).round(4).tolist(), strict=True)
        ),
        "refusals": dict(Counter(reason(o.said) for o in outcomes if o.kind == "refused").most_common(40)),
        "broken": [o.said for o in outcomes if o.kind in ("unsound", "crashed")],
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch", type=int, default=7000, help="number of PyTorch nets")
    parser.add_argument("--keras", type=int, default=3000, help="number of Keras nets")
    parser.add_argument("--seed", type=int, default=100_000, help="of the first net")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    began = time.perf_counter()
    for framework in ("torch", "keras"):
        count = getattr(arguments, framework)
        starts = range(arguments.seed, arguments.seed + count, SIZE)
        ends = [min(start + SIZE, arguments.seed + count) for start in starts]
        jobs = (delayed(looked_at)(framework, a, b) for a, b in zip(starts, ends, strict=True))
        outcomes = [o for part in Parallel(arguments.jobs, verbose=5)(jobs) for o in part]
        if outcomes:
            results[framework] = summary(outcomes)
            print(framework, {k: v for k, v in results[framework].items() if k not in ("refusals",)})
    results["seconds"] = round(time.perf_counter() - began)
    settings = {**vars(arguments), "points": POINTS, "rounds": ROUNDS}
    save("fuzz_bounds", settings, results, "torch", "tensorflow", "keras")
    return int(any(results[f]["unsound"] + results[f]["crashed"] for f in ("torch", "keras") if f in results))


if __name__ == "__main__":
    sys.exit(main())
