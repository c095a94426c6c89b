"""Upper bounds of random PyTorch and Keras nets against the steepest pairs that are found: none may be broken.

Run: ``python benchmarks/fuzz_bounds.py torch --nets 7000``, then ``keras --nets 3000``. Nets come from the vocabularies
in ``tests/fuzz``; every net follows from its seed. Half an hour each on two cores.
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

FIRST = 100_000
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
        **{kind: kinds[kind] for kind in ("bounded", "refused", "misread", "unsound", "crashed")},
        "steepest pair over bound": dict(
            zip(("median", "90 %", "99 %"), np.percentile(ratios, (50, 90, 99)).round(4).tolist(), strict=True)
        ),
        "refusals": dict(Counter(reason(o.said) for o in outcomes if o.kind == "refused").most_common(40)),
        "broken": [o.said for o in outcomes if o.kind in ("misread", "unsound", "crashed")],
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("framework", choices=("torch", "keras"))
    parser.add_argument("--nets", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=FIRST, help="of the first net")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--max-seconds", type=float, default=float("inf"), help="then those looked at are what counts")
    arguments = parser.parse_args()
    last, began = arguments.seed + arguments.nets, time.perf_counter()
    jobs = (
        delayed(looked_at)(arguments.framework, start, min(start + SIZE, last))
        for start in range(arguments.seed, last, SIZE)
    )
    outcomes: list[fuzz.Outcome] = []
    for part in Parallel(arguments.jobs, return_as="generator", pre_dispatch=arguments.jobs)(jobs):
        outcomes += part
        if time.perf_counter() - began > arguments.max_seconds:
            break
    results = {**summary(outcomes), "seconds": round(time.perf_counter() - began)}
    settings = {"seed": arguments.seed, "points": POINTS, "rounds": ROUNDS}
    packages = {"torch": ("torch",), "keras": ("tensorflow", "keras")}[arguments.framework]
    which = "" if arguments.seed == FIRST else f"_{arguments.seed}"
    save(f"fuzz_bounds_{arguments.framework}{which}", settings, results, *packages)
    return int(bool(results["broken"]))


if __name__ == "__main__":
    sys.exit(main())
