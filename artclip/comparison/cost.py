"""What a training took: CPU time, peak memory, and what it warned of."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_UNITS = 1 << 20 if sys.platform == "darwin" else 1 << 10  # of ru_maxrss in a MiB: bytes there, KiB elsewhere


@dataclass
class Cost:
    """What a training took.

    Attributes:
        cpu_seconds: CPU time of the process, over all its threads; other work on the machine does not count.
        peak_memory: the most memory that the process ever held until its end, in MiB; ``None`` where the system does
            not say. Frameworks, data and earlier trainings of the process are in it, so it is an upper bound.
        notes: the ``RuntimeWarning``s of the training, each once.
    """

    cpu_seconds: float = 0.0
    peak_memory: float | None = None
    notes: list[str] = field(default_factory=list)


@contextmanager
def watched() -> Iterator[Cost]:
    """What happens inside is timed, and its warnings are noted; they are shown again at the end.

    One at a time in a process: what Python does with warnings is set for the whole of it.
    """
    spent, started = Cost(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            yield spent
        finally:
            spent.cpu_seconds = time.process_time() - started
            spent.peak_memory = peak_memory()
    messages = [" ".join(str(w.message).split()) for w in caught if issubclass(w.category, RuntimeWarning)]
    spent.notes = list(dict.fromkeys(messages))
    for w in caught:
        warnings.warn_explicit(w.message, w.category, w.filename, w.lineno, source=w.source)


def peak_memory() -> float | None:
    """The most memory that this process ever held, in MiB; ``None`` where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNITS
