"""Python's and NumPy's global generators, which models and data may draw from: seeded, kept and put back."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

NB_STATES = 2
_KEY = 624  # words of the Mersenne Twister
_lock = threading.Lock()
_Entry = tuple[int, list[np.ndarray]]
_inside: list[_Entry] = []  # a thread, and what the first of all found, for each that is inside
# Classes of generators, and of what packages.
_CLASSES = ("Generator", "RandomState", "Random")
_PACKAGES = ("torch", "numpy", "random", "tensorflow")


def states() -> list[np.ndarray]:
    """Their states, NumPy's and Python's; of NumPy's none where it is not the usual generator."""
    return _arrays(np.random.get_state(legacy=False), random.getstate())  # noqa: NPY002


def of_seed(seed: int) -> list[np.ndarray]:
    """Their states after they were seeded, 0 <= seed < 2**32."""
    return _arrays(np.random.RandomState(seed).get_state(legacy=False), random.Random(seed).getstate())


def put(states: list[np.ndarray]) -> None:
    """Put states back."""
    numpys, pythons = states
    if numpys.size:
        state = {"key": numpys[:_KEY].astype(np.uint32), "pos": int(numpys[_KEY])}
        gauss = {"has_gauss": int(numpys[-2]), "gauss": float(numpys[-1])}
        if np.random.get_state(legacy=False)["bit_generator"] == "MT19937":  # noqa: NPY002
            np.random.set_state({"bit_generator": "MT19937", "state": state, **gauss})  # noqa: NPY002
    *words, has_gauss, gauss_next = pythons.tolist()
    random.setstate((3, tuple(map(int, words)), gauss_next if has_gauss else None))


def _arrays(numpys: Any, pythons: Any) -> list[np.ndarray]:
    _, words, gauss = pythons
    found = np.array([*words, gauss is not None, gauss or 0.0], np.float64)
    if numpys["bit_generator"] != "MT19937":
        return [np.empty(0), found]
    state = numpys["state"]
    return [np.array([*state["key"], state["pos"], numpys["has_gauss"], numpys["gauss"]], np.float64), found]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    """Whether states are the same."""
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


@contextmanager
def kept() -> Iterator[list[np.ndarray]]:
    """Context after which they are as they were; it gives the states."""
    before = states()
    try:
        yield before
    finally:
        put(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, they follow from the seed; afterwards they are as found, in several threads when the last has left."""
    thread = threading.get_ident()
    with _lock:
        before = states()
        entry = thread, _inside[0][1] if _inside else before
        _inside.append(entry)
        put(of_seed(seed))
    try:
        yield
    finally:
        with _lock:
            del _inside[next(i for i, e in enumerate(_inside) if e is entry)]
            if not _inside:
                put(entry[1])
            elif any(other == thread for other, _ in _inside):  # inside another one of this thread
                put(before)


def own_generators(layers: Iterable[Any]) -> list[str]:
    """Generators that layers hold as attributes of their own, as ``Noise.rng``."""
    return [
        f"{type(layer).__name__}.{name}"
        for layer in layers
        for name, value in list(vars(layer).items())
        if type(value).__name__ in _CLASSES and type(value).__module__.split(".")[0] in _PACKAGES
    ]
