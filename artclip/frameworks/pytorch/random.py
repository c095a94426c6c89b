"""The global generators of PyTorch, NumPy and Python, shared by trainings in several threads.

Dropout and the like draw from one generator for the whole process; layers of users' own also from those of NumPy and
Python. A stream is the state that one training has left
it in. It is put in place for a step, and no other stream can be put in place until that step is over.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from artclip.frameworks import global_random

_lock = threading.RLock()
_open: list[Stream] = []
_placed: Stream | None = None
_turns: list[Stream] = []  # of the thread that holds the lock, the innermost last
_outside: list[np.ndarray] = []  # the state that was found when the first stream was opened


class Stream:
    """A sequence of random numbers of its own.

    Args:
        device: the CPU's generators are always among those that are kept; that of a CUDA device besides.
        seed: >= 0.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self._device = device if device.type == "cuda" else None
        self._seed = seed
        self._states: list[np.ndarray] = []

    def __enter__(self) -> Stream:
        global _outside
        with _lock:
            before = self._get()
            if not _open:
                _outside = before
            # Only the generators in use: torch.manual_seed would reseed every device.
            torch.default_generator.manual_seed(self._seed)
            if self._device is not None:
                torch.cuda.default_generators[self._device.index or 0].manual_seed(self._seed)
            global_random.put(global_random.of_seed(self._seed))
            self._states = self._get()
            self._set(before)
            _open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        global _placed
        with _lock:
            if _placed is self:
                _placed = None
            _open.remove(self)
            if not _open:
                self._set(_outside)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Inside, the generators are this stream's; other threads wait with theirs. Turns of a thread may be nested."""
        with _lock:
            _turns.append(self)
            self._place()
            try:
                yield
            finally:
                _turns.pop()
                if _turns:
                    _turns[-1]._place()

    def _place(self) -> None:
        global _placed
        if _placed is not self:
            if _placed is not None:
                _placed._states = _placed._get()
            self._set(self._states)
            _placed = self

    @property
    def states(self) -> list[np.ndarray]:
        """Where the stream is: NumPy's and Python's states, then PyTorch's."""
        with _lock:
            return self._get() if _placed is self else self._states

    @states.setter
    def states(self, states: list[np.ndarray]) -> None:
        with _lock:
            self._states = states
            if _placed is self:
                self._set(states)

    def _get(self) -> list[np.ndarray]:
        cpu = torch.get_rng_state().numpy()
        cuda = [] if self._device is None else [torch.cuda.get_rng_state(self._device).numpy()]
        return [*global_random.states(), cpu, *cuda]

    def _set(self, states: list[np.ndarray]) -> None:
        nb = global_random.NB_STATES
        global_random.put(states[:nb])
        cpu, *cuda = (torch.from_numpy(state.copy()) for state in states[nb:])
        torch.set_rng_state(cpu)
        if self._device is not None and cuda:
            torch.cuda.set_rng_state(cuda[0], self._device)
