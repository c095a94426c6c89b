"""Cells run here, on more processes, or on a cluster: through joblib, whose backend is the user's choice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np

from artclip.comparison.defences import DefenceConfig
from artclip.comparison.experiment import Data, Experiment
from artclip.comparison.run_result import RunResult
from artclip.evaluation.cache import Cache
from artclip.frameworks import trainers_of
from artclip.frameworks.keras.startup import start_tensorflow
from artclip.hashing.contents import NotHashable, content_digest
from artclip.hashing.digests import digest, own_code

# ART draws from global generators, so two cells must not run in two threads of a process.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Job:
    """A cell yet to be run: what it needs, and nothing else, so that it can be sent away."""

    experiment: Experiment
    model: Any
    net: str
    named: DefenceConfig
    seed: int

    def _own(self) -> tuple[Any, ...]:
        """An augmentation of the user's own, which counts by what it does."""
        return (self.experiment.augmentation,) if callable(self.experiment.augmentation) else ()

    def key(self, data: str, nb_threads: int) -> tuple[str, str]:
        """Hash of all that the cell follows from: data, settings, functions, seed, and the code at work.

        Returns:
            The key and "", or "" and why there is none.
        """
        e = self.experiment.describe()
        del e["machine"]
        asked = [self.net, self.named.name, self.named.options, self.seed, nb_threads]
        nets, stages = self.experiment.nets, [c.attack.stages for c in self.experiment.chosen]
        model = nets.NETS[self.model] if isinstance(self.model, str) else self.model
        activation = nets.ACTIVATIONS.get(self.experiment.activation)
        try:
            functions = content_digest(model, activation, self.named.defence.make, stages, *self._own())
        except NotHashable as error:
            return "", f"{self.net}, {self.named.name}: {error}"
        return digest("cell", data, e, asked, functions, own_code()), ""

    def run(self, data: Data, nb_threads: int) -> RunResult:
        """The cell, on so many threads: their number changes the last digits, so it must not depend on ``n_jobs``."""
        framework = str(self.experiment.framework)
        if framework == "tensorflow":
            start_tensorflow(nb_threads)
        with _ONE_AT_A_TIME, trainers_of(framework).threads(nb_threads):
            return self.experiment.run(data, self.model, self.net, self.named, self.seed)


def run(
    jobs: Sequence[Job], data: Data, n_jobs: int, nb_threads: int, cache: Any, keys: Sequence[str]
) -> Iterator[tuple[int, RunResult]]:
    """Run the jobs, each on what is free; yields (index, cell) as they come.

    A worker that dies takes its cell with it: that is run once more by itself, and reported if it dies again.

    Args:
        jobs: the cells to be.
        data: of all of them.
        n_jobs: processes; 1 for this one, or for what ``joblib.parallel_config`` says.
        nb_threads: of each cell.
        cache: folder for cells, or ``None``.
        keys: of each job in the cache; "" for one that is not kept.
    """
    cells = Cache(cache)
    waiting = list(range(len(jobs)))
    for index in list(waiting):
        arrays = cells.get(keys[index]) if keys[index] else None
        if arrays is not None:
            waiting.remove(index)
            yield index, _unpacked(arrays)

    def finish(index: int, cell: RunResult) -> tuple[int, RunResult]:
        if keys[index] and not cell.error:
            cells.put(keys[index], **_packed(cell))
        waiting.remove(index)
        return index, cell

    while waiting:
        try:
            for index, cell in _parallel(n_jobs, [(i, jobs[i]) for i in waiting], data, nb_threads):
                yield finish(index, cell)
        except Exception:  # a worker died: what a cell raises, it reports itself
            # No more are on the way than there are workers, so the cell that did it is among the first.
            for index in waiting[: nb_workers(n_jobs)]:
                yield finish(index, _alone(jobs[index], index, data, n_jobs, nb_threads))


def _alone(job: Job, index: int, data: Data, n_jobs: int, nb_threads: int) -> RunResult:
    """The cell from a worker that has nothing else to do."""
    try:
        ((_, cell),) = _parallel(2 if n_jobs == 1 else n_jobs, [(index, job)], data, nb_threads)
        return cell
    except Exception as error:
        reason = f"its worker died twice: {type(error).__name__}: {error}".splitlines()[0]
        return RunResult(job.named.name, job.net, job.seed, error=reason)


def _parallel(n_jobs: int, jobs: list[tuple[int, Job]], data: Data, nb_threads: int) -> Iterator[tuple[int, RunResult]]:
    parallel = joblib.Parallel(
        n_jobs=None if n_jobs == 1 else n_jobs,
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch="n_jobs",
    )
    return parallel(joblib.delayed(_one)(index, job, data, nb_threads) for index, job in jobs)


def _one(index: int, job: Job, data: Data, nb_threads: int) -> tuple[int, RunResult]:
    return index, job.run(data, nb_threads)


def nb_workers(n_jobs: int) -> int:
    """How many cells run at a time: with 1, as many as ``joblib.parallel_config`` says."""
    return int(joblib.effective_n_jobs(None if n_jobs == 1 else n_jobs))


def _packed(cell: RunResult) -> dict[str, np.ndarray]:
    text = np.frombuffer(json.dumps(cell.record(), default=float).encode(), np.uint8)
    return {"record": text, **{f"array {name}": a for name, a in cell.arrays.items()}}


def _unpacked(found: dict[str, np.ndarray]) -> RunResult:
    record = json.loads(found["record"].tobytes().decode())
    record["curve"] = [tuple(point) for point in record["curve"]]
    return RunResult(**record, arrays={k.removeprefix("array "): a for k, a in found.items() if k.startswith("array ")})
